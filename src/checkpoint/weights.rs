//! Safetensors files of weights, under PyTorch's names.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use crate::model::ClassifierConfig;
use crate::{Error, Result};

/// The bytes of a safetensors file with these tensors. Equal tensors are equal bytes: names are
/// sorted, and the metadata is `format: pt` alone.
///
/// # Errors
/// [`Error::DType`] for numbers that Candle cannot read, [`Error::Candle`] when a tensor cannot be read.
pub fn serialize(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    if let Some((name, tensor)) = tensors.iter().find(|(_, tensor)| is_opaque(tensor.dtype())) {
        return Err(Error::DType {
            op: "serialize",
            tensor: name.clone(),
            expected: "of numbers that candle can read",
            actual: tensor.dtype().as_str().into(),
        });
    }
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| Error::Candle(candle_core::Error::wrap(error)))
}

/// Writes a safetensors file of these tensors, whole or not at all: under a temporary name in the same
/// folder, synced, then renamed.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; as [`serialize`].
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    super::durable::write(path, &serialize(tensors)?)
}

/// All tensors of a safetensors file, on the CPU.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is damaged or holds numbers
/// that Candle cannot read.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    parse(path, &std::fs::read(path).map_err(Error::io(path, "read the file"))?)
}

/// As [`read`], of a file's content; `path` is for the error.
pub(crate) fn parse(path: &Path, content: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let damaged = |error: &dyn std::fmt::Display| {
        Error::checkpoint(path, format!("not a whole safetensors file: {error}"))
    };
    let tensors = SafeTensors::deserialize(content).map_err(|error| damaged(&error))?;
    tensors
        .iter()
        .map(|(name, view)| {
            // Of an empty tensor the format lets the other sizes be anything; Candle multiplies them.
            let sizes = view.shape().iter().filter(|size| **size != 0);
            if sizes.copied().try_fold(1, usize::checked_mul).is_none() {
                let shape = view.shape();
                return Err(damaged(&format!("{name} has the impossible shape {shape:?}")));
            }
            let tensor = view.load(&Device::Cpu).map_err(|error| damaged(&error))?;
            if is_opaque(tensor.dtype()) {
                let dtype = tensor.dtype().as_str();
                let reason = format!("{name} is {dtype}, numbers that candle cannot read");
                return Err(Error::checkpoint(path, reason));
            }
            Ok((name.to_string(), tensor))
        })
        .collect()
}

/// The weights of a model: exactly those that `config` asks for.
///
/// `rnn.bias_hh_l0` and its like, which PyTorch keeps and this crate does not for tanh and relu, are
/// added to `rnn.bias_ih_l0` and its like.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Checkpoint`] when it is damaged, lacks a
/// tensor, holds one too many, or one with another shape, another dtype or a value that is NaN or
/// infinite.
pub fn load(
    path: &Path,
    config: &ClassifierConfig,
    dtype: DType,
) -> Result<BTreeMap<String, Tensor>> {
    fit(path, read(path)?, config, dtype)
}

/// As [`load`], of tensors that were read; `path` is for the error.
pub(crate) fn fit(
    path: &Path,
    mut tensors: BTreeMap<String, Tensor>,
    config: &ClassifierConfig,
    dtype: DType,
) -> Result<BTreeMap<String, Tensor>> {
    let fail = |reason: String| Error::checkpoint(path, reason);
    let mut parameters = config.parameters();
    let extra_biases: Vec<(String, Vec<usize>)> = parameters
        .iter()
        .map(|(name, shape)| (name.replace("bias_ih", "bias_hh"), shape.clone()))
        .filter(|(name, _)| parameters.iter().all(|(expected, _)| expected != name))
        .filter(|(name, _)| tensors.contains_key(name))
        .collect();
    parameters.extend(extra_biases.iter().cloned());
    let missing: Vec<&str> = parameters
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !tensors.contains_key(*name))
        .collect();
    let extra: Vec<&str> = tensors
        .keys()
        .map(String::as_str)
        .filter(|name| parameters.iter().all(|(expected, _)| expected != name))
        .collect();
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
    for (name, shape) in &parameters {
        let tensor = &tensors[name];
        if tensor.dims() != shape {
            return Err(fail(format!(
                "{name} has shape {:?}, the configuration says {shape:?}",
                tensor.dims()
            )));
        }
        if tensor.dtype() != dtype {
            let (found, expected) = (tensor.dtype().as_str(), dtype.as_str());
            return Err(fail(format!("{name} is {found}, the configuration says {expected}")));
        }
        if !is_finite(tensor)? {
            return Err(fail(format!("{name} holds a value that is NaN or infinite")));
        }
    }
    for (name, _) in extra_biases {
        let of_input = name.replace("bias_hh", "bias_ih");
        if let (Some(b), Some(bias)) = (tensors.remove(&name), tensors.get_mut(&of_input)) {
            *bias = (&*bias + b)?;
        }
    }
    Ok(tensors)
}

/// Whether Candle has a tensor of this type hold bytes that none of its operations reads: one that
/// writes such a tensor panics.
fn is_opaque(dtype: DType) -> bool {
    matches!(dtype, DType::F4 | DType::F6E2M3 | DType::F6E3M2 | DType::F8E8M0)
}

/// Whether all values of a tensor are finite.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    // A sum would hide an overflow of its own; the largest magnitude would lose a NaN.
    let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(values.iter().all(|value| value.is_finite()))
}
