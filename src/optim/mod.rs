//! Optimizers whose state can be saved, and gradients that are cut.

pub mod adam;
pub mod clip;

pub use adam::{Adam, AdamConfig};
pub use clip::Clip;
