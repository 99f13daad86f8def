//! `StepEngine`, one optimizer step: what every trainer does with the gradients of a loss.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use super::context::StepContext;
use super::finite::StepAt;
use super::CarriedState;
use crate::files::tensors::is_finite;
use crate::optim::{Adam, AdamConfig, AdamState, Average, Clip, Variables};
use crate::rng::{Purpose, SeededRng};
use crate::{Error, Result};

/// The variables of a training with all that an optimizer step changes: weights, moments, averages of the weights, the
/// dropout stream and the carried state. A step changes all of them or none.
pub(super) struct StepEngine {
    vars: BTreeMap<String, Var>,
    device: Device,
    adam: Adam,
    average: Option<Average>,
    clip: Clip,
    /// Whether gradients are looked at where nothing clips them.
    checks: bool,
    dropout: SeededRng,
    carried: CarriedState,
}

/// The random numbers and carried state that a step's losses have used before the step is made.
#[derive(Clone)]
pub(super) struct Attempt {
    dropout: SeededRng,
    carried: CarriedState,
}

impl Attempt {
    /// The context of a loss.
    pub(super) fn context(&mut self) -> StepContext<'_> {
        StepContext { rng: &mut self.dropout, state: &mut self.carried }
    }
}

impl StepEngine {
    /// An engine before its first step.
    ///
    /// - `seed`: that of dropout
    /// - `checks`: whether gradients on a device, which has to be waited for, are looked at where nothing
    ///   clips them
    ///
    /// # Errors
    /// As [`Adam::new`].
    pub(super) fn new(
        vars: impl Variables,
        adam: AdamConfig,
        seed: u64,
        checks: bool,
    ) -> Result<Self> {
        let vars = vars.named()?;
        let device = vars.first().map_or(Device::Cpu, |(_, var)| var.device().clone());
        Ok(Self {
            adam: Adam::new(vars.clone(), adam)?,
            vars: vars.into_iter().collect(),
            checks: checks || device.is_cpu(),
            device,
            average: None,
            clip: Clip::None,
            dropout: SeededRng::new(seed, Purpose::Dropout),
            carried: CarriedState::new(),
        })
    }

    /// Clips gradients from here on.
    ///
    /// # Errors
    /// As [`Clip::check`].
    pub(super) fn set_clip(&mut self, clip: Clip) -> Result<()> {
        clip.check()?;
        self.clip = clip;
        Ok(())
    }

    /// Averages the weights from here on, beginning with those of now.
    ///
    /// # Errors
    /// [`Error::Candle`] when they cannot be copied.
    pub(super) fn set_average(&mut self, decay: f64) -> Result<()> {
        self.average = Some(Average::new(decay, &self.vars)?);
        Ok(())
    }

    /// Draws dropout from the beginning of a seed's stream.
    pub(super) fn set_seed(&mut self, seed: u64) {
        self.dropout = SeededRng::new(seed, Purpose::Dropout);
    }

