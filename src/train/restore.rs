//! A trainer's state, saved and restored.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{Position, Task, Trainer, TrainerState};
use crate::files::tensors::is_finite;
use crate::{Error, Result};

impl<T: Task> Trainer<T> {
    /// The weights by name, sorted; they are copies.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a weight is NaN or infinite: such weights are not to be kept.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = BTreeMap::new();
        for (name, var) in self.task.vars() {
            let weight = var.as_detached_tensor().to_device(&Device::Cpu)?.copy()?;
            if !is_finite(&weight)? {
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
                "no best weights yet: they are kept with patience set, from the end of the first \
                 epoch on"
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
                return Err(Error::Config(format!(
                    "the saved weight {name} has another shape or dtype than the model's"
                )));
            }
        }
        if state.position.batch > self.batches() || state.position.epoch > self.config.epochs {
            return Err(Error::Config(
                "the saved position is beyond the last epoch or batch".into(),
            ));
        }
        let Position { epoch, batch, waited, plateaus, .. } = state.position;
        let steps = epoch.saturating_mul(self.batches()).saturating_add(batch) as u64;
        if state.adam.step != steps || waited > epoch || plateaus as usize > epoch {
            return Err(Error::Config(format!(
                "the saved position is inconsistent: {} steps where its epoch and batch give \
                 {steps}, or more epochs without improvement than epochs",
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
