//! Named tensors, in a map or in a file.

use std::collections::{BTreeMap, HashMap};

use candle_core::Tensor;

use super::checks::found;
use crate::files::tensors::WeightFile;
use crate::Result;

/// Named tensors that weights are taken from: a map, or a safetensors file, of which no other tensors are
/// read than those that are asked for.
pub trait StateDict {
    /// The names of all tensors.
    fn names(&self) -> Vec<&str>;

    /// The tensor of this name; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) when it is there and cannot be read.
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