    /// An attempt at the next step.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt { dropout: self.dropout.clone(), carried: self.carried.clone() }
    }

    /// Makes a step with the gradients of losses, and keeps what these have drawn and carried.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a gradient, [`Error::Config`] when there is none: nothing has changed then.
    /// [`Error::Candle`] when Candle fails.
    pub(super) fn step(
        &mut self,
        at: StepAt,
        mut grads: GradStore,
        learning_rate: f64,
        attempt: Attempt,
    ) -> Result<()> {
        if self.checks || self.clip != Clip::None {
            at.gradients(&self.adam, &self.vars, &mut grads, self.clip)?;
        }
        self.adam.config.learning_rate = learning_rate;
        self.adam.step_checked(&grads)?;
        if let Some(average) = &mut self.average {
            average.update(self.adam.step_count(), &self.vars)?;
        }
        Attempt { dropout: self.dropout, carried: self.carried } = attempt;
        Ok(())
    }

    /// Begins a step that a device may have recorded: what moves the variables is
    /// [`move_recorded`](Self::move_recorded), or what was recorded of it.
    ///
    /// # Errors
    /// As [`Adam::begin_recorded`].
    pub(super) fn begin_recorded(&mut self, learning_rate: f64) -> Result<()> {
        self.adam.config.learning_rate = learning_rate;
        self.adam.begin_recorded()
    }

    /// Moves the variables by the step that has begun, without looking at the gradients.
    ///
    /// # Errors
    /// As [`Adam::move_recorded`].
    pub(super) fn move_recorded(&mut self, grads: &GradStore) -> Result<()> {
        self.adam.move_recorded(grads)
    }

    /// The variables by name.
    pub(super) fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// The optimizer.
    pub(super) fn adam(&self) -> &Adam {
        &self.adam
    }

    /// The position of the dropout stream.
    pub(super) fn dropout_position(&self) -> u64 {
        self.dropout.position() as u64
    }

    /// The carried state.
    pub(super) fn carried(&self) -> &CarriedState {
        &self.carried
    }

    /// The carried state, to be reset.
    pub(super) fn carried_mut(&mut self) -> &mut CarriedState {
        &mut self.carried
    }

    /// The averages of the weights, if there are some.
    pub(super) fn average(&self) -> Option<&BTreeMap<String, Tensor>> {
        self.average.as_ref().map(Average::weights)
    }

    /// Copies of the weights by name.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a weight is NaN or infinite: such weights are not to be kept.
    pub(super) fn weights(&self, at: StepAt) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = BTreeMap::new();
        for (name, var) in &self.vars {
            let weight = var.as_detached_tensor().to_device(&Device::Cpu)?.copy()?;
            if !is_finite(&weight)? {
                return Err(at.not_finite(name));
            }
            weights.insert(name.clone(), weight);
        }
        Ok(weights)
    }

    /// Copies of the averages, if there are some.
    ///
    /// # Errors
    /// [`Error::Candle`] when they cannot be copied.
    pub(super) fn averages(&self) -> Result<Option<BTreeMap<String, Tensor>>> {
        let Some(weights) = self.average() else { return Ok(None) };
        let copy = |(name, tensor): (&String, &Tensor)| -> Result<(String, Tensor)> {
            Ok((name.clone(), tensor.to_device(&Device::Cpu)?.copy()?))
        };
        weights.iter().map(copy).collect::<Result<_>>().map(Some)
    }

    /// Runs `measure` with `weights` in the place of the variables' values.
    ///
    /// # Errors
    /// Those of `measure`, and [`Error::Candle`] when weights cannot be exchanged.
    pub(super) fn with_weights<R>(
        &self,
        weights: &BTreeMap<String, Tensor>,
        measure: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let mut last = Vec::new();
        for (name, var) in &self.vars {
            last.push((var, var.as_detached_tensor().copy()?));
            if let Some(weight) = weights.get(name) {
                var.set(&weight.to_device(var.device())?)?;
            }
        }
        let measured = measure();
        for (var, last) in last {
            var.set(&last)?;
        }
        measured
    }

    /// Puts weights in the variables and, if there are averages, in their place.
    ///
    /// # Errors
    /// [`Error::Config`] when an average is missing or does not fit, [`Error::Candle`] when Candle fails.
    pub(super) fn put(&mut self, weights: &BTreeMap<String, Tensor>) -> Result<()> {
        if let Some(average) = &mut self.average {
            average.restore(weights)?;
        }
        for (name, var) in &self.vars {
            if let Some(weight) = weights.get(name) {
                var.set(&weight.to_device(var.device())?)?;
            }
        }
        Ok(())
    }

    /// Checks that there is a saved weight for each variable.
    ///
    /// # Errors
    /// [`Error::Config`] when one is missing or has another shape or dtype.
    pub(super) fn check_weights(&self, weights: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, var) in &self.vars {
            let weight = weights
                .get(name)
                .ok_or_else(|| Error::Config(format!("the saved state lacks the weight {name}")))?;
            if weight.shape() != var.shape() || weight.dtype() != var.dtype() {
                return Err(Error::Config(format!(
                    "the saved weight {name} has another shape or dtype than the model's"
                )));
            }
        }
        Ok(())
    }

    /// Continues from what was saved; on an error nothing has changed.
    ///
    /// - `dropout`: the position of the dropout stream
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Shape`] or [`Error::DType`] when something does not fit.
    pub(super) fn restore(
        &mut self,
        weights: &BTreeMap<String, Tensor>,
        adam: &AdamState,
        average: Option<&BTreeMap<String, Tensor>>,
        carried: &CarriedState,
        dropout: u64,
    ) -> Result<()> {
        self.check_weights(weights)?;
        let mut restored = self.average.clone();
        match (&mut restored, average) {
            (Some(restored), Some(saved)) => restored.restore(saved)?,
            (Some(_), None) => {
                return Err(Error::Config("the saved state lacks the averaged weights".into()))
            }
            (None, _) => {}
        }
        let carried = carried.to_device(&self.device)?;
        self.adam.restore(adam)?;
        for (name, var) in &self.vars {
            var.set(&weights[name].to_device(var.device())?)?;
        }
        (self.average, self.carried) = (restored, carried);
        self.dropout.set_position(u128::from(dropout));
        Ok(())
    }
}
