//! The program itself, as a script sees it: arguments in; exit code, output and files out.
//!
//! [`train`]: what a training run prints and leaves behind; [`control`]: what steers it; [`settings`]: TOML
//! files and recipes; [`report`]: pictures and comparisons; [`resume`]: runs that were interrupted, killed, or
//! are being written; [`kills`]: killed at any moment at all; [`faults`]: folders that refuse or vanish, and files that may not grow;
//! [`mounts`]: disks that are full or read-only; [`damage`]: files whose bits have changed; [`foreign`]: what is not this run's, and is left alone; [`threads`], [`instruction_set`]: what computes;
//! [`longer`]: runs that are trained on; [`batching`]: how data are cut; [`links`]: links to checkpoints;
//! [`bad_data`], [`bad_run`], [`bad_output`]: what must be refused
//! with one line; [`predict`], [`look`]: images, `info` and `data`; [`export`]: files for other programs; [`own_data`], [`own_resume`], [`texts`]: data of
//! one's own, of which [`own_files`] makes small files, and [`own_bad_data`] refuses others; [`own_columns`]: which
//! columns are read, [`own_lost`]: what would be lost in silence, [`own_words`]: what is said; [`sweep`]: many runs, whoever trains them,
//! and [`sweep_changes`]: files of sweeps that are wrong or have changed.
//!
//! Everything runs on the sample or on small files, and with few units: what is tested here is not how well it learns.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod bad_data;
mod bad_output;
mod bad_run;
mod batching;
mod control;
mod damage;
mod export;
#[cfg(unix)]
mod faults;
mod foreign;
mod instruction_set;
#[cfg(unix)]
mod kills;
#[cfg(unix)]
mod links;
mod longer;
mod look;
#[cfg(target_os = "linux")]
mod mounts;
mod own_bad_data;
mod own_columns;
mod own_data;
mod own_files;
mod own_flags;
mod own_large;
mod own_lost;
mod own_resume;
mod own_tables;
mod own_words;
mod predict;
mod report;
mod resume;
mod settings;
mod sweep;
mod sweep_changes;
mod texts;
mod threads;
mod train;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use assert_cmd::cargo::cargo_bin;
use candle_rnn::run;
use candle_rnn::run::Checkpoint;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// What a command did.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// The command did what it was asked to.
    #[track_caller]
    fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// The command failed as it should: exit code 1, nothing on stdout, and on stderr one line that
    /// says each of `expected`.
    #[track_caller]
    fn failed_saying(self, expected: &[&str]) -> Self {
        let Self { code, stdout, stderr } = &self;
        assert_eq!(*code, Some(1), "{stdout}{stderr}");
        assert_eq!(stdout, "", "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        for text in expected {
            assert!(stderr.contains(text), "`{text}` is not in: {stderr}");
        }
        self
    }

    /// The command was called wrongly: exit code 2, clap's message, nothing on stdout.
    #[track_caller]
    fn misused(self) -> Self {
        assert_eq!(self.code, Some(2), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "{}", self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        self
    }

    fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl From<std::process::Output> for Outcome {
    #[track_caller]
    fn from(output: std::process::Output) -> Self {
        let outcome = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        outcome
    }
}

/// A folder of its own for a test, in which its commands run: no test sees the user's cache.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(common::folder())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> std::process::Command {
        self.wrapped(&[])
    }

    /// `candle-rnn` as another command's last arguments.
    fn wrapped(&self, wrapper: &[&str]) -> std::process::Command {
        let program = cargo_bin!("candle-rnn");
        let words = wrapper.iter().map(OsStr::new).chain([program.as_os_str()]).collect::<Vec<_>>();
        let mut command = std::process::Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.0)
            .env("HOME", self.0.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("RAYON_NUM_THREADS");
        command
    }

    /// Runs `candle-rnn` with these arguments, split at spaces.
    #[track_caller]
    fn run(&self, args: &str) -> Outcome {
        self.run_args(args.split_whitespace())
    }

    #[track_caller]
    fn run_args(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
        let mut command = assert_cmd::Command::from_std(self.command());
        command.args(args).timeout(std::time::Duration::from_secs(300)).output().unwrap().into()
    }

    /// Trains a small model on the sample into `run`, see [`small`].
    #[track_caller]
    fn train(&self, run: &str, more: &str) -> Outcome {
        self.run(&format!("train {} --out {run}", small(more))).succeeded()
    }

    /// All files under `name` with their contents.
    fn files(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path(name), Path::new(""), &mut files);
        files
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Changes a JSON file of a checkpoint, and its sums with it.
    fn change_state(&self, checkpoint: &str, change: impl FnOnce(&mut Value)) {
        let name = format!("{checkpoint}/trainer_state.json");
        let mut state = serde_json::from_str(&self.text(&name)).unwrap();
        change(&mut state);
        self.write(&name, serde_json::to_vec(&state).unwrap());
        std::fs::remove_file(self.path(&format!("{checkpoint}/SHA256SUMS"))).unwrap();
        let lines = self.files(checkpoint).into_iter().map(|(name, content)| {
            let digest = Sha256::digest(content);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}  {}\n", name.display())
        });
        self.write(&format!("{checkpoint}/SHA256SUMS"), lines.collect::<String>());
    }

    fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    fn copy(&self, from: &str, to: &str) {
        for (name, content) in self.files(from) {
            let path = self.path(to).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    /// The epochs of a run.
    fn metrics(&self, run: &str) -> Vec<Value> {
        let text = self.text(&format!("{run}/metrics.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A run of 40 steps, saved every 10, in `whole`; and in `run` the same as if it had stopped after
/// step 30.
const STOPPED: &str = "--epochs 4 --save-every 10 --schedule one-cycle --shift 1 --dropout 0.1";

impl Place {
    fn stopped() -> Self {
        let place = Self::new();
        place.train("whole", STOPPED);
        place.copy("whole", "run");
        place.forget_after("run", 30);
        std::fs::remove_file(place.path("run/model.safetensors")).unwrap();
        place
    }

    /// After how many steps a checkpoint was saved.
    fn step_of(&self, checkpoint: &str) -> u64 {
        let state = self.text(&format!("{checkpoint}/trainer_state.json"));
        serde_json::from_str::<Value>(&state).unwrap()["step"].as_u64().unwrap()
    }

    /// Removes the checkpoints of a run that are of later steps than `step`.
    fn forget_after(&self, run: &str, step: u64) {
        let checkpoints = format!("{run}/checkpoints");
        let mut removed = 0;
        for entry in std::fs::read_dir(self.path(&checkpoints)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if self.step_of(&format!("{checkpoints}/{name}")) > step {
                std::fs::remove_dir_all(self.path(&checkpoints).join(name)).unwrap();
                removed += 1;
            }
        }
        assert!(removed > 0, "no checkpoint after step {step}");
    }

    /// Two runs ended the same way: the weights, the metrics but for times, and the checkpoints, of
    /// which there is no other trace.
    #[track_caller]
    fn assert_ended_alike(&self, run: &str, other: &str) {
        let timeless = |run: &str| {
            let mut metrics = self.metrics(run);
            for line in metrics.iter_mut().filter_map(Value::as_object_mut) {
                line.retain(|name, _| name != "seconds" && name != "examples_per_second");
            }
            metrics
        };
        assert_eq!(timeless(run), timeless(other));
        // Each process leaves a file of events, with the time in its name.
        let is_event_file =
            |name: &Path| name.to_string_lossy().starts_with("events.out.tfevents.");
        let files = |run: &str| {
            let mut files = self.files(run);
            files.retain(|name, _| !is_event_file(name));
            files
        };
        let (run, other) = (files(run), files(other));
        for (name, content) in &other {
            let found = run.get(name).unwrap_or_else(|| panic!("no {}", name.display()));
            let is_tensors = name.extension().is_some_and(|extension| extension == "safetensors");
            assert!(!is_tensors || content == found, "{}", name.display());
        }
        // A process that was killed after its last save has not removed the checkpoint before.
        let surplus = run.keys().filter(|name| !other.contains_key(*name));
        let surplus: Vec<_> = surplus.filter(|name| !name.starts_with("checkpoints")).collect();
        assert_eq!(surplus, Vec::<&PathBuf>::new());
        let temporary = |name: &&PathBuf| name.to_string_lossy().contains("/.");
        assert_eq!(run.keys().find(temporary), None);
    }

    /// Every checkpoint of a run that bears its own name is whole; how many there are.
    #[track_caller]
    fn whole_checkpoints(&self, run: &str) -> usize {
        let folder = self.path(run).join("checkpoints");
        if !folder.exists() || !self.exists(&format!("{run}/config.json")) {
            return 0;
        }
        let config = run::read_config::<run::ImageConfig>(&self.path(run)).unwrap();
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let named = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        let mut whole = 0;
        for entry in named {
            Checkpoint::load(&entry.path(), &config).unwrap();
            whole += 1;
        }
        whole
    }
}

/// Arguments of a small training, two epochs of ten batches with 12 units, as far as `more` does not
/// say otherwise.
fn small(more: &str) -> String {
    let mut args = more.to_string();
    for (flag, value) in
        [("--data", "sample"), ("--hidden", "12"), ("--epochs", "2"), ("--batch-size", "160")]
    {
        if !more.split_whitespace().any(|arg| arg == flag) {
            args.push_str(&format!(" {flag} {value}"));
        }
    }
    args
}

fn collect(folder: &Path, prefix: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = prefix.join(entry.file_name());
        if entry.path().is_dir() {
            collect(&entry.path(), &name, files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}
