//! The weights of a run as a state dict that PyTorch's modules load strictly.

use std::collections::btree_map::{BTreeMap, Entry};
use std::path::Path;

use candle_core::Tensor;

use super::pickle;
use super::trained::TrainedRun;
use crate::files::tensors;
use crate::recurrence::Cell;
use crate::{Error, Result};

/// The file format of a state dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDictFormat {
    /// The format of the package safetensors.
    Safetensors,
    /// The format of `torch.save`, which `torch.load` reads with `weights_only=True`.
    Pickle,
}

/// The weights of a run directory, or of a checkpoint of it, by the names of a module with the parts `rnn`, which is a
/// `torch.nn.RNN`, `GRU` or `LSTM`, and `head`, which is a `torch.nn.Linear`; a language model has an `embedding`, which
/// is a `torch.nn.Embedding`, too.
///
/// PyTorch's second bias of a tanh or relu cell, `bias_hh`, is zeros.
///
/// # Errors
/// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run; [`Error::Config`] for a cell
/// that PyTorch does not have.
pub fn state_dict(run: &Path) -> Result<BTreeMap<String, Tensor>> {
    let run = TrainedRun::read(run)?;
    check(run.network().cell)?;
    let mut weights = run.weights.clone();
    for (name, bias) in &run.weights {
        if let Some(place) = name.strip_prefix("rnn.bias_ih") {
            let second = format!("rnn.bias_hh{place}");
            if let Entry::Vacant(entry) = weights.entry(second) {
                entry.insert(bias.zeros_like()?);
            }
        }
    }
    Ok(weights)
}

/// The bytes of a file with a state dict.
///
/// # Errors
/// As [`tensors::serialize`]; [`Error::DType`] for a type of numbers that is not `f16`, `f32` or `f64` in PyTorch's own
/// format.
pub fn state_dict_bytes(
    weights: &BTreeMap<String, Tensor>,
    format: StateDictFormat,
) -> Result<Vec<u8>> {
    match format {
        StateDictFormat::Safetensors => tensors::serialize(weights),
        StateDictFormat::Pickle => pickle::state_dict(weights),
    }
}

fn check(cell: Cell) -> Result<()> {
    match cell {
        Cell::Tanh | Cell::Relu | Cell::Gru | Cell::Lstm => Ok(()),
        Cell::GruResetBefore | Cell::MinimalGru => Err(Error::Config(format!(
            "pytorch has no {}: a torch.nn layer with these weights would compute something else; ONNX has it",
            cell.name()
        ))),
    }
}
