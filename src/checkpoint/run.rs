//! The run directory: what a training run leaves behind, in the Hugging Face hub's layout.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use candle_core::Tensor;

pub use super::config::{DataConfig, RunConfig};
use super::state::Checkpoint;
use super::{durable, weights};
use crate::train::{Best, EpochMetrics, TrainerState};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";
const METRICS: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best";
const STEP: &str = "step-";
const LOCK: &str = ".lock";
/// What `train --config` takes to train the run again.
pub(crate) const SETTINGS: &str = "train.toml";
/// What is made from a run's metrics and weights, and is removed with them.
pub(crate) const CURVES: &str = "curves.svg";
pub(crate) const CONFUSION: &str = "confusion.svg";
pub(crate) const CARD: &str = "README.md";
pub(crate) const EVENTS: &str = "events.out.tfevents.";

/// What is to happen when the folder already holds a run.
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

/// A run directory that this process writes: no other process may, until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    config: RunConfig,
    /// How many checkpoints are kept, besides the best.
    keep: usize,
    lock: File,
}

impl RunDir {
    /// Creates the next free folder of `parent`: `0001`, `0002`, ...
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    pub fn next_free(parent: &Path) -> Result<PathBuf> {
        durable::create_folder(parent)?;
        let entries = fs::read_dir(parent).map_err(Error::io(parent, "read the folder"))?;
        let highest = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .max();
        let mut number = highest.unwrap_or(0);
        loop {
            let next = number.checked_add(1);
            number = next.ok_or_else(|| {
                Error::checkpoint(parent, format!("no number is free after {number}: give --out"))
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

    /// Opens the folder for a run with this configuration; it is created if it does not exist.
    /// Returns the checkpoint to continue from, if there is one and it was asked for, and why newer
    /// ones were passed over. The newest `keep` checkpoints are kept, besides the best. How many epochs the run has
    /// then, and with which patience, is in [`config`](Self::config).
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the folder holds a run and `if_exists` refuses it, or files that are not
    /// a run's and would be replaced; when that run has another configuration, or checkpoints of which none
    /// is whole, or when another process is writing it; [`Error::Io`] when the folder cannot be written.
    pub fn open(
        path: &Path,
        config: RunConfig,
        if_exists: IfExists,
        keep: usize,
    ) -> Result<(Self, Option<Checkpoint>, Vec<Error>)> {
        // Before anything is removed for it.
        let json = json_of(&path.join(CONFIG), &config)?;
        durable::create_folder(path)?;
        refuse_to_replace(path, if_exists)?;
        let mut run =
            Self { path: path.to_path_buf(), lock: lock(path)?, config, keep: keep.max(1) };
        // Another process may have begun a run before this one had the lock.
        refuse_to_replace(path, if_exists)?;
        durable::remove_leftovers(path)?;
        let (mut checkpoint, mut damaged) = (None, Vec::new());
        // A process that was killed while it began a run leaves no configuration: there is nothing to continue,
        // nor to disagree with.
        let begun = path.join(CONFIG).exists();
        if begun && if_exists.continues() {
            let found = RunConfig::parse(&path.join(CONFIG))?;
            let cannot = |differences: String| {
                let reason =
                    format!("cannot be resumed with other settings or data: {differences}");
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
                let training = found
                    .training
                    .continued(
                        &asked.training,
                        &checkpoint.state.position,
                        if_exists == IfExists::Extend,
                    )
                    .map_err(cannot)?;
                training.check()?;
                run.go_on_with(RunConfig { training, ..found })?;
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
    fn go_on_with(&mut self, config: RunConfig) -> Result<()> {
        if self.config.training == config.training {
            return Ok(());
        }
        // In this order: where the configuration is the new one, no model card is left that speaks of the old.
        for name in [CARD, CURVES, CONFUSION] {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(Error::io(&path, "remove the file"))?;
            }
        }
        let path = self.path.join(CONFIG);
        durable::write(&path, &json_of(&path, &config)?)?;
        self.config.training = config.training;
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &RunConfig {
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
        let checkpoints = self.path.join(CHECKPOINTS);
        if checkpoints.exists() {
            durable::remove_folder(&checkpoints)?;
        }
        fs::create_dir(&checkpoints).map_err(Error::io(&checkpoints, "create the folder"))?;
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
        self.check_lock()?;
        let path = self.path.join(METRICS);
        let mut lines = Vec::new();
        for metrics in history {
            serde_json::to_writer(&mut lines, metrics)
                .map_err(|error| Error::checkpoint(&path, error.to_string()))?;
            lines.push(b'\n');
        }
        durable::write(&path, &lines)
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
        self.check_lock()?;
        durable::write(&self.path.join(MODEL), &weights::serialize(weights)?)
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
            let saved = Checkpoint::load(&self.path.join(CHECKPOINTS).join(BEST), &self.config);
            saved.ok().filter(|saved| is_best(&saved.state))?.state.model().clone()
        };
        Some(Best { metrics: best.clone(), weights })
    }

    /// Saves a checkpoint under its step, and removes those that are too many.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Checkpoint`] when the folder is another by now.
    pub fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let name = format!("{STEP}{:08}", checkpoint.state.adam.step);
        let path = self.path.join(CHECKPOINTS).join(name);
        self.check_lock()?;
        checkpoint.save(&path)?;
        // Folders of later steps are damaged ones, which were passed over: they count for nothing.
        let up_to_now = self.checkpoints()?.into_iter().skip_while(|newer| *newer != path);
        for old in up_to_now.skip(self.keep) {
            durable::remove_folder(&old)?;
        }
        Ok(path)
    }

    /// Saves a checkpoint as the best.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save_best(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.save(&self.path.join(CHECKPOINTS).join(BEST))
    }

    /// That the folder is still the one that was opened: a run whose folder is gone must not end as if it had
    /// been saved.
    fn check_lock(&self) -> Result<()> {
        let path = self.path.join(LOCK);
        if is_same_file(&self.lock, &path) {
            return Ok(());
        }
        let reason =
            "the folder was moved, removed or replaced while the run trained: it is saved no \
                      further";
        Err(Error::checkpoint(&self.path, reason))
    }

    /// The folders of checkpoints under their steps, newest first.
    fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let folder = self.path.join(CHECKPOINTS);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&folder).map_err(Error::io(&folder, "read the folder"))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.retain(|path| named_step(path).is_some());
        found.sort_by_key(|path| std::cmp::Reverse(named_step(path)));
        Ok(found)
    }

    /// The newest checkpoint that is whole and this run's, and why newer ones are not.
    ///
    /// # Errors
    /// [`Error::Io`] when one may not be read, which may well be whole; [`Error::Checkpoint`] when there are
    /// some and none is whole, or where there is more of the run than its first epoch leaves before it is
    /// saved: to begin anew is not for this function to decide.
    fn newest_checkpoint(&self) -> Result<(Option<Checkpoint>, Vec<Error>)> {
        let folder = self.path.join(CHECKPOINTS);
        if folder.exists() {
            durable::remove_leftovers(&folder)?;
        }
        let mut damaged = Vec::new();
        let mut candidates = self.checkpoints()?;
        candidates.extend(other_checkpoints(&folder));
        // Of equals those under their step come first, as they are.
        candidates.sort_by_key(|path| std::cmp::Reverse(step_of(path)));
        for path in candidates {
            match Checkpoint::load(&path, &self.config) {
                Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
                // Others may read it: it is not for this process to pass it over.
                Err(error @ Error::Io { .. }) if is_forbidden(&error) => return Err(error),
                Err(error) => damaged.push(error),
            }
        }
        if let Some(reason) = damaged.first() {
            let reason = format!("none is whole ({reason}): pass --overwrite to begin anew");
            return Err(Error::checkpoint(&folder, reason));
        }
        let epochs = fs::read(self.path.join(METRICS)).unwrap_or_default();
        let is_blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
        let epochs = epochs.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).count();
        let is_trained = self.path.join(CARD).exists() || (self.has_model() && !folder.exists());
        if epochs > 1 || is_trained {
            let reason =
                "has a trained model and no checkpoint to go on from: pass --overwrite to \
                          begin anew";
            return Err(Error::checkpoint(&self.path, reason));
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
    let known = [METRICS, MODEL, CONFIG, SETTINGS, CURVES, CONFUSION, CARD];
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
        let reason = "already holds a run: name another folder, or pass --resume or --overwrite";
        return Err(Error::checkpoint(folder, reason));
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
                "holds {name} and is not a run, whose files would replace it: name another folder"
            ),
        )),
    }
}

