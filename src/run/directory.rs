//! A run directory that is written: created, or resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::checkpoint::Checkpoint;
use super::checkpoints::Checkpoints;
use super::config::RunConfig;
use super::continuation::continued;
use super::layout::{
    CARD, CHECKPOINTS, CONFIG, CONFUSION, CURVES, EVENTS, FORECAST, METRICS, MODEL, SETTINGS,
};
use super::lock::Lock;
use super::metrics::{self, best_of};
use super::task::TaskConfig;
use crate::files::{durable, tensors};
use crate::train::{Best, EpochMetrics, ImageConfig, TrainerState};
use crate::{Error, Result};

/// The way to deal with a folder that already holds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// An error.
    Refuse,
    /// The run is removed and a new one begun.
    Overwrite,
    /// The run continues from its newest complete checkpoint. It may be given more epochs, if its schedule does not
    /// depend on their number, and more patience.
    Resume,
    /// As [`Resume`](Self::Resume); a finished run whose schedule depends on the number of epochs is given more, over
    /// which its schedule starts anew, see [`Extensions`](crate::train::Extensions).
    Extend,
}

impl IfExists {
    /// Whether a run that is there continues.
    pub fn continues(self) -> bool {
        matches!(self, Self::Resume | Self::Extend)
    }
}

