//! Optimizers whose state can be saved, gradient clipping, learning-rate schedules and averages of weights.
//!
//! - [`Adam`], [`AdamConfig`], [`AdamState`]: Adam and AdamW
//! - [`Clip`], [`clip`](fn@clip): gradient clipping by global norm or by value
//! - [`Schedule`]: the learning rate at each step
//! - `ema`: the exponential moving average of the weights
//! - [`Variables`]: what an optimizer takes

mod adam;
mod clip;
mod ema;
mod schedule;
mod variables;

pub use adam::{Adam, AdamConfig, AdamState};
pub use clip::{clip, Clip, ClipOutcome};
pub(crate) use ema::Average;
pub use schedule::{Progress, Schedule, PLATEAU_EPOCHS};
pub use variables::Variables;
