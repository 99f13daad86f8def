//! `Prediction`: the probability of each class.

use candle_core::{DType, Tensor};
use serde::Serialize;

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
    let logits = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    Ok(logits.iter().map(|logits| softmax(logits)).collect())
}
