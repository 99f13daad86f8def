//! One checkpoint: a folder from which training continues with the same bits.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{durable, weights};
use crate::model::ClassifierConfig;
use crate::optim::adam::AdamState;
use crate::train::{EpochMetrics, Position, TrainConfig, TrainerState};
use crate::{Error, Result};

const MODEL: &str = "model.safetensors";
const TRAINING_STATE: &str = "training_state.safetensors";
const TRAINER_STATE: &str = "trainer_state.json";
/// What the optimizer's tensors are called in the file: this, then their own name.
const ADAM: &str = "adam.";
/// What the last step's weights are called there, where the model's are averages.
const LAST: &str = "weights.";

/// Everything in a checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Weights, optimizer state and position.
    pub state: TrainerState,
    /// The metrics of all epochs so far.
    pub history: Vec<EpochMetrics>,
}

/// `trainer_state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainerStateFile {
    step: u64,
    #[serde(flatten)]
    position: Position,
    history: Vec<EpochMetrics>,
}

impl Checkpoint {
    /// Writes the checkpoint as the folder `path`, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let named = |prefix: &str, tensors: &BTreeMap<String, Tensor>| {
            let named =
                tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()));
            named.collect::<BTreeMap<String, Tensor>>()
        };
        let mut training_state = named(ADAM, &self.state.adam.moments);
        if self.state.average.is_some() {
            training_state.extend(named(LAST, &self.state.weights));
        }
        let file = TrainerStateFile {
            step: self.state.adam.step,
            position: self.state.position.clone(),
            history: self.history.clone(),
        };
        let json = serde_json::to_vec_pretty(&file)
            .map_err(|error| Error::checkpoint(path, error.to_string()))?;
        durable::write_folder(
            path,
            &[
                (MODEL, &weights::serialize(self.state.model())?),
                (TRAINING_STATE, &weights::serialize(&training_state)?),
                (TRAINER_STATE, &json),
            ],
        )
    }

    /// Reads a checkpoint of a run with these settings.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Checkpoint`] when one is damaged or does
    /// not fit the settings.
    pub fn load(path: &Path, model: &ClassifierConfig, training: &TrainConfig) -> Result<Self> {
        let json_path = path.join(TRAINER_STATE);
        let json = std::fs::read(&json_path).map_err(Error::io(&json_path, "read the file"))?;
        let file: TrainerStateFile = serde_json::from_slice(&json)
            .map_err(|error| Error::checkpoint(&json_path, error.to_string()))?;
        let weights = weights::load(&path.join(MODEL), model, training.dtype.dtype())?;
        let (mut moments, mut last) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in weights::read(&path.join(TRAINING_STATE))? {
            match name.strip_prefix(LAST) {
                Some(name) => last.insert(name.to_string(), tensor),
                None => moments.insert(name.strip_prefix(ADAM).unwrap_or(&name).into(), tensor),
            };
        }
        let (weights, average) = match training.ema {
            None => (weights, None),
            Some(_) => (last, Some(weights)),
        };
        let adam = AdamState { step: file.step, moments };
        let state = TrainerState { position: file.position, weights, adam, average };
        Ok(Self { state, history: file.history })
    }
}
