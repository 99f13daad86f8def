//! Weights from elsewhere, and back.
//!
//! Tensors come in by the names and in the layout that another framework gives them, and go out as a
//! [`Stack`] or as the [`Weights`] of one layer in one direction, of which [`stack_from`] makes a
//! stack. Gradients flow through to the tensors that came in. What does not fit, or is not finite, is
//! an [`Error::Weight`] with its name.
//!
//! - `pytorch`: [`from_pytorch`], [`from_pytorch_as`] and [`to_pytorch`], a state dict by its names
//! - `keras`: [`from_keras`], a layer's kernel, recurrent kernel and bias
//! - `tensorflow`: [`from_tensorflow_rnn`], [`from_tensorflow_lstm`] and [`from_tensorflow_gru`], the
//!   joined kernels of TensorFlow 1's cells
//!
//! - `builder`: tensors of a `VarBuilder`
//! - `names`: names that are near where one is missing
//!
//! # Dtypes
//!
//! Weights come out as `f32`, or as `f64` if one that came in is `f64`: `f16` and `bf16` become `f32`,
//! which holds all their values, and mixed dtypes become the widest. [`from_pytorch_as`] takes the dtype
//! that is asked for; the other importers take tensors, which `to_dtype` converts before. A tensor that is
//! converted is a new one: gradients flow back to the one that came in, but its later changes do not show.
//!
//! PyTorch saves half precision with `safetensors.torch.save_file(model.half().state_dict(), path)`, or
//! `model.bfloat16()`.
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
//! Layers without biases (`default_no_bias`, PyTorch's `bias=False`) have constant zeros for them, which are not
//! trained. `VarSink::insert` makes zeros that are.

mod builder;
mod keras;
mod names;
mod pytorch;
#[cfg(test)]
mod tests;
mod tensorflow;

pub(crate) use builder::{full_name, get};
pub use keras::from_keras;
pub(crate) use names::prefixes;
pub use pytorch::{from_pytorch, from_pytorch_as, to_pytorch};
pub use tensorflow::{from_tensorflow_gru, from_tensorflow_lstm, from_tensorflow_rnn};

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};

use super::stack::{named_weights, Stack, StackConfig};
use crate::files::tensors::{is_finite, WeightFile};
use crate::recurrence::Weights;
use crate::{Error, Result};

/// Named tensors that weights are taken from: a map, or a safetensors file, of which no other tensors are
/// read than those that are asked for.
pub trait StateDict {
    /// The names of all tensors.
    fn names(&self) -> Vec<&str>;

    /// The tensor of this name; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is there and cannot be read.
    fn tensor(&self, name: &str) -> Result<Option<Tensor>>;

    /// The shape and the dtype of the tensor of this name, in words.
    fn describe(&self, name: &str) -> Option<String>;
}

impl StateDict for BTreeMap<String, Tensor> {
    fn names(&self) -> Vec<&str> {
        self.keys().map(String::as_str).collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        Ok(self.get(name).cloned())
    }

    fn describe(&self, name: &str) -> Option<String> {
        self.get(name).map(found)
    }
}

/// As `candle_core::safetensors::load` returns them.
impl StateDict for HashMap<String, Tensor> {
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        Ok(self.get(name).cloned())
    }

    fn describe(&self, name: &str) -> Option<String> {
        self.get(name).map(found)
    }
}

impl StateDict for WeightFile {
    fn names(&self) -> Vec<&str> {
        WeightFile::names(self).collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        self.get(name)
    }

    fn describe(&self, name: &str) -> Option<String> {
        let info = self.tensors().find(|info| info.name == name)?;
        Some(format!("{:?} of {}", info.shape, info.dtype))
    }
}

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
pub fn stack_from(config: impl Into<StackConfig>, layers: Vec<Vec<Weights>>) -> Result<Stack> {
    let config = config.into();
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
    pytorch::build(config, &tensors, "", None)
}

/// Checks tensors, and brings them to one dtype.
struct Checks {
    dtype: DType,
}

impl Checks {
    /// For tensors that become `f64` if one of them is, else `f32`.
    fn of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let has_f64 = tensors.into_iter().any(|tensor| tensor.dtype() == DType::F64);
        Self { dtype: if has_f64 { DType::F64 } else { DType::F32 } }
    }

    /// Checks that a tensor has this shape, and all else.
    fn shape(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Tensor> {
        self.tensor(name, tensor, tensor.dims() == shape, &format!("{shape:?}"))
    }

    /// Checks a tensor whose shape `fits` or not, and converts it; `shape` is what it should be.
    fn tensor(&self, name: &str, tensor: &Tensor, fits: bool, shape: &str) -> Result<Tensor> {
        let fail = |expected, found| Err(Error::Weight { name: name.into(), expected, found });
        if !fits {
            return fail(format!("shape {shape}"), found(tensor));
        }
        if !matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return fail("f16, bf16, f32 or f64".into(), found(tensor));
        }
        // Not every device has f64, which the check needs.
        let is_finite = |tensor: &Tensor| is_finite(&tensor.detach().to_device(&Device::Cpu)?);
        if !is_finite(tensor)? {
            return fail("finite numbers".into(), "NaN or infinity".into());
        }
        let converted = tensor.to_dtype(self.dtype)?;
        if tensor.dtype() == DType::F64 && self.dtype != DType::F64 && !is_finite(&converted)? {
            let dtype = self.dtype.as_str();
            return fail(format!("numbers that {dtype} holds"), "a larger one".into());
        }
        Ok(converted)
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
