//! How a trainer cuts a step into batches and parts, and how much each part counts.

use std::ops::Range;

use super::micro_batches::{MicroBatch, StepParts};
use super::{Task, Trainer};
use crate::data::batches::array_split;
use crate::{Error, Result};

impl<T: Task> Trainer<T> {
    /// Where the examples of a step are in the order of the epoch that has begun.
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        self.batching().range(self.order.len(), self.step_size(), index)
    }

    /// Where the examples of the batches of a step are in the order of the epoch that has begun.
    pub(super) fn batch_places(&self, index: usize) -> Vec<Range<usize>> {
        let range = self.range(index);
        // A single batch may exceed its size, where the settings ask for equal batches.
        if self.config.accumulate == 1 {
            return vec![range];
        }
        let batches = self.batching().parts(range.len(), self.config.batch_size).into_iter();
        batches.map(|batch| range.start + batch.start..range.start + batch.end).collect()
    }

    /// Where the examples of the parts of a step are in the order of the epoch that has begun.
    fn places(&self, index: usize) -> Vec<Range<usize>> {
        let parts = |batch: Range<usize>| {
            let parts = self.config.parts.min(batch.len()).max(1);
            (0..parts).map(move |part| {
                let part = array_split(batch.len(), parts, part);
                batch.start + part.start..batch.start + part.end
            })
        };
        self.batch_places(index).into_iter().flat_map(parts).collect()
    }

    /// The fraction of a step's mean loss that each of its parts contributes.
    ///
    /// # Errors
    /// [`Error::Config`] for weights of a task that are no numbers from 0 on, or of which none is above 0.
    fn shares(&self, places: &[Range<usize>]) -> Result<Vec<f64>> {
        // A single part is not weighed: its own loss is the step's.
        if places.len() == 1 {
            return Ok(vec![1.]);
        }
        let weights = places.iter().map(|place| self.task.weight(&self.order[place.clone()]));
        let weights: Vec<f64> = weights.collect();
        let is_wrong = |weight: f64| !(weight >= 0. && weight.is_finite());
        if let Some((place, weight)) =
            places.iter().zip(&weights).find(|(_, weight)| is_wrong(**weight))
        {
            let examples = place.len();
            return Err(Error::Config(format!(
                "the weight of {examples} examples is {weight}: a task's weights must be finite and at least 0"
            )));
        }
        let total: f64 = weights.iter().sum();
        if !(total > 0. && total.is_finite()) {
            let (examples, parts) = (places.iter().map(Range::len).sum::<usize>(), places.len());
            return Err(Error::Config(format!(
                "the weights of the {parts} parts of a step of {examples} examples sum to {total}: they must give a \
                 finite sum above 0, as of examples with labels"
            )));
        }
        Ok(weights.into_iter().map(|weight| weight / total).collect())
    }

    /// The parts of a step, which may have been gathered ahead.
    pub(super) fn taken_step(&mut self, index: usize) -> Result<StepParts<T>> {
        match self.next.take() {
            Some((at, step)) if at == index => Ok(step),
            _ => self.micro_batches(index),
        }
    }

    /// The parts of a step of the epoch that has begun, with the batches of those that are this process'.
    pub(super) fn micro_batches(&self, index: usize) -> Result<StepParts<T>> {
        let places = self.places(index);
        let shares = self.shares(&places)?;
        let own = self.team.shares(places.len()).of(self.team.rank());
        let own = places[own.clone()].iter().zip(&shares[own]).map(|(place, share)| {
            let batch = self.batch_at(place)?;
            Ok(MicroBatch { batch, place: place.clone(), share: *share })
        });
        Ok(StepParts { own: own.collect::<Result<_>>()?, places, shares })
    }

    /// The examples at a place of the epoch's order.
    pub(super) fn batch_at(&self, place: &Range<usize>) -> Result<T::Batch> {
        self.task.batch(&self.order[place.clone()], place.start)
    }
}
