//! `TrainedRun`: a run of any of the program's tasks, with its weights.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};

use crate::model::NetworkConfig;
use crate::run::{self, ImageConfig, RunConfig, TaskName};
use crate::train::tasks::{SequenceConfig, TextConfig};
use crate::{Error, Result};

/// The configuration of a run, by its task.
#[derive(Clone, Debug)]
pub(super) enum TaskRun {
    Images(Box<RunConfig<ImageConfig>>),
    Sequences(Box<RunConfig<SequenceConfig>>),
    Text(Box<RunConfig<TextConfig>>),
}

/// A run, or a checkpoint of it, with its weights by PyTorch's names.
#[derive(Clone, Debug)]
pub(super) struct TrainedRun {
    pub(super) task: TaskRun,
    pub(super) weights: BTreeMap<String, Tensor>,
}

impl TrainedRun {
    /// Reads a run.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run, [`Error::Config`] for a
    /// task of another program.
    pub(super) fn read(run: &Path) -> Result<Self> {
        match run::read_task(run)? {
            TaskName::Images => {
                let config = run::read_config(run)?;
                let weights = run::read_weights(run, &config)?;
                Ok(Self { task: TaskRun::Images(Box::new(config)), weights })
            }
            TaskName::Sequences => {
                let config = run::read_config(run)?;
                let weights = run::read_weights(run, &config)?;
                Ok(Self { task: TaskRun::Sequences(Box::new(config)), weights })
            }
            TaskName::Text => {
                let config = run::read_config(run)?;
                let weights = run::read_weights(run, &config)?;
                Ok(Self { task: TaskRun::Text(Box::new(config)), weights })
            }
            TaskName::Other(name) => Err(Error::checkpoint(
                run,
                format!(
                    "a run of another program's task, {name}, which only that program can export"
                ),
            )),
        }
    }

    /// The recurrent layers.
    pub(super) fn network(&self) -> &NetworkConfig {
        match &self.task {
            TaskRun::Images(config) => &config.task.model.network,
            TaskRun::Sequences(config) => &config.task.spec.model.network,
            TaskRun::Text(config) => &config.task.model.network,
        }
    }

    /// `config.json` of the run.
    pub(super) fn config_json(&self) -> Result<Vec<u8>> {
        let json = match &self.task {
            TaskRun::Images(config) => serde_json::to_vec_pretty(config),
            TaskRun::Sequences(config) => serde_json::to_vec_pretty(config),
            TaskRun::Text(config) => serde_json::to_vec_pretty(config),
        };
        json.map_err(|error| Error::Config(format!("the configuration cannot be written: {error}")))
    }

    /// The numbers of a weight, row by row, as `f32`.
    pub(super) fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let weight = self.weights.get(name).ok_or_else(|| Error::Weight {
            name: name.into(),
            expected: "a weight of the model".into(),
            found: "no such tensor".into(),
        })?;
        let values = weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        match values.iter().find(|value| !value.is_finite()) {
            Some(_) => Err(Error::Weight {
                name: name.into(),
                expected: "numbers that f32 can hold".into(),
                found: "one beyond its range".into(),
            }),
            None => Ok(values),
        }
    }

    /// The number of rows of a weight.
    pub(super) fn rows(&self, name: &str) -> usize {
        self.weights.get(name).and_then(|weight| weight.dims().first().copied()).unwrap_or(0)
    }
}
