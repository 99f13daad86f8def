//! `Session`, a trainer with its run directory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::task::{check_weights, identity, RunTask, TaskConfig};
use super::{best_of, read_weights};
use super::{Checkpoint, IfExists, RunConfig, RunDir};
use crate::distributed::Team;
use crate::recurrence;
use crate::train::{Best, Classification, EpochMetrics, Event, Task, Trainer, TrainerState};
use crate::{Error, Result};

/// Trains a task, by default the classifier of images, and saves so that nothing but the steps since the last save can be lost.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use candle_core::Device;
/// use candle_rnn::data::mnist::Mnist;
/// use candle_rnn::run::{DataConfig, IfExists, ImageConfig, Session, SessionConfig};
/// use candle_rnn::train::{Event, TrainConfig, TrainerConfig};
/// # #[cfg(feature = "sample")]
/// # fn main() -> candle_rnn::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let run = folder.path();
///
/// let data = Mnist::sample()?;
/// let trainer = TrainerConfig { epochs: 2, ..TrainerConfig::default() };
/// let training = TrainConfig { trainer, ..TrainConfig::default() };
/// let config = ImageConfig::new(training, DataConfig::new(&data, Some("sample".into())));
/// // Goes on where a run in that folder was interrupted.
/// let keeping = SessionConfig { if_exists: IfExists::Resume, ..SessionConfig::default() };
/// let (mut session, _start) = Session::images(run, config, data, &Device::Cpu, keeping)?;
/// session.run(&mut |event| {
///     if let Event::Epoch(metrics) = event {
///         println!("validation loss {:.3}", metrics.valid_loss);
///     }
///     ControlFlow::Continue(()) // or Break: saves, and ends
/// })?;
/// # assert!(run.join("model.safetensors").exists());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sample"))]
/// # fn main() {}
/// ```
pub struct Session<T: RunTask = Classification> {
    trainer: Trainer<T>,
    run: RunDir<T::Config>,
    history: Vec<EpochMetrics>,
    config: SessionConfig,
    /// The instruction sets that computed the steps so far.
    instruction_set: String,
}

/// How a session keeps its run; none of it changes the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionConfig {
    /// The way to deal with a folder that already holds a run.
    pub if_exists: IfExists,
    /// Optimizer steps between checkpoints; `None` saves one an epoch.
    pub save_every: Option<u64>,
    /// How many checkpoints are kept, besides the best; at least 1.
    pub keep: usize,
    /// After how long [`Session::run`] saves and ends, if it is not finished before.
    pub time_limit: Option<Duration>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { if_exists: IfExists::Refuse, save_every: None, keep: 2, time_limit: None }
    }
}

/// How a session began.
#[derive(Debug)]
pub enum Start {
    /// From the beginning.
    New {
        /// Checkpoints that could not be read, if it was to be resumed.
        damaged: Vec<Error>,
    },
    /// From a checkpoint.
    Resumed {
        /// Optimizer steps done.
        step: u64,
        /// Newer checkpoints that could not be read.
        damaged: Vec<Error>,
        /// The instruction sets of the steps so far, where this machine does not compute as all of them were:
        /// the last bits may then differ from those of an uninterrupted run.
        begun_with: Option<String>,
    },
    /// The run was finished already.
    Finished,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// It was told to stop, and saved.
    Interrupted,
    /// Its time was up, and it saved.
    OutOfTime,
}

impl Outcome {
    /// The outcome of a training that was stopped, which may have come to its end with its last step.
    pub(super) fn of_stop(is_done: bool, is_told_to_stop: bool) -> Self {
        if is_done {
            Self::Finished
        } else if is_told_to_stop {
            Self::Interrupted
        } else {
            Self::OutOfTime
        }
    }
}

