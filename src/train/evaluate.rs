//! Evaluation: accuracy and loss of a model on a split.

use std::ops::Range;

use candle_core::{DType, Tensor};
use serde::Serialize;

use crate::data::batches::Gather;
use crate::data::mnist::{Split, CLASSES};
use crate::model::SequenceClassifier;
use crate::recurrence::check_teams;
use crate::Result;

/// How well a model does on a split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The part of the images whose most probable class is their label, in `[0, 1]`.
    pub accuracy: f64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Number of images.
    pub examples: usize,
}

/// Images looked at together. A constant, because the last bits of a logit may depend on it.
const BATCH_SIZE: usize = 500;

/// The number of batches that a split is looked at in.
pub(super) fn evaluation_batches(split: &Split) -> usize {
    split.len().div_ceil(BATCH_SIZE)
}

/// The range of a split's images in a batch of an evaluation.
pub(super) fn evaluation_batch(split: &Split, batch: usize) -> Range<usize> {
    let start = (batch * BATCH_SIZE).min(split.len());
    start..split.len().min(start + BATCH_SIZE)
}

/// Measures `model` on all images of `split`.
///
/// The result depends on weights and images alone, to the last bit: measured again after saving
/// and loading, it is the same.
///
/// # Errors
/// [`Error::Candle`](crate::Error::Candle) when Candle fails; [`Error::Shape`](crate::Error::Shape)
/// when the model is not one for these images.
pub fn evaluate(model: &SequenceClassifier, gather: &Gather, split: &Split) -> Result<Evaluation> {
    let mut accumulator = Accumulator::default();
    for_each_batch(model, gather, split, |model, x, labels| {
        accumulator.add(&model.forward(x)?, labels.iter().map(|label| usize::from(*label)))
    })?;
    Ok(accumulator.evaluation())
}

/// Calls `measure` with a model that makes no graph, inputs and labels, for all images of `split`.
fn for_each_batch(
    model: &SequenceClassifier,
    gather: &Gather,
    split: &Split,
    mut measure: impl FnMut(&SequenceClassifier, &Tensor, &[u8]) -> Result<()>,
) -> Result<()> {
    // Detached weights make no graph: every intermediate result is freed at once.
    let model = model.detach();
    for batch in 0..evaluation_batches(split) {
        let range = evaluation_batch(split, batch);
        let labels = &split.labels()[range.clone()];
        measure(&model, &gather.batch(split, range)?.x, labels)?;
    }
    Ok(())
}

/// Measures the accuracy of `model` after every step, on all images of `split`: T numbers.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_steps(
    model: &SequenceClassifier,
    gather: &Gather,
    split: &Split,
) -> Result<Vec<f64>> {
    let mut correct: Vec<usize> = Vec::new();
    for_each_batch(model, gather, split, |model, x, labels| {
        let found = correct_by_step(&model.forward_steps(x)?, labels)?;
        correct.resize(found.len(), 0);
        correct.iter_mut().zip(found).for_each(|(correct, found)| *correct += found);
        Ok(())
    })?;
    Ok(correct.into_iter().map(|correct| correct as f64 / split.len() as f64).collect())
}

/// How many images of a batch are told right after each step: T numbers.
///
/// - `logits`: `(B, T, C)`
pub(super) fn correct_by_step(logits: &Tensor, labels: &[u8]) -> Result<Vec<usize>> {
    let mut correct = vec![0; logits.dim(1)?];
    let device = logits.device();
    let logits = logits.to_dtype(DType::F64)?.to_vec3::<f64>()?;
    check_teams(device)?;
    for (steps, label) in logits.iter().zip(labels) {
        for (correct, logits) in correct.iter_mut().zip(steps) {
            *correct += usize::from(most_likely(logits) == usize::from(*label));
        }
    }
    Ok(correct)
}

/// How often each class was told of the images of each: `counts[label][answer]`.
pub type Confusion = [[usize; CLASSES]; CLASSES];

/// Counts which classes `model` takes for which, on all images of `split`.
///
/// # Errors
/// As [`evaluate`].
pub fn confusion(model: &SequenceClassifier, gather: &Gather, split: &Split) -> Result<Confusion> {
    let mut counts = Confusion::default();
    for_each_batch(model, gather, split, |model, x, labels| {
        let logits = model.forward(x)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        check_teams(x.device())?;
        for (logits, label) in logits.iter().zip(labels) {
            counts[usize::from(*label)][most_likely(logits)] += 1;
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Sums over batches.
#[derive(Default)]
pub(crate) struct Accumulator {
    correct: usize,
    loss: f64,
    examples: usize,
}

impl Accumulator {
    /// Adds a batch: `logits` are `(B, C)`.
    pub(crate) fn add(
        &mut self,
        logits: &Tensor,
        labels: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let device = logits.device();
        let logits = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        check_teams(device)?;
        for (logits, label) in logits.iter().zip(labels) {
            self.count(judge(logits, label), label);
        }
        Ok(())
    }

    /// Adds an example of a class: what [`judge`] says of it.
    pub(super) fn count(&mut self, (answer, loss): (usize, f64), label: usize) {
        self.examples += 1;
        self.correct += usize::from(answer == label);
        self.loss += loss;
    }

    pub(crate) fn evaluation(&self) -> Evaluation {
        let examples = self.examples as f64;
        Evaluation {
            accuracy: self.correct as f64 / examples,
            loss: self.loss / examples,
            examples: self.examples,
        }
    }
}

/// The most probable class of an example, and its cross-entropy, in nats.
///
/// - `logits`: `(C,)`
/// - `label`: its class, less than C
pub(super) fn judge(logits: &[f64], label: usize) -> (usize, f64) {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
    (most_likely(logits), max + sum.ln() - logits[label])
}

/// The index of the largest value; the first of equals.
pub(crate) fn most_likely(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn accuracy_and_loss_are_those_computed_by_hand() {
        let logits =
            Tensor::new(&[[2f64, 0., 0.], [0., 1., 0.], [5., 5., 5.]], &Device::Cpu).unwrap();
        let mut accumulator = Accumulator::default();
        accumulator.add(&logits, [0usize, 2, 1].into_iter()).unwrap();
        let found = accumulator.evaluation();
        assert_eq!((found.accuracy, found.examples), (1. / 3., 3));
        let e = std::f64::consts::E;
        let expected = ((1. + 2. / (e * e)).ln() + (e + 2.).ln() + 3f64.ln()) / 3.;
        assert!((found.loss - expected).abs() < 1e-12, "{} {expected}", found.loss);
    }

    #[test]
    fn logits_that_are_not_finite_make_the_loss_so() {
        for bad in [f64::NAN, f64::INFINITY] {
            let mut accumulator = Accumulator::default();
            let logits = Tensor::new(&[[0., bad]], &Device::Cpu).unwrap();
            accumulator.add(&logits, [0usize].into_iter()).unwrap();
            assert!(!accumulator.evaluation().loss.is_finite());
        }
    }
}
