//! The recurrence over whole sequences.
//!
//! `h_t = f(W_ih x_t + b + W_hh h_{t-1})` for `t = 1..=T`, from `h_0`, with the same `W_ih`, `W_hh`
//! and `b` at every step; `f` is the cell's activation.
//!
//! | name | shape | meaning |
//! |---|---|---|
//! | `x` | `(B, T, I)` | inputs, batch-first |
//! | `w_ih` | `(H, I)` | input weights; rows are the units written to |
//! | `w_hh` | `(H, H)` | recurrent weights |
//! | `b` | `(H,)` | bias |
//! | `h_0` | `(B, H)` | state before the first step |
//! | `h_t` | `(B, H)` | state, and output, of step `t` |
//!
//! [`unrolled`] composes it from Candle's own tensor ops, on any device.

pub mod unrolled;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The activation `f` of a recurrent cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Cell {
    /// `tanh(z)`.
    #[default]
    Tanh,
    /// `max(z, 0)`.
    Relu,
}

impl Cell {
    /// The name used on the command line and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Relu => "relu",
        }
    }

    /// `f(z)`, elementwise.
    ///
    /// # Errors
    /// [`Error::Candle`] when Candle refuses the tensor.
    pub fn apply(self, z: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Tanh => z.tanh()?,
            Self::Relu => z.relu()?,
        })
    }
}

/// The weights of one layer, the same at every step.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `(H, I)`.
    pub w_ih: Tensor,
    /// `(H, H)`.
    pub w_hh: Tensor,
    /// `(H,)`.
    pub b: Tensor,
}

/// The sizes of a recurrence, checked against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceDims {
    /// B.
    pub batch_size: usize,
    /// T, at least 1.
    pub seq_len: usize,
    /// I.
    pub input_size: usize,
    /// H.
    pub hidden_size: usize,
}

impl SequenceDims {
    /// Checks that shapes and dtypes fit together.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree or T is 0; [`Error::DType`] unless all tensors are
    /// `f32` or all are `f64`.
    pub fn check(x: &Tensor, weights: &Weights, h_0: Option<&Tensor>) -> Result<Self> {
        const OP: &str = "recurrence";
        let shape = |tensor, expected: String, actual: &Tensor| Error::Shape {
            op: OP,
            tensor,
            expected,
            actual: actual.dims().to_vec(),
        };
        let (batch_size, seq_len, input_size) = match *x.dims() {
            [batch_size, seq_len, input_size] if seq_len > 0 => (batch_size, seq_len, input_size),
            _ => return Err(shape("x", "(B, T, I) with T at least 1".into(), x)),
        };
        let Weights { w_ih, w_hh, b } = weights;
        let &[hidden_size, expected_input] = w_ih.dims() else {
            return Err(shape("w_ih", "(H, I)".into(), w_ih));
        };
        if expected_input != input_size {
            return Err(shape("x", format!("(B, T, {expected_input})"), x));
        }
        if w_hh.dims() != [hidden_size, hidden_size] {
            return Err(shape("w_hh", format!("({hidden_size}, {hidden_size})"), w_hh));
        }
        if b.dims() != [hidden_size] {
            return Err(shape("b", format!("({hidden_size},)"), b));
        }
        if let Some(h_0) = h_0 {
            if h_0.dims() != [batch_size, hidden_size] {
                return Err(shape("h_0", format!("({batch_size}, {hidden_size})"), h_0));
            }
        }
        let tensors = [("x", x), ("w_ih", w_ih), ("w_hh", w_hh), ("b", b)];
        for (tensor, actual) in tensors.into_iter().chain(h_0.map(|h_0| ("h_0", h_0))) {
            let dtype = actual.dtype();
            if dtype != x.dtype() || !matches!(dtype, DType::F32 | DType::F64) {
                return Err(Error::DType {
                    op: OP,
                    tensor: tensor.into(),
                    expected: "f32 or f64, as all other tensors",
                    actual: dtype.as_str().into(),
                });
            }
        }
        Ok(Self { batch_size, seq_len, input_size, hidden_size })
    }
}
