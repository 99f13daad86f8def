//! The state carried between pieces of a sequence (stateful training).

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::recurrence::State;
use crate::{Error, Result};

/// The names of the states h and c among saved tensors.
const H: &str = "0.h";
const C: &str = "0.c";

/// The state that goes from one piece of a long sequence into the next, as a constant: no gradient
/// flows from a piece into the one before.
#[derive(Clone, Debug, Default)]
pub struct CarriedState(Option<State>);

impl CarriedState {
    /// The states before the first step: zeros.
    pub fn new() -> Self {
        Self::default()
    }

    /// The states to begin the next piece with; `None` stands for zeros.
    pub fn get(&self) -> Option<&State> {
        self.0.as_ref()
    }

    /// Takes the final states of a piece, without the graph that made them.
    pub fn carry(&mut self, state: &State) {
        self.0 = Some(state.detach());
    }

    /// Forgets: the next piece begins from zeros.
    pub fn reset(&mut self) {
        self.0 = None;
    }

    /// The states as named tensors on the CPU, to be saved: `0.h` and, of a cell that has it, `0.c`; none where the
    /// next piece begins from zeros.
    ///
    /// # Errors
    /// [`Error::Candle`] when they cannot be copied.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let Some(State { h, c, .. }) = &self.0 else { return Ok(BTreeMap::new()) };
        let mut tensors = BTreeMap::new();
        for (name, tensor) in [(H, Some(h)), (C, c.as_ref())] {
            if let Some(tensor) = tensor {
                tensors.insert(name.into(), tensor.to_device(&Device::Cpu)?.contiguous()?);
            }
        }
        Ok(tensors)
    }

    /// The states from [`tensors`](Self::tensors).
    ///
    /// # Errors
    /// [`Error::Config`] for a tensor of another name, and for `0.c` without `0.h`.
    pub fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        if let Some(name) = tensors.keys().find(|name| ![H, C].contains(&name.as_str())) {
            return Err(Error::Config(format!(
                "a carried state has no {name}: it has {H} and {C}"
            )));
        }
        match (tensors.get(H), tensors.get(C).cloned()) {
            (Some(h), c) => Ok(Self(Some(State::from_parts(h.clone(), c)))),
            (None, None) => Ok(Self(None)),
            (None, Some(_)) => Err(Error::Config(format!("a carried state with {C} lacks {H}"))),
        }
    }

    /// The same states on a device.
    pub(super) fn to_device(&self, device: &Device) -> Result<Self> {
        let Some(State { h, c, .. }) = &self.0 else { return Ok(Self(None)) };
        let c = c.as_ref().map(|c| c.to_device(device)).transpose()?;
        Ok(Self(Some(State::from_parts(h.to_device(device)?, c))))
    }

    /// Forgets in some rows: those where `ended` is true begin from zeros.
    ///
    /// # Errors
    /// [`Error::Shape`] when `ended` has not one value a row.
    pub fn reset_rows(&mut self, ended: &[bool]) -> Result<()> {
        let Some(State { h, c, .. }) = &self.0 else { return Ok(()) };
        if h.dim(1)? != ended.len() {
            return Err(Error::Shape {
                op: "reset_rows",
                tensor: "ended",
                expected: format!("({},)", h.dim(1)?),
                actual: vec![ended.len()],
            });
        }
        // Selected, not multiplied: zero times NaN is NaN.
        let ended: Vec<u8> = ended.iter().map(|ended| u8::from(*ended)).collect();
        let ended = Tensor::new(ended, h.device())?.reshape((1, (), 1))?;
        let reset = |state: &Tensor| {
            ended.broadcast_as(state.shape())?.where_cond(&state.zeros_like()?, state)
        };
        let c = c.as_ref().map(reset).transpose()?;
        self.0 = Some(State::from_parts(reset(h)?, c));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carried_state_is_a_constant_and_is_reset_row_by_row() {
        use candle_core::Var;
        let var = Var::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
        let mut state = CarriedState::new();
        assert!(state.get().is_none());
        let doubled = (var.as_tensor() * 2.).unwrap().unsqueeze(0).unwrap();
        state.carry(&State::from_parts(doubled.clone(), Some(doubled)));
        state.reset_rows(&[true, false]).unwrap();
        let State { h, c, .. } = state.get().unwrap();
        for carried in [h, c.as_ref().unwrap()] {
            assert!(!carried.track_op());
            assert_eq!(carried.to_vec3::<f32>().unwrap(), [[[0., 0.], [6., 8.]]]);
        }
        assert!(state.reset_rows(&[true]).is_err());
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let h = Tensor::full(value, (1, 2, 3), &Device::Cpu).unwrap();
            state.carry(&State::new(h));
            state.reset_rows(&[true, false]).unwrap();
            let rows = state.get().unwrap().h.to_vec3::<f32>().unwrap();
            assert_eq!(rows[0][0], [0.; 3]);
            assert!(rows[0][1].iter().all(|h| h.to_bits() == value.to_bits()));
        }
        state.reset();
        assert!(state.get().is_none());
    }

    #[test]
    fn a_carried_state_comes_back_from_its_tensors() {
        let h = Tensor::new(&[[[1f32, 2.]]], &Device::Cpu).unwrap();
        for c in [None, Some((&h * 3.).unwrap())] {
            let mut state = CarriedState::new();
            state.carry(&State::from_parts(h.clone(), c.clone()));
            let tensors = state.tensors().unwrap();
            let again = CarriedState::from_tensors(&tensors).unwrap();
            let State { h, c: found, .. } = again.get().unwrap();
            assert_eq!(h.to_vec3::<f32>().unwrap(), [[[1., 2.]]]);
            assert_eq!(found.is_some(), c.is_some());
            if let Some(c) = found {
                assert_eq!(c.to_vec3::<f32>().unwrap(), [[[3., 6.]]]);
            }
        }
        assert!(CarriedState::new().tensors().unwrap().is_empty());
        assert!(CarriedState::from_tensors(&BTreeMap::new()).unwrap().get().is_none());
        for name in ["0.c", "1.h"] {
            let wrong = BTreeMap::from([(name.to_string(), h.clone())]);
            let error = CarriedState::from_tensors(&wrong).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
