//! `Loaded`: what a file holds.

use std::fmt;

use super::options::Layout;
use crate::data::Dataset;
use crate::{Error, Result};

/// The format of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Comma-separated values; semicolons and spaces separate as well.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// The `.ts` format of sktime and aeon.
    Ts,
    /// The attribute-relation format of Weka, relational attributes included.
    Arff,
    /// A JSON object a line.
    JsonLines,
    /// A JSON array of such objects.
    Json,
    /// NumPy arrays in a zip archive.
    Npz,
    /// A NumPy array.
    Npy,
    /// Tensors in a safetensors file.
    Safetensors,
    /// The IDX format that MNIST comes in.
    Idx,
    /// Plain text.
    Text,
}

impl Format {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Ts => ".ts",
            Self::Arff => "ARFF",
            Self::JsonLines => "JSON lines",
            Self::Json => "JSON",
            Self::Npz => "npz",
            Self::Npy => "npy",
            Self::Safetensors => "safetensors",
            Self::Idx => "IDX",
            Self::Text => "plain text",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The content of a data file.
#[derive(Clone, Debug)]
pub enum Content {
    /// Sequences of numbers, with a target.
    Sequences(Dataset),
    /// Characters.
    Text(String),
}

/// A data file that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its content.
    pub content: Content,
    /// Its format.
    pub format: Format,
    /// The meaning of a table's rows; `None` for other formats.
    pub layout: Option<Layout>,
    /// The number of columns of a wide table with a label, for [`ReadOptions::columns`](super::ReadOptions::columns).
    pub columns: Option<usize>,
    /// The assumptions about it, a sentence each.
    pub notes: Vec<String>,
}

impl Loaded {
    /// The sequences.
    ///
    /// # Errors
    /// [`Error::Config`] for plain text.
    pub fn sequences(self) -> Result<Dataset> {
        match self.content {
            Content::Sequences(data) => Ok(data),
            Content::Text(_) => Err(Error::Config("plain text, where sequences are needed".into())),
        }
    }
}
