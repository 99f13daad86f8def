//! The training loop, one optimizer step at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use serde::{Deserialize, Serialize};

use super::average::Average;
use super::evaluate::Tally;
use super::loss::{smoothed_cross_entropy, smoothed_sequence_cross_entropy};
use super::schedule::Progress;
use super::{evaluate, evaluate_steps, EpochMetrics, TrainConfig, PLATEAU_EPOCHS};
use crate::data::augment::{shifts, Shift};
use crate::data::batches::{array_split, batch_count, Batch, Gather};
use crate::data::mnist::Mnist;
use crate::model::SequenceClassifier;
use crate::nn::init::VarSink;
use crate::optim::adam::AdamState;
use crate::optim::clip::{clip, Found};
use crate::optim::{Adam, AdamConfig, Clip};
use crate::recurrence::device::is_for_cpu_kernels;
use crate::recurrence::{Outputs, Unroll};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

/// What a trainer did.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One optimizer step.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// The batch within the epoch, from 1.
        batch: usize,
        /// Batches in an epoch.
        batches: usize,
        /// Images in this batch.
        examples: usize,
        /// Mean loss of the batch before the step.
        loss: f64,
    },
    /// The end of an epoch, with validation.
    Epoch(EpochMetrics),
    /// All epochs are done.
    Done,
}

/// Trains a [`SequenceClassifier`] on [`Mnist`].
///
/// Call [`next_event`](Self::next_event) until it returns [`Event::Done`].
pub struct Trainer {
    config: TrainConfig,
    data: Mnist,
    gather: Gather,
    vars: BTreeMap<String, Var>,
    model: SequenceClassifier,
    adam: Adam,
    average: Option<Average>,
    shuffle: Stream,
    dropout: Stream,
    position: Position,
    /// The order of the training images in this epoch; empty between epochs.
    order: Vec<u32>,
    /// How far this epoch moves each image of its order; empty if none is moved.
    shifts: Vec<Shift>,
    augment: Stream,
    /// A batch of this epoch that was gathered ahead, and its index.
    next_batch: Option<(usize, Batch)>,
}

/// Where a trainer is; with weights and optimizer state, all that is needed to continue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epochs done.
    pub epoch: usize,
    /// Batches done of the epoch that has begun.
    pub batch: usize,
    /// Sum of these batches' losses.
    pub loss_sum: f64,
    /// Seconds that they took.
    pub seconds: f64,
    /// Position of the shuffling stream before it drew this epoch's order.
    pub shuffle: u64,
    /// Position of the dropout stream.
    #[serde(default)]
    pub dropout: u64,
    /// Position of the stream of shifts before it drew this epoch's.
    #[serde(default)]
    pub augment: u64,
    /// The lowest validation loss so far.
    #[serde(default)]
    pub best_loss: Option<f64>,
    /// Epochs since it was found.
    #[serde(default)]
    pub waited: usize,
    /// How often it was waited for in vain: what `Schedule::Plateau` counts.
    #[serde(default)]
    pub plateaus: u32,
}

/// A trainer's state: what [`Trainer::restore`] continues from.
#[derive(Clone, Debug)]
pub struct TrainerState {
    /// Where the trainer is.
    pub position: Position,
    /// The weights, by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The optimizer's state.
    pub adam: AdamState,
    /// The averages of the weights, by the weights' names; `None` unless they are asked for.
    pub average: Option<BTreeMap<String, Tensor>>,
}

impl TrainerState {
    /// The weights that were measured: the averages if there are some.
    pub fn model(&self) -> &BTreeMap<String, Tensor> {
        self.average.as_ref().unwrap_or(&self.weights)
    }
}

