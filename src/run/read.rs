//! Readers of a run directory, for any process at any time.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::checkpoints::Checkpoints;
use super::config::RunConfig;
#[cfg(feature = "settings")]
use super::layout::SETTINGS;
use super::layout::{run_of_checkpoint, CARD, CONFIG, MODEL};
use super::task::TaskConfig;
use super::weights::load_weights;
use crate::{Error, Result};

/// Reads the configuration of a run; `run` may also be one of its checkpoints, such as
/// `RUN/checkpoints/best`, or a link to one: the configuration is the run's.
///
/// # Errors
/// [`Error::Checkpoint`] when `run` is not a run directory, when its configuration is wrong or that of another task,
/// which is named.
///
/// ```no_run
/// # use candle_rnn::run::{read_config, ImageConfig};
/// let config = read_config::<ImageConfig>("runs/0001".as_ref())?;
/// println!("{} epochs", config.task.training.trainer.epochs);
/// # Ok::<(), candle_rnn::Error>(())
/// ```
pub fn read_config<C: TaskConfig>(run: &Path) -> Result<RunConfig<C>> {
    let path = run_of_checkpoint(run).unwrap_or_else(|| run.to_path_buf()).join(CONFIG);
    if !path.exists() {
        return Err(Error::checkpoint(run, format!("not a run directory: it has no {CONFIG}")));
    }
    RunConfig::parse(&path)
}

/// Whether a run has ended: its model card, which is written last of all, is there.
///
/// A run that a library's program trained without a report has none.
pub fn is_finished(run: &Path) -> bool {
    run.join(CONFIG).exists() && run.join(CARD).exists()
}

/// The most epochs after which a checkpoint of a run was saved, 0 without any. What comes after them in its metrics
/// is trained again when it is resumed.
///
/// Nothing is held to its checksum: a damaged checkpoint counts.
pub fn saved_epochs(run: &Path) -> usize {
    Checkpoints::of(run).epochs()
}

/// The tasks that the program trains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskName {
    /// Images are classified.
    Images,
    /// Something is predicted of sequences of one's own.
    Sequences,
    /// A text is continued.
    Text,
    /// A task of a program of one's own, with its name.
    Other(String),
}

/// Reads which task a run is of; `run` may also be one of its checkpoints.
///
/// # Errors
/// [`Error::Checkpoint`] when `run` is not a run directory, or its configuration is not JSON.
pub fn read_task(run: &Path) -> Result<TaskName> {
    let path = run_of_checkpoint(run).unwrap_or_else(|| run.to_path_buf()).join(CONFIG);
    if !path.exists() {
        return Err(Error::checkpoint(run, format!("not a run directory: it has no {CONFIG}")));
    }
    let json = std::fs::read(&path).map_err(Error::io(&path, "read the file"))?;
    let config: serde_json::Value = serde_json::from_slice(&json)
        .map_err(|error| Error::checkpoint(&path, format!("not a run's configuration: {error}")))?;
    Ok(match config["task"].as_str() {
        None => TaskName::Images,
        Some("sequences") => TaskName::Sequences,
        Some("text") => TaskName::Text,
        Some(name) => TaskName::Other(name.into()),
    })
}

/// Reads `train.toml`, the settings that train a run again, if it is there.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Checkpoint`] when it is not such a file.
#[cfg(feature = "settings")]
pub fn read_settings(run: &Path) -> Result<Option<crate::settings::Settings>> {
    let path = run.join(SETTINGS);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read the file"))?;
    let settings = crate::settings::Settings::from_toml(&text);
    settings.map(Some).map_err(|error| Error::checkpoint(&path, error.to_string()))
}

/// Reads the weights of a run with this configuration; those of one of its checkpoints are held to its sums.
///
/// # Errors
/// As [`load_weights`] and [`Checkpoint::load`]; also [`Error::Checkpoint`] when the run has no weights yet.
pub fn read_weights<C: TaskConfig>(
    run: &Path,
    config: &RunConfig<C>,
) -> Result<BTreeMap<String, Tensor>> {
    let path = run.join(MODEL);
    if !path.exists() {
        let reason = "no such file: the run was stopped before the end of its first epoch, or its \
                      folder is incomplete";
        return Err(Error::checkpoint(path, reason));
    }
    if run_of_checkpoint(run).is_some() {
        return Ok(Checkpoint::load(run, config)?.state.model().clone());
    }
    load_weights(&path, config.task.parameters(), config.task.dtype())
}
