//! Traits of tasks that a run directory keeps, so that they can be loaded and trained again.

use std::fmt::Debug;

use candle_core::DType;
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::Value;

use crate::train::{Task, TrainerConfig};
use crate::{Error, Result};

/// The configuration of a task: all that decides what its model becomes.
///
/// Its fields stand in `config.json` beside `model_type`, `candle_rnn_version` and `task`, names that it cannot have.
/// With `#[serde(deny_unknown_fields)]` a file with a field that it does not know is refused.
pub trait TaskConfig: Clone + Debug + PartialEq + Serialize + DeserializeOwned {
    /// The name of the task in `config.json`, such as `forecast`: a run of one task is not read as one of another. `None`
    /// for the image classifier, whose files never said.
    const TASK: Option<&'static str>;

    /// The settings of the trainer.
    fn trainer(&self) -> &TrainerConfig;

    /// The same, to be changed: a run may be given more epochs and more patience.
    fn trainer_mut(&mut self) -> &mut TrainerConfig;

    /// Checks that every setting is in its range, and that none contradicts another.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    fn check(&self) -> Result<()>;

    /// Names and shapes of all weights, in any order.
    fn parameters(&self) -> Vec<(String, Vec<usize>)>;

    /// The float type of all weights.
    fn dtype(&self) -> DType;

    /// The identity of a run, which must be equal for it to be resumed: a JSON object of the settings, the trainer's among them, and of
    /// what tells the data from others, such as a fingerprint.
    fn identity(&self) -> Value;
}

/// A task that a [`Session`](super::Session) can train: its configuration can be saved, and its weights loaded.
pub trait RunTask: Task {
    /// The configuration that decides what its model becomes.
    type Config: TaskConfig;

    /// The configuration that this task was made from.
    fn config(&self) -> &Self::Config;
}

/// The identity of a task, which must be equal on all ranks that train it.
pub(super) fn identity<T: RunTask>(task: &T) -> Vec<u8> {
    task.config().identity().to_string().into_bytes()
}

/// Checks that the variables of a task are the parameters of its configuration: else its weights could be saved and
/// never be loaded.
///
/// # Errors
/// [`Error::Config`] naming the first weight in which they differ.
pub(super) fn check_weights<T: RunTask>(task: &T) -> Result<()> {
    let (config, vars) = (task.config(), task.vars());
    let mut parameters = config.parameters();
    parameters.sort();
    let dtype = config.dtype();
    let found = vars.iter().map(|(name, var)| (name.as_str(), var.dims(), var.dtype()));
    let expected = parameters.iter().map(|(name, shape)| (name.as_str(), shape.as_slice(), dtype));
    let text = |weight: Option<(&str, &[usize], DType)>| {
        weight.map_or("none".to_string(), |(name, shape, dtype)| {
            format!("{name} {shape:?} {}", dtype.as_str())
        })
    };
    let count = vars.len().max(parameters.len());
    let (mut found, mut expected) = (found.fuse(), expected.fuse());
    for _ in 0..count {
        let (found, expected) = (found.next(), expected.next());
        if found != expected {
            return Err(Error::Config(format!(
                "the task's weights are not those of its configuration: the task has {}, the configuration {}",
                text(found),
                text(expected)
            )));
        }
    }
    Ok(())
}
