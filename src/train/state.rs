//! What a trainer needs to continue with the same bits, handed out and taken back.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{EpochMetrics, Task, Trainer};
use crate::optim::AdamState;
use crate::{Error, Result};

/// Where a trainer is; with weights and optimizer state, all that is needed to continue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epochs done.
    pub epoch: usize,
    /// Batches done of the epoch that has begun.
    pub batch: usize,
    /// Sum of these batches' losses, each times its share of the examples with [`Batching::Exact`].
    ///
    /// [`Batching::Exact`]: crate::data::batches::Batching::Exact
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
    /// The best epoch so far with its weights; `None` without patience.
    pub best: Option<Best>,
}

/// The best epoch of a training with patience: the most accurate on the validation examples or, where there is no
/// right or wrong, the one with the lowest validation loss.
#[derive(Clone, Debug)]
pub struct Best {
    /// What was measured in it.
    pub metrics: EpochMetrics,
    /// The weights that were measured, by name: the averages if there are some.
    pub weights: BTreeMap<String, Tensor>,
}

impl TrainerState {
    /// The weights that were measured: the averages if there are some.
    pub fn model(&self) -> &BTreeMap<String, Tensor> {
        self.average.as_ref().unwrap_or(&self.weights)
    }
}

impl<T: Task> Trainer<T> {
    /// The weights by name, sorted; they are copies.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a weight is NaN or infinite: such weights are not to be kept.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = BTreeMap::new();
        for (name, var) in self.task.vars() {
            let weight = var.as_detached_tensor().to_device(&Device::Cpu)?.copy()?;
            if !crate::files::tensors::is_finite(&weight)? {
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
            best: self.best.clone(),
        })
    }

    /// The weights that are measured, by name: copies of the averages or, where there are none, of the weights.
    pub(super) fn measured_weights(&self) -> Result<BTreeMap<String, Tensor>> {
        // The weights are looked at in either case: what is not finite is not to be kept.
        let weights = self.weights()?;
        Ok(self.averages()?.unwrap_or(weights))
    }

    /// Puts the best epoch's weights in the task's variables, and in the place of the averages if there are some:
    /// for a training with patience that is done, and is to be used. It is no state to train on from.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no best epoch, see [`best`](Self::best); [`Error::Candle`] when Candle fails.
    pub fn restore_best(&mut self) -> Result<()> {
        let Some(best) = &self.best else {
            return Err(Error::Config(
                "the best weights are kept only with patience, from the end of the first epoch on"
                    .into(),
            ));
        };
        if let Some(average) = &mut self.average {
            average.restore(&best.weights)?;
        }
        for (name, var) in self.task.vars() {
            if let Some(weight) = best.weights.get(name) {
                var.set(&weight.to_device(var.device())?)?;
            }
        }
        Ok(())
    }

    /// Continues from a state of a trainer with the same settings and data.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Shape`] or [`Error::DType`] when the state does not fit.
    pub fn restore(&mut self, state: &TrainerState) -> Result<()> {
        for (name, var) in self.task.vars() {
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
        let Position { epoch, batch, waited, plateaus, .. } = state.position;
        let steps = epoch.saturating_mul(self.batches()).saturating_add(batch) as u64;
        if state.adam.step != steps || waited > epoch || plateaus as usize > epoch {
            return Err(Error::Config(format!(
                "the saved position disagrees with itself: {} steps where there were {steps}, or more \
                 epochs waited for than there were",
                state.adam.step
            )));
        }
        match (&mut self.average, &state.average) {
            (Some(average), Some(saved)) => average.restore(saved)?,
            (Some(_), None) => {
                return Err(Error::Config("the saved state lacks the averaged weights".into()))
            }
            (None, _) => {}
        }
        self.adam.restore(&state.adam)?;
        for (name, var) in self.task.vars() {
            var.set(&state.weights[name].to_device(var.device())?)?;
        }
        self.position = state.position.clone();
        if batch == 0 && self.config.extensions.restarts_after(epoch) {
            self.position.waited = 0;
        }
        self.best = state.best.clone();
        self.shuffle.set_position(u128::from(self.position.shuffle));
        self.dropout.set_position(u128::from(self.position.dropout));
        self.augment.set_position(u128::from(self.position.augment));
        self.order.clear();
        self.next = None;
        Ok(())
    }
}
