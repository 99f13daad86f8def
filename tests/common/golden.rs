//! The files of `tests/golden`, whose scripts say what they hold and how they were made.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use candle_rnn::files::tensors;
use candle_rnn::{Error, Result};

/// The tensors of a golden file, by name.
pub(crate) struct Golden(BTreeMap<String, Tensor>);

impl Golden {
    /// Reads a file of `tests/golden`.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        Ok(Self(tensors::read(&folder.join(name))?))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Tensor> {
        self.find(name).ok_or_else(|| Error::Config(format!("the golden file lacks {name}")))
    }

    /// The names behind a prefix, sorted.
    pub(crate) fn names(&self, prefix: &str) -> Vec<&str> {
        self.0.keys().filter_map(|name| name.strip_prefix(prefix)).collect()
    }

    /// The parts of names in front of a slash, sorted.
    pub(crate) fn cases(&self) -> Vec<&str> {
        let cases = self.0.keys().filter_map(|name| name.split_once('/'));
        let mut cases: Vec<&str> = cases.map(|(case, _)| case).collect();
        // A dash comes before the slash.
        cases.sort_unstable();
        cases.dedup();
        cases
    }
}