impl Trainer {
    /// A trainer with initial weights, before its first step.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range or that the device does not support,
    /// [`Error::Candle`] when the device fails.
    pub fn new(config: &TrainConfig, data: Mnist, device: &Device) -> Result<Self> {
        config.check()?;
        config.check_device(device)?;
        let dtype = config.dtype.dtype();
        let var_map = VarMap::new();
        let mut init = Stream::new(config.seed, Purpose::Init);
        let model = SequenceClassifier::init(
            &config.model(),
            config.init,
            &mut init,
            &var_map,
            dtype,
            device,
        )?;
        let vars = VarSink::new(&var_map, dtype, device).named()?;
        let adam = AdamConfig {
            learning_rate: config.learning_rate,
            weight_decay: config.weight_decay,
            ..AdamConfig::default()
        };
        Ok(Self {
            gather: Gather::new(config.view, dtype, device)?,
            adam: Adam::new(vars.clone(), adam)?,
            average: config.ema.map(|decay| Average::new(decay, &vars)).transpose()?,
            shuffle: Stream::new(config.seed, Purpose::Shuffle),
            dropout: Stream::new(config.seed, Purpose::Dropout),
            augment: Stream::new(config.seed, Purpose::Augment),
            shifts: Vec::new(),
            config: config.clone(),
            position: Position::default(),
            order: Vec::new(),
            next_batch: None,
            data,
            vars,
            model,
        })
    }

    /// Trains on the next batch, or ends the epoch whose batches are all done.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a loss is NaN or infinite, [`Error::Candle`] when Candle fails.
    pub fn next_event(&mut self) -> Result<Event> {
        if self.is_done() {
            return Ok(Event::Done);
        }
        let start = Instant::now();
        if self.order.is_empty() {
            self.begin_epoch();
        }
        if self.position.batch == self.batches() {
            return self.end_epoch();
        }
        let index = self.position.batch;
        let batch = match self.next_batch.take() {
            Some((at, batch)) if at == index => batch,
            _ => self.batch(index)?,
        };
        // The next batch is gathered by whichever thread has nothing else to do.
        let (stepped, next_batch) = {
            let next = (index + 1 < self.batches()).then_some(index + 1);
            let gather_next = || next.map(|next| self.batch(next)).transpose();
            let mut dropout = self.dropout.clone();
            let mut loss = || {
                let loss = self.loss(&batch, &mut dropout)?;
                Ok((loss.backward()?, loss))
            };
            // On a device a thread may have a stream of launches of its own, behind which another
            // thread's do not wait: there everything goes one after the other.
            let joined: (Result<_>, _) = match is_for_cpu_kernels(self.gather.device()) {
                true => rayon::join(&mut loss, gather_next),
                false => (loss(), gather_next()),
            };
            self.dropout = dropout;
            joined
        };
        let (mut grads, loss) = stepped?;
        self.next_batch = next_batch?.map(|batch| (index + 1, batch));
        let loss = loss.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
        if !loss.is_finite() {
            return Err(self.not_finite("the loss", self.position.batch + 1));
        }
        self.check_gradients(&mut grads)?;
        self.adam.config.learning_rate = self.learning_rate();
        self.adam.step(&grads)?;
        if let Some(average) = &mut self.average {
            average.update(self.adam.step_count(), &self.vars)?;
        }
        self.position.batch += 1;
        self.position.dropout = self.dropout.position() as u64;
        self.position.loss_sum += loss;
        self.position.seconds += start.elapsed().as_secs_f64();
        Ok(Event::Step {
            epoch: self.position.epoch + 1,
            batch: self.position.batch,
            batches: self.batches(),
            examples: batch.labels.elem_count(),
            loss,
        })
    }

    /// Cuts gradients as the settings say, and stops where one is not finite. On a device, which would
    /// have to be waited for, they are looked at only where they are to be cut.
    fn check_gradients(&self, grads: &mut GradStore) -> Result<()> {
        if self.config.clip == Clip::None && !self.gather.device().is_cpu() {
            return Ok(());
        }
        match clip(self.vars.iter(), grads, self.config.clip)? {
            Found::Norm(_) => Ok(()),
            Found::NotFinite(name) => {
                let what = format!("the gradient of {name}");
                Err(self.not_finite(&what, self.position.batch + 1))
            }
        }
    }

    /// The step size of the next step.
    fn learning_rate(&self) -> f64 {
        let TrainConfig { schedule, warmup, epochs, learning_rate, .. } = self.config;
        let progress = Progress {
            step: self.adam.step_count(),
            steps: (epochs * self.batches()) as u64,
            epoch: self.position.epoch,
            epochs,
            plateaus: self.position.plateaus,
        };
        let warmup = warmup.unwrap_or_else(|| schedule.default_warmup());
        learning_rate * schedule.factor(warmup, progress)
    }

