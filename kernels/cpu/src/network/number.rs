//! Floats that come from `f64` and go there.

use crate::kernels::Float;

/// A float of networks: it has kernels, and comes from `f64`.
pub trait Number: Float {
    /// The nearest number.
    fn from_f64(value: f64) -> Self;
    /// The same number in `f64`.
    fn to_f64(self) -> f64;
}

impl Number for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Number for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }
}
