//! The folder of a sweep: its plan and, for each trial, a run, the settings it is trained with and a log.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::changes::TrialFiles;
use super::data_sums::DataSums;
use super::plan::{SweepPlan, Trial};
use super::record::TrialRecord;
use crate::files::durable;
use crate::run::{is_finished, read_metrics, saved_epochs};
use crate::train::EpochMetrics;
use crate::{Error, Result};

/// The plan, as its file was when the sweep began or was changed.
const PLAN: &str = "sweep.toml";
/// How the first line of a plan begins whose trials are not numbered in their order.
const NUMBERS: &str = "numbers = ";
const TRIALS: &str = "trials";
/// The checksums of the data.
const DATA: &str = "data.json";
/// Held while a plan is compared and written.
const LOCK: &str = ".lock";
/// The prefix of the last line of a failed trial's log.
const FAILED: &str = "error: ";
/// The last line of the log of a failed trial that is to be trained again.
const RETRY: &str = "trying again";

/// The folder of a sweep.
///
/// ```text
/// SWEEP/sweep.toml          the plan
/// SWEEP/data.json           the SHA-256 of each file that trials are trained on
/// SWEEP/trials/0001/        the run of a trial
/// SWEEP/trials/0001.toml    the settings it is trained with
/// SWEEP/trials/0001.log     what its processes said; locked while one trains it
/// ```
#[derive(Clone, Debug)]
pub struct SweepFolder {
    path: PathBuf,
}

impl SweepFolder {
    /// Whether a folder is that of a sweep.
    pub fn is_sweep(path: &Path) -> bool {
        path.join(PLAN).is_file()
    }

    /// A plan with the numbers that its trials have in a folder, or will have there.
    ///
    /// Trials whose settings are those of a trial that the folder knows are that trial; `save_every`, `keep` and `device`
    /// may be others. The folder's unfinished trials need not be in the plan; their files stay. A data file with another content
    /// is other data.
    ///
    /// # Errors
    /// [`Error::RunExists`] when the folder has finished trials that are not in the plan, or on other data, or when one has
    /// begun and the plan has other trials and halving; [`Error::Io`] and [`Error::Checkpoint`] as [`plan`](Self::plan).
    pub fn numbered(path: &Path, plan: &SweepPlan) -> Result<SweepPlan> {
        if !Self::is_sweep(path) {
            return Ok(plan.clone());
        }
        Self::numbered_on(path, plan, &DataSums::of(plan)?)
    }

    /// As [`numbered`](Self::numbered), with data that have these sums.
    fn numbered_on(path: &Path, plan: &SweepPlan, sums: &DataSums) -> Result<SweepPlan> {
        if !Self::is_sweep(path) {
            return Ok(plan.clone());
        }
        let folder = Self { path: path.to_path_buf() };
        let before = DataSums::read(&path.join(DATA))?;
        let changed = sums.changed_since(&before);
        let files = |number| folder.files(number);
        let numbered = plan.clone().numbered_like(&folder.plan()?, changed, files);
        numbered.map_err(|error| {
            let reason = format!(
                "holds another sweep than the file describes: {error}; choose another folder, or restore the file (trials may \
                 be added, and those that are not finished changed)"
            );
            Error::run_exists(path, reason)
        })
    }

    /// Opens the folder for a sweep with this plan, and creates it if it is not there. Several processes may. Its trials
    /// have the numbers of [`plan`](Self::plan) from here on.
    ///
    /// - `text`: the file that the plan was read from
    ///
    /// # Errors
    /// As [`numbered`](Self::numbered); [`Error::Checkpoint`] when the folder holds something else; [`Error::Io`] when it
    /// cannot be written.
    pub fn open(path: &Path, plan: &SweepPlan, text: &str) -> Result<Self> {
        if !path.join(PLAN).exists() {
            if let Some(name) = something_else(path)? {
                let reason = format!(
                    "the folder is no sweep and holds {name}: choose a folder that is empty or not there"
                );
                return Err(Error::checkpoint(path, reason));
            }
        }
        let trials = path.join(TRIALS);
        durable::create_folder(&trials)?;
        let sums = DataSums::of(plan)?;
        let lock = path.join(LOCK);
        let file = File::options().write(true).create(true).truncate(false).open(&lock);
        let file = file.map_err(Error::io(&lock, "write the file"))?;
        file.lock().map_err(Error::io(&lock, "lock the file"))?;
        let folder = Self { path: path.to_path_buf() };
        let numbered = Self::numbered_on(path, plan, &sums)?;
        if !Self::is_sweep(path) || numbered != folder.plan()? {
            let text = with_numbers(text, &numbered);
            // What is written must be what is read.
            SweepPlan::from_toml(&text)?;
            durable::write(&path.join(PLAN), text.as_bytes())?;
        }
        // Behind the numbers: who is killed in between leaves data that have changed.
        sums.write(&path.join(DATA))?;
        Ok(folder)
    }

    /// What there is of a trial.
    fn files(&self, number: usize) -> TrialFiles {
        let run = self.run(number);
        if is_finished(&run) {
            TrialFiles::Finished
        } else if [run, self.settings(number), self.log(number)].iter().any(|path| path.exists()) {
            TrialFiles::Begun
        } else {
            TrialFiles::Nothing
        }
    }

    /// The folder of a sweep that has begun, to be looked at.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is none.
    pub fn read(path: &Path) -> Result<Self> {
        if !Self::is_sweep(path) {
            return Err(Error::checkpoint(
                path,
                format!("not the folder of a sweep: it has no {PLAN}"),
            ));
        }
        Ok(Self { path: path.to_path_buf() })
    }

