//! The meaning of the outputs of a network: probabilities, or numbers in the units of the data.

use super::config::SequenceTask;
use super::forecast::SeasonMemory;
use crate::network::Number;

/// The prediction of a model for a sequence, an image or a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction<E> {
    /// The probability of each class; they sum to 1.
    Class(Vec<E>),
    /// The probabilities after each step: of the step's class, or of the next character.
    Steps(Vec<Vec<E>>),
    /// Numbers in the units of the data; of a forecast all features of each step, step by step.
    Numbers(Vec<E>),
}

impl<E: Number> Prediction<E> {
    /// The probability of each class; `None` unless a class of the whole is predicted.
    pub fn probabilities(&self) -> Option<&[E]> {
        match self {
            Self::Class(probabilities) => Some(probabilities),
            Self::Steps(_) | Self::Numbers(_) => None,
        }
    }

    /// The number of the most probable class; `None` unless a class of the whole is predicted.
    pub fn label(&self) -> Option<usize> {
        self.probabilities().map(most_likely)
    }

    /// The probabilities after each step; `None` unless they are predicted.
    pub fn steps(&self) -> Option<&[Vec<E>]> {
        match self {
            Self::Steps(steps) => Some(steps),
            Self::Class(_) | Self::Numbers(_) => None,
        }
    }

    /// The numbers, or the forecast; `None` for classes.
    pub fn numbers(&self) -> Option<&[E]> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            Self::Class(_) | Self::Steps(_) => None,
        }
    }
}

/// The place of the largest number, the first of equal ones.
fn most_likely<E: Number>(values: &[E]) -> usize {
    (1..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best })
}

impl SequenceTask {
    /// Makes of a network's outputs what they stand for: probabilities, a forecast, or numbers in the units of the data;
    /// allocates nothing.
    ///
    /// - `memory`: the end of the series, of a model of forecasts
    pub(super) fn interpret<E: Number>(
        &self,
        raw: &[E],
        memory: Option<&SeasonMemory>,
        outputs: &mut [E],
    ) {
        let numbers = outputs.iter_mut().zip(raw).enumerate();
        match (memory, &self.target_scaler) {
            (Some(memory), _) => {
                let scale = &self.preprocessor.scaler.scale;
                for (at, (output, raw)) in numbers {
                    let (step, column) = (at / scale.len(), at % scale.len());
                    let difference = raw.to_f64() * scale[column];
                    *output = E::from_f64(memory.naive(step, column) + difference);
                }
            }
            (None, Some(scaler)) => {
                for (at, (output, raw)) in numbers {
                    *output = E::from_f64(scaler.unscaled(at, raw.to_f64()));
                }
            }
            (None, None) => softmax(raw, outputs),
        }
    }
}

/// The probabilities of logits; allocates nothing.
pub(super) fn softmax<E: Number>(logits: &[E], probabilities: &mut [E]) {
    let logits = || logits.iter().map(|logit| logit.to_f64());
    let max = logits().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits().map(|logit| (logit - max).exp()).sum();
    for (probability, logit) in probabilities.iter_mut().zip(logits()) {
        *probability = E::from_f64((logit - max).exp() / sum);
    }
}

/// The probabilities of logits.
pub(super) fn probabilities<E: Number>(logits: &[E]) -> Vec<E> {
    let mut probabilities = vec![E::ZERO; logits.len()];
    softmax(logits, &mut probabilities);
    probabilities
}