impl<T: RunTask> Session<T> {
    /// Opens `path` for a run of `task`, whose weights are the initial ones. Nothing is written before settings and
    /// task proved right.
    ///
    /// # Errors
    /// As [`RunDir::open`] and [`Trainer::new`]; also [`Error::Config`] when the task's variables are not those that
    /// its configuration says.
    pub fn open(path: impl AsRef<Path>, task: T, session: SessionConfig) -> Result<(Self, Start)> {
        let path = path.as_ref();
        let SessionConfig { if_exists, keep, save_every, .. } = session;
        if save_every == Some(0) || keep == 0 {
            return Err(Error::Config("save_every and keep must be at least 1, got 0".into()));
        }
        let config = RunConfig::new(task.config().clone());
        config.task.check()?;
        check_weights(&task)?;
        let mut trainer = Trainer::new(task, config.task.trainer().clone())?;
        let (run, checkpoint, damaged) = RunDir::open(path, config, if_exists, keep)?;
        let mut instruction_set = recurrence::instruction_set(trainer.task().device())?.to_string();
        let (history, start) = match checkpoint {
            None => (Vec::new(), Start::New { damaged }),
            Some(Checkpoint {
                mut state, history, instruction_set: before, kept_epoch, ..
            }) => {
                // The run may have been given more epochs.
                trainer.set_config(run.config().task.trainer().clone());
                if trainer.config().patience.is_some() {
                    state.best = run.best(&state, &history).or_else(|| {
                        // Without its checkpoint, the weights that the finished run kept are in its own file.
                        let metrics = best_of(&history)
                            .filter(|best| kept_epoch.is_some_and(|kept| kept == best.epoch))?;
                        let weights = read_weights(path, run.config()).ok()?;
                        Some(Best { metrics: metrics.clone(), weights })
                    });
                }
                let is_kept_lost = kept_epoch.is_some() && state.best.is_none();
                trainer.restore(&state)?;
                // Epochs that ended after this checkpoint was saved will be run again; and what was
                // damaged since is whole again.
                run.write_metrics(&history)?;
                if !is_kept_lost || !trainer.is_done() {
                    run.write_weights(model_of(&trainer, &state))?;
                }
                if trainer.is_done() {
                    (history, Start::Finished)
                } else {
                    let begun_with = join(&before, &mut instruction_set).then_some(before);
                    (history, Start::Resumed { step: state.adam.step, damaged, begun_with })
                }
            }
        };
        Ok((Self { trainer, run, history, config: session, instruction_set }, start))
    }

    /// Shares the training out over the ranks of a team, of which this is rank 0; the others [`follow`](fn@super::follow).
    ///
    /// # Errors
    /// As [`Trainer::join`].
    pub fn share(&mut self, team: &Team) -> Result<()> {
        let identity = identity(self.trainer.task());
        self.trainer.join(team, &identity)
    }

