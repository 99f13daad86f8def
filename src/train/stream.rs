//! Training on endless sequences (stateful, TBPTT): piece by piece, with the state carried along.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::engine::StepEngine;
use super::finite::StepAt;
use super::trainer_config::check_part;
use super::{CarriedState, Progress, Schedule};
use crate::nn::{Output, Sequences, Stack};
use crate::optim::{Adam, AdamConfig, AdamState, Clip, Variables};
use crate::recurrence::{backward, Truncation};
use crate::{Error, Result};

/// Trains recurrent layers, and what the caller puts behind them, on pieces of a sequence that need not end.
///
/// Each piece is one optimizer step. It begins with the state in which the piece before ended, as
/// a constant: gradients stay within a piece, or go less far if a [`Truncation`] says so. What a
/// step needs of memory depends on the length of a piece, never on that of the sequence.
///
/// It makes the optimizer steps of a [`Trainer`](super::Trainer): gradients are clipped
/// ([`clipped`](Self::clipped)), the learning rate follows a schedule ([`scheduled`](Self::scheduled)), weights are
/// averaged ([`averaged`](Self::averaged)) as asked for, and dropout draws from a stream that is saved with the
/// [`state`](Self::state).
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
    engine: StepEngine,
    truncation: Truncation,
    learning_rate: f64,
    /// The schedule, its warm-up and its optimizer steps.
    schedule: Option<(Schedule, f64, u64)>,
    steps: u64,
}

/// A stream trainer's state: what [`StreamTrainer::restore`] continues from.
#[derive(Clone, Debug)]
pub struct StreamState {
    /// Steps of the sequence seen so far.
    pub steps: u64,
    /// The position of the dropout stream.
    pub dropout: u64,
    /// The weights, by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The optimizer's state.
    pub adam: AdamState,
    /// The averages of the weights, by the weights' names; `None` unless they are asked for.
    pub average: Option<BTreeMap<String, Tensor>>,
    /// The state in which the last piece ended.
    pub carried: CarriedState,
}

impl StreamTrainer {
    /// The seed of dropout unless [`seeded`](Self::seeded) gives another.
    pub const SEED: u64 = 42;

    /// A trainer of the layers `rnn`, which run forward in time. It changes `vars`: the layers' weights
    /// and those of whatever the losses are computed with.
    ///
    /// # Errors
    /// As [`Adam::new`]; and [`Error::Config`] for a bidirectional stack.
    pub fn new(rnn: impl Into<Stack>, vars: impl Variables, config: AdamConfig) -> Result<Self> {
        let rnn = rnn.into();
        if rnn.config().bidirectional {
            return Err(Error::Config(
                "training on an endless sequence cannot use a bidirectional layer: set \
                 bidirectional to false"
                    .into(),
            ));
        }
        // Gradients on a device are looked at too: a step changes nothing or all.
        let engine = StepEngine::new(vars, config, Self::SEED, true)?;
        let (truncation, learning_rate) = (Truncation::FULL, config.learning_rate);
        Ok(Self { rnn, engine, truncation, learning_rate, schedule: None, steps: 0 })
    }

