//! A checkpoint: a folder from which training resumes with the same bits.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::config::RunConfig;
use super::continuation::is_continued_by;
use super::layout::MODEL;
use super::task::TaskConfig;
use super::weights::fit;
use crate::files::durable;
use crate::files::tensors::{self, WeightFile};
use crate::optim::AdamState;
use crate::train::{CarriedState, EpochMetrics, ImageConfig, Position, TrainerState};
use crate::{Error, Result};

const TRAINING_STATE: &str = "training_state.safetensors";
const TRAINER_STATE: &str = "trainer_state.json";
/// The prefix of the optimizer's tensors in the file.
const ADAM: &str = "adam.";
/// The prefix of the last step's weights there, where the model's are averages.
const LAST: &str = "weights.";
/// The prefix of the states carried between batches there.
const CARRIED: &str = "state.";

/// Everything in a checkpoint.
///
/// On disk it is a folder of three files and `SHA256SUMS`, their digests, as `sha256sum -c` reads them.
#[derive(Clone, Debug)]
pub struct Checkpoint<C = ImageConfig> {
    /// The run that it is of.
    pub config: RunConfig<C>,
    /// Weights, optimizer state and position.
    pub state: TrainerState,
    /// The metrics of all epochs so far.
    pub history: Vec<EpochMetrics>,
    /// The instruction set that computed the steps so far, see [`instruction_set`](crate::recurrence::instruction_set);
    /// where several did, all of them, as in `avx512, avx2`. Empty in checkpoints that do not say.
    pub instruction_set: String,
    /// In the last checkpoint of a run with patience, the epoch whose weights the run's `model.safetensors` holds.
    pub kept_epoch: Option<usize>,
}

/// `trainer_state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "C: TaskConfig")]
struct TrainerStateFile<C> {
    config: RunConfig<C>,
    step: u64,
    #[serde(flatten)]
    position: Position,
    history: Vec<EpochMetrics>,
    #[serde(default)]
    instruction_set: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_epoch: Option<usize>,
}

impl<C: TaskConfig> Checkpoint<C> {
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
        training_state.extend(named(CARRIED, &self.state.carried.tensors()?));
        let file = TrainerStateFile {
            config: self.config.clone(),
            step: self.state.adam.step,
            position: self.state.position.clone(),
            history: self.history.clone(),
            instruction_set: self.instruction_set.clone(),
            kept_epoch: self.kept_epoch,
        };
        let json = serde_json::to_vec_pretty(&file)
            .map_err(|error| Error::checkpoint(path, error.to_string()))?;
        durable::write_folder(
            path,
            &[
                (MODEL, &tensors::serialize(self.state.model())?),
                (TRAINING_STATE, &tensors::serialize(&training_state)?),
                (TRAINER_STATE, &json),
            ],
        )
    }

    /// Reads a checkpoint of the run with this configuration, or of the same run before it was given more epochs.
    /// The best epoch's weights are not in it: `state.best` is `None`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when a file is missing, has not the digest that `SHA256SUMS` says, or does
    /// not fit the settings, and when the checkpoint is of a run with other settings or data, which are
    /// named; [`Error::Io`] when a file cannot be read.
    pub fn load(path: &Path, config: &RunConfig<C>) -> Result<Self> {
        let [json, weights, training_state] =
            durable::read_folder(path, [TRAINER_STATE, MODEL, TRAINING_STATE])?;
        let file: TrainerStateFile<C> = serde_json::from_slice(&json)
            .map_err(|error| Error::checkpoint(path.join(TRAINER_STATE), error.to_string()))?;
        let is_continued = {
            let (saved, own) = (file.config.task.trainer(), config.task.trainer());
            is_continued_by(saved, own, &file.position)
        };
        let own = if is_continued { file.config.as_long_as(config) } else { file.config.clone() };
        let differences = own.differences(config, ("the checkpoint has", "the run"));
        if !differences.is_empty() {
            let reason = format!("belongs to a run with other settings or data: {differences}");
            return Err(Error::checkpoint(path, reason));
        }
        let RunConfig { task, .. } = config;
        let weights = WeightFile::parse(&path.join(MODEL), weights)?;
        let weights = fit(&weights, task.parameters(), task.dtype())?;
        let training_state = WeightFile::parse(&path.join(TRAINING_STATE), training_state)?;
        let [mut moments, mut last, mut carried] = [const { BTreeMap::new() }; 3];
        for (name, tensor) in training_state.all()? {
            if let Some(name) = name.strip_prefix(LAST) {
                last.insert(name.to_string(), tensor);
            } else if let Some(name) = name.strip_prefix(CARRIED) {
                carried.insert(name.to_string(), tensor);
            } else {
                moments.insert(name.strip_prefix(ADAM).unwrap_or(&name).into(), tensor);
            }
        }
        let carried = CarriedState::from_tensors(&carried)
            .map_err(|error| Error::checkpoint(path.join(TRAINING_STATE), error.to_string()))?;
        let (weights, average) = match task.trainer().ema {
            None => (weights, None),
            Some(_) => (last, Some(weights)),
        };
        let adam = AdamState { step: file.step, moments };
        let TrainerStateFile { config, position, history, instruction_set, kept_epoch, .. } = file;
        let state = TrainerState { position, weights, adam, average, carried, best: None };
        Ok(Self { config, state, history, instruction_set, kept_epoch })
    }
}

/// The steps that a checkpoint says it is after, whole or not.
pub(super) fn saved_step(path: &Path) -> Option<u64> {
    let json = std::fs::read(path.join(TRAINER_STATE)).ok()?;
    serde_json::from_slice::<serde_json::Value>(&json).ok()?["step"].as_u64()
}

/// The whole epochs that a checkpoint says it is after, whole or not.
pub(super) fn saved_epoch(path: &Path) -> Option<usize> {
    let json = std::fs::read(path.join(TRAINER_STATE)).ok()?;
    let epoch = serde_json::from_slice::<serde_json::Value>(&json).ok()?["epoch"].as_u64()?;
    usize::try_from(epoch).ok()
}
