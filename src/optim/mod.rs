//! Optimizers with a state that can be saved, and gradient clipping.

pub mod adam;
pub mod clip;

pub use adam::{Adam, AdamConfig};
pub use clip::Clip;
