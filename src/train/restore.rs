//! A trainer's state, saved and restored.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{CarriedState, Position, Task, Trainer, TrainerState};
use crate::{Error, Result};

impl<T: Task> Trainer<T> {
    /// The weights by name, sorted; they are copies.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a weight is NaN or infinite: such weights are not to be kept.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        self.engine.weights(self.at(self.position.batch))
    }

    /// Everything that is needed to continue from here with the same bits.
    ///
    /// # Errors
    /// As [`weights`](Self::weights).
    pub fn state(&self) -> Result<TrainerState> {
        Ok(TrainerState {
            position: self.position.clone(),
            weights: self.weights()?,
            adam: self.engine.adam().state()?,
            average: self.engine.averages()?,
            carried: self.engine.carried().clone(),
            best: self.best.clone(),
        })
    }

    /// The weights that are measured, by name: copies of the averages or, where there are none, of the weights.
    pub(super) fn measured_weights(&self) -> Result<BTreeMap<String, Tensor>> {
        // The weights are looked at in either case: what is not finite is not to be kept.
        let weights = self.weights()?;
        Ok(self.engine.averages()?.unwrap_or(weights))
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
        self.engine.put(&best.weights)
    }

    /// Continues from a state of a trainer with the same settings and data.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Shape`] or [`Error::DType`] when the state does not fit.
    pub fn restore(&mut self, state: &TrainerState) -> Result<()> {
        self.engine.check_weights(&state.weights)?;
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
        // An epoch begins without a carried state.
        let none = CarriedState::new();
        let carried = if batch == 0 { &none } else { &state.carried };
        let (average, dropout) = (state.average.as_ref(), state.position.dropout);
        self.engine.restore(&state.weights, &state.adam, average, carried, dropout)?;
        self.position = state.position.clone();
        if batch == 0 && self.config.extensions.restarts_after(epoch) {
            self.position.waited = 0;
        }
        self.best = state.best.clone();
        self.shuffle.set_position(u128::from(self.position.shuffle));
        self.augment.set_position(u128::from(self.position.augment));
        self.order.clear();
        self.next = None;
        if let Some(recorded) = &mut self.recorded {
            recorded.forget();
        }
        Ok(())
    }
}
