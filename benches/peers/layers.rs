//! Times this crate's recurrent layer, as `common.py` times those of others.
//!
//! ```sh
//! cargo run --release --example peers-layers -- --threads 2 layers 150,28,28,150 1,28,28,150
//! ```
//!
//! Forward is that of a frozen layer, as a trained one is used; it returns the last state.
//! Backward gives the gradients of the weights, not of `x`, for the loss `sum(h_T * grad_h)`.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use candle_rnn::nn::{Rnn, RnnConfig};
use candle_rnn::recurrence::{Cell, Outputs};

use timing::{Result, Sizes};

#[path = "timing.rs"]
mod timing;

fn main() -> Result<()> {
    let arguments = timing::arguments()?;
    println!(
        "{}",
        serde_json::json!({ "program": "candle-rnn", "version": env!("CARGO_PKG_VERSION") })
    );
    match arguments.split_first() {
        Some((job, sizes)) if job == "layers" => {
            sizes.iter().try_for_each(|sizes| layer(Sizes::parse(sizes)?))
        }
        _ => Err("usage: [--threads N] layers B,T,I,H ...".into()),
    }
}

fn layer(sizes: Sizes) -> Result<()> {
    let Sizes { input_size, hidden_size, .. } = sizes;
    let (x, grad_h) = sizes.inputs()?;
    let limit = (hidden_size as f32).powf(-0.5);
    let var = |shape: &[usize]| Var::rand(-limit, limit, shape, &Device::Cpu);
    let weights = [
        ("weight_ih_l0", var(&[hidden_size, input_size])?),
        ("weight_hh_l0", var(&[hidden_size, hidden_size])?),
        ("bias_ih_l0", var(&[hidden_size])?),
    ];
    let named = weights.iter().map(|(name, var)| (name.to_string(), var.as_tensor().clone()));
    let vb = VarBuilder::from_tensors(named.collect(), DType::F32, &Device::Cpu);
    let rnn = Rnn::new(RnnConfig { input_size, hidden_size, cell: Cell::Tanh }, vb)?;

    let frozen = rnn.freeze()?;
    sizes.time("forward", || {
        frozen.forward(&x, None, Outputs::Last)?;
        Ok(())
    })?;
    if sizes.batch_size == 1 {
        return Ok(());
    }
    sizes.time("forward_backward", || {
        let loss = (rnn.forward(&x, None, Outputs::Last)? * &grad_h)?.sum_all()?;
        let grads = loss.backward()?;
        let has = |var: &Tensor| grads.get(var).is_some();
        assert!(weights.iter().all(|(_, var)| has(var)) && !has(&x));
        Ok(())
    })
}
