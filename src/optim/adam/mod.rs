//! Adam (Kingma & Ba, 2015), as PyTorch computes it.
//!
//! `m ← β1 m + (1 - β1) g`, `v ← β2 v + (1 - β2) g²`,
//! `θ ← (1 - lr λ) θ - lr / (1 - β1^t) · m / (√v / √(1 - β2^t) + ε)`, where λ is the weight decay of
//! AdamW (Loshchilov & Hutter, 2019), 0 in Adam itself.
//!
//! On the CPU and, for `f32`, on GPUs that is one pass over parameter, gradient and both moments, there
//! in one launch for up to five parameters; elsewhere it is composed from Candle's ops.
//!
//! - `config`: the settings, and what a step needs of them
//! - `cpu`, `gpu`: a step there
//! - `recorded`: a step whose launches a GPU may have recorded
//! - `state`: what is saved, and how an optimizer continues from it

mod config;
mod cpu;
mod gpu;
mod recorded;
mod state;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Optimizer;

use super::clip::{largest_magnitude, sum_of_squares};
use super::Variables;
use crate::recurrence::backward;
use crate::recurrence::gpu::Gpu;
use crate::{Error, Result};
pub use config::AdamConfig;
use config::{BegunStep, Coefficients};
use cpu::{FusedStep, Pair};
pub use state::AdamState;

/// The Adam optimizer, with its moments by parameter name.
///
/// It is an [`Optimizer`] of Candle's too, for training loops that take any.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_rnn::{Adam, AdamConfig, Dense, DenseConfig, Init, Purpose, SeededRng, VarSink};
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let dense = Dense::init(DenseConfig::new(2, 1), Init::Glorot, rng, &sink.pp("dense"))?;
/// let mut adam = Adam::new(&sink, AdamConfig { learning_rate: 0.01, ..AdamConfig::default() })?;
/// let x = Tensor::ones((4, 2), DType::F32, &Device::Cpu)?;
/// for _ in 0..10 {
///     adam.backward_step(&dense.forward(&x)?.sqr()?.mean_all()?)?;
/// }
/// assert_eq!(adam.step_count(), 10);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Adam {
    /// The settings; the learning rate may be changed between steps.
    pub config: AdamConfig,
    step: u64,
    /// Sorted by name.
    parameters: BTreeMap<String, Parameter>,
    /// The names of the parameters without a gradient in the last step.
    skipped: Vec<String>,
    /// The last step that was begun to be recorded, if there was one.
    begun: Option<BegunStep>,
}

#[derive(Debug)]
struct Parameter {
    var: Var,
    moments: Moments,
    /// Steps in which it had no gradient: they do not count in its bias correction.
    skipped: u64,
}

/// Running means of the gradient and of its square, as many values as the parameter has.
#[derive(Debug)]
enum Moments {
    F32 {
        m: Vec<f32>,
        v: Vec<f32>,
    },
    F64 {
        m: Vec<f64>,
        v: Vec<f64>,
    },
    Device {
        m: Tensor,
        v: Tensor,
    },
    /// `(2, ..)`: m, then v, for the kernel.
    Kernel(Tensor),
}

impl Adam {
    /// An optimizer that has done no step.
    ///
    /// - `vars`: the variables that it changes, such as those of a `VarSink` or a `VarMap`: see [`Variables`]
    ///
    /// # Errors
    /// [`Error::DType`] unless each variable is `f32` or `f64`, [`Error::Config`] for a name or a variable
    /// that is given twice; as [`AdamConfig::check`].
    pub fn new(vars: impl Variables, config: AdamConfig) -> Result<Self> {
        config.check()?;
        let parameter = |(name, var): (String, Var)| -> Result<(String, Parameter)> {
            let count = var.elem_count();
            let gpu = if var.dtype() == DType::F32 { Gpu::of(var.device())? } else { None };
            let moments = match (var.device(), var.dtype()) {
                _ if gpu.is_some() => {
                    let zeros = var.zeros_like()?;
                    Moments::Kernel(Tensor::stack(&[&zeros, &zeros], 0)?)
                }
                (Device::Cpu, DType::F32) => {
                    Moments::F32 { m: vec![0.; count], v: vec![0.; count] }
                }
                (Device::Cpu, DType::F64) => {
                    Moments::F64 { m: vec![0.; count], v: vec![0.; count] }
                }
                (_, DType::F32 | DType::F64) => {
                    Moments::Device { m: var.zeros_like()?, v: var.zeros_like()? }
                }
                (_, dtype) => {
                    return Err(Error::DType {
                        op: "adam",
                        tensor: name,
                        expected: "f32 or f64",
                        actual: dtype.as_str().into(),
                    })
                }
            };
            Ok((name, Parameter { var, moments, skipped: 0 }))
        };
        let mut parameters: BTreeMap<String, Parameter> = BTreeMap::new();
        let mut names = HashMap::new();
        for named in vars.named()? {
            let (name, parameter) = parameter(named)?;
            if let Some(other) = names.insert(parameter.var.id(), name.clone()) {
                if other != name {
                    return Err(Error::Config(format!(
                        "adam: {other} and {name} are one variable: give it once"
                    )));
                }
            }
            if parameters.contains_key(&name) {
                return Err(Error::Config(format!(
                    "adam: two variables are called {name}: give each a name of its own"
                )));
            }
            parameters.insert(name, parameter);
        }
        Ok(Self { config, step: 0, parameters, skipped: Vec::new(), begun: None })
    }

