//! The weights of a model, loaded from a safetensors file under PyTorch's names.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::files::tensors::{is_finite, WeightFile};
use crate::nn::weights::prefixes;
use crate::{Error, Result};

/// The weights of a model: exactly those with these names and shapes, in `dtype`.
///
/// `f16` and `bf16` are converted. `rnn.bias_hh_l0` and its like, which PyTorch keeps and this crate does
/// not for tanh and relu, are added to `rnn.bias_ih_l0` and its like. Where the recurrent layers have no
/// bias at all, as those of `bias=False`, their biases are zeros.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Checkpoint`] when it is damaged, lacks a
/// tensor, holds one too many, or one with another shape, another dtype or a value that is NaN or
/// infinite. Where all names differ by what stands before them, the error says so.
pub fn load_weights(
    path: &Path,
    parameters: Vec<(String, Vec<usize>)>,
    dtype: DType,
) -> Result<BTreeMap<String, Tensor>> {
    fit(&WeightFile::open(path)?, parameters, dtype)
}

/// As [`load_weights`], of a file in memory.
pub(super) fn fit(
    file: &WeightFile,
    mut parameters: Vec<(String, Vec<usize>)>,
    dtype: DType,
) -> Result<BTreeMap<String, Tensor>> {
    let fail = |reason: String| Error::checkpoint(file.path(), reason);
    let is_there = |name: &str| file.names().any(|found| found == name);
    let is_bias = |name: &str| name.starts_with("rnn.bias_");
    let mut no_biases = Vec::new();
    if !file.names().any(is_bias) {
        (no_biases, parameters) = parameters.into_iter().partition(|(name, _)| is_bias(name));
    }
    let extra_biases: Vec<(String, Vec<usize>)> = parameters
        .iter()
        .map(|(name, shape)| (name.replace("bias_ih", "bias_hh"), shape.clone()))
        .filter(|(name, _)| parameters.iter().all(|(expected, _)| expected != name))
        .filter(|(name, _)| is_there(name))
        .collect();
    parameters.extend(extra_biases.iter().cloned());
    let asked = || parameters.iter().map(|(name, _)| name.as_str());
    let missing: Vec<&str> = asked().filter(|name| !is_there(name)).collect();
    let extra: Vec<&str> =
        file.names().filter(|name| asked().all(|asked| asked != *name)).collect();
    if let (Some(first), true) = (missing.first(), missing.len() == parameters.len()) {
        let names: Vec<&str> = file.names().collect();
        if let Some(prefix) = prefixes(&missing, &names, "").first() {
            return Err(fail(format!(
                "lacks {first} and holds {prefix}{first}: rename its tensors, all of whose names \
                 begin with {prefix:?}"
            )));
        }
    }
    match (missing.as_slice(), extra.as_slice()) {
        ([], []) => {}
        (missing, []) => return Err(fail(format!("lacks {}", missing.join(", ")))),
        ([], extra) => {
            return Err(fail(format!("holds {}, which the model does not have", extra.join(", "))))
        }
        (missing, extra) => {
            let (missing, extra) = (missing.join(", "), extra.join(", "));
            return Err(fail(format!("lacks {missing} and holds {extra} instead")));
        }
    }
    let mut tensors = BTreeMap::new();
    for (name, shape) in &parameters {
        let Some(mut tensor) = file.get(name)? else { continue };
        if tensor.dims() != shape {
            return Err(fail(format!(
                "{name} has shape {:?}, the configuration says {shape:?}",
                tensor.dims()
            )));
        }
        if matches!(tensor.dtype(), DType::F16 | DType::BF16) {
            tensor = tensor.to_dtype(dtype)?;
        }
        if tensor.dtype() != dtype {
            let (found, expected) = (tensor.dtype().as_str(), dtype.as_str());
            return Err(fail(format!("{name} is {found}, the configuration says {expected}")));
        }
        if !is_finite(&tensor)? {
            return Err(fail(format!("{name} holds a value that is NaN or infinite")));
        }
        tensors.insert(name.clone(), tensor);
    }
    for (name, _) in extra_biases {
        let of_input = name.replace("bias_hh", "bias_ih");
        if let (Some(b), Some(bias)) = (tensors.remove(&name), tensors.get_mut(&of_input)) {
            *bias = (&*bias + b)?;
        }
    }
    for (name, shape) in no_biases {
        tensors.insert(name, Tensor::zeros(shape, dtype, &Device::Cpu)?);
    }
    Ok(tensors)
}
