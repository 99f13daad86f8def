//! Losses: means over a batch, as differentiable scalars.
//!
//! On the CPU each is one op, forward and backward, that computes in `f64`. On GPUs cross-entropy is one in `f32`, that of a
//! small dense head together with its product; all else is composed of Candle's ops there.
//!
//! - `cross_entropy`: classes, one a row or a sequence
//! - `masked`: classes, one a step, with padding, steps to ignore and class weights
//! - `regression`: numbers
//! - `softmax_op`: the op of both; `gpu_loss` launches kernels/gpu/loss.h, as `gpu_plan` cuts them

mod checks;
mod cross_entropy;
mod gpu_loss;
mod gpu_plan;
mod masked;
mod regression;
mod softmax_op;

#[cfg(test)]
mod emulated;

pub(super) use cross_entropy::head_cross_entropy;
pub use cross_entropy::{
    cross_entropy, ragged_cross_entropy, sequence_cross_entropy, smoothed_cross_entropy,
    smoothed_sequence_cross_entropy,
};
pub use masked::{masked_cross_entropy, weighted_cross_entropy, CrossEntropyOptions};
pub use regression::{huber, mae, mse};
