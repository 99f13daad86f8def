//! `config.json`: the configuration of a run.

use std::fs;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::differences::differences;
use super::task::TaskConfig;
use crate::files::object::check_objects;
use crate::train::{ImageConfig, TrainerConfig};
use crate::{Error, Result};

const MODEL_TYPE: &str = "candle-rnn";

/// `config.json`: everything needed to load the model of a task, and to train it again; by default of the image
/// classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig<C = ImageConfig> {
    /// `candle-rnn`.
    pub model_type: String,
    /// The version of this crate that wrote the run.
    pub candle_rnn_version: String,
    /// The task's own configuration, whose fields stand beside the others in the file.
    pub task: C,
}

/// The file as it is written.
#[derive(serde::Serialize)]
#[serde(bound = "C: TaskConfig")]
struct RunConfigFile<'a, C> {
    model_type: &'a str,
    candle_rnn_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'static str>,
    #[serde(flatten)]
    config: &'a C,
}

impl<C: TaskConfig> Serialize for RunConfig<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self { model_type, candle_rnn_version, task: config } = self;
        RunConfigFile { model_type, candle_rnn_version, task: C::TASK, config }
            .serialize(serializer)
    }
}

impl<'de, C: TaskConfig> Deserialize<'de> for RunConfig<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::from_fields(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<C: TaskConfig> RunConfig<C> {
    /// The configuration of a new run.
    pub fn new(task: C) -> Self {
        Self {
            model_type: MODEL_TYPE.into(),
            candle_rnn_version: env!("CARGO_PKG_VERSION").into(),
            task,
        }
    }

    /// Reads the fields of the file; else why they are not those of such a run.
    fn from_fields(mut fields: Map<String, Value>) -> std::result::Result<Self, String> {
        let unlike = |reason: String| format!("not a run's configuration: {reason}");
        let mut text = |name: &str| match fields.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(unlike(format!("{name} must be a text, got {other}"))),
        };
        let missing = |name: &str| unlike(format!("missing field `{name}`"));
        let model_type = text("model_type")?.ok_or_else(|| missing("model_type"))?;
        if model_type != MODEL_TYPE {
            return Err(format!("model_type is {model_type}, not {MODEL_TYPE}"));
        }
        let version = text("candle_rnn_version")?;
        let candle_rnn_version = version.ok_or_else(|| missing("candle_rnn_version"))?;
        let task = text("task")?;
        if task.as_deref() != C::TASK {
            return Err(format!(
                "the run's task is {}, not {}",
                name_of(task.as_deref()),
                name_of(C::TASK)
            ));
        }
        let fields = Value::Object(fields);
        let task = C::deserialize(&fields).map_err(|e| unlike(e.to_string()))?;
        check_objects(&fields, &task).map_err(unlike)?;
        Ok(Self { model_type, candle_rnn_version, task })
    }

    pub(super) fn parse(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::checkpoint(path, reason);
        let json = fs::read(path).map_err(Error::io(path, "read the file"))?;
        let fields = serde_json::from_slice(&json)
            .map_err(|error| fail(format!("not a run's configuration: {error}")))?;
        let config = Self::from_fields(fields).map_err(fail)?;
        config.task.check().map_err(|error| fail(error.to_string()))?;
        Ok(config)
    }

    /// This configuration with as many epochs as `other`'s: what may differ between a run and one that goes on with
    /// it is made equal.
    pub(super) fn as_long_as(&self, other: &Self) -> Self {
        let TrainerConfig { epochs, patience, extensions, .. } = other.task.trainer().clone();
        let mut config = self.clone();
        let trainer = config.task.trainer_mut();
        (trainer.epochs, trainer.patience, trainer.extensions) = (epochs, patience, extensions);
        config
    }

    /// The differences that keep a run with this configuration from going on with `other`'s, if any: who has what, by
    /// these names.
    pub(super) fn differences(&self, other: &Self, names: (&str, &str)) -> String {
        differences(&self.task.identity(), &other.task.identity(), names)
    }
}

/// The name for people of a task, by its name in `config.json`.
fn name_of(task: Option<&str>) -> &str {
    task.unwrap_or("the classification of images, which has no name in config.json")
}
