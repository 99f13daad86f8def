//! Stacks of layers whose weights are already here.

use std::collections::BTreeMap;

use super::pytorch;
use crate::nn::stack::{named_weights, Stack, StackConfig};
use crate::recurrence::Weights;
use crate::{Error, Result};

/// A stack of layers whose weights are already here, as [`from_keras`](super::from_keras) gives them.
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