    fn loss(&self, batch: &Batch, dropout: &mut Stream) -> Result<Tensor> {
        let TrainConfig { truncation, loss_at, label_smoothing, .. } = &self.config;
        let read = if loss_at.is_last() { Outputs::Last } else { Outputs::All };
        let unroll = Unroll::new(read).truncated(*truncation);
        let logits = self.model.forward_training(&batch.x, unroll, dropout)?;
        match read {
            Outputs::Last => smoothed_cross_entropy(&logits, &batch.labels, *label_smoothing),
            Outputs::All => {
                smoothed_sequence_cross_entropy(&logits, &batch.labels, loss_at, *label_smoothing)
            }
        }
    }

    /// Batches in an epoch.
    pub fn batches(&self) -> usize {
        batch_count(self.data.train.len(), self.config.batch_size)
    }

    /// Optimizer steps done.
    pub fn step_count(&self) -> u64 {
        self.adam.step_count()
    }

    /// Whether all epochs are done, or the validation loss was waited for in vain.
    pub fn is_done(&self) -> bool {
        let is_tired = |patience| self.position.waited >= patience;
        self.position.epoch >= self.config.epochs || self.config.patience.is_some_and(is_tired)
    }

    /// Where the trainer is.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The model; it changes with every step.
    pub fn model(&self) -> &SequenceClassifier {
        &self.model
    }

