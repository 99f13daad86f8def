//! Optimizers whose state can be saved.

pub mod adam;

pub use adam::{Adam, AdamConfig};