    /// Cuts gradients within a piece too.
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation, ..self }
    }

    /// Clips gradients.
    ///
    /// # Errors
    /// As [`Clip::check`].
    pub fn clipped(mut self, clip: Clip) -> Result<Self> {
        self.engine.set_clip(clip)?;
        Ok(self)
    }

    /// Keeps an exponential moving average (EMA) of the weights, which begins with those of now and which
    /// [`measured`](Self::measured) measures.
    ///
    /// - `decay`: at least 0 and less than 1, see [`TrainerConfig::ema`](super::TrainerConfig::ema)
    ///
    /// # Errors
    /// [`Error::Config`] for a decay out of its range, [`Error::Candle`] when weights cannot be copied.
    pub fn averaged(mut self, decay: f64) -> Result<Self> {
        check_part("the decay of the average", decay)?;
        self.engine.set_average(decay)?;
        Ok(self)
    }

    /// Lets the learning rate follow a schedule, whose peak is that of the optimizer's settings.
    ///
    /// - `warmup`: the part of the optimizer steps in which it rises, at least 0 and less than 1;
    ///   [`Schedule::default_warmup`] if `None`
    /// - `steps`: the optimizer steps, at least 1, over which it runs; steps behind them have the last one's rate
    ///
    /// # Errors
    /// [`Error::Config`] for a warm-up out of its range or with a schedule that has none, for no step, and for the schedules that
    /// depend on epochs, `Step` and `Plateau`.
    pub fn scheduled(self, schedule: Schedule, warmup: Option<f64>, steps: u64) -> Result<Self> {
        if matches!(schedule, Schedule::Step | Schedule::Plateau) {
            return Err(Error::Config(
                "the schedules step and plateau depend on epochs, which an endless sequence does \
                 not have: use constant, one-cycle or cosine"
                    .into(),
            ));
        }
        check_part("warmup", warmup.unwrap_or(0.))?;
        if warmup.is_some() && !schedule.rises() {
            return Err(Error::Config("warmup needs the schedule one-cycle or cosine".into()));
        }
        if steps == 0 {
            return Err(Error::Config("a schedule needs at least 1 optimizer step, got 0".into()));
        }
        let warmup = warmup.unwrap_or_else(|| schedule.default_warmup());
        Ok(Self { schedule: Some((schedule, warmup, steps)), ..self })
    }

    /// Draws dropout from the stream of this seed, from its beginning.
    pub fn seeded(mut self, seed: u64) -> Self {
        self.engine.set_seed(seed);
        self
    }

    /// Trains on the next piece and returns its loss. The layers' dropout, if they have any, is on.
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
        self.step_of(x, None, loss)
    }

    /// As [`step`](Self::step) on a piece that ends sooner in some rows: padding behind a row's end is not read, and the row's state
    /// is carried from its end on.
    ///
    /// - `lengths`: the steps of each row, from 0 to K; a row without steps keeps its state
    /// - `loss`: outputs behind a row's end are zeros, which it has to leave out, as
    ///   [`masked_cross_entropy`](super::masked_cross_entropy) does
    ///
    /// # Errors
    /// As [`step`](Self::step); [`Error::Config`] too for lengths that do not fit.
    pub fn step_ragged(
        &mut self,
        x: &Tensor,
        lengths: &[usize],
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<f64> {
        self.step_of(x, Some(lengths), loss)
    }

    fn step_of(
        &mut self,
        x: &Tensor,
        lengths: Option<&[usize]>,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<f64> {
        let mut attempt = self.engine.attempt();
        let context = attempt.context();
        let mut sequences = Sequences::new(x).truncated(self.truncation);
        let initial = context.state.get().cloned();
        if let Some(state) = &initial {
            sequences = sequences.initial(state);
        }
        if let Some(lengths) = lengths {
            sequences = sequences.lengths(lengths);
        }
        let config = self.rnn.config();
        if config.dropout > 0. || config.recurrent_dropout > 0. {
            sequences = sequences.dropout(context.rng);
        }
        let Output { outputs, state } = self.rnn.forward(sequences)?;
        context.state.carry(&state);
        let loss = loss(&outputs)?;
        let at = self.at();
        let rate = self.learning_rate();
        let stepped = || -> Result<f64> {
            let grads = backward(&loss)?;
            let value = at.loss(&loss)?;
            self.engine.step(at, grads, rate, attempt)?;
            Ok(value)
        };
        let value = stepped().map_err(|error| at.cause(error, self.engine.vars()))?;
        let longest = lengths.and_then(|lengths| lengths.iter().copied().max());
        self.steps += longest.map_or_else(|| x.dim(1), Ok)? as u64;
        Ok(value)
    }

    /// The place of the next step.
    fn at(&self) -> StepAt {
        let step = self.adam().step_count();
        StepAt { step, epoch: 1, batch: (step as usize).saturating_add(1) }
    }

    /// The learning rate of the next step.
    fn learning_rate(&self) -> f64 {
        let Some((schedule, warmup, steps)) = self.schedule else { return self.learning_rate };
        let step = self.adam().step_count();
        let progress = Progress { step, steps, ..Progress::default() };
        self.learning_rate * schedule.factor(warmup, progress)
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
        self.engine.carried_mut()
    }

    /// Steps of the sequence seen so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The optimizer.
    pub fn adam(&self) -> &Adam {
        self.engine.adam()
    }

    /// Runs `measure` on the layers as they are measured: with the averages of all variables in their place, if
    /// there are some.
    ///
    /// # Errors
    /// Those of `measure`, and [`Error::Candle`] when weights cannot be exchanged.
    pub fn measured<R>(&self, measure: impl FnOnce(&Stack) -> Result<R>) -> Result<R> {
        let Some(average) = self.engine.average() else { return measure(&self.rnn) };
        self.engine.with_weights(average, || measure(&self.rnn))
    }

    /// Everything that is needed to continue from here with the same bits.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a weight is NaN or infinite, [`Error::Candle`] when tensors cannot be copied.
    pub fn state(&self) -> Result<StreamState> {
        Ok(StreamState {
            steps: self.steps,
            dropout: self.engine.dropout_position(),
            weights: self.engine.weights(self.at())?,
            adam: self.adam().state()?,
            average: self.engine.averages()?,
            carried: self.engine.carried().clone(),
        })
    }

    /// Continues from a state of a trainer with the same layers and settings, whose next piece comes next; on an
    /// error nothing has changed.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Shape`] or [`Error::DType`] when the state does not fit.
    pub fn restore(&mut self, state: &StreamState) -> Result<()> {
        let StreamState { steps, dropout, weights, adam, average, carried } = state;
        self.engine.restore(weights, adam, average.as_ref(), carried, *dropout)?;
        self.steps = *steps;
        Ok(())
    }
}
