//! State dicts of `torch.nn.RNN`, `GRU` and `LSTM`, imported and exported.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

use super::checks::Checks;
use super::names::{nearest, prefixes};
use super::state_dict::StateDict;
use crate::nn::stack::{named_weights, weight_name, Stack, StackConfig};
use crate::recurrence::Cell;
use crate::{Error, Result};

/// A stack with the weights of a `torch.nn.RNN`, `GRU` or `LSTM`: its `state_dict()`, or that of a
/// model which it is a part of.
///
/// - `tensors`: by name, in a map or a file, see [`StateDict`];
///   [`WeightFile::open`](crate::files::tensors::WeightFile::open) opens a safetensors file, of which
///   no other tensors are read
/// - `prefix`: what stands before the layer's own names, with its dot, such as `"rnn."`, or `""`
///
/// Names and shapes are those of [`StackConfig::parameters`], for all layers and directions; behind
/// the prefix there must be no others. For tanh and relu, `bias_hh_l0` and its like may be there or
/// not. Where there is no bias at all, as with `bias=False`, all biases are zeros.
///
/// The stack is `f64` if one of its tensors is, else `f32`: `f16` and `bf16` are converted.
/// [`from_pytorch_as`] takes the dtype. Tensors that have it already are taken as they are: where they are
/// variables, an optimizer that changes them changes the stack, as in [`Stack::new`].
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
///     "weight encoder.weight_hh_l1: expected shape [16, 4], found no such tensor \
///      (near: encoder.weight_hh_l0)"
/// );
/// // A model that was compiled has names of its own.
/// let compiled = tensors.into_iter().map(|(name, tensor)| (format!("_orig_mod.{name}"), tensor));
/// let compiled: BTreeMap<_, _> = compiled.collect();
/// let config = StackConfig { num_layers: 1, ..config };
/// assert_eq!(
///     from_pytorch(config, &compiled, "encoder.").unwrap_err().to_string(),
///     "weight encoder.weight_ih_l0: expected shape [16, 3], found no such tensor \
///      (near: _orig_mod.encoder.weight_ih_l0): pass the prefix \"_orig_mod.encoder.\""
/// );
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Config`] for settings that do not hold and for cells that PyTorch does not have: their
/// weights would fit and mean something else. [`Error::Weight`] for the first tensor that is missing,
/// is one too many, has another shape or no float type, or holds NaN or infinity; where the names stand
/// behind another prefix, the error names it. [`Error::Checkpoint`] for a tensor of a file that Candle
/// cannot read.
#[doc(alias = "load_state_dict")]
pub fn from_pytorch(
    config: impl Into<StackConfig>,
    tensors: &dyn StateDict,
    prefix: &str,
) -> Result<Stack> {
    let config = config.into();
    config.check()?;
    check_cell(config.cell)?;
    build(config, tensors, prefix, None)
}

/// As [`from_pytorch`], with weights of the dtype that is asked for: `f32` or `f64`.
///
/// # Errors
/// As [`from_pytorch`]; [`Error::Config`] for another dtype, [`Error::Weight`] for a number that the
/// dtype cannot hold.
pub fn from_pytorch_as(
    config: impl Into<StackConfig>,
    tensors: &dyn StateDict,
    prefix: &str,
    dtype: DType,
) -> Result<Stack> {
    let config = config.into();
    config.check()?;
    check_cell(config.cell)?;
    if !matches!(dtype, DType::F32 | DType::F64) {
        let dtype = dtype.as_str();
        return Err(Error::Config(format!("a stack's weights must be f32 or f64, got {dtype}")));
    }
    build(config, tensors, prefix, Some(dtype))
}

/// The weights of a [`Stack`], an `Rnn`, a `Gru` or an `Lstm` as a state dict that `load_state_dict` takes, `strict` or not: copies, by
/// PyTorch's names behind `prefix`.
///
/// Where a tanh or relu layer has one bias, PyTorch's second is zeros.
///
/// # Errors
/// [`Error::Config`] for cells and projections that PyTorch does not have, [`Error::Candle`] when a tensor cannot be
/// copied.
#[doc(alias = "state_dict")]
pub fn to_pytorch(stack: impl AsRef<Stack>, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
    let stack = stack.as_ref();
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

/// [`from_pytorch`] for any cell and settings that hold.
pub(super) fn build(
    config: StackConfig,
    tensors: &dyn StateDict,
    prefix: &str,
    dtype: Option<DType>,
) -> Result<Stack> {
    let names = tensors.names();
    let is_there = |own: &str| {
        let mut behind = names.iter().filter_map(|name| name.strip_prefix(prefix));
        behind.any(|name| name == own)
    };
    let mut parameters = config.parameters();
    if !config.cell.has_two_biases() {
        let second = |(name, shape): &(String, Vec<usize>)| {
            let name = name.strip_prefix("bias_ih").map(|rest| format!("bias_hh{rest}"))?;
            is_there(&name).then(|| (name, shape.clone()))
        };
        let optional: Vec<_> = parameters.iter().filter_map(second).collect();
        parameters.extend(optional);
    }
    let is_bias = |name: &str| name.starts_with("bias_");
    let mut no_biases = Vec::new();
    if !names.iter().any(|name| name.strip_prefix(prefix).is_some_and(is_bias)) {
        (no_biases, parameters) = parameters.into_iter().partition(|(name, _)| is_bias(name));
    }
    let (there, missing): (Vec<_>, Vec<_>) =
        parameters.into_iter().partition(|(name, _)| is_there(name));
    if let Some((name, shape)) = missing.first() {
        let mut found = "no such tensor".to_string();
        let full = format!("{prefix}{name}");
        let own: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
        let others = if there.is_empty() { prefixes(&own, &names, prefix) } else { Vec::new() };
        if let [other, more @ ..] = others.as_slice() {
            // The nearest, and two more.
            let more = more.iter().take(2).map(|other| format!(" or {other:?}"));
            let more: String = more.collect();
            found += &format!(" (near: {other}{name}): pass the prefix {other:?}{more}");
        } else {
            if let Some(near) = nearest(&full, &names) {
                found += &format!(" (near: {near})");
            }
            if let (false, [_, more @ ..]) = (there.is_empty(), own.as_slice()) {
                if !more.is_empty() {
                    found += &format!("; also missing: {}", more.join(", "));
                }
            }
        }
        return Err(Error::Weight { name: full, expected: format!("shape {shape:?}"), found });
    }
    let mut read = Vec::new();
    for (name, shape) in there {
        if let Some(tensor) = tensors.tensor(&format!("{prefix}{name}"))? {
            read.push((name, shape, tensor));
        }
    }
    let checks = match dtype {
        Some(dtype) => Checks { dtype },
        None => Checks::of(read.iter().map(|(_, _, tensor)| tensor)),
    };
    let mut taken = HashMap::new();
    for (name, shape, tensor) in read {
        let tensor = checks.shape(&format!("{prefix}{name}"), &tensor, &shape)?;
        taken.insert(name, tensor);
    }
    let is_extra =
        |name: &&&str| name.strip_prefix(prefix).is_some_and(|own| !taken.contains_key(own));
    if let Some(name) = names.iter().find(is_extra) {
        return Err(Error::Weight {
            name: (*name).into(),
            expected: format!("no such tensor in {}", settings(&config)),
            found: tensors.describe(name).unwrap_or_default(),
        });
    }
    let Some(first) = taken.get("weight_ih_l0").cloned() else {
        return Err(Error::Config("a stack of at least one layer has weights, found none".into()));
    };
    for (name, shape) in no_biases {
        taken.insert(name, Tensor::zeros(shape, first.dtype(), first.device())?);
    }
    Stack::new(config, VarBuilder::from_tensors(taken, first.dtype(), first.device()))
}

fn check_cell(cell: Cell) -> Result<()> {
    match cell {
        Cell::Tanh | Cell::Relu | Cell::Gru | Cell::Lstm => Ok(()),
        Cell::GruResetBefore | Cell::MinimalGru => Err(Error::Config(format!(
            "pytorch has no {}: a torch.nn layer with these weights would compute something else",
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
