//! Losses: means over a batch, as differentiable scalars.
//!
//! On the CPU each is one op, forward and backward, that computes in `f64`; on other devices it is composed of Candle's.
//!
//! - `cross_entropy`: classes, one a row or a sequence
//! - `masked`: classes, one a step, with padding, steps to ignore and class weights
//! - `regression`: numbers

mod checks;
mod cross_entropy;
mod masked;
mod regression;
mod softmax_op;

pub use cross_entropy::{
    cross_entropy, ragged_cross_entropy, sequence_cross_entropy, smoothed_cross_entropy,
    smoothed_sequence_cross_entropy,
};
pub use masked::{masked_cross_entropy, weighted_cross_entropy, CrossEntropyOptions};
pub use regression::{huber, mae, mse};
