//! The configuration of a network for sequences of one's own: what it reads and predicts, of what data, and how it was
//! trained.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::sequence_training::SequenceTraining;
use super::spec::SequenceSpec;
use crate::data::formats::ReadOptions;
use crate::Error;

/// The files that data were read from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequenceSource {
    /// The file with the training data, and with all others unless they have files of their own.
    #[serde(rename = "source")]
    pub file: Option<PathBuf>,
    /// The file with the validation data.
    #[serde(rename = "valid_source", skip_serializing_if = "Option::is_none")]
    pub valid: Option<PathBuf>,
    /// The file with the test data.
    #[serde(rename = "test_source", skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// How the files are read.
    pub read: ReadOptions,
}

impl SequenceSource {
    /// Says of an error in the training data which file they were read from, if that is known.
    pub(super) fn in_training(&self) -> impl Fn(Error) -> Error + '_ {
        self.in_file(&self.file)
    }

    /// The same of data that were read from `file`, or else from that of the training data.
    pub(super) fn in_file<'a>(&'a self, file: &'a Option<PathBuf>) -> impl Fn(Error) -> Error + 'a {
        move |error| match (error, file.as_ref().or(self.file.as_ref())) {
            (Error::Config(reason), Some(path)) => Error::data_file(path, reason),
            (error, _) => error,
        }
    }
}

/// The data that a network was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceData {
    /// The files that they were read from.
    #[serde(flatten)]
    pub source: SequenceSource,
    /// The fingerprint of the training split.
    pub sha256: String,
    /// The fingerprint of the validation split.
    pub valid_sha256: String,
    /// The numbers of sequences that train and validate.
    pub sequences: [usize; 2],
}

/// What a network reads and predicts, what it was trained on, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceConfig {
    /// What it reads and predicts.
    #[serde(flatten)]
    pub spec: SequenceSpec,
    /// What it was trained on.
    pub data: SequenceData,
    /// How it was trained.
    pub training: SequenceTraining,
}
