//! The steps of a trainer that are recorded: several are made before their losses are read.

use std::time::Instant;

use super::finite::StepAt;
use super::micro_batches::MicroBatch;
use super::step_graphs::{RecordedSteps, RING, WARM_UP};
use super::trainer::Trainer;
use super::{Event, Task};
use crate::recurrence::check_teams;
use crate::{Error, Result};

#[cfg(test)]
mod tests;

impl<T: Task> Trainer<T> {
    /// How many steps are made whose events are still to come: with [`gpu_graph`](super::TrainerConfig::gpu_graph) the trainer
    /// makes several, and then reads their losses. [`state`](Self::state), [`position`](Self::position) and
    /// [`step_count`](Self::step_count) are those after the last of them.
    pub fn steps_ahead(&self) -> usize {
        self.recorded.as_ref().map_or(0, |recorded| recorded.events.len())
    }

    /// Lets the trainer hand out all events after each multiple of so many steps, before it makes others: for a caller that
    /// saves there. `None`, at the beginning: after each epoch.
    pub fn stop_every(&mut self, steps: Option<u64>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.stop_every = steps;
        }
    }

    /// Whether a step of the epoch is one that is recorded: its size has been made by itself often enough, and a neighbour
    /// has it too, unlike a last, smaller batch.
    pub(super) fn is_recorded(&self, recorded: &RecordedSteps<T>, index: usize) -> bool {
        let examples = |index: usize| self.range(index).len();
        let own = examples(index);
        let has_size = |other: usize| other < self.batches() && examples(other) == own;
        let is_warm = recorded.warm_ups.get(&own).is_some_and(|steps| *steps >= WARM_UP);
        is_warm && (has_size(index + 1) || index.checked_sub(1).is_some_and(has_size))
    }

    /// Makes steps that are recorded, reads their losses and returns the first one's event.
    ///
    /// # Errors
    /// Those of the first step. Those of others come with the events, in their place.
    pub(super) fn make_recorded(
        &mut self,
        recorded: &mut RecordedSteps<T>,
        start: Instant,
    ) -> Result<Event> {
        let (first, batch) = (self.step_count(), self.position.batch);
        let mut sizes = Vec::with_capacity(RING);
        let mut gave_up = None;
        let failed = loop {
            // A recorded step does not look by itself.
            if let Err(error) = check_teams(self.task.device()) {
                gave_up = Some(error);
                break None;
            }
            match self.make_recorded_step(recorded, sizes.len()) {
                Ok(examples) => sizes.push(examples),
                Err(error) if sizes.is_empty() => return Err(error),
                Err(error) => break Some(error),
            }
            let next = self.position.batch;
            let stops = |every: u64| self.step_count().is_multiple_of(every);
            if sizes.len() == RING
                || next == self.batches()
                || recorded.stop_every.is_some_and(stops)
                || !self.is_recorded(recorded, next)
            {
                break None;
            }
        };
        let losses = recorded.losses.to_vec1::<f32>()?;
        let mut gave_up = gave_up.or_else(|| check_teams(self.task.device()).err());
        let (epoch, batches) = (self.position.epoch + 1, self.batches());
        for (slot, (examples, loss)) in sizes.into_iter().zip(losses).enumerate() {
            let at = StepAt { step: first + slot as u64, epoch, batch: batch + slot + 1 };
            if !loss.is_finite() {
                // Those behind it began with such weights.
                let why = gave_up.take().unwrap_or_else(|| at.not_finite("the loss"));
                recorded.events.push_back(Err(why));
                break;
            }
            let loss = f64::from(loss);
            self.position.loss_sum += loss * self.share(examples);
            let step = Event::Step { epoch, batch: at.batch, batches, examples, loss };
            recorded.events.push_back(Ok(step));
        }
        // Of a team that gave up in a gradient, the losses are those of before.
        recorded.events.extend(gave_up.or(failed).map(Err));
        self.position.seconds += start.elapsed().as_secs_f64();
        let nothing = || Err(Error::Config("a step needs at least one example".into()));
        recorded.next_event().unwrap_or_else(nothing)
    }

    fn make_recorded_step(
        &mut self,
        recorded: &mut RecordedSteps<T>,
        slot: usize,
    ) -> Result<usize> {
        let mut step = self.taken_step(self.position.batch)?;
        let examples = step.examples();
        let Some(MicroBatch { batch, .. }) = step.own.pop() else {
            return Err(Error::Config("a step needs at least one example".into()));
        };
        let rate = self.learning_rate(self.step_count());
        self.engine.begin_recorded(rate)?;
        recorded.launch(&self.task, &mut self.engine, batch, examples, slot)?;
        self.position.batch += 1;
        Ok(examples)
    }
}
