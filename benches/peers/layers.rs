//! Times this crate's recurrent layers, as `common.py` times those of others.
//!
//! ```sh
//! cargo run --release --example peers-layers -- --threads 2 layers tanh:150,28,28,150 gru:1,28,28,150
//! ```
//!
//! Forward is that of a frozen layer, as a trained one is used; it returns the last state.
//! Backward gives the gradients of the weights, not of `x`, for the loss `sum(h_T * grad_h)`.

use candle_core::{DType, Device, Tensor};
use candle_rnn::nn::{Init, Stack, StackConfig};
use candle_rnn::recurrence::Cell;
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::VarSink;

use timing::{Result, Sizes};

#[path = "timing.rs"]
mod timing;

/// As the program has it.
#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments = timing::arguments()?;
    println!(
        "{}",
        serde_json::json!({ "program": "candle-rnn", "version": env!("CARGO_PKG_VERSION") })
    );
    match arguments.split_first() {
        // As the program trains: on one of the threads that compute.
        Some((job, layers)) if job == "layers" => rayon::scope(|_| time(layers)),
        _ => Err("usage: [--threads N] layers CELL:B,T,I,H ...".into()),
    }
}

fn time(layers: &[String]) -> Result<()> {
    layers.iter().try_for_each(|text| {
        let (name, sizes) = text.split_once(':').unwrap_or(("tanh", text));
        let cell = Cell::ALL.into_iter().find(|cell| cell.name() == name);
        layer(cell.ok_or_else(|| format!("no cell {name}"))?, Sizes::parse(sizes)?)
    })
}

fn layer(cell: Cell, sizes: Sizes) -> Result<()> {
    let Sizes { input_size, hidden_size, .. } = sizes;
    let (x, grad_h) = sizes.inputs()?;
    let sink = VarSink::new(DType::F32, &Device::Cpu);
    let rng = &mut SeededRng::new(1, Purpose::Init);
    let config = StackConfig::new(cell, input_size, hidden_size);
    let layer = Stack::init(config, Init::Pytorch, rng, &sink)?;
    let vars = sink.named()?;

    let frozen = layer.freeze()?;
    sizes.time(cell.name(), "forward", || {
        frozen.last(&x)?;
        Ok(())
    })?;
    if sizes.batch_size == 1 {
        return Ok(());
    }
    sizes.time(cell.name(), "forward_backward", || {
        let loss = (layer.last(&x)? * &grad_h)?.sum_all()?;
        let grads = loss.backward()?;
        let has = |var: &Tensor| grads.get(var).is_some();
        assert!(vars.values().all(|var| has(var)) && !has(&x));
        Ok(())
    })
}
