//! Micro-batches: the parts of a step, whose gradients are added up.

use std::ops::Range;

use candle_core::backprop::GradStore;

use super::Task;

/// A batch, one of those whose gradients are added up for a step.
pub(super) struct MicroBatch<T: Task> {
    pub(super) batch: T::Batch,
    /// Where its examples stand in the order of the epoch.
    pub(super) place: Range<usize>,
    /// The fraction of the step's mean loss that it contributes.
    pub(super) share: f64,
}

/// The parts of a step that a process computes.
pub(super) struct StepParts<T: Task> {
    /// Where the examples of all parts stand in the order of the epoch.
    pub(super) places: Vec<Range<usize>>,
    /// The fraction of the step's mean loss that each part contributes: together 1.
    pub(super) shares: Vec<f64>,
    /// The parts that this process computes: neighbours.
    pub(super) own: Vec<MicroBatch<T>>,
}

impl<T: Task> StepParts<T> {
    /// The number of examples of all parts.
    pub(super) fn examples(&self) -> usize {
        self.places.iter().map(Range::len).sum()
    }
}

/// The gradients of what a process has computed of a step.
pub(super) enum Computed {
    /// The gradients of the mean loss over all parts, with that loss.
    Sum(GradStore, f64),
    /// The gradients of some parts of several.
    Parts {
        /// The gradients of each part: of all variables that have one, one behind the other in the order of their names;
        /// empty for a part without a share.
        flat: Vec<Vec<u8>>,
        /// The mean loss of each.
        losses: Vec<f64>,
        /// Whether each variable has a gradient.
        present: Vec<bool>,
    },
}
