//! Metrics of an epoch.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::evaluate::Accumulator;
use crate::{Error, Result};

/// How well a model does on some examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean loss.
    pub loss: f64,
    /// The part of the examples that it is right about, in `[0, 1]`, where there is a right or wrong.
    pub accuracy: Option<f64>,
    /// The same after each step, where the loss is read at several.
    pub accuracy_by_step: Option<Vec<f64>>,
    /// Other measures by name, such as `rmse`; those that are undefined, or not finite, are left out.
    pub metrics: BTreeMap<String, f64>,
}

impl Score {
    /// The mean cross-entropy, in nats, and the accuracy of a classifier.
    ///
    /// - `logits`: `(N, C)`
    /// - `labels`: `(N,)`, `u32`, each less than C
    ///
    /// # Errors
    /// [`Error::Shape`] when the sizes disagree or N is 0, [`Error::Config`] for a label that is no class,
    /// [`Error::Candle`] for labels that are not `u32`.
    pub fn from_logits(logits: &Tensor, labels: &Tensor) -> Result<Self> {
        let (count, classes) = logits.dims2()?;
        let labels = labels.to_vec1::<u32>()?;
        if labels.len() != count || count == 0 {
            return Err(Error::Shape {
                op: "score",
                tensor: "labels",
                expected: format!("({},)", count.max(1)),
                actual: vec![labels.len()],
            });
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            return Err(Error::Config(format!("a label must be less than {classes}, got {label}")));
        }
        let mut accumulator = Accumulator::default();
        accumulator.add(logits, labels.into_iter().map(|label| label as usize))?;
        let found = accumulator.evaluation();
        Ok(Self { loss: found.loss, accuracy: Some(found.accuracy), ..Self::default() })
    }
}

/// The measures of a validation as an epoch's metrics name them: `valid_rmse` for `rmse`.
///
/// # Errors
/// [`Error::Config`] for one that is not finite, and for a name that an epoch's metrics have already.
pub(super) fn named_metrics(metrics: BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>> {
    const TAKEN: [&str; 3] = ["loss", "accuracy", "accuracy_by_step"];
    let named = |(name, value): (String, f64)| {
        if TAKEN.contains(&name.as_str()) {
            return Err(Error::Config(format!(
                "a metric cannot be called {name}: Score has a field for it"
            )));
        }
        if !value.is_finite() {
            return Err(Error::Config(format!(
                "the metric {name} is {value}: leave out what is undefined"
            )));
        }
        Ok((format!("valid_{name}"), value))
    };
    metrics.into_iter().map(named).collect()
}

/// The metrics of an epoch: a line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// The task's other measures on the validation split by name, such as `valid_rmse`; beside the others in a line.
    #[serde(flatten)]
    pub metrics: BTreeMap<String, f64>,
}

impl EpochMetrics {
    /// Whether this epoch's model is better than `other`'s: it is right more often or, where it is right as often or
    /// there is no right or wrong, its loss is lower.
    pub fn is_better_than(&self, other: &Self) -> bool {
        match (self.valid_accuracy, other.valid_accuracy) {
            (Some(accuracy), Some(other)) if accuracy != other => accuracy > other,
            _ => self.valid_loss < other.valid_loss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn metrics(metrics: &[(&str, f64)]) -> BTreeMap<String, f64> {
        metrics.iter().map(|(name, value)| (name.to_string(), *value)).collect()
    }

    #[test]
    fn other_measures_stand_beside_the_losses_in_a_line() {
        let own = named_metrics(metrics(&[("rmse", 0.1 + 0.2), ("r2", -3.)])).unwrap();
        let epoch = EpochMetrics { epoch: 3, valid_loss: 0.5, metrics: own, ..Default::default() };
        let line = serde_json::to_string(&epoch).unwrap();
        assert!(line.contains("\"valid_rmse\":0.30000000000000004"), "{line}");
        assert_eq!(serde_json::from_str::<EpochMetrics>(&line).unwrap(), epoch);
        for wrong in ["{\"valid_rmse\":\"x\",", "{\"x\":null,"] {
            let line = line.replacen('{', wrong, 1);
            assert!(serde_json::from_str::<EpochMetrics>(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn measures_that_could_not_be_read_again_are_refused() {
        for (name, value) in [("loss", 1.), ("accuracy", 1.), ("rmse", f64::NAN)] {
            let error = named_metrics(metrics(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn epochs_without_accuracy_are_compared_by_their_loss() {
        let of = |valid_loss, valid_accuracy| EpochMetrics {
            valid_loss,
            valid_accuracy,
            ..Default::default()
        };
        assert!(of(1., None).is_better_than(&of(2., None)));
        assert!(!of(2., None).is_better_than(&of(2., None)));
        assert!(of(2., Some(0.6)).is_better_than(&of(1., Some(0.5))));
        assert!(of(1., Some(0.5)).is_better_than(&of(2., Some(0.5))));
        assert!(!of(1., Some(0.5)).is_better_than(&of(1., Some(0.5))));
    }

    #[test]
    fn a_score_of_logits_counts_and_refuses_labels_without_class() {
        let logits = Tensor::new(&[[2f64, 0.], [0., 1.]], &Device::Cpu).unwrap();
        let labels = |labels: &[u32]| Tensor::new(labels, &Device::Cpu).unwrap();
        let score = Score::from_logits(&logits, &labels(&[0, 0])).unwrap();
        let expected = ((1. + (-2f64).exp()).ln() + (1. + 1f64.exp()).ln()) / 2.;
        assert_eq!(score.accuracy, Some(0.5));
        assert!((score.loss - expected).abs() < 1e-12, "{score:?} {expected}");
        for wrong in [&[0, 2][..], &[0], &[]] {
            assert!(Score::from_logits(&logits, &labels(wrong)).is_err(), "{wrong:?}");
        }
    }
}
