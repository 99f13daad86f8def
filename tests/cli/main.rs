//! The program itself, as a script sees it: arguments in; exit code, output and files out.
//!
//! [`train`]: what a training run prints and leaves behind; [`resume`]: runs that were interrupted,
//! killed, or are being written; [`settings`]: TOML files and recipes; [`report`]: pictures and comparisons;
//! [`bad_data`], [`bad_run`], [`bad_output`]: what must be refused
//! with one line; [`predict`], [`look`]: images, `info` and `data`.
//!
//! Everything runs on the sample and with few units: what is tested here is not how well it learns.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_data;
mod bad_output;
mod bad_run;
mod look;
mod predict;
mod report;
mod resume;
mod settings;
mod train;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use tempfile::TempDir;

/// What a command did.
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
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(cargo_bin!("candle-rnn"));
        command
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
