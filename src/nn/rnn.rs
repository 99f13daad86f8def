//! The recurrent layer: one set of weights, used at every step.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::recurrence::{unrolled, Cell, Weights};
use crate::Result;

/// The sizes and the activation of an [`Rnn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RnnConfig {
    /// I, features of the input at each step.
    pub input_size: usize,
    /// H, units.
    pub hidden_size: usize,
    /// The activation.
    pub cell: Cell,
}

/// A layer of recurrent units.
///
/// `h_t = f(W_ih x_t + b + W_hh h_{t-1})`; `f` is the cell's activation.
#[derive(Clone, Debug)]
pub struct Rnn {
    weights: Weights,
    cell: Cell,
}

impl Rnn {
    /// Takes the weights from `vb` under PyTorch's names: `weight_ih_l0` `(H, I)`, `weight_hh_l0`
    /// `(H, H)`, `bias_ih_l0` `(H,)`, and `bias_hh_l0` `(H,)`, which is added if it is there.
    ///
    /// # Errors
    /// [`Error::Candle`](crate::Error::Candle) when a tensor is missing or has another shape.
    pub fn new(config: RnnConfig, vb: VarBuilder) -> Result<Self> {
        let RnnConfig { input_size, hidden_size, cell } = config;
        let mut b = vb.get(hidden_size, "bias_ih_l0")?;
        if vb.contains_tensor("bias_hh_l0") {
            b = (b + vb.get(hidden_size, "bias_hh_l0")?)?;
        }
        let weights = Weights {
            w_ih: vb.get((hidden_size, input_size), "weight_ih_l0")?,
            w_hh: vb.get((hidden_size, hidden_size), "weight_hh_l0")?,
            b,
        };
        Ok(Self { weights, cell })
    }

    /// The outputs of all steps.
    ///
    /// - `x`: `(B, T, I)`
    /// - `h_0`: `(B, H)`, zeros if `None`
    /// - returns `h_1` to `h_T`, each `(B, H)`; the last is also the final state
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when sizes disagree,
    /// [`Error::DType`](crate::Error::DType) when dtypes do.
    pub fn outputs(&self, x: &Tensor, h_0: Option<&Tensor>) -> Result<Vec<Tensor>> {
        unrolled::static_rnn(x, &self.weights, h_0, self.cell)
    }

    /// One step.
    ///
    /// - `x_t`: `(B, I)`
    /// - `h`: `(B, H)`, the state before the step, zeros if `None`
    /// - returns the state after the step, `(B, H)`
    ///
    /// # Errors
    /// [`Error::Candle`](crate::Error::Candle) when the sizes do not fit.
    pub fn step(&self, x_t: &Tensor, h: Option<&Tensor>) -> Result<Tensor> {
        unrolled::step(x_t, &self.weights, h, self.cell)
    }

    /// The same layer for inference: it shares the weights, but keeps no graph for a backward pass.
    pub fn detach(&self) -> Self {
        let Weights { w_ih, w_hh, b } = &self.weights;
        let weights = Weights { w_ih: w_ih.detach(), w_hh: w_hh.detach(), b: b.detach() };
        Self { weights, cell: self.cell }
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}
