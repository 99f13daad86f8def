//! The gradients of a step: those of its parts, computed by one process or shared out over ranks, and added up.

use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::engine::Attempt;
use super::micro_batches::{Computed, MicroBatch, StepParts};
use super::{Task, Trainer};
use crate::distributed::{Meeting, Wait};
use crate::recurrence::backward;
use crate::{Error, Result};

#[cfg(test)]
mod tests;

impl<T: Task> Trainer<T> {
    /// The gradients of the parts that are this process' own.
    pub(super) fn computed(&self, step: &StepParts<T>, attempt: &mut Attempt) -> Result<Computed> {
        if !self.team.is_alone() {
            return self.own_parts(step, attempt);
        }
        let mut sum: Option<GradStore> = None;
        let mut mean = 0.;
        for part in step.own.iter().filter(|part| part.share > 0.) {
            let (grads, loss) = self.part(part, step, attempt)?;
            mean += part.share * loss;
            match &mut sum {
                None => sum = Some(grads),
                Some(sum) => self.add(sum, &grads)?,
            }
        }
        let nothing = || Error::Config("a step needs at least one example".into());
        Ok(Computed::Sum(sum.ok_or_else(nothing)?, mean))
    }

    /// The gradients of a part's loss times its share, and its loss.
    fn part(
        &self,
        part: &MicroBatch<T>,
        step: &StepParts<T>,
        attempt: &mut Attempt,
    ) -> Result<(GradStore, f64)> {
        let loss = self.task.loss(&part.batch, &mut attempt.context())?;
        let is_whole = step.places.len() == 1;
        let grads = if is_whole { backward(&loss)? } else { backward(&(&loss * part.share)?)? };
        Ok((grads, self.at(self.position.batch + 1).loss(&loss)?))
    }

    fn add(&self, sum: &mut GradStore, grads: &GradStore) -> Result<()> {
        for var in self.task.vars().values() {
            if let Some(grad) = grads.get(var) {
                let added = match sum.get(var) {
                    Some(sum) => (sum + grad)?,
                    None => grad.clone(),
                };
                sum.insert(var, added);
            }
        }
        Ok(())
    }

    /// The gradients of this rank's parts. The dropout stream passes over what the other ranks' parts draw; a part without a
    /// share draws nothing.
    fn own_parts(&self, step: &StepParts<T>, attempt: &mut Attempt) -> Result<Computed> {
        let (mut flat, mut losses, mut present) = (Vec::new(), Vec::new(), Vec::new());
        let mut own = step.own.iter().peekable();
        for (place, share) in step.places.iter().zip(&step.shares) {
            if *share == 0. {
                if own.next_if(|part| part.place == *place).is_some() {
                    flat.push(Vec::new());
                    losses.push(0.);
                }
                continue;
            }
            let draws = self.task.dropout_draws(&self.order[place.clone()]);
            let before = attempt.context().rng.position();
            let expected = before + u128::from(draws.unwrap_or(0));
            let Some(part) = own.next_if(|part| part.place == *place) else {
                attempt.context().rng.set_position(expected);
                continue;
            };
            let (grads, loss) = self.part(part, step, attempt)?;
            let context = attempt.context();
            if context.state.get().is_some() {
                return Err(Error::Config(
                    "a task that carries a state from batch to batch is trained by one process: the parts of a step \
                     need each other's states"
                        .into(),
                ));
            }
            let drawn = context.rng.position() - before;
            if context.rng.position() != expected {
                return Err(Error::Config(format!(
                    "a task with dropout is trained by one process unless it knows how much a batch draws: one drew \
                     {drawn} numbers, and the task said {draws:?}"
                )));
            }
            let (bytes, has) = self.flat(&grads)?;
            if present.is_empty() {
                present = has;
            } else if present != has {
                return Err(Error::Config(
                    "several processes need gradients of the same variables from all parts of a step"
                        .into(),
                ));
            }
            flat.push(bytes);
            losses.push(loss);
        }
        Ok(Computed::Parts { flat, losses, present })
    }

    /// The bytes of all gradients that are there, and which are.
    fn flat(&self, grads: &GradStore) -> Result<(Vec<u8>, Vec<bool>)> {
        let (mut bytes, mut present) = (Vec::new(), Vec::new());
        for var in self.task.vars().values() {
            present.push(grads.get(var).is_some());
            let Some(grad) = grads.get(var) else { continue };
            let grad = grad.to_device(&Device::Cpu)?.flatten_all()?;
            match grad.dtype() {
                DType::F64 => {
                    bytes.extend_from_slice(bytemuck::cast_slice(&grad.to_vec1::<f64>()?))
                }
                _ => bytes.extend_from_slice(bytemuck::cast_slice(&grad.to_vec1::<f32>()?)),
            }
        }
        Ok((bytes, present))
    }

