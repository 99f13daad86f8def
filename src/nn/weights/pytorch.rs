//! State dicts of `torch.nn.RNN`, `GRU` and `LSTM`.

use std::collections::{BTreeMap, HashMap};

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::{found, Checks};
use crate::nn::stack::{named_weights, weight_name, Stack, StackConfig};
use crate::recurrence::Cell;
use crate::{Error, Result};

/// A stack with the weights of a `torch.nn.RNN`, `GRU` or `LSTM`: its `state_dict()`, or that of a
/// model which it is a part of.
///
/// - `tensors`: by name; [`checkpoint::weights::read`](crate::checkpoint::weights::read) reads them
///   from a safetensors file
/// - `prefix`: what stands before the layer's own names, with its dot, such as `"rnn."`, or `""`
///
/// Names and shapes are those of [`StackConfig::parameters`], for all layers and directions; behind
/// the prefix there must be no others. For tanh and relu, `bias_hh_l0` and its like may be there or
/// not.
///
/// Tensors are taken as they are: where they are variables, an optimizer that changes them changes
/// the stack, as in [`Stack::new`].
///
/// ```
/// use std::collections::BTreeMap;
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::nn::weights::from_pytorch;
/// use candle_rnn::nn::StackConfig;
/// use candle_rnn::recurrence::Cell;
/// # fn main() -> candle_rnn::Result<()> {
/// let config = StackConfig { num_layers: 2, ..StackConfig::new(Cell::Lstm, 3, 4) };
/// let mut tensors = BTreeMap::new();
/// for (name, shape) in config.parameters() {
///     let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
///     tensors.insert(format!("encoder.{name}"), tensor);
/// }
/// let stack = from_pytorch(config, &tensors, "encoder.")?;
/// assert_eq!(stack.weights(1)[0].w_hh.dims(), [16, 4]);
/// tensors.remove("encoder.weight_hh_l1");
/// assert_eq!(
///     from_pytorch(config, &tensors, "encoder.").unwrap_err().to_string(),
///     "weight encoder.weight_hh_l1: expected shape [16, 4] of f32, as encoder.weight_ih_l0, \
///      found no such tensor (near: encoder.weight_hh_l0)"
/// );
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Config`] for settings that do not hold and for cells that PyTorch does not have: their
/// weights would fit and mean something else. [`Error::Weight`] for the first tensor that is missing,
/// is one too many, has another shape or dtype, or holds NaN or infinity.
#[doc(alias = "load_state_dict")]
pub fn from_pytorch(
    config: StackConfig,
    tensors: &BTreeMap<String, Tensor>,
    prefix: &str,
) -> Result<Stack> {
    config.check()?;
    check_cell(config.cell)?;
    build(config, tensors, prefix)
}

/// The weights of a stack as a state dict that `load_state_dict` takes, `strict` or not: copies, by
/// PyTorch's names behind `prefix`.
///
/// Where a tanh or relu layer has one bias, PyTorch's second is zeros.
///
/// # Errors
/// [`Error::Config`] for cells and projections that PyTorch does not have, [`Error::Candle`] when a tensor cannot be
/// copied.
#[doc(alias = "state_dict")]
pub fn to_pytorch(stack: &Stack, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
    let config = stack.config();
    check_cell(config.cell)?;
    if config.proj_size.is_some_and(|size| size >= config.hidden_size) {
        return Err(Error::Config(format!(
            "pytorch's proj_size must be less than hidden_size, this lstm projects {} units to {}",
            config.hidden_size,
            config.output_size()
        )));
    }
    let mut tensors = BTreeMap::new();
    for layer in 0..config.num_layers {
        for (direction, weights) in stack.weights(layer).iter().enumerate() {
            for (name, tensor) in named_weights(weights, layer, direction) {
                tensors.insert(format!("{prefix}{name}"), tensor.detach().force_contiguous()?);
            }
            if weights.b_hh.is_none() {
                let name = weight_name("bias_hh", layer, direction);
                tensors.insert(format!("{prefix}{name}"), weights.b_ih.zeros_like()?);
            }
        }
    }
    Ok(tensors)
}

/// What [`from_pytorch`] does, for any cell and settings that hold.
pub(super) fn build(
    config: StackConfig,
    tensors: &BTreeMap<String, Tensor>,
    prefix: &str,
) -> Result<Stack> {
    let mut parameters = config.parameters();
    if !config.cell.has_two_biases() {
        let second = |(name, shape): &(String, Vec<usize>)| {
            let name = name.strip_prefix("bias_ih").map(|rest| format!("bias_hh{rest}"))?;
            tensors.contains_key(&format!("{prefix}{name}")).then(|| (name, shape.clone()))
        };
        let optional: Vec<_> = parameters.iter().filter_map(second).collect();
        parameters.extend(optional);
    }
    let mut checks = Checks::default();
    let mut taken = HashMap::new();
    for (name, shape) in parameters {
        let full = format!("{prefix}{name}");
        let Some(tensor) = tensors.get(&full) else {
            let near = match nearest(&full, tensors.keys()) {
                Some(near) => format!(" (near: {near})"),
                None => String::new(),
            };
            return Err(Error::Weight {
                expected: checks.expected(&format!("{shape:?}")),
                found: format!("no such tensor{near}"),
                name: full,
            });
        };
        checks.shape(&full, tensor, &shape)?;
        taken.insert(name, tensor.clone());
    }
    let is_extra =
        |name: &str| name.strip_prefix(prefix).is_some_and(|own| !taken.contains_key(own));
    if let Some((name, tensor)) = tensors.iter().find(|(name, _)| is_extra(name)) {
        return Err(Error::Weight {
            name: name.clone(),
            expected: format!("no such tensor in {}", settings(&config)),
            found: found(tensor),
        });
    }
    let Some(first) = taken.get("weight_ih_l0").cloned() else {
        return Err(Error::Config("a stack has weights".into()));
    };
    Stack::new(config, VarBuilder::from_tensors(taken, first.dtype(), first.device()))
}

fn check_cell(cell: Cell) -> Result<()> {
    match cell {
        Cell::Tanh | Cell::Relu | Cell::Gru | Cell::Lstm => Ok(()),
        Cell::GruResetBefore | Cell::MinimalGru => Err(Error::Config(format!(
            "pytorch has no {}: a layer there with these weights would compute something else",
            cell.name()
        ))),
    }
}

/// The settings that decide which weights there are.
fn settings(config: &StackConfig) -> String {
    let StackConfig { cell, num_layers, bidirectional, proj_size, .. } = config;
    let projection = match proj_size {
        Some(size) => format!(", proj_size: {size}"),
        None => String::new(),
    };
    let cell = cell.name();
    format!("{cell} with num_layers: {num_layers}, bidirectional: {bidirectional}{projection}")
}

/// The name that the fewest edits make of `name`, if they leave half of it.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    names
        .map(|other| (distance(name.as_bytes(), other.as_bytes()), other))
        .filter(|(edits, _)| *edits <= name.len() / 2)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, other)| other)
}

/// How many bytes must be put in, taken out or changed to make one of the other (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    // From the first bytes of `a` to every beginning of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(byte != other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
