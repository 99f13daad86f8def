//! The training loop, one optimizer step at a time.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::engine::StepEngine;
use super::finite::StepAt;
use super::micro_batches::StepParts;
use super::step_graphs::RecordedSteps;
use super::{Best, Classification, Event, Position, Task, TrainConfig, TrainerConfig};
use crate::data::batches::Batching;
use crate::data::mnist::Mnist;
use crate::distributed::Team;
use crate::model::SequenceClassifier;
use crate::optim::{Adam, AdamConfig};
use crate::recurrence::gpu::recorder;
use crate::recurrence::runs_on_cpu;
use crate::rng::{Purpose, SeededRng};
use crate::{Error, Result};

/// Trains a [`Task`], by default the [`Classification`] of images.
///
/// Call [`next_event`](Self::next_event) until it returns [`Event::Done`], or go through
/// [`events`](Self::events).
///
/// ```
/// use candle_core::Device;
/// use candle_rnn::data::mnist::Mnist;
/// use candle_rnn::train::{Event, TrainConfig, Trainer, TrainerConfig};
/// # #[cfg(feature = "sample")]
/// # fn main() -> candle_rnn::Result<()> {
/// let trainer = TrainerConfig { epochs: 1, ..TrainerConfig::default() };
/// let config = TrainConfig { trainer, ..TrainConfig::default() };
/// let mut trainer = Trainer::classifier(&config, Mnist::sample()?, &Device::Cpu)?;
/// for event in trainer.events() {
///     match event? {
///         Event::Step { batch, loss, .. } => println!("batch {batch}: {loss:.3}"),
///         Event::Epoch(metrics) => println!("validation loss {:.3}", metrics.valid_loss),
///         Event::Done => {}
///     }
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sample"))]
/// # fn main() {}
/// ```
pub struct Trainer<T: Task = Classification> {
    pub(super) task: T,
    pub(super) config: TrainerConfig,
    pub(super) engine: StepEngine,
    pub(super) shuffle: SeededRng,
    pub(super) augment: SeededRng,
    pub(super) position: Position,
    /// With patience, the best epoch so far.
    pub(super) best: Option<Best>,
    /// The order of the training examples in this epoch; empty between epochs.
    pub(super) order: Vec<u32>,
    /// The batches of a step of this epoch, gathered ahead, and its index.
    pub(super) next: Option<(usize, StepParts<T>)>,
    /// The ranks that share the steps out.
    pub(super) team: Team,
    /// The steps that a GPU records, with `gpu_graph`.
    pub(super) recorded: Option<RecordedSteps<T>>,
}

impl<T: Task> Trainer<T> {
    /// A trainer before its first step.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range or nothing to train on, [`Error::DType`] for variables
    /// that are not float, [`Error::Candle`] when the device fails.
    pub fn new(task: T, config: TrainerConfig) -> Result<Self> {
        config.check()?;
        if task.examples() == 0 || u32::try_from(task.examples()).is_err() {
            let examples = task.examples();
            return Err(Error::Config(format!("cannot train on {examples} examples")));
        }
        let record = || RecordedSteps::new(recorder(task.device())?, &task);
        let recorded = config.gpu_graph.then(record).transpose()?;
        let adam = AdamConfig {
            learning_rate: config.learning_rate,
            weight_decay: config.weight_decay,
            ..AdamConfig::default()
        };
        // A device would have to be waited for: gradients there are looked at only where they are to be cut.
        let checks = task.device().is_cpu();
        let mut engine = StepEngine::new(task.vars(), adam, config.seed, checks)?;
        engine.set_clip(config.clip)?;
        if let Some(decay) = config.ema {
            engine.set_average(decay)?;
        }
        Ok(Self {
            engine,
            shuffle: SeededRng::new(config.seed, Purpose::Shuffle),
            augment: SeededRng::new(config.seed, Purpose::Augment),
            position: Position::default(),
            best: None,
            order: Vec::new(),
            next: None,
            team: Team::default(),
            recorded,
            config,
            task,
        })
    }