/// Creates the next free folder of `parent`: `0001`, `0002`, ...
///
/// # Errors
/// [`Error::Io`] when it cannot be created.
pub fn next_free(parent: &Path) -> Result<PathBuf> {
    durable::create_folder(parent)?;
    let entries = fs::read_dir(parent).map_err(Error::io(parent, "read the folder"))?;
    let highest =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let mut number = highest.unwrap_or(0);
    loop {
        let next = number.checked_add(1);
        number = next.ok_or_else(|| {
            Error::checkpoint(parent, format!("no number is free after {number}"))
        })?;
        let path = parent.join(format!("{number:04}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            // Another process was faster.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(&path, "create the folder")(error)),
        }
    }
}

/// A run directory that this process writes: no other process may, until it is dropped.
#[derive(Debug)]
pub struct RunDir<C = ImageConfig> {
    path: PathBuf,
    config: RunConfig<C>,
    /// How many checkpoints are kept, besides the best.
    keep: usize,
    checkpoints: Checkpoints,
    lock: Lock,
}

impl<C: TaskConfig> RunDir<C> {
    /// Opens the folder for a run with this configuration; it is created if it does not exist.
    /// Returns the checkpoint to continue from, if there is one and it was asked for, and why newer
    /// ones were skipped. The newest `keep` checkpoints are kept, besides the best. How many epochs the run has
    /// then, and with which patience, is in [`config`](Self::config).
    ///
    /// # Errors
    /// [`Error::RunExists`] when the folder holds a run and `if_exists` refuses it, or one to be continued of whose
    /// checkpoints none is whole; [`Error::Checkpoint`] when that run has another configuration, when the folder
    /// holds files that are not a run's and would be replaced, or when another process is writing it;
    /// [`Error::Io`] when the folder cannot be written.
    pub fn open(
        path: &Path,
        config: RunConfig<C>,
        if_exists: IfExists,
        keep: usize,
    ) -> Result<(Self, Option<Checkpoint<C>>, Vec<Error>)> {
        // Before anything is removed for it.
        let json = json_of(&path.join(CONFIG), &config)?;
        durable::create_folder(path)?;
        refuse_to_replace(path, if_exists)?;
        let mut run = Self {
            path: path.to_path_buf(),
            config,
            keep: keep.max(1),
            checkpoints: Checkpoints::of(path),
            lock: Lock::acquire(path)?,
        };
        // Another process may have begun a run before this one had the lock.
        refuse_to_replace(path, if_exists)?;
        durable::remove_leftovers(path)?;
        let (mut checkpoint, mut damaged) = (None, Vec::new());
        // A process that was killed while it began a run leaves no configuration: there is nothing to continue,
        // nor to disagree with.
        let begun = path.join(CONFIG).exists();
        if begun && if_exists.continues() {
            let found = RunConfig::<C>::parse(&path.join(CONFIG))?;
            let cannot = |differences: String| {
                let reason =
                    format!("cannot resume a run with other settings or data: {differences}");
                Error::checkpoint(path, reason)
            };
            let differences =
                found.differences(&run.config.as_long_as(&found), ("the run has", "this command"));
            if !differences.is_empty() {
                return Err(cannot(differences));
            }
            let asked = run.config.clone();
            run.config = asked.as_long_as(&found);
            (checkpoint, damaged) = run.newest_checkpoint()?;
            if let Some(checkpoint) = &checkpoint {
                let (position, extend) =
                    (&checkpoint.state.position, if_exists == IfExists::Extend);
                let (before, asked) = (found.task.trainer(), asked.task.trainer());
                let trainer = continued(before, asked, position, extend).map_err(cannot)?;
                trainer.check()?;
                let mut longer = found.clone();
                *longer.task.trainer_mut() = trainer;
                run.go_on_with(longer)?;
            } else {
                run.config = asked;
            }
        }
        if checkpoint.is_none() {
            run.begin(&json)?;
        }
        Ok((run, checkpoint, damaged))
    }

    /// Takes over how many epochs the run has from now on, and with which patience.
    fn go_on_with(&mut self, config: RunConfig<C>) -> Result<()> {
        if self.config.task.trainer() == config.task.trainer() {
            return Ok(());
        }
        // In this order: where the configuration is the new one, no model card is left that speaks of the old.
        for name in [CARD, CURVES, CONFUSION, FORECAST] {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(Error::io(&path, "remove the file"))?;
            }
        }
        let path = self.path.join(CONFIG);
        durable::write(&path, &json_of(&path, &config)?)?;
        self.config.task.trainer_mut().clone_from(config.task.trainer());
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &RunConfig<C> {
        &self.config
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what an earlier run left, and writes the configuration.
    fn begin(&self, json: &[u8]) -> Result<()> {
        // In this order: a process that is killed meanwhile leaves a run that can still be resumed, or one
        // that looks as if it had just begun.
        for name in made(&self.path)?.iter().filter(|name| *name != CONFIG) {
            let path = self.path.join(name);
            fs::remove_file(&path).map_err(Error::io(&path, "remove the file"))?;
        }
        self.checkpoints.clear()?;
        durable::write(&self.path.join(CONFIG), json)?;
        self.write_metrics(&[])
    }

    /// Writes `train.toml`, the settings that train this run again.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write_settings(&self, toml: &str) -> Result<()> {
        durable::write(&self.path.join(SETTINGS), toml.as_bytes())
    }

    /// Replaces `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Checkpoint`] when the folder is another by now.
    pub fn write_metrics(&self, history: &[EpochMetrics]) -> Result<()> {
        self.lock.check()?;
        metrics::write(&self.path, history)
    }

    /// Replaces `model.safetensors`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Checkpoint`] when the folder is another by now.
    pub fn write_model(&self, state: &TrainerState) -> Result<()> {
        self.write_weights(state.model())
    }

    /// Replaces `model.safetensors` by these weights.
    ///
    /// # Errors
    /// As [`write_model`](Self::write_model).
    pub fn write_weights(&self, weights: &BTreeMap<String, Tensor>) -> Result<()> {
        self.lock.check()?;
        durable::write(&self.path.join(MODEL), &tensors::serialize(weights)?)
    }

    /// The best epoch of a run that has come to this state, as far as its weights can be read: `checkpoints/best` has
    /// them, unless it is the last.
    pub(crate) fn best(&self, state: &TrainerState, history: &[EpochMetrics]) -> Option<Best> {
        let best = best_of(history)?;
        let is_best =
            |state: &TrainerState| state.position.epoch == best.epoch && state.position.batch == 0;
        let weights = if is_best(state) {
            state.model().clone()
        } else {
            let saved = self.checkpoints.best(&self.config);
            saved.filter(|saved| is_best(&saved.state))?.state.model().clone()
        };
        Some(Best { metrics: best.clone(), weights })
    }

    /// Saves a checkpoint under its step, and removes those that are too many.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Checkpoint`] when the folder is another by now.
    pub fn save_checkpoint(&self, checkpoint: &Checkpoint<C>) -> Result<PathBuf> {
        self.lock.check()?;
        self.checkpoints.save(checkpoint, self.keep)
    }

    /// Saves a checkpoint as the best.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save_best(&self, checkpoint: &Checkpoint<C>) -> Result<()> {
        self.checkpoints.save_best(checkpoint)
    }

    /// The newest checkpoint that is whole and this run's, and why newer ones are not.
    ///
    /// # Errors
    /// As [`Checkpoints::newest`]; also [`Error::RunExists`] where there is more of the run than its first epoch
    /// leaves before it is saved: to begin anew is not for this function to decide.
    fn newest_checkpoint(&self) -> Result<(Option<Checkpoint<C>>, Vec<Error>)> {
        let (newest, damaged) = self.checkpoints.newest(&self.config)?;
        if newest.is_some() {
            return Ok((newest, damaged));
        }
        let lines = fs::read(self.path.join(METRICS)).unwrap_or_default();
        let is_blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
        let epochs = lines.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).count();
        let is_trained =
            self.path.join(CARD).exists() || (self.has_model() && !self.checkpoints.exist());
        if epochs > 1 || is_trained {
            let reason = "has a trained model but no checkpoint to resume from";
            return Err(Error::run_exists(&self.path, reason));
        }
        Ok((None, damaged))
    }

    /// Whether `model.safetensors` is there.
    pub fn has_model(&self) -> bool {
        self.path.join(MODEL).exists()
    }
}

