//! Recurrent cells: one step of one layer.

use candle_core::Tensor;

use crate::recurrence::{self, Cell, LayerWeights, State, Weights};
use crate::Result;

/// A cell: the step that a layer repeats. It shares its weights with whoever made it.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::{Init, Lstm, LstmConfig, Purpose, SeededRng, VarSink};
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let lstm = Lstm::init(LstmConfig::new(3, 5), Init::Glorot, rng, &sink.pp("lstm"))?;
/// let cell = lstm.cell(0);
/// let mut state = None;
/// for _ in 0..4 {
///     let x_t = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
///     state = Some(cell.step(&x_t, state.as_ref())?);
/// }
/// let x = Tensor::ones((2, 4, 3), DType::F32, &Device::Cpu)?;
/// let difference = (lstm.forward(&x)?.state.h - state.unwrap().h)?.abs()?.sum_all()?;
/// assert!(difference.to_scalar::<f32>()? < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "BasicRNNCell")]
#[doc(alias = "RNNCell")]
#[doc(alias = "GRUCell")]
#[doc(alias = "LSTMCell")]
#[doc(alias = "BasicLSTMCell")]
pub struct RecurrentCell {
    /// Those of the forward direction.
    weights: LayerWeights,
}

impl RecurrentCell {
    /// A cell with the given weights.
    ///
    /// # Errors
    /// As [`LayerWeights::new`].
    pub fn new(cell: Cell, weights: Weights) -> Result<Self> {
        Ok(Self { weights: LayerWeights::new(cell, weights)? })
    }

    /// The cell of a layer, in the forward direction.
    pub(super) fn of_layer(weights: &LayerWeights) -> Self {
        Self { weights: weights.forward_direction() }
    }

    /// The cell as it is now, for inference: it has weights of its own, which are packed once.
    ///
    /// # Errors
    /// [`Error::Candle`](crate::Error::Candle) when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        Ok(Self { weights: self.weights.freeze()? })
    }

    /// One step. The weights are packed at the first step, and again when they have changed, which a hash of
    /// their numbers tells; a frozen cell ([`freeze`](Self::freeze)) saves the hash.
    ///
    /// Where gradients are tracked, the state carries the graph of all steps before:
    /// [`State::detach`] it where they are to stop, at least every [`State::MAX_CALLS`] steps.
    ///
    /// - `x_t`: `(B, I)`
    /// - `state`: h `(1, B, P)` and, for an LSTM, c `(1, B, H)`, before the step; zeros if `None`
    /// - returns the states after the step; the output is h
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) and [`Error::DType`](crate::Error::DType) when sizes or dtypes disagree,
    /// [`Error::Config`](crate::Error::Config) when the
    /// state lacks c, has one that the cell does not have, or carries the graph of [`State::MAX_CALLS`] steps.
    pub fn step(&self, x_t: &Tensor, state: Option<&State>) -> Result<State> {
        recurrence::step(x_t, &self.weights, state)
    }

    /// Which cell it is.
    pub fn cell(&self) -> Cell {
        self.weights.cell()
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights.directions()[0]
    }
}
