//! Metrics of an epoch.

use serde::{Deserialize, Serialize};

/// How well a model does on some examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean loss.
    pub loss: f64,
    /// The part of the examples that it is right about, in `[0, 1]`, where there is a right or wrong.
    pub accuracy: Option<f64>,
    /// The same after each step, where the loss is read at several.
    pub accuracy_by_step: Option<Vec<f64>>,
}

/// What is measured in an epoch: a line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean loss of the last batch, after the epoch; of the last step.
    pub loss_batch: f64,
    /// Accuracy on the last batch, after the epoch, in `[0, 1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc_batch: Option<f64>,
    /// Mean of the losses of the epoch's batches, each before its optimizer step, weighted by their examples
    /// where batches have an exact size; of all steps that the loss is read at.
    pub train_loss: f64,
    /// Mean loss on the validation split; of the last step.
    pub valid_loss: f64,
    /// Accuracy on the validation split, in `[0, 1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_accuracy: Option<f64>,
    /// Seconds of training alone, without validation.
    pub seconds: f64,
    /// Training examples per second of training.
    pub examples_per_second: f64,
    /// Adam's learning rate in the epoch's last step.
    pub learning_rate: f64,
    /// Accuracy on the validation split after each step, where the loss is read at several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_accuracy_by_step: Option<Vec<f64>>,
}

impl EpochMetrics {
    /// Whether this epoch's model is better than `other`'s: it is right more often or, where there is no
    /// right or wrong, its loss is lower.
    pub fn is_better_than(&self, other: &Self) -> bool {
        match (self.valid_accuracy, other.valid_accuracy) {
            (Some(accuracy), Some(other)) => accuracy > other,
            _ => self.valid_loss < other.valid_loss,
        }
    }
}
