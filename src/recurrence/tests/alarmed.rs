//! What becomes of a team that gave up: told by a device that computes nothing, and gives NaN.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::device_memory::{extent, write_bytes};
use super::emulated::card_of_teams;
use super::emulator::{on_device_without, Language};
use super::layers::{directions, Layer, Way};
use super::stand_in::{check_arguments, on};
use crate::data::mnist::Mnist;
use crate::model::NetworkConfig;
use crate::nn::{Init, Stack, StackConfig, VarSink};
use crate::optim::AdamConfig;
use crate::recurrence::gpu::alarm::{take_alarm, GAVE_UP};
use crate::recurrence::gpu::gemm::Gemm;
use crate::recurrence::gpu::launch::{Arg, KernelLaunch};
use crate::recurrence::gpu::plan::DeviceLimits;
use crate::recurrence::gpu::queue::Launch;
use crate::recurrence::{
    check_teams, run_layer, Call, Cell, LayerWeights, Outputs, RecurrentDType,
};
use crate::rng::{Purpose, SeededRng};
use crate::train::{evaluate, StreamTrainer, TrainConfig, Trainer, TrainerConfig};
use crate::{Error, Result};

const UNITS: usize = 70;

/// A device on which one launch gives up. The host is far ahead of it: what it launches until it waits sees no alarm.
struct Alarmed {
    kernel: &'static str,
    /// Launches of the kernel until then.
    left: AtomicUsize,
    is_waiting_in_vain: AtomicU32,
    alarm: AtomicU32,
}

/// Runs `body` with this thread's CPU tensors on a device where one launch gives up.
///
/// - `kernel`: what is in its name; `nth`: which of its launches, from 1
pub(crate) fn on_alarmed<R>(kernel: &'static str, nth: usize, body: impl FnOnce() -> R) -> R {
    on(
        Arc::new(Alarmed {
            kernel,
            left: AtomicUsize::new(nth),
            is_waiting_in_vain: AtomicU32::new(0),
            alarm: AtomicU32::new(0),
        }),
        body,
    )
}

impl Launch for Alarmed {
    fn limits(&self) -> DeviceLimits {
        card_of_teams(Cell::Tanh, UNITS, 12, RecurrentDType::F32)
    }

    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        check_arguments(call);
        if call.is_cooperative() && take_alarm(&self.alarm, || Ok(()))? {
            return Err(Error::Device(GAVE_UP.into()).into());
        }
        if call.kernel.contains(self.kernel) && self.left.load(Ordering::Relaxed) > 0 {
            let left = self.left.fetch_sub(1, Ordering::Relaxed);
            self.is_waiting_in_vain.store(u32::from(left == 1), Ordering::Relaxed);
        }
        for (_, arg) in &call.args {
            let Arg::Out(Some(tensor)) = arg else { continue };
            if tensor.dtype() == DType::F32 {
                let (start, end) = extent(tensor.layout());
                write_bytes(tensor, f32::NAN.to_le_bytes().repeat(end - start))?;
            }
        }
        Ok(())
    }

    fn gemm(&self, _: &Gemm) -> candle_core::Result<()> {
        Ok(())
    }

    fn gave_up(&self) -> candle_core::Result<bool> {
        if self.is_waiting_in_vain.swap(0, Ordering::Relaxed) == 1 {
            self.alarm.store(1, Ordering::Relaxed);
        }
        take_alarm(&self.alarm, || Ok(()))
    }
}

fn trainer() -> Trainer<crate::train::Classification> {
    let config = TrainConfig {
        network: NetworkConfig { hidden_size: UNITS, ..NetworkConfig::default() },
        trainer: TrainerConfig { batch_size: 10, ..TrainerConfig::default() },
        ..TrainConfig::default()
    };
    Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap()
}