    /// Makes the next optimizer step, or ends the epoch whose batches are all done.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a loss, a gradient or the square of one is NaN or infinite: nothing has changed
    /// then; it names the weight if one is, since the step before. On a device gradients are looked at where they are to be cut;
    /// elsewhere the next loss tells. With [`gpu_graph`](TrainerConfig::gpu_graph) steps behind that of a loss may have been made:
    /// the weights are not to be kept then. [`Error::Candle`] when Candle fails.
    pub fn next_event(&mut self) -> Result<Event> {
        if let Some(event) = self.recorded.as_mut().and_then(RecordedSteps::next_event) {
            return event;
        }
        if self.is_done() {
            return Ok(Event::Done);
        }
        let start = Instant::now();
        if self.order.is_empty() {
            self.begin_epoch()?;
        }
        if self.position.batch == self.batches() {
            return self.end_epoch();
        }
        let index = self.position.batch;
        if let Some(mut recorded) = self.recorded.take() {
            let event = self
                .is_recorded(&recorded, index)
                .then(|| self.make_recorded(&mut recorded, start));
            self.recorded = Some(recorded);
            if let Some(event) = event {
                return event;
            }
        }
        let step = self.taken_step(index)?;
        let examples = step.examples();
        // What the next step needs is gathered by whichever thread has nothing else to do.
        let ((summed, next), attempt) = {
            let next = (index + 1 < self.batches()).then_some(index + 1);
            let gather_next = || next.map(|next| self.micro_batches(next)).transpose();
            let mut attempt = self.engine.attempt();
            let mut sum = || self.computed(&step, &mut attempt);
            // On a device a thread may have a stream of launches of its own, behind which another
            // thread's do not wait: there everything goes one after the other.
            let joined = if runs_on_cpu(self.task.device()) {
                rayon::join(&mut sum, gather_next)
            } else {
                (sum(), gather_next())
            };
            (joined, attempt)
        };
        let (next, summed) = match next {
            Ok(next) => (next, summed),
            Err(error) => (None, summed.and(Err(error))),
        };
        let (grads, loss) = self.exchanged(summed, &step)?;
        self.next = next.map(|step| (index + 1, step));
        let (at, rate) = (self.at(index + 1), self.learning_rate(self.step_count()));
        let stepped = self.engine.step(at, grads, rate, attempt);
        stepped.map_err(|error| self.cause(error))?;
        self.position.batch += 1;
        self.position.dropout = self.engine.dropout_position();
        self.position.loss_sum += loss * self.share(examples);
        self.position.seconds += start.elapsed().as_secs_f64();
        if let Some(recorded) = &mut self.recorded {
            recorded.note_single(examples);
        }
        Ok(Event::Step {
            epoch: self.position.epoch + 1,
            batch: self.position.batch,
            batches: self.batches(),
            examples,
            loss,
        })
    }

    /// All events from here on, up to and with [`Event::Done`]; an error is the last.
    pub fn events(&mut self) -> impl Iterator<Item = Result<Event>> + '_ {
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let event = self.next_event();
            ended = !matches!(event, Ok(Event::Step { .. } | Event::Epoch(_)));
            Some(event)
        })
    }

    /// How an epoch is cut into batches.
    pub(super) fn batching(&self) -> Batching {
        self.config.batching.unwrap_or_default()
    }

    /// Optimizer steps in an epoch.
    pub fn batches(&self) -> usize {
        self.batching().count(self.task.examples(), self.step_size())
    }

    /// The number of examples in a step that `batch_size` and `accumulate` ask for.
    pub(super) fn step_size(&self) -> usize {
        self.config.batch_size.saturating_mul(self.config.accumulate)
    }

    /// Optimizer steps done.
    pub fn step_count(&self) -> u64 {
        self.adam().step_count()
    }

    /// Whether all epochs are done, or the validation loss has stopped improving (early stopping).
    pub fn is_done(&self) -> bool {
        let is_tired = |patience| self.position.waited >= patience;
        self.position.epoch >= self.config.epochs || self.config.patience.is_some_and(is_tired)
    }

    /// The optimizer.
    pub fn adam(&self) -> &Adam {
        self.engine.adam()
    }

    /// With [`patience`](TrainerConfig::patience), the best epoch so far with its weights, which
    /// [`restore_best`](Self::restore_best) puts in place; `None` without patience or before the first epoch's end.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// Where the trainer is.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Takes other settings: a run's that goes on with more epochs or more patience.
    pub(crate) fn set_config(&mut self, config: TrainerConfig) {
        self.config = config;
    }

    /// The settings.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// The task; it changes with every step.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Runs `measure` on the task as it is measured: with the averages of the weights in their place, if
    /// there are some.
    ///
    /// # Errors
    /// Those of `measure`, and [`Error::Candle`] when weights cannot be exchanged.
    pub fn measured<R>(&self, measure: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        let Some(average) = self.engine.average() else { return measure(&self.task) };
        self.measured_with(average, measure)
    }

    /// Runs `measure` on the task with `weights` in the place of its own.
    pub(crate) fn measured_with<R>(
        &self,
        weights: &BTreeMap<String, Tensor>,
        measure: impl FnOnce(&T) -> Result<R>,
    ) -> Result<R> {
        self.engine.with_weights(weights, || measure(&self.task))
    }

    /// The first cause of an error: where a weight is not finite, loss and gradients are not either.
    pub(super) fn cause(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { .. } => match self.weights() {
                Err(sooner @ Error::NotFinite { .. }) => sooner,
                _ => error,
            },
            other => other,
        }
    }

    pub(super) fn not_finite(&self, what: &str, batch: usize) -> Error {
        self.at(batch).not_finite(what)
    }

    pub(super) fn at(&self, batch: usize) -> StepAt {
        StepAt { step: self.step_count(), epoch: self.position.epoch + 1, batch }
    }
}

impl Trainer<Classification> {
    /// A trainer of a classifier with these settings, before its first step.
    ///
    /// # Errors
    /// As [`Classification::new`].
    pub fn classifier(config: &TrainConfig, data: Mnist, device: &Device) -> Result<Self> {
        let task = Classification::new(config, data, device)?;
        let config = task.config().training.trainer.clone();
        Self::new(task, config)
    }

    /// The model; it transforms with every step.
    pub fn model(&self) -> &SequenceClassifier {
        self.task().model()
    }
}
