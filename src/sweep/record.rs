//! The record of a trial of a sweep: its metrics and its error.

use crate::run::best_of;
use crate::train::EpochMetrics;

/// The record of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialRecord {
    /// The metrics of its epochs so far, as far as they were saved.
    pub history: Vec<EpochMetrics>,
    /// Whether it was trained to its end.
    pub is_finished: bool,
    /// Why it failed, in one line.
    pub error: Option<String>,
}

impl TrialRecord {
    /// Whether it has come to the end of a round that ends after so many epochs, or to its own.
    pub fn has_reached(&self, epochs: Option<usize>) -> bool {
        self.is_finished || epochs.is_some_and(|epochs| self.history.len() >= epochs)
    }

    /// Its best epoch, of the first so many.
    pub fn best(&self, epochs: Option<usize>) -> Option<&EpochMetrics> {
        let count = epochs.map_or(self.history.len(), |epochs| epochs.min(self.history.len()));
        best_of(&self.history[..count])
    }
}