/// The step that is in the name of a checkpoint's folder.
fn named_step(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_name()?.to_str()?.strip_prefix(STEP)?.parse().ok()
}

/// The best checkpoint, and links under names of their own to checkpoints, wherever these are.
fn other_checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_link = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
    let named = entries.filter(|entry| {
        let path = entry.path();
        let is_other = named_step(&path).is_none() && super::state::step_of(&path).is_some();
        entry.file_name() == BEST || (is_link(entry) && is_other)
    });
    let mut paths: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    paths.retain(|path| path.exists());
    // The best comes first of equals.
    paths.sort_by_key(|path| (!path.ends_with(BEST), path.clone()));
    paths
}

/// The best epoch of a history: of equals the first.
pub fn best_of(history: &[EpochMetrics]) -> Option<&EpochMetrics> {
    history.iter().reduce(|best, metrics| if metrics.is_better_than(best) { metrics } else { best })
}

/// The steps that a checkpoint says it is after, whole or not.
fn step_of(checkpoint: &Path) -> u64 {
    named_step(checkpoint).or_else(|| super::state::step_of(checkpoint)).unwrap_or(0)
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::PermissionDenied)
}

fn json_of(path: &Path, config: &RunConfig) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(config)
        .map_err(|error| Error::checkpoint(path, error.to_string()))?;
    json.push(b'\n');
    Ok(json)
}

