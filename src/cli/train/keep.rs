//! The training loop of the program: a session's events shown and recorded, whatever the task.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use candle_core::Device;
use candle_rnn::report;
use candle_rnn::run::{self, Outcome, RunTask, Session, SessionConfig, Start};
use candle_rnn::settings::{RunSettings, Settings};
use candle_rnn::train::{Event, TrainerConfig};
use candle_rnn::Error;

use super::args::TrainArgs;
#[cfg(feature = "nccl")]
use crate::cli::processes;
use crate::cli::signals::{Signals, SIGTERM_NUMBER};
use crate::cli::{device, screen};

/// The program's work around a session: what it shows, and what it writes at the end.
pub(super) struct Keeping<'a, T: RunTask> {
    /// Command line.
    pub(super) args: &'a TrainArgs,
    /// The device.
    pub(super) device: &'a Device,
    /// How the run is run, as far as that trains it again.
    pub(super) settings: RunSettings,
    /// The settings of its training.
    pub(super) training: fn(&T::Config) -> candle_rnn::Result<Settings>,
    /// Writes pictures and model card of a run that has ended, unless they are there.
    pub(super) complete: fn(&Session<T>) -> candle_rnn::Result<()>,
    /// Writes them.
    pub(super) report: fn(&Session<T>) -> candle_rnn::Result<()>,
    /// Lines to show when the run has ended.
    pub(super) show: fn(&Session<T>) -> anyhow::Result<Vec<String>>,
}

/// Where a run is written.
fn out(args: &TrainArgs) -> anyhow::Result<std::path::PathBuf> {
    match &args.out {
        Some(out) => Ok(out.clone()),
        None => run::next_free(Path::new("runs")).map_err(|error| match error {
            Error::Checkpoint { .. } => anyhow::anyhow!("{error}: give --out"),
            error => error.into(),
        }),
    }
}

/// Refuses more epochs where the run's schedule depends on their number.
pub(super) fn refuse_more_epochs(
    args: &TrainArgs,
    run: &TrainerConfig,
    epochs: usize,
) -> anyhow::Result<()> {
    if args.extend || epochs <= run.epochs || !run.schedule.depends_on_length() {
        return Ok(());
    }
    let schedule = serde_json::json!(run.schedule);
    anyhow::bail!(
        "{}: cannot train to {epochs} epochs: its {} schedule is set for {}; finish the run, then \
         --resume --extend --epochs {epochs} restarts the schedule over the added epochs",
        args.out.as_deref().unwrap_or(Path::new("")).display(),
        schedule.as_str().unwrap_or_default(),
        run.epochs
    );
}

