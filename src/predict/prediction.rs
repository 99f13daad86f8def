//! `Prediction`: the probability of each class.

use candle_core::{DType, Tensor};
use serde::Serialize;

use crate::recurrence::check_teams;
use crate::Result;

/// A predicted class, with the probabilities of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The most probable class.
    pub label: usize,
    /// The probability of each class; they sum to 1.
    pub probabilities: Vec<f64>,
}

/// The prediction of logits, `(C,)`.
pub(super) fn softmax(logits: &[f64]) -> Prediction {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    Prediction {
        label: crate::train::most_likely(logits),
        probabilities: exps.into_iter().map(|exp| exp / sum).collect(),
    }
}

/// The predictions of logits, `(N, C)`.
pub(super) fn predictions(logits: &Tensor) -> Result<Vec<Prediction>> {
    let device = logits.device();
    let logits = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    check_teams(device)?;
    Ok(logits.iter().map(|logits| softmax(logits)).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::recurrence::tests::alarmed::{assert_gave_up, on_alarmed};
    use crate::recurrence::{run_layer, Call, Cell, LayerWeights, Outputs, Weights};

    #[test]
    fn predictions_of_a_team_that_gave_up_are_no_result() {
        on_alarmed("team_rnn_forward", 1, || {
            let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            let weights = Weights::new(zeros(&[70, 3]), zeros(&[70, 70]), zeros(&[70]));
            let weights = LayerWeights::new(Cell::Tanh, weights).unwrap();
            let logits = || {
                let (_, last) =
                    run_layer(&zeros(&[2, 4, 3]), &weights, &Call::new(Outputs::Last)).unwrap();
                last.h.squeeze(0).unwrap()
            };
            assert_gave_up("predictions", predictions(&logits()));
            assert_eq!(predictions(&logits()).unwrap().len(), 2);
        });
    }
}
