//! `Event`, what a trainer hands out.

use super::EpochMetrics;

/// An event of a trainer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One optimizer step.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// The batch within the epoch, from 1.
        batch: usize,
        /// Batches in an epoch.
        batches: usize,
        /// Examples in this batch.
        examples: usize,
        /// Mean loss of the batch before the step.
        loss: f64,
    },
    /// The end of an epoch, with validation.
    Epoch(EpochMetrics),
    /// All epochs are done, or the validation loss has stopped improving (early stopping).
    Done,
}