impl<T: RunTask> Keeping<'_, T> {
    /// Trains a task to its end, in a run directory if this process has it.
    pub(super) fn run(self, task: T, keeping: SessionConfig) -> anyhow::Result<ExitCode>
    where
        T: Send,
        Session<T>: Send,
    {
        let args = self.args;
        #[cfg(feature = "nccl")]
        processes::connect_gpus(&args.team, self.device)?;
        if !args.team.leads() {
            return follow(task, args);
        }
        let opened = Session::open(out(args)?, task, keeping);
        let (mut session, start) = opened.map_err(|error| match error {
            Error::RunExists { .. } if args.resume => {
                anyhow::anyhow!("{error}; --overwrite starts over")
            }
            Error::RunExists { .. } => {
                anyhow::anyhow!("{error}: name another folder, or pass --resume or --overwrite")
            }
            error => error.into(),
        })?;
        session.share(&args.team)?;
        args.say(&format!("run {}", session.path().display()))?;
        let (done, at) = (session.trainer().step_count(), session.trainer().position());
        if let Some(ended) = session.history().last().filter(|_| at.batch == 0) {
            report::EventFile::complete(session.path(), done, ended)?;
        }
        match start {
            Start::Finished => {
                (self.complete)(&session)?;
                args.say(&finished(&session))?;
                return Ok(ExitCode::SUCCESS);
            }
            Start::Resumed { step, damaged, begun_with } => {
                damaged.iter().for_each(|error| screen::note(&format!("skipped: {error}")));
                if let Some(before) = begun_with.filter(|_| !args.quiet) {
                    let now = candle_rnn::recurrence::instruction_set(self.device)?;
                    screen::note(&format!(
                        "note: this run was started with {before}, this machine computes with {now}: \
                         the last bits may differ from an uninterrupted run"
                    ));
                }
                args.say(&format!("resuming after step {step}"))?;
            }
            Start::New { damaged } => {
                damaged.iter().for_each(|error| screen::note(&format!("skipped: {error}")));
                if args.resume {
                    // A mistyped folder would train another job than the one that was meant.
                    let on = if args.names_data() { "" } else { " on MNIST, as no data are named" };
                    args.say(&format!("nothing to resume: starting the run{on}"))?;
                }
            }
        }
        let training = (self.training)(&session.run_dir().config().task)?;
        let settings = Settings::of(&self.settings)?.or(training);
        session.run_dir().write_settings(&settings.to_toml())?;
        // On one of the threads that compute: from another, every call into them would wait for two of
        // them to wake up.
        rayon::scope(|_| self.train(&mut session))
    }

    /// Trains, shows and records.
    fn train(&self, session: &mut Session<T>) -> anyhow::Result<ExitCode> {
        let args = self.args;
        let signals = Signals::register().context("cannot listen to signals")?;
        if args.stop_on_eof {
            signals.stop_on_eof();
        }
        // A sweep that was killed before it noted it asks again for a pause that was made.
        let is_paused = |epochs: usize| args.pause_after.is_some_and(|pause| epochs >= pause);
        if is_paused(session.history().len()) {
            return Ok(ExitCode::SUCCESS);
        }
        let (epochs, batches) = (session.trainer().config().epochs, session.trainer().batches());
        let device = device::name(self.device);
        let processes = match args.team.size() {
            1 => String::new(),
            size => {
                let threads = screen::counted(rayon::current_num_threads(), "thread");
                format!(", {size} processes ({threads} in rank 0)")
            }
        };
        args.say(&format!(
            "training on {device}{processes}: epochs {epochs}, batches {batches} each"
        ))?;
        let began = Instant::now();
        let done = session.trainer().step_count();
        let mut progress = screen::TrainProgress::new(epochs, batches, done as usize, args.quiet);
        let ends_epoch = session.trainer().position().batch == batches;
        let mut events = report::EventFile::create(session.path(), done, ends_epoch)?;
        let mut failed = None;
        let outcome = session.run(&mut |event| {
            let shown = match event {
                Event::Step { epoch, batch, batches, examples, loss } => {
                    progress.step(*epoch, *batch, *batches, *examples, *loss);
                    Ok(())
                }
                Event::Epoch(metrics) => progress.pause(|| {
                    let shown = if args.json {
                        screen::json(metrics)
                    } else {
                        args.say(&screen::epoch_line(metrics, epochs))
                    };
                    shown.context("cannot write to stdout")
                }),
                Event::Done => Ok(()),
            };
            match shown.and_then(|()| Ok(events.record(event)?)) {
                Ok(()) if signals.pending().is_some() => ControlFlow::Break(()),
                Ok(()) => match event {
                    Event::Epoch(metrics) if is_paused(metrics.epoch) => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                },
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        progress.finish();
        let run = screen::quoted(session.path());
        if let Some(error) = failed {
            outcome?;
            screen::note(&format!("stopped and saved: continue with --resume --out {run}"));
            return Err(error);
        }
        let outcome = outcome?;
        if !args.team.is_alone() {
            let (waited, exchanged) = args.team.seconds();
            args.say(&format!(
                "{} processes: of {:.2} s, {waited:.2} s waiting for each other and {exchanged:.2} s exchanging gradients",
                args.team.size(),
                began.elapsed().as_secs_f64()
            ))?;
        }
        match (outcome, signals.pending()) {
            (Outcome::Interrupted, None) if args.pause_after.is_some() => {
                args.say(&format!("paused after epoch {}; saved", session.history().len()))?;
                Ok(ExitCode::SUCCESS)
            }
            (Outcome::Interrupted, signal) => {
                screen::note(&format!("interrupted and saved: continue with --resume --out {run}"));
                // Another process may have had the signal.
                Ok(ExitCode::from(128 + signal.unwrap_or(SIGTERM_NUMBER)))
            }
            (Outcome::OutOfTime, _) => {
                let step = session.trainer().step_count();
                screen::note(&format!(
                    "time is up after step {step}; saved: continue with --resume --out {run}"
                ));
                Ok(ExitCode::SUCCESS)
            }
            _ => {
                (self.report)(session)?;
                let lines = (self.show)(session)?;
                lines.iter().try_for_each(|line| args.say(line))?;
                if let Some(kept) = kept(session) {
                    args.say(&kept)?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Trains with the process that has the run directory.
fn follow<T: RunTask + Send>(task: T, args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::register().context("cannot listen to signals")?;
    let mut is_told = || signals.pending().is_some();
    rayon::scope(|_| run::follow(task, &args.team, &mut is_told))?;
    Ok(ExitCode::SUCCESS)
}

/// A line for a run that was finished before: how it can be trained further.
fn finished<T: RunTask>(session: &Session<T>) -> String {
    let TrainerConfig { epochs, schedule, .. } = *session.trainer().config();
    let done = session.history().len();
    let how = if done < epochs {
        format!("early stopping ended it after epoch {done}, and a larger --patience")
    } else if schedule.depends_on_length() {
        format!("{done} epochs are done, and --extend with a larger --epochs")
    } else {
        format!("{done} epochs are done, and a larger --epochs")
    };
    format!("this run is finished: {how} trains it on")
}

/// A line about the epoch whose weights a run with patience keeps, and why.
fn kept<T: RunTask>(session: &Session<T>) -> Option<String> {
    let trainer = session.trainer().config();
    let (kept, patience) = session.kept().zip(trainer.patience)?;
    let history = session.history();
    let measure = match kept.valid_accuracy {
        Some(accuracy) => format!("validation accuracy {accuracy:.4}"),
        None => format!("validation loss {:.4}", kept.valid_loss),
    };
    let best = run::best_of(history).filter(|best| best.is_better_than(kept));
    let note = best.map_or(String::new(), |metrics| {
        format!("; the weights of epoch {}, which was better, cannot be read", metrics.epoch)
    });
    let ended = if history.len() < trainer.epochs {
        format!(
            "stopped early after epoch {}: no lower validation loss for {}",
            history.len(),
            screen::counted(patience, "epoch")
        )
    } else {
        format!("trained all {}", screen::counted(history.len(), "epoch"))
    };
    Some(format!("best epoch: {} ({measure}), kept; {ended}{note}", kept.epoch))
}
