//! Steps whose launches a device may have recorded: their coefficients are in memory that stays.

use candle_core::backprop::GradStore;

use super::config::{BegunStep, Coefficients};
use super::gpu::gpu_of;
use super::{Adam, Moments, Parameter};
use crate::{Error, Result};

impl Adam {
    /// Begins a step whose launches may have been recorded: counts it, and puts its coefficients where the launches read
    /// them. [`move_recorded`](Self::move_recorded), or what was recorded of it, moves the variables.
    ///
    /// # Errors
    /// As [`AdamConfig::check`](super::AdamConfig::check); [`Error::Config`] for a variable that was skipped in earlier
    /// steps, so that it is at a step of its own.
    pub(crate) fn begin_recorded(&mut self) -> Result<()> {
        self.config.check()?;
        if let Some((name, Parameter { skipped, .. })) =
            self.parameters.iter().find(|(_, parameter)| parameter.skipped > 0)
        {
            return Err(Error::Config(format!(
                "gpu_graph: {name} had no gradient in {skipped} steps, so that its own are other steps than those of the \
                 other variables: set it to false"
            )));
        }
        let coefficients = Coefficients::new(&self.config, self.step + 1);
        let of_kernel = |parameter: &&Parameter| matches!(parameter.moments, Moments::Kernel(_));
        let kept = match self.parameters.values().find(of_kernel) {
            None => None,
            Some(Parameter { var, .. }) => {
                let new = gpu_of(var)?.upload(&coefficients.numbers(), var.device())?;
                match self.begun.take().and_then(|begun| begun.kept) {
                    Some(kept) => {
                        kept.slice_set(&new, 0, 0)?;
                        Some(kept)
                    }
                    None => Some(new),
                }
            }
        };
        self.begun = Some(BegunStep { coefficients, kept });
        self.step += 1;
        self.skipped.clear();
        Ok(())
    }

    /// Moves every variable by the step that has begun. On a GPU it is launches alone, which may be recorded.
    ///
    /// # Errors
    /// [`Error::Config`] when no step has begun, or a variable has no gradient.
    pub(crate) fn move_recorded(&mut self, grads: &GradStore) -> Result<()> {
        let Some(begun) = &self.begun else {
            return Err(Error::Config("adam: no step has begun".into()));
        };
        let lacks = |parameter: &Parameter| grads.get(&parameter.var).is_none();
        if let Some((name, _)) = self.parameters.iter().find(|(_, parameter)| lacks(parameter)) {
            return Err(Error::Config(format!(
                "gpu_graph: the loss has no gradient for {name}, and a recorded step moves every variable: set it to false"
            )));
        }
        self.launch(grads, self.step, &begun.coefficients, begun.kept.as_ref())?;
        for parameter in self.parameters.values_mut() {
            if let Some(grad) = grads.get(&parameter.var) {
                parameter.update(&grad.contiguous()?, &begun.coefficients)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor, Var};

    use super::super::AdamConfig;
    use super::*;
    use crate::recurrence::gpu::plan::DeviceLimits;
    use crate::recurrence::tests::emulator::{on_device, Language};

    fn var(count: usize, dtype: DType) -> Var {
        let numbers: Vec<f64> = (0..count).map(|i| (i * 7 % 11) as f64 / 11. - 0.5).collect();
        let tensor = Tensor::from_vec(numbers, count, &Device::Cpu).unwrap();
        Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
    }

    /// More variables than a launch takes.
    fn vars(dtype: DType) -> Vec<Var> {
        [1, 5, 33, 4, 7, 300, 2].map(|count| var(count, dtype)).to_vec()
    }

    fn grads(vars: &[Var]) -> GradStore {
        let squares = vars.iter().map(|var| var.sqr().unwrap().sum_all().unwrap());
        squares.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap()
    }

    /// Weights and moments after some steps with another learning rate each.
    fn after_steps(dtype: DType, is_recorded: bool) -> Vec<Vec<f64>> {
        let vars = vars(dtype);
        let config = AdamConfig { weight_decay: 0.1, ..AdamConfig::default() };
        let mut adam = Adam::new(vars.clone(), config).unwrap();
        for step in 1..=4 {
            adam.config.learning_rate = 0.01 * f64::from(step);
            let grads = grads(&vars);
            // The first is made as all are until one is recorded.
            if is_recorded && step > 1 {
                adam.begin_recorded().unwrap();
                adam.move_recorded(&grads).unwrap();
            } else {
                adam.step(&grads).unwrap();
            }
            assert_eq!(adam.step_count(), step as u64);
        }
        let state = adam.state().unwrap();
        let weights = vars.iter().map(|var| var.as_detached_tensor());
        let numbers = |tensor: Tensor| -> Vec<f64> {
            tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        weights.chain(state.moments.into_values()).map(numbers).collect()
    }

    #[test]
    fn recorded_steps_have_the_bits_of_others() {
        for dtype in [DType::F32, DType::F64] {
            assert_eq!(after_steps(dtype, true), after_steps(dtype, false));
        }
    }

    #[test]
    #[ignore = "needs the emulator: just emulate"]
    fn emulated_recorded_steps_have_the_bits_of_others() {
        let card = DeviceLimits {
            shared_bytes: 48 << 10,
            multiprocessors: 4,
            max_grid: 1 << 30,
            team_blocks: 0,
            has_tensor_cores: false,
            streams_weights: false,
        };
        for language in [Language::Cuda, Language::Metal] {
            let of =
                |is_recorded| on_device(language, card, || after_steps(DType::F32, is_recorded));
            let ((recorded, launches), (eager, expected)) = (of(true), of(false));
            assert_eq!(recorded, eager);
            assert_eq!((launches.len(), launches), (2 * 4, expected));
        }
    }

    #[test]
    fn a_recorded_step_refuses_variables_without_gradients() {
        let vars = vars(DType::F32);
        let named = |name: &str, var: &Var| (name.to_string(), var.clone());
        let both = vec![named("a", &vars[0]), named("b", &vars[1])];
        let mut adam = Adam::new(both, AdamConfig::default()).unwrap();
        let error = adam.move_recorded(&grads(&vars[..2])).unwrap_err().to_string();
        assert!(error.contains("no step has begun"), "{error}");
        adam.begin_recorded().unwrap();
        let error = adam.move_recorded(&grads(&vars[..1])).unwrap_err().to_string();
        assert!(error.contains("no gradient for b"), "{error}");
        adam.step(&grads(&vars[..1])).unwrap();
        let error = adam.begin_recorded().unwrap_err().to_string();
        assert!(error.contains("b had no gradient in 1 steps"), "{error}");
    }
}
