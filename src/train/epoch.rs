//! The beginning and the end of a trainer's epoch, and the learning rate of its steps.

use super::metrics::named_metrics;
use super::trainer::Trainer;
use super::{Best, EpochMetrics, Event, Position, Task, TrainerConfig};
use crate::data::batches::Batching;
use crate::optim::{Progress, PLATEAU_EPOCHS};
use crate::rng::{Purpose, SeededRng};
use crate::{Error, Result};

impl<T: Task> Trainer<T> {
    /// The learning rate of the step of this epoch that `step` steps come before.
    pub(super) fn learning_rate(&self, step: u64) -> f64 {
        let TrainerConfig { schedule, warmup, epochs, learning_rate, .. } = self.config;
        let epoch = self.position.epoch;
        let (first, end) = self.config.extensions.segment(epoch, epochs);
        let steps = |epochs: usize| epochs.saturating_mul(self.batches()) as u64;
        let progress = Progress {
            step: step.saturating_sub(steps(first)),
            steps: steps(end - first),
            epoch: epoch - first,
            epochs: end - first,
            plateaus: self.position.plateaus,
        };
        let warmup =
            if first == 0 { warmup.unwrap_or_else(|| schedule.default_warmup()) } else { 0. };
        learning_rate * schedule.factor(warmup, progress)
    }

    /// Draws the epoch's order. The same position gives the same order, so that an epoch that was
    /// interrupted continues with the batches that it lacks.
    pub(super) fn begin_epoch(&mut self) -> Result<()> {
        self.position.shuffle = self.shuffle.position() as u64;
        let examples = self.task.examples() as u32;
        self.order = if self.task.is_sequential() {
            (0..examples).collect()
        } else {
            self.shuffle.permutation(examples)
        };
        // Far more numbers than an epoch draws lie between its beginning and the next one's.
        let mut rng = SeededRng::new(self.config.seed, Purpose::Bucket);
        rng.set_position((self.position.epoch as u128) << 40);
        let step_size = self.step_size();
        self.task.arrange(&mut self.order, step_size, &mut rng);
        let arranged = self.order.len();
        if arranged != examples as usize {
            self.order.clear();
            self.shuffle.set_position(u128::from(self.position.shuffle));
            return Err(Error::Config(format!(
                "the task arranged an epoch of {arranged} examples, but it has {examples}"
            )));
        }
        self.position.augment = self.augment.position() as u64;
        self.task.begin_epoch(&mut self.augment);
        Ok(())
    }

    /// How much the loss of a step on so many examples counts in the mean over an epoch: where the last batch is
    /// smaller, examples count alike; batches whose sizes differ by one count alike.
    pub(super) fn share(&self, examples: usize) -> f64 {
        match self.batching() {
            Batching::Split => 1.,
            Batching::Exact => (examples * self.batches()) as f64 / self.task.examples() as f64,
        }
    }

    /// Validates, and goes on to the next epoch.
    pub(super) fn end_epoch(&mut self) -> Result<Event> {
        let batches = self.batches();
        let [last, valid] = self.scores()?;
        let metrics = EpochMetrics {
            epoch: self.position.epoch + 1,
            loss_batch: last.loss,
            acc_batch: last.accuracy,
            train_loss: self.position.loss_sum / batches as f64,
            valid_loss: valid.loss,
            valid_accuracy: valid.accuracy,
            seconds: self.position.seconds,
            examples_per_second: self.task.examples() as f64 / self.position.seconds,
            // Not what the optimizer has: a trainer that was restored here has made no step.
            learning_rate: self.learning_rate(self.step_count().saturating_sub(1)),
            valid_accuracy_by_step: valid.accuracy_by_step,
            metrics: named_metrics(valid.metrics)?,
        };
        let is_best = |best: &Best| metrics.is_better_than(&best.metrics);
        let keeps_best = self.config.patience.is_some() && self.team.leads();
        if keeps_best && self.best.as_ref().is_none_or(is_best) {
            let (metrics, weights) = (metrics.clone(), self.measured_weights()?);
            self.best = Some(Best { metrics, weights });
        }
        self.order.clear();
        self.next = None;
        self.engine.carried_mut().reset();
        let Position { best_loss, waited, plateaus, .. } = self.position;
        let is_better = best_loss.is_none_or(|best| valid.loss < best);
        let waited = if is_better { 0 } else { waited + 1 };
        let is_plateau = waited > 0 && waited.is_multiple_of(PLATEAU_EPOCHS);
        // The added epochs have the patience anew.
        let is_restart = self.config.extensions.restarts_after(self.position.epoch + 1);
        let waited = if is_restart { 0 } else { waited };
        self.position = Position {
            epoch: self.position.epoch + 1,
            shuffle: self.shuffle.position() as u64,
            dropout: self.engine.dropout_position(),
            augment: self.augment.position() as u64,
            best_loss: if is_better { Some(valid.loss) } else { best_loss },
            waited,
            plateaus: plateaus + u32::from(is_plateau),
            ..Position::default()
        };
        Ok(Event::Epoch(metrics))
    }
}
