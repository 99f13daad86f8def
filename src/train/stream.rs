//! Training on endless sequences (stateful, TBPTT): piece by piece, with the state carried along.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::finite::StepAt;
use super::CarriedState;
use crate::nn::{Output, Sequences, Stack};
use crate::optim::{Adam, AdamConfig, Clip, Variables};
use crate::recurrence::Truncation;
use crate::{Error, Result};

/// Trains recurrent layers, and what the caller puts behind them, on pieces of a sequence that need not end.
///
/// Each piece is one optimizer step. It begins with the state in which the piece before ended, as
/// a constant: gradients stay within a piece, or go less far if a [`Truncation`] says so. What a
/// step needs of memory depends on the length of a piece, never on that of the sequence.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::VarSink;
/// use candle_rnn::nn::{Init, Rnn, RnnConfig};
/// use candle_rnn::optim::AdamConfig;
/// use candle_rnn::rng::{Purpose, SeededRng};
/// use candle_rnn::train::StreamTrainer;
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let rnn = Rnn::init(RnnConfig::new(1, 1), Init::Glorot, rng, &sink.pp("rnn"))?;
/// let mut trainer = StreamTrainer::new(rnn, &sink, AdamConfig::default())?;
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
    rnn: Stack,
    vars: BTreeMap<String, Var>,
    adam: Adam,
    state: CarriedState,
    truncation: Truncation,
    steps: u64,
}

impl StreamTrainer {
    /// A trainer of the layers `rnn`, which run forward in time. It changes `vars`: the layers' weights
    /// and those of whatever the losses are computed with.
    ///
    /// # Errors
    /// As [`Adam::new`]; and [`Error::Config`] for a bidirectional stack, or one with dropout.
    pub fn new(rnn: impl Into<Stack>, vars: impl Variables, config: AdamConfig) -> Result<Self> {
        let vars = vars.named()?;
        let adam = Adam::new(vars.clone(), config)?;
        let vars = vars.into_iter().collect();
        let truncation = Truncation::FULL;
        let rnn = rnn.into();
        if rnn.config().dropout > 0. || rnn.config().recurrent_dropout > 0. {
            return Err(Error::Config(
                "training on an endless sequence cannot use dropout: set dropout and \
                 recurrent_dropout to 0"
                    .into(),
            ));
        }
        if rnn.config().bidirectional {
            return Err(Error::Config(
                "training on an endless sequence cannot use a bidirectional layer: set \
                 bidirectional to false"
                    .into(),
            ));
        }
        Ok(Self { rnn, vars, adam, state: CarriedState::new(), truncation, steps: 0 })
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
    /// [`Error::NotFinite`] when the loss, a gradient or the square of one is NaN or infinite, which names
    /// the weight if one is; as [`Adam::step`]. Nothing has changed then.
    pub fn step(
        &mut self,
        x: &Tensor,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<f64> {
        let mut sequences = Sequences::new(x).truncated(self.truncation);
        if let Some(state) = self.state.get() {
            sequences = sequences.initial(state);
        }
        let Output { outputs, state } = self.rnn.forward(sequences)?;
        let loss = loss(&outputs)?;
        let step = self.adam.step_count();
        let at = StepAt { step, epoch: 1, batch: (step as usize).saturating_add(1) };
        let checked = || -> Result<_> {
            let value = at.loss(&loss)?;
            let mut grads = loss.backward()?;
            at.gradients(&self.adam, &self.vars, &mut grads, Clip::None)?;
            Ok((value, grads))
        };
        let (value, grads) = checked().map_err(|error| at.cause(error, &self.vars))?;
        self.adam.step_checked(&grads)?;
        self.state.carry(&state);
        self.steps += x.dim(1)? as u64;
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