/// That a result is the alarm's error.
pub(crate) fn assert_gave_up<T>(what: &str, result: Result<T>) {
    match result.err() {
        Some(Error::Device(text)) => assert_eq!(text, GAVE_UP, "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

fn assert_is_nan<T: std::fmt::Debug>(what: &str, result: Result<T>) {
    match result {
        Err(Error::NotFinite { what: found, .. }) => assert_eq!(found, "the loss", "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_step_whose_team_gave_up_says_so_and_the_next_does_not() {
    for kernel in ["team_rnn_forward", "team_rnn_backward"] {
        on_alarmed(kernel, 1, || {
            let mut trainer = trainer();
            assert_gave_up(kernel, trainer.next_event());
            assert_eq!(trainer.step_count(), 0);
            // The device computes nothing: that is no team's fault.
            assert_is_nan(kernel, trainer.next_event());
        });
    }
}

#[test]
fn a_streams_step_whose_team_gave_up_says_so() {
    for kernel in ["team_rnn_forward", "team_rnn_backward"] {
        on_alarmed(kernel, 1, || {
            let sink = VarSink::new(DType::F32, &Device::Cpu);
            let rng = &mut SeededRng::new(1, Purpose::Init);
            let config = StackConfig::new(Cell::Tanh, 3, UNITS);
            let rnn = Stack::init(config, Init::Orthogonal, rng, &sink.pp("rnn")).unwrap();
            let mut trainer = StreamTrainer::new(rnn, &sink, AdamConfig::default()).unwrap();
            let x = Tensor::zeros((2, 4, 3), DType::F32, &Device::Cpu).unwrap();
            let mut step = || trainer.step(&x, |outputs| Ok(outputs.sqr()?.sum_all()?));
            assert_gave_up(kernel, step());
            assert_is_nan(kernel, step());
        });
    }
}

#[test]
fn an_evaluation_whose_team_gave_up_is_no_result() {
    on_alarmed("team_rnn_forward", 1, || {
        let (trainer, data) = (trainer(), Mnist::sample().unwrap());
        let evaluated = || evaluate(trainer.model(), trainer.task().gather(), &data.valid);
        assert_gave_up("evaluate", evaluated());
        assert!(evaluated().is_ok());
    });
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_team_that_lacks_a_block_gives_up() {
    let (f32, tf32) = (RecurrentDType::F32, RecurrentDType::Tf32);
    for (kernel, recurrent_dtype) in [
        ("team_rnn_forward_f32", f32),
        ("team_rnn_backward_f32", f32),
        ("mma_rnn_forward_tf32", tf32),
        ("mma_rnn_backward_tf32", tf32),
    ] {
        let way = Way::plain(Cell::Tanh);
        let sequences = directions(way, (6, 3, 2, UNITS), 5);
        let limits = card_of_teams(Cell::Tanh, UNITS, 12, recurrent_dtype);
        let ((), launches) = on_device_without(Some(kernel), Language::Cuda, limits, || {
            let layer = Layer::on(&Device::Cpu, &sequences, way, DType::F32);
            let weights = LayerWeights::of_directions(Cell::Tanh, layer.weights()).unwrap();
            let call = Call { recurrent_dtype, ..Call::new(Outputs::All) };
            let (outputs, _) = run_layer(layer.x.as_tensor(), &weights, &call).unwrap();
            let sum = outputs.unwrap().sum_all().unwrap();
            let mut is_nan = sum.to_scalar::<f32>().unwrap().is_nan();
            if kernel.contains("backward") {
                check_teams(&Device::Cpu).unwrap();
                let grads = sum.backward().unwrap();
                let grad = grads.get(layer.x.as_tensor()).unwrap();
                is_nan = grad.sum_all().unwrap().to_scalar::<f32>().unwrap().is_nan();
            }
            assert!(is_nan, "{kernel}");
            assert_gave_up(kernel, check_teams(&Device::Cpu));
            check_teams(&Device::Cpu).unwrap();
        });
        assert!(launches.iter().any(|launch| launch == kernel), "{launches:?}");
    }
}
