//! One step of one layer.

use std::borrow::Cow;

use candle_core::Tensor;

use crate::recurrence::plan::RecurrentDType;
use crate::recurrence::{
    device, rnn_step, run_layer, unrolled, Call, Cell, Outputs, PackCache, PackedWeights, State,
    WeightSizes, Weights,
};
use crate::{Error, Result};

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
    cell: Cell,
    weights: Weights,
    /// Of weights that do not change any more.
    packed: Option<PackedWeights>,
    /// Of weights that may change.
    cache: PackCache,
}

impl RecurrentCell {
    /// A cell with the given weights.
    ///
    /// # Errors
    /// As [`Weights::check`].
    pub fn new(cell: Cell, weights: Weights) -> Result<Self> {
        weights.check(cell)?;
        Ok(Self { cell, weights, packed: None, cache: PackCache::default() })
    }

    /// The cell of a layer whose weights were checked, and perhaps packed.
    pub(super) fn of_layer(
        cell: Cell,
        weights: Weights,
        packed: Option<PackedWeights>,
        cache: PackCache,
    ) -> Self {
        Self { cell, weights, packed, cache }
    }

    /// The cell as it is now, for inference: it has weights of its own, which are packed once.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let weights = self.weights.copy()?;
        let packed = match weights.w_ih.device().is_cpu() {
            true => Some(PackedWeights::new(self.cell, &weights)?),
            false => None,
        };
        Ok(Self { cell: self.cell, weights, packed, cache: PackCache::default() })
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
    /// [`Error::Shape`] and [`Error::DType`] when sizes or dtypes disagree, [`Error::Config`] when the
    /// state lacks c, has one that the cell does not have, or carries the graph of [`State::MAX_CALLS`] steps.
    pub fn step(&self, x_t: &Tensor, state: Option<&State>) -> Result<State> {
        let WeightSizes { input_size, output_size, .. } = self.weights.check(self.cell)?;
        let shape = |tensor: &'static str, expected: String, actual: &Tensor| Error::Shape {
            op: "step",
            tensor,
            expected,
            actual: actual.dims().to_vec(),
        };
        let batch_size = match *x_t.dims() {
            [batch_size, inputs] if inputs == input_size => batch_size,
            _ => return Err(shape("x_t", format!("(B, {input_size})"), x_t)),
        };
        if let Some(State { h, .. }) = state {
            if h.dims() != [1, batch_size, output_size] {
                return Err(shape("h", format!("(1, {batch_size}, {output_size})"), h));
            }
        }
        if state.is_some_and(|state| state.c.is_some() != self.cell.has_c()) {
            let (name, has) =
                (self.cell.name(), if self.cell.has_c() { "needs" } else { "has no" });
            return Err(Error::Config(format!("step: {name} {has} state c")));
        }
        let x = x_t.unsqueeze(1)?;
        let call = Call { initial: state, ..Call::new(Outputs::Last) };
        if !device::is_for_cpu_kernels(self.weights.w_ih.device()) {
            if device::has_kernels(self.cell, &self.weights)? {
                let weights = [&self.weights];
                return Ok(
                    device::run_layer(&x, self.cell, &weights, &call, RecurrentDType::F32)?.1
                );
            }
            return Ok(unrolled::run_layer(&x, self.cell, &[&self.weights], &call)?.1);
        }
        let packed = match &self.packed {
            Some(packed) => Cow::Borrowed(packed),
            None => Cow::Owned(self.cache.packed(self.cell, &[&self.weights])?),
        };
        if !self.cell.has_c() {
            state.map_or(Ok(()), State::check_depth)?;
            let h = state.map(|state| state.h.squeeze(0)).transpose()?;
            let h = rnn_step(x_t, &packed, h.as_ref())?.unsqueeze(0)?;
            return Ok(State::new(h).after(state));
        }
        Ok(run_layer(&x, &packed, &call)?.1)
    }

    /// Which cell it is.
    pub fn cell(&self) -> Cell {
        self.cell
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}