    /// The plan of the sweep, with the numbers of its trials.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Checkpoint`] when it is damaged.
    pub fn plan(&self) -> Result<SweepPlan> {
        let path = self.path.join(PLAN);
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read the file"))?;
        SweepPlan::from_toml(&text).map_err(|error| Error::checkpoint(&path, error.to_string()))
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run directory of a trial.
    pub fn run(&self, number: usize) -> PathBuf {
        self.path.join(TRIALS).join(format!("{number:04}"))
    }

    /// The file with the settings of a trial.
    pub fn settings(&self, number: usize) -> PathBuf {
        self.path.join(TRIALS).join(format!("{number:04}.toml"))
    }

    /// The log of a trial.
    pub fn log(&self, number: usize) -> PathBuf {
        self.path.join(TRIALS).join(format!("{number:04}.log"))
    }

    /// The record of a trial.
    ///
    /// A run without its weights has not ended: to train it on restores them. Damaged metrics are the trial's error, and its
    /// checkpoints have them too.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read.
    pub fn record(&self, number: usize) -> Result<TrialRecord> {
        let run = self.run(number);
        // Where a lock keeps others from reading, somebody is training it.
        let log = end_of(&self.log(number)).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        let mut history = match metrics(&run) {
            Ok(history) => history,
            Err(error) if !is_damage(&error) => return Err(error),
            Err(_) if last == Some(RETRY) => return Ok(TrialRecord::default()),
            Err(error) => {
                let error =
                    format!("{error}; to try the trial again restores it from its checkpoints");
                return Ok(TrialRecord { error: Some(error), ..TrialRecord::default() });
            }
        };
        let is_finished = is_finished(&run) && run.join("model.safetensors").exists();
        if !is_finished {
            history.truncate(saved_epochs(&run));
        }
        let error = last.and_then(|line| line.strip_prefix(FAILED)).map(str::to_string);
        Ok(TrialRecord { history, is_finished, error: error.filter(|_| !is_finished) })
    }

    /// Takes a trial for this process and those that inherit [`Claim::log`]; `None` if another has it.
    ///
    /// # Errors
    /// [`Error::Io`] when its files cannot be written.
    pub fn claim(&self, trial: &Trial) -> Result<Option<Claim>> {
        let path = self.log(trial.number);
        let file = File::options().read(true).append(true).create(true).open(&path);
        let mut file = file.map_err(Error::io(&path, "write the file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(Error::io(&path, "lock the file")(error));
            }
        }
        let start = file.seek(SeekFrom::End(0)).map_err(Error::io(&path, "read the file"))?;
        let (settings, toml) = (self.settings(trial.number), trial.settings.to_toml());
        if fs::read(&settings).ok().is_none_or(|found| found != toml.as_bytes()) {
            durable::write(&settings, toml.as_bytes())?;
        }
        Ok(Some(Claim { file, path, start }))
    }
}

/// The metrics of a run, which may not have begun.
fn metrics(run: &Path) -> Result<Vec<EpochMetrics>> {
    let has_metrics = run.join("config.json").exists() && run.join("metrics.jsonl").exists();
    if has_metrics {
        read_metrics(run)
    } else {
        Ok(Vec::new())
    }
}

/// Whether a file could be read and holds something else than it should.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Checkpoint { .. } => true,
        Error::Io { cause, .. } => cause.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// The text of a plan with the numbers of its trials, where they are not 1, 2 and so on.
fn with_numbers(text: &str, plan: &SweepPlan) -> String {
    // Where the file is a copy of a folder's, it has some already.
    let text = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with(NUMBERS) => rest,
        _ => text,
    };
    let numbers: Vec<usize> = plan.trials().iter().map(|trial| trial.number).collect();
    if numbers.iter().copied().eq(1..=numbers.len()) {
        return text.to_string();
    }
    format!("{NUMBERS}{numbers:?}\n{text}")
}

/// The end of a log, long enough for its last line.
fn end_of(path: &Path) -> std::io::Result<String> {
    const LONGEST: u64 = 16 << 10;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// The first thing in a folder that a sweep does not make before its plan.
fn something_else(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let entries = fs::read_dir(path).map_err(Error::io(path, "read the folder"))?;
    let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    // A process that was killed as it began leaves these.
    let is_ours = |name: &String| name == TRIALS || name == LOCK || name.starts_with(".tmp-");
    Ok(names.find(|name| name != PLAN && !is_ours(name)))
}

/// A trial that this process trains. It is given back when this and all copies of its log are closed.
#[derive(Debug)]
pub struct Claim {
    file: File,
    path: PathBuf,
    /// How long the log was before.
    start: u64,
}

impl Claim {
    /// The log, for what trains the trial to write to: whoever has it open holds the claim.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses it.
    pub fn log(&self) -> Result<File> {
        self.file.try_clone().map_err(Error::io(&self.path, "open the file again"))
    }

    /// The first error that was written to the log since the claim was taken, in one line.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn error(&mut self) -> Result<Option<String>> {
        let mut said = Vec::new();
        self.file
            .seek(SeekFrom::Start(self.start))
            .and_then(|_| self.file.read_to_end(&mut said))
            .map_err(Error::io(&self.path, "read the file"))?;
        let said = String::from_utf8_lossy(&said);
        let mut errors = said.lines().filter_map(|line| line.strip_prefix(FAILED));
        Ok(errors.next().map(str::to_string))
    }

    /// Writes that the trial has failed.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn fail(&mut self, reason: &str) -> Result<()> {
        self.note(&format!("{FAILED}{}", reason.replace('\n', " ")))
    }

    /// Writes that a trial which failed is tried again: it has not failed any more.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn retry(&mut self) -> Result<()> {
        self.note(RETRY)
    }

    fn note(&mut self, line: &str) -> Result<()> {
        // In one call: what is killed leaves it out or there.
        let line = format!("{line}\n");
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path, "write the file"))
    }
}
