//! Configuration of the image classifier: its model, its data and its training.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::config_file::{fields, with, without, Fields};
use super::TrainConfig;
use crate::data::known::Known;
use crate::data::mnist::{ImageSet, Mnist};
use crate::model::ClassifierConfig;

/// Everything that decides what a [`Classification`](super::Classification) of images becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ImageConfigFile", into = "ImageConfigFile")]
pub struct ImageConfig {
    /// The model: its network and its sizes.
    pub model: ClassifierConfig,
    /// The training data.
    pub data: DataConfig,
    /// How it is trained.
    pub training: TrainConfig,
}

impl ImageConfig {
    /// The model that the settings ask for, trained on these data.
    pub fn new(training: TrainConfig, data: DataConfig) -> Self {
        Self { model: training.model(), data, training }
    }
}

/// An [`ImageConfig`] in `config.json`: the network stands under `model` alone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageConfigFile {
    model: ClassifierConfig,
    data: DataConfig,
    training: Fields,
}

impl From<ImageConfig> for ImageConfigFile {
    fn from(config: ImageConfig) -> Self {
        let ImageConfig { model, data, training } = config;
        Self { training: without(&training, &fields(&model.network)), model, data }
    }
}

impl TryFrom<ImageConfigFile> for ImageConfig {
    type Error = serde_json::Error;

    fn try_from(file: ImageConfigFile) -> serde_json::Result<Self> {
        let ImageConfigFile { model, data, training } = file;
        Ok(Self { training: with(training, fields(&model.network))?, model, data })
    }
}

/// The data that a model is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data set, where `sha256` is that of one that is known, or of the sample; `None` for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<ImageSet>,
    /// `sample` or a folder, as given with `--data`; the user's cache folder if `None`.
    pub source: Option<PathBuf>,
    /// SHA-256 over all pixels and labels.
    pub sha256: String,
}

impl DataConfig {
    /// The description of data that were loaded from `source`, whose fingerprint tells what they are.
    pub fn new(data: &Mnist, source: Option<PathBuf>) -> Self {
        let sha256 = data.fingerprint();
        Self { dataset: Known::of(&sha256).map(Known::dataset), source, sha256 }
    }
}
