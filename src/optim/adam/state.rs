//! The saved state of an Adam, and its restoration.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{Adam, Moments};
use crate::{Error, Result};

/// The state that has to be saved to continue: [`Adam::state`].
#[derive(Clone, Debug)]
pub struct AdamState {
    /// Steps done.
    pub step: u64,
    /// Names `m.PARAMETER` and `v.PARAMETER`, shapes and dtypes of the parameters. A parameter that was
    /// skipped has `skipped.PARAMETER` too: in how many steps, an `i64` of shape `()`.
    pub moments: BTreeMap<String, Tensor>,
}

impl Adam {
    /// The state to be saved.
    ///
    /// # Errors
    /// [`Error::Candle`] when a tensor cannot be made.
    pub fn state(&self) -> Result<AdamState> {
        let mut moments = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            let shape = parameter.var.shape();
            let (m, v) = match &parameter.moments {
                Moments::F32 { m, v } => (
                    Tensor::from_slice(m, shape, &Device::Cpu)?,
                    Tensor::from_slice(v, shape, &Device::Cpu)?,
                ),
                Moments::F64 { m, v } => (
                    Tensor::from_slice(m, shape, &Device::Cpu)?,
                    Tensor::from_slice(v, shape, &Device::Cpu)?,
                ),
                Moments::Device { m, v } => (m.clone(), v.clone()),
                // Copies: the kernel goes on to write these.
                Moments::Kernel(moments) => (moments.get(0)?.copy()?, moments.get(1)?.copy()?),
            };
            moments.insert(format!("m.{name}"), m);
            moments.insert(format!("v.{name}"), v);
            if parameter.skipped > 0 {
                let count = Tensor::new(parameter.skipped as i64, &Device::Cpu)?;
                moments.insert(format!("skipped.{name}"), count);
            }
        }
        Ok(AdamState { step: self.step, moments })
    }

    /// Continues from a saved state; on an error nothing has changed.
    ///
    /// # Errors
    /// [`Error::Config`] when a moment is missing or more steps were skipped than done, [`Error::Shape`] or [`Error::DType`] when it
    /// does not fit its parameter.
    pub fn restore(&mut self, state: &AdamState) -> Result<()> {
        let mut restored = Vec::with_capacity(self.parameters.len());
        for (name, parameter) in &self.parameters {
            let moment = |kind: &str| -> Result<Tensor> {
                let var = &parameter.var;
                let key = format!("{kind}.{name}");
                let moment = state
                    .moments
                    .get(&key)
                    .ok_or_else(|| Error::Config(format!("adam: the saved state lacks {key}")))?;
                if moment.shape() != var.shape() {
                    return Err(Error::Shape {
                        op: "adam",
                        tensor: "a saved moment",
                        expected: format!("{:?}, as {name}", var.dims()),
                        actual: moment.dims().to_vec(),
                    });
                }
                if moment.dtype() != var.dtype() {
                    return Err(Error::DType {
                        op: "adam",
                        tensor: key,
                        expected: "of its parameter's dtype",
                        actual: moment.dtype().as_str().into(),
                    });
                }
                Ok(moment.to_device(var.device())?)
            };
            let (m, v) = (moment("m")?, moment("v")?);
            let skipped = match state.moments.get(&format!("skipped.{name}")) {
                None => 0,
                Some(count) => {
                    let count = count.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
                    match count[..] {
                        [count] if count >= 0 && count as u64 <= state.step => count as u64,
                        _ => {
                            return Err(Error::Config(format!(
                                "adam: the saved state has {} steps and skipped {name} in {count:?} of them",
                                state.step
                            )))
                        }
                    }
                }
            };
            let moments = match &parameter.moments {
                Moments::F32 { .. } => {
                    Moments::F32 { m: m.flatten_all()?.to_vec1()?, v: v.flatten_all()?.to_vec1()? }
                }
                Moments::F64 { .. } => {
                    Moments::F64 { m: m.flatten_all()?.to_vec1()?, v: v.flatten_all()?.to_vec1()? }
                }
                Moments::Device { .. } => Moments::Device { m, v },
                Moments::Kernel(_) => Moments::Kernel(Tensor::stack(&[m, v], 0)?),
            };
            restored.push((moments, skipped));
        }
        for (parameter, (moments, skipped)) in self.parameters.values_mut().zip(restored) {
            (parameter.moments, parameter.skipped) = (moments, skipped);
        }
        self.step = state.step;
        self.skipped.clear();
        Ok(())
    }
}