    /// The weights by name, sorted; they are copies.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a weight is NaN or infinite: such weights are not to be kept.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = BTreeMap::new();
        for (name, var) in &self.vars {
            let weight = var.as_detached_tensor().to_device(&Device::Cpu)?.copy()?;
            if !crate::checkpoint::weights::is_finite(&weight)? {
                return Err(self.not_finite(name, self.position.batch));
            }
            weights.insert(name.clone(), weight);
        }
        Ok(weights)
    }

    /// Copies of the averages, if there are some.
    fn averages(&self) -> Result<Option<BTreeMap<String, Tensor>>> {
        let Some(average) = &self.average else { return Ok(None) };
        let copy = |(name, tensor): (&String, &Tensor)| -> Result<(String, Tensor)> {
            Ok((name.clone(), tensor.to_device(&Device::Cpu)?.copy()?))
        };
        average.weights().iter().map(copy).collect::<Result<_>>().map(Some)
    }

    /// The model that is measured: that of the averages if there are some.
    ///
    /// # Errors
    /// [`Error::Candle`] when it cannot be made.
    pub fn measured_model(&self) -> Result<Cow<'_, SequenceClassifier>> {
        let Some(average) = &self.average else { return Ok(Cow::Borrowed(&self.model)) };
        let weights = average.weights().clone().into_iter().collect();
        let (dtype, device) = (self.config.dtype.dtype(), self.gather.device());
        let vb = VarBuilder::from_tensors(weights, dtype, device);
        Ok(Cow::Owned(SequenceClassifier::new(&self.config.model(), vb)?))
    }

    /// Everything that is needed to continue from here with the same bits.
    ///
    /// # Errors
    /// As [`weights`](Self::weights).
    pub fn state(&self) -> Result<TrainerState> {
        Ok(TrainerState {
            position: self.position.clone(),
            weights: self.weights()?,
            adam: self.adam.state()?,
            average: self.averages()?,
        })
    }

    /// Continues from a state of a trainer with the same settings and data.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Shape`] or [`Error::DType`] when the state does not fit.
    pub fn restore(&mut self, state: &TrainerState) -> Result<()> {
        for (name, var) in &self.vars {
            let weight = state
                .weights
                .get(name)
                .ok_or_else(|| Error::Config(format!("the saved state lacks the weight {name}")))?;
            if weight.shape() != var.shape() || weight.dtype() != var.dtype() {
                return Err(Error::Config(format!("the saved weight {name} does not fit")));
            }
        }
        if state.position.batch > self.batches() || state.position.epoch > self.config.epochs {
            return Err(Error::Config("the saved position lies behind the end".into()));
        }
        match (&mut self.average, &state.average) {
            (Some(average), Some(saved)) => average.restore(saved)?,
            (Some(_), None) => {
                return Err(Error::Config("the saved state lacks the averaged weights".into()))
            }
            (None, _) => {}
        }
        self.adam.restore(&state.adam)?;
        for (name, var) in &self.vars {
            var.set(&state.weights[name].to_device(var.device())?)?;
        }
        self.position = state.position.clone();
        self.shuffle.set_position(u128::from(self.position.shuffle));
        self.dropout.set_position(u128::from(self.position.dropout));
        self.augment.set_position(u128::from(self.position.augment));
        self.order.clear();
        self.next_batch = None;
        Ok(())
    }

    /// Draws the epoch's order. The same position gives the same order, so that an epoch that was
    /// interrupted continues with the batches that it lacks.
    fn begin_epoch(&mut self) {
        self.position.shuffle = self.shuffle.position() as u64;
        self.order = self.shuffle.permutation(self.data.train.len() as u32);
        self.position.augment = self.augment.position() as u64;
        self.shifts = match self.config.shift {
            0 => Vec::new(),
            limit => shifts(&mut self.augment, self.order.len(), limit),
        };
    }

    /// The batch with this index in the epoch that has begun.
    fn batch(&self, index: usize) -> Result<Batch> {
        let range = array_split(self.order.len(), self.batches(), index);
        let indices = self.order[range.clone()].iter().map(|i| *i as usize);
        match self.shifts.get(range) {
            Some(shifts) => self.gather.batch_of_shifted(&self.data.train, indices, shifts),
            None => self.gather.batch(&self.data.train, indices),
        }
    }

    fn end_epoch(&mut self) -> Result<Event> {
        let batches = self.batches();
        let last = self.batch(batches - 1)?;
        let model = self.measured_model()?;
        let mut tally = Tally::default();
        let labels = last.labels.to_vec1::<u32>()?;
        tally.add(
            &model.detach().forward(&last.x)?,
            labels.into_iter().map(|label| label as usize),
        )?;
        let last = tally.evaluation();
        let valid = evaluate(&model, &self.gather, &self.data.valid)?;
        if !valid.loss.is_finite() {
            return Err(self.not_finite("the validation loss", batches));
        }
        let valid_accuracy_by_step = match self.config.loss_at.is_last() {
            true => None,
            false => Some(evaluate_steps(&model, &self.gather, &self.data.valid)?),
        };
        let metrics = EpochMetrics {
            epoch: self.position.epoch + 1,
            loss_batch: last.loss,
            acc_batch: last.accuracy,
            train_loss: self.position.loss_sum / batches as f64,
            valid_loss: valid.loss,
            valid_accuracy: valid.accuracy,
            seconds: self.position.seconds,
            examples_per_second: self.data.train.len() as f64 / self.position.seconds,
            learning_rate: self.adam.config.learning_rate,
            valid_accuracy_by_step,
        };
        self.order.clear();
        self.next_batch = None;
        let Position { best_loss, waited, plateaus, .. } = self.position;
        let is_better = best_loss.is_none_or(|best| valid.loss < best);
        let waited = if is_better { 0 } else { waited + 1 };
        let is_plateau = waited > 0 && waited.is_multiple_of(PLATEAU_EPOCHS);
        self.position = Position {
            epoch: self.position.epoch + 1,
            shuffle: self.shuffle.position() as u64,
            dropout: self.dropout.position() as u64,
            augment: self.augment.position() as u64,
            best_loss: if is_better { Some(valid.loss) } else { best_loss },
            waited,
            plateaus: plateaus + u32::from(is_plateau),
            ..Position::default()
        };
        Ok(Event::Epoch(metrics))
    }

    fn not_finite(&self, what: &str, batch: usize) -> Error {
        Error::NotFinite {
            what: what.to_string(),
            step: self.adam.step_count(),
            epoch: self.position.epoch + 1,
            batch,
        }
    }
}
