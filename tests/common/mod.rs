//! What several integration tests share: seeded tensors and stacks, comparisons, golden files, and where
//! tests put their files.
// It is compiled into several crates of tests, and none uses all of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod compare;
pub(crate) mod golden;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_rnn::nn::{Init, Stack, StackConfig};
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::VarSink;

/// A generator of initial values.
pub(crate) fn init_rng(seed: u64) -> SeededRng {
    SeededRng::new(seed, Purpose::Init)
}

/// A sink for variables on the CPU, with a map of its own.
pub(crate) fn sink(dtype: DType) -> VarSink {
    VarSink::new(dtype, &Device::Cpu)
}

/// A stack with seeded initial values, its variables under `prefix`, and the sink that holds them.
pub(crate) fn stack(
    config: StackConfig,
    init: Init,
    seed: u64,
    dtype: DType,
    prefix: &str,
) -> (Stack, VarSink) {
    let sink = sink(dtype);
    (Stack::init(config, init, &mut init_rng(seed), &sink.pp(prefix)).unwrap(), sink)
}

/// Numbers in ±`limit` from a generator, in `f64`.
pub(crate) fn random(rng: &mut SeededRng, shape: &[usize], limit: f64) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.symmetric(limit)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The numbers of a tensor of any float type.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The text of an error.
#[track_caller]
pub(crate) fn text<T>(result: candle_rnn::Result<T>) -> String {
    result.err().expect("an error").to_string()
}

/// A folder that is removed when it is dropped; in memory where there is one such, since a test that waits
/// for a disk learns nothing from it.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = memory.is_dir().then(|| tempfile::tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}
