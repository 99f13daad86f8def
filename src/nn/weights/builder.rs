//! Tensors of a `VarBuilder`, and the errors for missing or different ones.

use candle_core::{Shape, Tensor};
use candle_nn::VarBuilder;

use crate::error::one_line;
use crate::{Error, Result};

/// Prefixes that the names of a layer often have.
const LAYERS: [&str; 7] = ["", "rnn", "lstm", "gru", "encoder", "decoder", "layer"];
/// Prefixes that DataParallel, `torch.compile` and trainers give the names of a model.
const WRAPPERS: [&str; 6] =
    ["", "module", "_orig_mod", "model", "module._orig_mod", "_orig_mod.module"];

/// The tensor `name` of `vb`, which must be there in this shape: a builder that makes what it lacks, as
/// Candle's of a `VarMap` does, would make it without a seed, or of zeros.
///
/// # Errors
/// [`Error::Weight`] when there is none, which names where it is, or when it has another shape;
/// [`Error::Candle`] when it cannot be read.
pub(crate) fn get(vb: &VarBuilder, shape: &[usize], name: &str) -> Result<Tensor> {
    let expected = format!("shape {shape:?}");
    let full_name = || full_name(vb, name);
    if !vb.contains_tensor(name) {
        let found = match near(vb, name) {
            Some(near) => format!("no such tensor{near}"),
            None => "no such tensor; the layer's init makes new variables".into(),
        };
        return Err(Error::Weight { name: full_name(), expected, found });
    }
    let error = match vb.get(shape, name) {
        Ok(tensor) => return Ok(tensor),
        Err(error) => error,
    };
    let found = if let Some(found) = other_shape(&error) {
        format!("{:?}", found.dims())
    } else if one_line(&error).contains("shape mismatch") {
        // A `VarMap` says it in words.
        one_line(&error)
    } else {
        return Err(error.into());
    };
    Err(Error::Weight { name: full_name(), expected, found })
}

/// The name of a builder's tensor from its root.
pub(crate) fn full_name(vb: &VarBuilder, name: &str) -> String {
    joined(&[&vb.prefix(), name])
}

/// The shape that was found where Candle expected another.
fn other_shape(error: &candle_core::Error) -> Option<&Shape> {
    match error {
        candle_core::Error::UnexpectedShape { got, .. } => Some(got),
        candle_core::Error::WithBacktrace { inner, .. }
        | candle_core::Error::WithPath { inner, .. }
        | candle_core::Error::Context { inner, .. } => other_shape(inner),
        _ => None,
    }
}

/// Where a builder has the tensor that it lacks under its prefix, as far as that can be guessed: a
/// builder does not tell its names.
fn near(vb: &VarBuilder, name: &str) -> Option<String> {
    let (root, prefix) = (vb.root(), vb.prefix());
    let parts: Vec<&str> = prefix.split('.').collect();
    // The prefix without what is in front, or behind.
    let mut layers: Vec<String> = (0..=parts.len())
        .flat_map(|cut| [parts[cut..].join("."), parts[..parts.len() - cut].join(".")])
        .collect();
    layers.extend(LAYERS.map(String::from));
    for layer in &layers {
        for wrapper in WRAPPERS {
            let other = joined(&[wrapper, layer]);
            let full = joined(&[&other, name]);
            if other != prefix && root.contains_tensor(&full) {
                let builder = if other.is_empty() {
                    "vb.root()".to_string()
                } else {
                    format!("vb.root().pp({other:?})")
                };
                return Some(format!(" (near: {full}): pass {builder}"));
            }
        }
    }
    None
}

/// Parts of a name, those that are empty left out.
fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join(".")
}
