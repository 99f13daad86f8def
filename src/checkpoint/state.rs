//! One checkpoint: a folder from which training continues with the same bits.

use std::collections::BTreeMap;
use std::path::Path;

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
        let moments: BTreeMap<String, candle_core::Tensor> = self
            .state
            .adam
            .moments
            .iter()
            .map(|(name, tensor)| (format!("{ADAM}{name}"), tensor.clone()))
            .collect();
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
                (MODEL, &weights::serialize(&self.state.weights)?),
                (TRAINING_STATE, &weights::serialize(&moments)?),
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
        let moments = weights::read(&path.join(TRAINING_STATE))?
            .into_iter()
            .map(|(name, tensor)| (name.strip_prefix(ADAM).unwrap_or(&name).to_string(), tensor))
            .collect();
        let adam = AdamState { step: file.step, moments };
        let state = TrainerState { position: file.position, weights, adam };
        Ok(Self { state, history: file.history })
    }
}