    /// Steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// The names of the variables that the last step skipped, sorted: the loss had no gradient for them.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// In how many steps a variable was skipped; `None` if there is none of this name.
    pub fn skipped_steps(&self, name: &str) -> Option<u64> {
        Some(self.parameters.get(name)?.skipped)
    }

    /// Moves every variable that has a gradient against it.
    ///
    /// A variable without one, such as a frozen layer's or an auxiliary head's, is skipped, as by
    /// PyTorch's optimizers: it stays as it is, its weights do not decay, and the step does not count in
    /// its moments nor in their bias correction. [`skipped`](Self::skipped) names it.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for variables on the CPU whose gradient is NaN or infinite, or so large that
    /// its square, which Adam averages, overflows: |g| above 1.8e19 in `f32`. Gradients on a device are not
    /// looked at, since it would have to be waited for. [`Error::Config`] when `grads` has a gradient for
    /// none of the variables; as [`AdamConfig::check`]. Nothing has moved then.
    pub fn step(&mut self, grads: &GradStore) -> Result<()> {
        self.config.check()?;
        if let Some(what) = self.not_finite(grads, |device| device.is_cpu())? {
            let batch = (self.step as usize).saturating_add(1);
            return Err(Error::NotFinite { what, step: self.step, epoch: 1, batch });
        }
        self.step_checked(grads)
    }

    /// Computes the gradients of a loss, a scalar, and makes a [`step`](Self::step) with them.
    ///
    /// # Errors
    /// As [`step`](Self::step); [`Error::Candle`] when the gradients cannot be computed.
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.step(&backward(loss)?)
    }

    /// The name of a gradient that is NaN or infinite, or whose moments become so, if there is one.
    pub(crate) fn not_finite(
        &self,
        grads: &GradStore,
        of: impl Fn(&Device) -> bool,
    ) -> Result<Option<String>> {
        for (name, Parameter { var, .. }) in &self.parameters {
            let Some(grad) = grads.get(var).filter(|grad| of(grad.device())) else { continue };
            let largest = if var.dtype() == DType::F32 { f64::from(f32::MAX) } else { f64::MAX };
            if sum_of_squares(grad)? <= largest {
                continue;
            }
            match largest_magnitude(grad)? {
                None => return Ok(Some(format!("the gradient of {name}"))),
                // The second moment is a mean of squares: no larger than the largest of them.
                Some(size) if size * size > largest => {
                    return Ok(Some(format!("the squared gradient of {name}")));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// As [`step`](Self::step), of gradients that were looked at.
    pub(crate) fn step_checked(&mut self, grads: &GradStore) -> Result<()> {
        let has_gradient = |parameter: &Parameter| grads.get(&parameter.var).is_some();
        if !self.parameters.is_empty() && !self.parameters.values().any(has_gradient) {
            return Err(Error::Config(
                "adam: the loss has no gradient for any of its variables: compute it with the variables \
                 themselves, not with detached copies"
                    .into(),
            ));
        }
        self.step += 1;
        self.skipped.clear();
        // Parameters that were skipped in other steps are at another step of their own.
        let mut by_step: BTreeMap<u64, Coefficients> = BTreeMap::new();
        for (name, parameter) in &mut self.parameters {
            if has_gradient(parameter) {
                let own = self.step - parameter.skipped;
                by_step.entry(own).or_insert_with(|| Coefficients::new(&self.config, own));
            } else {
                parameter.skipped += 1;
                self.skipped.push(name.clone());
            }
        }
        for (own, coefficients) in &by_step {
            self.launch(grads, *own, coefficients, None)?;
        }
        for parameter in self.parameters.values_mut() {
            if let Some(grad) = grads.get(&parameter.var) {
                if let Some(coefficients) = by_step.get(&(self.step - parameter.skipped)) {
                    parameter.update(&grad.contiguous()?, coefficients)?;
                }
            }
        }
        Ok(())
    }
}

/// As the methods of [`Adam`] itself, with Candle's error.
impl Optimizer for Adam {
    type Config = AdamConfig;

    /// Names the variables by their positions: see [`Variables`].
    fn new(vars: Vec<Var>, config: AdamConfig) -> candle_core::Result<Self> {
        Ok(Self::new(vars, config)?)
    }

    fn step(&mut self, grads: &GradStore) -> candle_core::Result<()> {
        Ok(Self::step(self, grads)?)
    }

    fn learning_rate(&self) -> f64 {
        self.config.learning_rate
    }

    /// The next step checks it.
    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }
}

impl Parameter {
    fn update(&mut self, grad: &Tensor, c: &Coefficients) -> Result<()> {
        let var = &self.var;
        match &mut self.moments {
            Moments::F32 { m, v } => {
                var.inplace_op2(grad, &FusedStep { moments: RefCell::new(Pair::F32(m, v)), c })?;
            }
            Moments::F64 { m, v } => {
                var.inplace_op2(grad, &FusedStep { moments: RefCell::new(Pair::F64(m, v)), c })?;
            }
            Moments::Device { m, v } => {
                // A gradient is part of the graph: without detaching, the moments would keep the
                // graphs of all earlier steps.
                let grad = grad.detach();
                *m = ((&*m * c.beta1)? + (&grad * (1. - c.beta1))?)?;
                *v = ((&*v * c.beta2)? + (grad.sqr()? * (1. - c.beta2))?)?;
                let denominator = ((v.sqrt()? / c.bias_correction2_sqrt)? + c.eps)?;
                let change = (&*m / denominator)?;
                let kept = (var.as_detached_tensor() * c.keep)?;
                var.set(&(kept - (change * c.step_size)?)?)?;
            }
            // It has moved with others.
            Moments::Kernel(_) => {}
        }
        Ok(())
    }
}
