//! The check that loss, gradients and weights are finite, before an optimizer step.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use crate::files::tensors::is_finite;
use crate::optim::{clip, Adam, Clip, ClipOutcome};
use crate::recurrence::check_teams;
use crate::{Error, Result};

/// The place of a step, for the error.
#[derive(Clone, Copy)]
pub(super) struct StepAt {
    /// Optimizer steps done before it.
    pub(super) step: u64,
    /// The epoch, from 1.
    pub(super) epoch: usize,
    /// The batch within the epoch, from 1.
    pub(super) batch: usize,
}

impl StepAt {
    pub(super) fn not_finite(self, what: &str) -> Error {
        let Self { step, epoch, batch } = self;
        Error::NotFinite { what: what.to_string(), step, epoch, batch }
    }

    /// The value of a loss, behind whose gradients the device was asked for nothing: reading it waits for both.
    ///
    /// # Errors
    /// As [`check_teams`], and [`Error::NotFinite`] when it is NaN or infinite.
    pub(super) fn loss(self, loss: &Tensor) -> Result<f64> {
        let device = loss.device();
        // On a device a cast is a launch.
        let loss = match loss.dtype() {
            DType::F32 => f64::from(loss.to_scalar::<f32>()?),
            _ => loss.to_dtype(DType::F64)?.to_scalar::<f64>()?,
        };
        check_teams(device)?;
        if loss.is_finite() {
            Ok(loss)
        } else {
            Err(self.not_finite("the loss"))
        }
    }

    /// Clips gradients as `how` says.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the variable whose gradient, or whose clipped gradient's square, which
    /// Adam averages, is NaN or infinite.
    pub(super) fn gradients(
        self,
        adam: &Adam,
        vars: &BTreeMap<String, Var>,
        grads: &mut GradStore,
        how: Clip,
    ) -> Result<()> {
        // Of the squares of smaller numbers none overflows.
        const LARGE: f64 = 1e18;
        match clip(vars.iter(), grads, how)? {
            ClipOutcome::Norm(norm) if norm <= LARGE => Ok(()),
            ClipOutcome::Norm(_) => match adam.not_finite(grads, |_| true)? {
                Some(what) => Err(self.not_finite(&what)),
                None => Ok(()),
            },
            ClipOutcome::NotFinite(name) => {
                Err(self.not_finite(&format!("the gradient of {name}")))
            }
        }
    }

    /// The first cause of an error: where a weight is not finite, loss and gradients are not either.
    pub(super) fn cause(self, error: Error, vars: &BTreeMap<String, Var>) -> Error {
        if !matches!(error, Error::NotFinite { .. }) {
            return error;
        }
        let is_bad = |var: &Var| -> Result<bool> {
            Ok(!is_finite(&var.as_detached_tensor().to_device(&Device::Cpu)?)?)
        };
        match vars.iter().find(|(_, var)| is_bad(var).unwrap_or(false)) {
            Some((name, _)) => self.not_finite(name),
            None => error,
        }
    }
}
