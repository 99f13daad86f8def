//! `config.json`: the configuration of a run, and the differences between two.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::known::Known;
use crate::data::mnist::{ImageSet, Mnist};
use crate::model::ClassifierConfig;
use crate::train::{TrainConfig, TrainerConfig};
use crate::{Error, Result};

/// `config.json`: everything needed to load the model, and to train it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// `candle-rnn`.
    pub model_type: String,
    /// The version of this crate that wrote the run.
    pub candle_rnn_version: String,
    /// The model's sizes.
    pub model: ClassifierConfig,
    /// What it was trained on.
    pub data: DataConfig,
    /// How it was trained.
    pub training: TrainConfig,
}

/// The data that a run was trained on.
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
    /// Of data that were loaded from `source`: what they are follows from their fingerprint.
    pub fn new(data: &Mnist, source: Option<PathBuf>) -> Self {
        let sha256 = data.fingerprint();
        Self { dataset: Known::of(&sha256).map(Known::dataset), source, sha256 }
    }
}

impl RunConfig {
    /// The configuration of a new run.
    pub fn new(training: TrainConfig, data: DataConfig) -> Self {
        Self {
            model_type: "candle-rnn".into(),
            candle_rnn_version: env!("CARGO_PKG_VERSION").into(),
            model: training.model(),
            data,
            training,
        }
    }

    pub(super) fn parse(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::checkpoint(path, reason);
        let json = fs::read(path).map_err(Error::io(path, "read the file"))?;
        let config: Self = serde_json::from_slice(&json)
            .map_err(|error| fail(format!("not a run's configuration: {error}")))?;
        if config.model_type != "candle-rnn" {
            return Err(fail(format!("model_type is {}, not candle-rnn", config.model_type)));
        }
        config.training.check().map_err(|error| fail(error.to_string()))?;
        config.model.check().map_err(|error| fail(error.to_string()))?;
        let (model, expected) = (&config.model, config.training.model());
        if *model != expected {
            return Err(fail(format!(
                "it contradicts itself: {}",
                differences(&json_of(model), &json_of(&expected), ("model says", "training says"))
            )));
        }
        Ok(config)
    }

    /// This configuration with as many epochs as `other`'s: what may differ between a run and one that goes on with
    /// it is made equal.
    pub(super) fn as_long_as(&self, other: &Self) -> Self {
        let TrainerConfig { epochs, patience, extensions, .. } = other.training.trainer.clone();
        let mut config = self.clone();
        let trainer = &mut config.training.trainer;
        (trainer.epochs, trainer.patience, trainer.extensions) = (epochs, patience, extensions);
        config
    }

    /// What keeps a run with this configuration from going on with `other`'s, if anything: who has what, by
    /// these names.
    pub(super) fn differences(&self, other: &Self, names: (&str, &str)) -> String {
        let relevant = |config: &Self| {
            // What the data are called, where they lie and which version wrote them makes no other model.
            serde_json::json!({
                "data": { "sha256": config.data.sha256 },
                "training": config.training,
            })
        };
        differences(&relevant(self), &relevant(other), names)
    }
}

fn json_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The leaves in which two JSON values of the same structure differ, in words; empty if none.
fn differences(a: &Value, b: &Value, names: (&str, &str)) -> String {
    fn collect(path: &str, a: &Value, b: &Value, names: (&str, &str), found: &mut Vec<String>) {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    let value = |of: &serde_json::Map<String, Value>| {
                        of.get(key).cloned().unwrap_or(Value::Null)
                    };
                    collect(&path, &value(a), &value(b), names, found);
                }
            }
            _ if a != b => found.push(format!("{path}: {} {a}, {} {b}", names.0, names.1)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect("", a, b, names, &mut found);
    found.join("; ")
}
