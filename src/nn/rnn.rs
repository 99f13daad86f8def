//! The recurrent layer: one set of weights, used at every step.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::recurrence::{
    rnn_sequence, rnn_step, unrolled, Cell, Outputs, PackedWeights, Unroll, Weights,
};
use crate::{Error, Result};

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
///
/// On the CPU it is the fused op of [`recurrence`](crate::recurrence). Elsewhere it is composed
/// from Candle's own ops, step by step.
#[derive(Clone, Debug)]
pub struct Rnn {
    weights: Weights,
    cell: Cell,
    /// Of weights that do not change any more.
    packed: Option<PackedWeights>,
}

impl Rnn {
    /// Takes the weights from `vb` under PyTorch's names: `weight_ih_l0` `(H, I)`, `weight_hh_l0`
    /// `(H, H)`, `bias_ih_l0` `(H,)`, and `bias_hh_l0` `(H,)`, which is added if it is there.
    ///
    /// # Errors
    /// [`Error::Candle`] when a tensor is missing or has another shape.
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
        Ok(Self { weights, cell, packed: None })
    }

    /// Runs the layer over whole sequences.
    ///
    /// - `x`: `(B, T, I)`
    /// - `h_0`: `(B, H)`, zeros if `None`
    /// - `unroll`: [`Outputs::All`] returns `h`, `(B, T, H)`; [`Outputs::Last`] returns `h_T`,
    ///   `(B, H)`, the final state; an [`Unroll`] also says how far gradients flow back
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree,
    /// [`Error::DType`] when dtypes do,
    /// [`Error::Config`] for truncation on a device other than the CPU.
    pub fn forward(
        &self,
        x: &Tensor,
        h_0: Option<&Tensor>,
        unroll: impl Into<Unroll>,
    ) -> Result<Tensor> {
        let unroll = unroll.into();
        if self.weights.b.device().is_cpu() {
            return rnn_sequence(x, self.packed()?.as_ref(), h_0, self.cell, unroll);
        }
        if unroll != Unroll::new(unroll.read()) {
            return Err(Error::Config(
                "gradients are truncated, and states computed again, on the CPU only".into(),
            ));
        }
        let outputs = unrolled::static_rnn(x, &self.weights, h_0, self.cell)?;
        Ok(match unroll.read() {
            Outputs::All => Tensor::stack(&outputs, 1)?,
            Outputs::Last => outputs[outputs.len() - 1].clone(),
        })
    }

    /// One step.
    ///
    /// - `x_t`: `(B, I)`
    /// - `h`: `(B, H)`, the state before the step, zeros if `None`
    /// - returns the state after the step, `(B, H)`
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn step(&self, x_t: &Tensor, h: Option<&Tensor>) -> Result<Tensor> {
        if self.weights.b.device().is_cpu() {
            return rnn_step(x_t, self.packed()?.as_ref(), h, self.cell);
        }
        unrolled::step(x_t, &self.weights, h, self.cell)
    }

    /// The weights as the kernels read them: made anew for each call, unless they are frozen.
    fn packed(&self) -> Result<Cow<'_, PackedWeights>> {
        Ok(match &self.packed {
            Some(packed) => Cow::Borrowed(packed),
            None => Cow::Owned(PackedWeights::new(&self.weights)?),
        })
    }

    /// The same layer for inference: it shares the weights, and follows them when they change, but
    /// keeps no graph for a backward pass.
    pub fn detach(&self) -> Self {
        Self { weights: self.weights.detach(), cell: self.cell, packed: None }
    }

    /// The layer as it is now, for inference: it has weights of its own, which are packed once.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let Weights { w_ih, w_hh, b } = self.weights.detach();
        let weights = Weights { w_ih: w_ih.copy()?, w_hh: w_hh.copy()?, b: b.copy()? };
        let on_cpu = weights.b.device().is_cpu();
        let packed = on_cpu.then(|| PackedWeights::new(&weights)).transpose()?;
        Ok(Self { weights, cell: self.cell, packed })
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}
