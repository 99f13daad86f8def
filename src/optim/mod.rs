//! Optimizers whose state can be saved, and gradient clipping.
//!
//! - [`Adam`], [`AdamConfig`], [`AdamState`]: Adam and AdamW
//! - [`Clip`], [`clip`](fn@clip): gradient clipping by global norm or by value
//! - [`Variables`]: what an optimizer takes

mod adam;
mod clip;
mod variables;

pub use adam::{Adam, AdamConfig, AdamState};
pub use clip::{clip, Clip, ClipOutcome};
pub use variables::Variables;
