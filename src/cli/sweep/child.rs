//! The process that trains a trial: `candle-rnn train`, its output in the trial's log.
//!
//! It holds the claim on the trial by its copies of the log, and ends when its standard input does: a sweep that is
//! killed leaves nobody training, and until its trainings have saved nobody else takes their trials.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use candle_rnn::sweep::{Claim, SweepFolder, Trial, TrialData};

use crate::cli::processes;

/// A trial that is being trained.
pub(super) struct Training {
    /// The trial, as an index.
    pub(super) trial: usize,
    /// The epochs after which its round ends.
    pub(super) epochs: Option<usize>,
    pub(super) claim: Claim,
    child: Child,
    /// Open as long as it is to train.
    input: Option<ChildStdin>,
    begun: Instant,
}

impl Training {
    /// Starts it, or goes on with it.
    pub(super) fn start(
        program: &Path,
        folder: &SweepFolder,
        (index, trial, data): (usize, &Trial, &TrialData),
        (epochs, threads): (Option<usize>, u16),
        claim: Claim,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["train", "--resume", "--stop-on-eof", "--threads", &threads.to_string()]);
        command.arg("--out").arg(folder.run(trial.number));
        command.arg("--config").arg(folder.settings(trial.number));
        if let Some(epochs) = epochs {
            command.args(["--pause-after", &epochs.to_string()]);
        }
        command.args(data_args(data));
        processes::by_itself(&mut command);
        command.stdin(Stdio::piped()).stdout(claim.log()?).stderr(claim.log()?);
        let mut child = command
            .spawn()
            .with_context(|| format!("{}: cannot start the program", program.display()))?;
        let input = child.stdin.take();
        Ok(Self { trial: index, epochs, claim, child, input, begun: Instant::now() })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for a training")
    }

    /// Tells it to save and stop.
    pub(super) fn tell_to_stop(&mut self) {
        self.input = None;
    }

    /// Waits until it has stopped.
    pub(super) fn wait(&mut self) {
        // Of one that cannot be waited for nothing more can be known.
        let _ = self.child.wait();
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Whether a training was stopped from outside: killed, or told to save and stop.
pub(super) fn was_stopped(status: ExitStatus) -> bool {
    matches!(status.code(), None | Some(129 | 130 | 143))
}

/// The arguments of `train` that say what data there are.
pub(super) fn data_args(data: &TrialData) -> Vec<OsString> {
    // The file with test data is not for trainings.
    let TrialData { file, valid, test: _, id, time, label, features, group, layout, target } = data;
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |flag: &str, value: Option<OsString>| {
        args.extend(value.into_iter().flat_map(|value| [flag.into(), value]));
    };
    let text = |value: &Option<String>| value.clone().map(OsString::from);
    let list = |values: &[String]| (!values.is_empty()).then(|| values.join(",").into());
    add("--valid", valid.clone().map(Into::into));
    add("--id", text(id));
    add("--time", text(time));
    add("--label", list(label));
    add("--features", list(features));
    add("--group", text(group));
    add("--layout", layout.as_ref().and_then(name_of));
    add("--target", target.as_ref().and_then(name_of));
    // Behind `--`: its name may begin with a hyphen.
    args.extend(file.iter().flat_map(|file| ["--".into(), file.clone().into()]));
    args
}

/// The name of a choice, as it is written.
fn name_of(value: &impl serde::Serialize) -> Option<OsString> {
    serde_json::to_value(value).ok()?.as_str().map(OsString::from)
}
