//! The configuration of a network for sequences of one's own: what it reads and predicts, of what data, and how it was
//! trained.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::sequence_training::SequenceTraining;
use super::spec::SequenceSpec;
use super::task_kind::TaskKind;
use crate::data::formats::ReadOptions;
use crate::train::config_file::{fields, with, without, Fields};
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

/// The configuration of a network for sequences: its inputs and predictions, its data, its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SequenceConfigFile", into = "SequenceConfigFile")]
pub struct SequenceConfig {
    /// Its inputs and predictions.
    pub spec: SequenceSpec,
    /// Its training data.
    pub data: SequenceData,
    /// The settings of its training.
    pub training: SequenceTraining,
}

impl SequenceConfig {
    /// The configuration of a network for these data.
    pub(super) fn new(spec: SequenceSpec, data: SequenceData, training: SequenceTraining) -> Self {
        // A spec has the readout of its target, whichever was asked for.
        let network = spec.model.network.clone();
        Self { training: SequenceTraining { network, ..training }, data, spec }
    }
}

/// A [`SequenceConfig`] in `config.json`: the network stands under `model` alone, how values are preprocessed under
/// `preprocessor`, and the horizon under `forecast`.
#[derive(Serialize, Deserialize)]
struct SequenceConfigFile {
    #[serde(flatten)]
    spec: SequenceSpec,
    data: SequenceData,
    training: Fields,
}

/// The settings of a training that a spec has.
fn of_spec(spec: &SequenceSpec) -> Fields {
    let mut found = fields(&spec.model.network);
    found.extend(fields(&spec.preprocessor.config));
    let horizon = spec.forecast.map_or(0, |forecast| forecast.horizon);
    found.insert("horizon".into(), horizon.into());
    found
}

impl From<SequenceConfig> for SequenceConfigFile {
    fn from(config: SequenceConfig) -> Self {
        let SequenceConfig { spec, data, training } = config;
        Self { training: without(&training, &of_spec(&spec)), spec, data }
    }
}

impl TryFrom<SequenceConfigFile> for SequenceConfig {
    type Error = serde_json::Error;

    fn try_from(file: SequenceConfigFile) -> serde_json::Result<Self> {
        let SequenceConfigFile { spec, data, training } = file;
        let mut training: SequenceTraining = with(training, of_spec(&spec))?;
        if spec.target == TaskKind::StepClass {
            // Earlier versions wrote the readout that was asked for, which such a target does not have.
            training.network.readout = spec.model.network.readout;
        }
        Ok(Self { spec, data, training })
    }
}