    /// Trains to the end, or until `on_event` breaks, which saves a checkpoint first. In a team all ranks make one more
    /// step before they stop, and each can ask for it.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the training diverges: the last checkpoint stays as it was;
    /// [`Error::Io`] when a file cannot be written.
    pub fn run(&mut self, on_event: &mut dyn FnMut(&Event) -> ControlFlow<()>) -> Result<Outcome> {
        let start = Instant::now();
        self.trainer.stop_every(self.config.save_every);
        // The events of all steps that are made are handed out before it stops.
        let mut was_told = false;
        loop {
            let event = self.trainer.next_event()?;
            let is_ahead = self.trainer.steps_ahead() > 0;
            let saved = match &event {
                Event::Step { .. } => {
                    let due = |every| self.trainer.step_count().is_multiple_of(every);
                    let due = !is_ahead && self.config.save_every.is_some_and(due);
                    if due {
                        self.run.save_checkpoint(&self.checkpoint()?)?;
                    }
                    due
                }
                Event::Epoch(metrics) => {
                    self.history.push(metrics.clone());
                    self.save_epoch(metrics)?
                }
                Event::Done => return Ok(Outcome::Finished),
            };
            let is_told_to_stop = on_event(&event).is_break() || was_told;
            let is_out_of_time =
                self.config.time_limit.is_some_and(|limit| start.elapsed() >= limit);
            if is_ahead {
                was_told = is_told_to_stop;
                continue;
            }
            let (is_told_to_stop, is_out_of_time) =
                self.trainer.team().stops(is_told_to_stop, is_out_of_time);
            if is_told_to_stop || is_out_of_time {
                let checkpoint = self.checkpoint()?;
                self.run.write_weights(model_of(&self.trainer, &checkpoint.state))?;
                if !saved {
                    self.run.save_checkpoint(&checkpoint)?;
                }
                return Ok(Outcome::of_stop(self.trainer.is_done(), is_told_to_stop));
            }
        }
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer<T> {
        &self.trainer
    }

    /// The metrics of all epochs so far.
    pub fn history(&self) -> &[EpochMetrics] {
        &self.history
    }

    /// The epoch whose weights `model.safetensors` holds, once a run with patience is finished: the best one whose
    /// weights are there. `None` where it holds the weights after the last step.
    pub fn kept(&self) -> Option<&EpochMetrics> {
        kept(&self.trainer)
    }

    /// Runs `measure` on the task with the weights of `model.safetensors`.
    ///
    /// # Errors
    /// As [`Trainer::measured`].
    pub fn measured<R>(&self, measure: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        match self.trainer.best().filter(|_| self.kept().is_some()) {
            Some(best) => self.trainer.measured_with(&best.weights, measure),
            None => self.trainer.measured(measure),
        }
    }

    /// Run directory, or a checkpoint of it.
    pub fn run_dir(&self) -> &RunDir<T::Config> {
        &self.run
    }

    /// The path of the run directory.
    pub fn path(&self) -> &Path {
        self.run.path()
    }

    /// Writes what an epoch's end changes, the checkpoint last: where it is, so is the rest.
    fn save_epoch(&self, metrics: &EpochMetrics) -> Result<bool> {
        let checkpoint = self.checkpoint()?;
        self.run.write_metrics(&self.history)?;
        self.run.write_weights(model_of(&self.trainer, &checkpoint.state))?;
        let earlier = &self.history[..self.history.len() - 1];
        if earlier.iter().all(|earlier| metrics.is_better_than(earlier)) {
            self.run.save_best(&checkpoint)?;
        }
        let due = self.config.save_every.is_none() || self.trainer.is_done();
        if due {
            self.run.save_checkpoint(&checkpoint)?;
        }
        Ok(due)
    }

    fn checkpoint(&self) -> Result<Checkpoint<T::Config>> {
        Ok(Checkpoint {
            config: self.run.config().clone(),
            state: self.trainer.state()?,
            history: self.history.clone(),
            instruction_set: self.instruction_set.clone(),
            kept_epoch: self.kept().map(|metrics| metrics.epoch),
        })
    }
}

/// The epoch that a finished run with patience keeps.
fn kept<T: Task>(trainer: &Trainer<T>) -> Option<&EpochMetrics> {
    trainer.best().filter(|_| trainer.is_done()).map(|best| &best.metrics)
}

/// The weights that `model.safetensors` holds when a trainer has come to this state.
fn model_of<'a, T: Task>(
    trainer: &'a Trainer<T>,
    state: &'a TrainerState,
) -> &'a BTreeMap<String, Tensor> {
    let best = trainer.best().filter(|_| trainer.is_done());
    best.map_or_else(|| state.model(), |best| &best.weights)
}

/// Puts the instruction sets of earlier steps before this session's; whether they are others.
fn join(before: &str, now: &mut String) -> bool {
    if before.is_empty() || before == now {
        return false;
    }
    let is_named = before.split(", ").any(|name| name == now);
    *now = if is_named { before.to_string() } else { format!("{before}, {now}") };
    true
}
