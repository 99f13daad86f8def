//! Weights from elsewhere, and back.
//!
//! Tensors come in by the names and in the layout that another framework gives them, and go out as a
//! [`Stack`] or as the [`Weights`] of one layer in one direction, of which [`stack_from`] makes a
//! stack. Gradients flow through to the tensors that came in. What comes in must be `f32` throughout
//! or `f64` throughout, and finite; what does not fit is an [`Error::Weight`] with its name.
//!
//! - `pytorch`: [`from_pytorch`] and [`to_pytorch`], a state dict by its names
//! - `keras`: [`from_keras`], a layer's kernel, recurrent kernel and bias
//! - `tensorflow`: [`from_tensorflow_rnn`], [`from_tensorflow_lstm`] and [`from_tensorflow_gru`], the
//!   joined kernels of TensorFlow 1's cells
//!
//! # candle-nn
//!
//! `candle_nn::LSTM` and `candle_nn::GRU` have PyTorch's names and order of gates, as this crate has:
//! [`Lstm::new`](super::Lstm::new) and [`Gru::new`](super::Gru::new) take their weights from the same
//! `VarBuilder`, be it a safetensors file or a `VarMap` that both share, and compute the same. What
//! `LSTMConfig` calls `layer_idx` and `direction` is one layer of a stack in one direction. Of the
//! direction candle-nn takes the names alone (`_reverse`): it does not turn the sequence round, a
//! bidirectional stack does.
//!
//! Of layers without biases (`default_no_bias`), a file or a `VarMap` lacks names that a stack asks for:
//! that is an error. `VarSink::insert` puts zeros there, which are trained from then on.

mod keras;
mod pytorch;
#[cfg(test)]
mod tests;
mod tensorflow;

pub use keras::from_keras;
pub use pytorch::{from_pytorch, to_pytorch};
pub use tensorflow::{from_tensorflow_gru, from_tensorflow_lstm, from_tensorflow_rnn};

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::stack::{named_weights, Stack, StackConfig};
use crate::checkpoint::weights::is_finite;
use crate::recurrence::Weights;
use crate::{Error, Result};

/// A stack of layers whose weights are already here, as [`from_keras`] gives them.
///
/// - `layers`: from the first layer to the last, each with the weights of the forward direction and,
///   if it runs in both, of the backward direction
///
/// A `b_hh` that is `None` is zeros where the cell trains two biases; where it trains one, a `b_hh`
/// that is there is added to `b_ih`, once.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::nn::weights::{from_keras, stack_from};
/// use candle_rnn::nn::StackConfig;
/// use candle_rnn::recurrence::Cell;
/// # fn main() -> candle_rnn::Result<()> {
/// // In Keras, `Bidirectional(GRU(8))` of 3 inputs: `forward_layer` and `backward_layer`.
/// let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu);
/// let [kernel, recurrent_kernel, bias] = [zeros((3, 24))?, zeros((8, 24))?, zeros((2, 24))?];
/// let forward = from_keras(Cell::Gru, &kernel, &recurrent_kernel, Some(&bias))?;
/// let backward = forward.clone();
/// let config = StackConfig { bidirectional: true, ..StackConfig::new(Cell::Gru, 3, 8) };
/// let stack = stack_from(config, vec![vec![forward, backward]])?;
/// assert_eq!(stack.weights(0)[1].w_hh.dims(), [24, 8]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Config`] for settings that do not hold, or when there are more or fewer layers or
/// directions than they say; [`Error::Weight`] for a tensor that does not fit, by PyTorch's name.
#[doc(alias = "from_weights")]
pub fn stack_from(config: StackConfig, layers: Vec<Vec<Weights>>) -> Result<Stack> {
    config.check()?;
    let directions = config.directions();
    let found: Vec<usize> = layers.iter().map(Vec::len).collect();
    if found != vec![directions; config.num_layers] {
        return Err(Error::Config(format!(
            "expected the weights of num_layers: {} with {directions} in each, found {found:?}",
            config.num_layers
        )));
    }
    let mut tensors = BTreeMap::new();
    for (layer, weights) in layers.into_iter().enumerate() {
        for (direction, mut weights) in weights.into_iter().enumerate() {
            if weights.b_hh.is_none() && config.cell.has_two_biases() {
                weights.b_hh = Some(weights.b_ih.zeros_like()?);
            }
            let named = named_weights(&weights, layer, direction);
            tensors.extend(named.map(|(name, tensor)| (name, tensor.clone())));
        }
    }
    pytorch::build(config, &tensors, "")
}

/// Checks tensors one after the other: the first decides on the dtype of all.
#[derive(Default)]
struct Checks {
    /// Its name and its dtype.
    first: Option<(String, DType)>,
}

impl Checks {
    /// Checks that a tensor has this shape, and all else.
    fn shape(&mut self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
        self.tensor(name, tensor, tensor.dims() == shape, &format!("{shape:?}"))
    }

    /// Checks a tensor whose shape `fits` or not; `shape` is what it should be.
    fn tensor(&mut self, name: &str, tensor: &Tensor, fits: bool, shape: &str) -> Result<()> {
        let dtype = tensor.dtype();
        let same = match &self.first {
            None => matches!(dtype, DType::F32 | DType::F64),
            Some((_, first)) => dtype == *first,
        };
        let fail = |expected, found| Err(Error::Weight { name: name.into(), expected, found });
        if !(fits && same) {
            return fail(self.expected(shape), found(tensor));
        }
        // Not every device has f64, which the check needs.
        if !is_finite(&tensor.detach().to_device(&Device::Cpu)?)? {
            return fail("finite numbers".into(), "NaN or infinity".into());
        }
        self.first.get_or_insert_with(|| (name.into(), dtype));
        Ok(())
    }

    /// What the next tensor must be.
    fn expected(&self, shape: &str) -> String {
        match &self.first {
            None => format!("shape {shape} of f32 or f64"),
            Some((name, dtype)) => format!("shape {shape} of {}, as {name}", dtype.as_str()),
        }
    }
}

/// What a tensor is.
fn found(tensor: &Tensor) -> String {
    format!("{:?} of {}", tensor.dims(), tensor.dtype().as_str())
}

/// The parts of a tensor `(G·H, ..)`, each `(H, ..)`, in another order: the `n`-th that is returned
/// was the `order[n]`-th.
fn gates(tensor: &Tensor, order: &[usize]) -> Result<Vec<Tensor>> {
    let rows = tensor.dim(0)? / order.len();
    let part = |gate: &usize| Ok(tensor.narrow(0, gate * rows, rows)?);
    order.iter().map(part).collect()
}

/// The same in one tensor, in memory of its own.
fn in_order(tensor: &Tensor, order: &[usize]) -> Result<Tensor> {
    Ok(match order {
        [_] => tensor.force_contiguous()?,
        _ => Tensor::cat(&gates(tensor, order)?, 0)?,
    })
}
