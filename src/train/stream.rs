//! Training on sequences without end: one piece after the other, with the state carried along.

use candle_core::{DType, Tensor, Var};

use crate::bptt::{CarriedState, Truncation};
use crate::nn::Rnn;
use crate::optim::{Adam, AdamConfig};
use crate::recurrence::{Outputs, Unroll};
use crate::{Error, Result};

/// Trains a layer, and what the caller puts behind it, on pieces of a sequence that need not end.
///
/// Each piece is one optimizer step. It begins with the state in which the piece before ended, as
/// a constant: gradients stay within a piece, or go less far if a [`Truncation`] says so. What a
/// step needs of memory depends on the length of a piece, never on that of the sequence.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use candle_rnn::nn::init::{init_rnn, VarSink};
/// use candle_rnn::nn::{Init, Rnn, RnnConfig};
/// use candle_rnn::optim::AdamConfig;
/// use candle_rnn::recurrence::Cell;
/// use candle_rnn::rng::{Purpose, Stream};
/// use candle_rnn::train::StreamTrainer;
/// # fn main() -> candle_rnn::Result<()> {
/// let config = RnnConfig { input_size: 1, hidden_size: 1, cell: Cell::Tanh };
/// let vars = VarMap::new();
/// let mut sink = VarSink::new(&vars, DType::F32, &Device::Cpu);
/// init_rnn(config, Init::Glorot, &mut Stream::new(1, Purpose::Init), &mut sink, "rnn")?;
/// let rnn = Rnn::new(config, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu).pp("rnn"))?;
/// let named: Vec<_> = vars.data().lock().unwrap().clone().into_iter().collect();
/// let mut trainer = StreamTrainer::new(rnn, named, AdamConfig::default())?;
///
/// // The unit learns to repeat half of its input.
/// let pieces = (0..100).map(|_| Tensor::full(0.5f32, (1, 20, 1), &Device::Cpu));
/// let mut losses = Vec::new();
/// for x in pieces {
///     let x = x?;
///     let loss = trainer.step(&x, |h| Ok((h - (&x * 0.5)?)?.sqr()?.mean_all()?))?;
///     losses.push(loss);
/// }
/// assert!(losses[99] < losses[0]);
/// # Ok(())
/// # }
/// ```
pub struct StreamTrainer {
    rnn: Rnn,
    adam: Adam,
    state: CarriedState,
    truncation: Truncation,
    steps: u64,
}

impl StreamTrainer {
    /// A trainer of the layer `rnn`, which changes `vars`: the layer's weights and those of whatever
    /// the losses are computed with.
    ///
    /// # Errors
    /// As [`Adam::new`].
    pub fn new(
        rnn: Rnn,
        vars: impl IntoIterator<Item = (String, Var)>,
        config: AdamConfig,
    ) -> Result<Self> {
        let adam = Adam::new(vars, config)?;
        let truncation = Truncation::FULL;
        Ok(Self { rnn, adam, state: CarriedState::new(), truncation, steps: 0 })
    }

    /// Cuts gradients within a piece too.
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation, ..self }
    }

    /// Trains on the next piece and returns its loss.
    ///
    /// - `x`: `(B, K, I)`, K steps that follow those of the piece before; B stays the same until
    ///   the state is reset
    /// - `loss`: from the outputs `(B, K, H)` to a scalar
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::DType`] when the piece does not fit the layer or the state,
    /// [`Error::NotFinite`] when the loss is NaN or infinite: nothing has changed then.
    pub fn step(
        &mut self,
        x: &Tensor,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<f64> {
        let unroll = Unroll::new(Outputs::All).truncated(self.truncation);
        let outputs = self.rnn.forward(x, self.state.get(), unroll)?;
        let loss = loss(&outputs)?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            let batch = self.adam.step_count() as usize + 1;
            let what = "the loss".into();
            return Err(Error::NotFinite { what, step: self.adam.step_count(), epoch: 1, batch });
        }
        self.adam.step(&loss.backward()?)?;
        let last = outputs.dim(1)? - 1;
        // A copy: a view would keep the outputs of the whole piece.
        self.state.carry(&outputs.detach().narrow(1, last, 1)?.squeeze(1)?.copy()?);
        self.steps += (last + 1) as u64;
        Ok(value)
    }

    /// Trains on piece after piece, as they are asked for: an iterator over their losses.
    ///
    /// - `pieces`: `x` and target of each
    /// - `loss`: from outputs `(B, K, H)` and target to a scalar
    pub fn losses<'a>(
        &'a mut self,
        pieces: impl IntoIterator<Item = (Tensor, Tensor)> + 'a,
        loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'a,
    ) -> impl Iterator<Item = Result<f64>> + 'a {
        pieces.into_iter().map(move |(x, target)| self.step(&x, |outputs| loss(outputs, &target)))
    }

    /// The carried state; reset it where a new sequence begins.
    pub fn state_mut(&mut self) -> &mut CarriedState {
        &mut self.state
    }

    /// Steps of the sequence seen so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The optimizer.
    pub fn adam(&self) -> &Adam {
        &self.adam
    }
}