/// Whether `path` is this file still, which on other systems than Unix nobody can remove while it is open.
fn is_same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |found: std::io::Result<fs::Metadata>| found.map(|m| (m.dev(), m.ino())).ok();
        id(file.metadata()) == id(fs::metadata(path))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Keeps other processes from writing the same run; they may read it.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io(&path, "write the file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::checkpoint(folder, "another process is writing this run"))
        }
        Err(TryLockError::Error(error)) => Err(Error::io(&path, "lock the file")(error)),
    }
}

/// Reads the configuration of a run; `run` may also be one of its checkpoints, such as
/// `RUN/checkpoints/best`, or a link to one: the configuration is the run's.
///
/// # Errors
/// [`Error::Checkpoint`] when `run` is not a run directory or its configuration is wrong.
pub fn read_config(run: &Path) -> Result<RunConfig> {
    let path = run_of_checkpoint(run).unwrap_or_else(|| run.to_path_buf()).join(CONFIG);
    if !path.exists() {
        return Err(Error::checkpoint(run, format!("not a run directory: it has no {CONFIG}")));
    }
    RunConfig::parse(&path)
}

/// The run that a folder is a checkpoint of, if it is one: it has weights and no settings of its own. A link to a
/// checkpoint is one.
fn run_of_checkpoint(folder: &Path) -> Option<PathBuf> {
    if folder.join(CONFIG).exists() || !folder.join(MODEL).exists() {
        return None;
    }
    let run_of = |folder: &Path| {
        let checkpoints = folder.parent().filter(|parent| parent.ends_with(CHECKPOINTS))?;
        checkpoints.parent().map(Path::to_path_buf)
    };
    // As it is called: a checkpoint may lie elsewhere, with a link in its place.
    run_of(folder).or_else(|| run_of(&fs::canonicalize(folder).ok()?))
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
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "read the file"))?;
    let settings = crate::settings::Settings::from_toml(&text);
    settings.map(Some).map_err(|error| Error::checkpoint(&path, error.to_string()))
}

/// Reads the metrics of a run's epochs; of one of its checkpoints, which has none of its own: nothing.
///
/// Blank lines are left out, and so is a last line that was not written to its end: see
/// [`read_metrics_and_cut`].
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is damaged.
pub fn read_metrics(run: &Path) -> Result<Vec<EpochMetrics>> {
    Ok(read_metrics_and_cut(run)?.0)
}

/// As [`read_metrics`]; and the error that says which line was left out because the file ends in it.
///
/// # Errors
/// As [`read_metrics`].
pub fn read_metrics_and_cut(run: &Path) -> Result<(Vec<EpochMetrics>, Option<Error>)> {
    if run_of_checkpoint(run).is_some() {
        return Ok((Vec::new(), None));
    }
    let path = run.join(METRICS);
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "read the file"))?;
    let (mut history, mut cut) = (Vec::new(), None);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(metrics) => history.push(metrics),
            Err(error) if error.is_eof() && !line.ends_with('\n') => {
                let reason = format!("line {} is not whole: the file ends in it", index + 1);
                cut = Some(Error::checkpoint(&path, reason));
            }
            Err(error) => {
                return Err(Error::checkpoint(&path, format!("line {}: {error}", index + 1)))
            }
        }
    }
    Ok((history, cut))
}

/// Reads the weights of a run with this configuration; those of one of its checkpoints are held to its sums.
///
/// # Errors
/// As [`weights::load`] and [`Checkpoint::load`]; also [`Error::Checkpoint`] when the run has no weights yet.
pub fn read_weights(run: &Path, config: &RunConfig) -> Result<BTreeMap<String, Tensor>> {
    let path = run.join(MODEL);
    if !path.exists() {
        let reason = "no such file: the run ended before its first epoch did, continue it with \
                      train --resume, or its folder is not whole";
        return Err(Error::checkpoint(path, reason));
    }
    if run_of_checkpoint(run).is_some() {
        return Ok(Checkpoint::load(run, config)?.state.model().clone());
    }
    weights::load(&path, &config.model, config.training.dtype.dtype())
}