    /// The gradients of the mean loss over all parts of all ranks, and that loss.
    ///
    /// # Errors
    /// Those of `computed`, [`Error::Rank`] when another rank has failed.
    pub(super) fn exchanged(
        &self,
        computed: Result<Computed>,
        step: &StepParts<T>,
    ) -> Result<(GradStore, f64)> {
        let computed = computed.map_err(|error| self.cause(error));
        if self.team.is_alone() {
            return match computed? {
                Computed::Sum(grads, loss) => Ok((grads, loss)),
                Computed::Parts { .. } => Err(Error::Config("a step without others' parts".into())),
            };
        }
        let start = Instant::now();
        // In release builds weights are compared after every epoch.
        let replica = if cfg!(debug_assertions) { self.replica()? } else { 0 };
        let exchange =
            Meeting { name: "step", place: self.step_count(), replica, wait: Wait::Even };
        let present = |computed: &Computed| match computed {
            Computed::Parts { present, .. } => present.iter().map(|has| u8::from(*has)).collect(),
            Computed::Sum(..) => Vec::new(),
        };
        let mine = computed.map(|computed| (present(&computed), computed));
        let (present, computed) = self.team.agree(exchange, mine)?;
        self.team.count_waiting(start);
        // Ranks without a part have seen no gradient.
        let mut known = present.iter().filter(|present| !present.is_empty());
        let nothing = || Error::Config("a step needs at least one example".into());
        let first = known.next().ok_or_else(nothing)?;
        if known.any(|other| other != first) {
            return Err(Error::Config(
                "several processes need gradients of the same variables from all ranks".into(),
            ));
        }
        let Computed::Parts { flat, losses, .. } = computed else { return Err(nothing()) };
        self.summed(first, (flat, &losses), step)
    }

    /// The sum over the parts of all ranks.
    ///
    /// - `present`: which variables have a gradient, 1 or 0 each
    fn summed(
        &self,
        present: &[u8],
        (mut flat, losses): (Vec<Vec<u8>>, &[f64]),
        step: &StepParts<T>,
    ) -> Result<(GradStore, f64)> {
        let vars: Vec<&Var> = self.task.vars().values().collect();
        let with = vars.iter().zip(present).filter(|(_, has)| **has == 1).map(|(var, _)| *var);
        let with: Vec<&Var> = with.collect();
        let elements = with.iter().map(|var| var.elem_count()).sum();
        let dtype = self.flat_dtype()?;
        let shape = (step.places.len(), elements, dtype.size_in_bytes());
        // A part without a share adds -0, which changes no bit.
        for part in flat.iter_mut().filter(|part| part.is_empty()) {
            *part = match dtype {
                DType::F64 => (-0f64).to_ne_bytes().repeat(elements),
                _ => (-0f32).to_ne_bytes().repeat(elements),
            };
        }
        let mine = (flat.as_slice(), losses);
        let (sum, losses) = match dtype {
            DType::F64 => self.team.sum(mine, shape, add_f64)?,
            _ => self.team.sum(mine, shape, add_f32)?,
        };
        let weighted = losses.iter().zip(&step.shares);
        // Added in the order in which one process does.
        let loss = weighted.fold(0., |mean, (loss, share)| mean + share * loss);
        let mut grads = empty_grads(&vars)?;
        let mut rest = sum.as_slice();
        for var in with {
            let (bytes, others) =
                rest.split_at((var.elem_count() * dtype.size_in_bytes()).min(rest.len()));
            let grad = Tensor::from_raw_buffer(bytes, dtype, var.dims(), &Device::Cpu)?;
            grads.insert(var, grad.to_device(var.device())?);
            rest = others;
        }
        Ok((grads, loss))
    }

    /// The float type of all variables.
    ///
    /// # Errors
    /// [`Error::Config`] unless all are `f32`, or all `f64`.
    pub(super) fn flat_dtype(&self) -> Result<DType> {
        let mut dtypes = self.task.vars().values().map(|var| var.dtype());
        let first = dtypes.next().unwrap_or(DType::F32);
        if matches!(first, DType::F32 | DType::F64) && dtypes.all(|dtype| dtype == first) {
            return Ok(first);
        }
        Err(Error::Config("several processes need variables that are all f32, or all f64".into()))
    }
}

/// A store without a gradient: Candle hands out none of its own.
fn empty_grads(vars: &[&Var]) -> Result<GradStore> {
    let smallest = vars.iter().min_by_key(|var| var.elem_count());
    let nothing = || Error::Config("a task needs at least one variable".into());
    let var = smallest.ok_or_else(nothing)?;
    let mut grads = var.as_tensor().sum_all()?.backward()?;
    grads.remove(var);
    Ok(grads)
}

fn add_f32(sum: &mut [u8], part: &[u8]) {
    for (sum, part) in sum.as_chunks_mut::<4>().0.iter_mut().zip(part.as_chunks::<4>().0) {
        *sum = (f32::from_ne_bytes(*sum) + f32::from_ne_bytes(*part)).to_ne_bytes();
    }
}

fn add_f64(sum: &mut [u8], part: &[u8]) {
    for (sum, part) in sum.as_chunks_mut::<8>().0.iter_mut().zip(part.as_chunks::<8>().0) {
        *sum = (f64::from_ne_bytes(*sum) + f64::from_ne_bytes(*part)).to_ne_bytes();
    }
}
