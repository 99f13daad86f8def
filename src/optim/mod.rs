//! Optimizers whose state can be saved, and gradient clipping.
//!
//! - [`adam`]: Adam and AdamW
//! - [`clip`]: gradient clipping by global norm or by value
//! - `variables`: the variables that an optimizer takes

pub mod adam;
pub mod clip;
mod variables;

pub use adam::{Adam, AdamConfig, AdamState};
pub use clip::Clip;
pub use variables::Variables;
