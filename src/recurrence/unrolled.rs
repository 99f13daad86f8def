//! The recurrence step by step, composed from Candle's ops: the tutorial's `static_rnn`.
//!
//! Candle's autograd differentiates it, so it trains on every device, and it is short enough to be
//! read. Each step is a handful of graph nodes, which makes it slow.

use candle_core::Tensor;

use super::{Cell, SequenceDims, Weights};
use crate::Result;

/// Runs the recurrence and returns the outputs of all steps.
///
/// - `x`: `(B, T, I)`
/// - `h_0`: `(B, H)`, zeros if `None`
/// - returns `h_1` to `h_T`, each `(B, H)`
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) and [`Error::DType`](crate::Error::DType) as
/// [`SequenceDims::check`] says.
///
/// # Source
/// Elman (1990), "Finding Structure in Time"; `tf.nn.static_rnn` of TensorFlow 1.
pub fn static_rnn(
    x: &Tensor,
    weights: &Weights,
    h_0: Option<&Tensor>,
    cell: Cell,
) -> Result<Vec<Tensor>> {
    let dims = SequenceDims::check(x, weights, h_0)?;
    // (B, T, I) to (T, B, I) once, so that the inputs of a step lie together.
    let x = x.transpose(0, 1)?.contiguous()?;
    let mut h = h_0.cloned();
    let mut outputs = Vec::with_capacity(dims.seq_len);
    for t in 0..dims.seq_len {
        let h_t = step(&x.get(t)?, weights, h.as_ref(), cell)?;
        outputs.push(h_t.clone());
        h = Some(h_t);
    }
    Ok(outputs)
}

/// One step: `f(W_ih x_t + b + W_hh h)`.
///
/// - `x_t`: `(B, I)`
/// - `h`: `(B, H)`, the state before the step, zeros if `None`
/// - returns the state after the step, `(B, H)`
///
/// # Errors
/// [`Error::Candle`](crate::Error::Candle) when the sizes do not fit.
pub fn step(x_t: &Tensor, weights: &Weights, h: Option<&Tensor>, cell: Cell) -> Result<Tensor> {
    let mut z = x_t.matmul(&weights.w_ih.t()?)?.broadcast_add(&weights.b)?;
    if let Some(h) = h {
        z = (z + h.matmul(&weights.w_hh.t()?)?)?;
    }
    cell.apply(&z)
}