/// The names of all files that a run consists of, checkpoints aside, as far as they are there.
fn made(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "read the folder"))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let known = [METRICS, MODEL, CONFIG, SETTINGS, CURVES, CONFUSION, FORECAST, CARD];
    let is_known = |name: &String| known.contains(&name.as_str()) || name.starts_with(EVENTS);
    Ok(names.filter(is_known).collect())
}

/// Refuses a folder whose files a new run would replace: a run's, unless that was asked for, and anybody's.
fn refuse_to_replace(folder: &Path, if_exists: IfExists) -> Result<()> {
    let config = folder.join(CONFIG);
    // Of one that is damaged the first line tells.
    let is_run = config.exists()
        && String::from_utf8_lossy(
            &fs::read(&config).map_err(Error::io(&config, "read the file"))?,
        )
        .contains("\"candle-rnn\"");
    if is_run && if_exists != IfExists::Refuse {
        return Ok(());
    }
    if is_run {
        return Err(Error::run_exists(folder, "already holds a run"));
    }
    let mut files = made(folder)?;
    // A process that was killed as it began a run leaves an empty folder.
    let checkpoints = folder.join(CHECKPOINTS);
    if checkpoints.exists() {
        let entries = fs::read_dir(&checkpoints);
        let mut entries = entries.map_err(Error::io(&checkpoints, "read the folder"))?;
        files.extend(entries.next().map(|_| CHECKPOINTS.to_string()));
    }
    match files.first() {
        None => Ok(()),
        Some(name) => Err(Error::checkpoint(
            folder,
            format!(
                "the folder is not a run and holds {name}, which a run would overwrite: choose \
                 another folder"
            ),
        )),
    }
}

fn json_of<C: TaskConfig>(path: &Path, config: &RunConfig<C>) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(config)
        .map_err(|error| Error::checkpoint(path, error.to_string()))?;
    json.push(b'\n');
    Ok(json)
}
