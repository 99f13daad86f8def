//! Adam (Kingma & Ba, 2015), as PyTorch computes it.
//!
//! `m ← β1 m + (1 - β1) g`, `v ← β2 v + (1 - β2) g²`,
//! `θ ← (1 - lr λ) θ - lr / (1 - β1^t) · m / (√v / √(1 - β2^t) + ε)`, where λ is the weight decay of
//! AdamW (Loshchilov & Hutter, 2019), 0 in Adam itself.
//!
//! On the CPU and, for `f32`, on GPUs that is one pass over parameter, gradient and both moments, there
//! in one launch for up to five parameters; elsewhere it is composed from Candle's ops.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Tensor, Var};

use super::clip::{largest_magnitude, sum_of_squares};
use crate::recurrence::gpu::plan::{LaunchSize, STEP_BLOCK};
use crate::recurrence::gpu::{Arg, Gpu, KernelLaunch};
use crate::{Error, Result};

/// The settings of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the squared gradient's mean.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// λ, of all parameters.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0. }
    }
}

/// The Adam optimizer, with its moments by parameter name.
#[derive(Debug)]
pub struct Adam {
    /// The settings; the learning rate may be changed between steps.
    pub config: AdamConfig,
    step: u64,
    /// Sorted by name.
    parameters: BTreeMap<String, Parameter>,
    /// The names of the parameters without a gradient in the last step.
    skipped: Vec<String>,
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

/// The names of a kernel's arguments for a parameter, its gradient, its moments and its size.
const SLOTS: [[&str; 4]; 5] = [
    ["param_0", "grad_0", "moments_0", "count_0"],
    ["param_1", "grad_1", "moments_1", "count_1"],
    ["param_2", "grad_2", "moments_2", "count_2"],
    ["param_3", "grad_3", "moments_3", "count_3"],
    ["param_4", "grad_4", "moments_4", "count_4"],
];

/// What has to be saved to continue: [`Adam::state`].
#[derive(Clone, Debug)]
pub struct AdamState {
    /// Steps done.
    pub step: u64,
    /// Names `m.PARAMETER` and `v.PARAMETER`, shapes and dtypes of the parameters. A parameter that was
    /// skipped has `skipped.PARAMETER` too: in how many steps, an `i64` of shape `()`.
    pub moments: BTreeMap<String, Tensor>,
}

impl AdamConfig {
    /// Checks that a step with these settings keeps finite weights finite.
    ///
    /// # Errors
    /// [`Error::Config`] unless the learning rate and the weight decay are finite and at least 0, both
    /// betas in `[0, 1)`, and eps above 0 as an `f32`.
    pub fn check(&self) -> Result<()> {
        let Self { learning_rate, beta1, beta2, eps, weight_decay } = *self;
        // What the kernels compute with are f32, of the first step the largest.
        let step_size = (learning_rate / (1. - beta1)) as f32;
        let rules = [
            ("beta1", beta1, "in [0, 1)", (0. ..1.).contains(&beta1)),
            ("beta2", beta2, "in [0, 1)", (0. ..1.).contains(&beta2)),
            (
                "learning_rate",
                learning_rate,
                "at least 0 and finite in f32",
                learning_rate >= 0. && step_size.is_finite(),
            ),
            ("eps", eps, "above 0", eps as f32 > 0. && (eps as f32).is_finite()),
            (
                "weight_decay",
                weight_decay,
                "at least 0 and finite in f32",
                weight_decay >= 0. && ((learning_rate * weight_decay) as f32).is_finite(),
            ),
        ];
        match rules.into_iter().find(|(.., holds)| !holds) {
            None => Ok(()),
            Some((name, value, rule, _)) => {
                Err(Error::Config(format!("{name} must be {rule}, got {value}")))
            }
        }
    }
}

impl Adam {
    /// An optimizer of these named variables that has done no step.
    ///
    /// # Errors
    /// [`Error::DType`] unless each variable is `f32` or `f64`, [`Error::Config`] for a name or a variable
    /// that is given twice; as [`AdamConfig::check`].
    pub fn new(vars: impl IntoIterator<Item = (String, Var)>, config: AdamConfig) -> Result<Self> {
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
        for named in vars {
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
        Ok(Self { config, step: 0, parameters, skipped: Vec::new() })
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

    /// What of the gradients is NaN or infinite, or becomes it in the moments, if something does.
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
            self.launch(grads, *own, coefficients)?;
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

    /// Moves the variables that a kernel moves and whose own step this is.
    fn launch(&self, grads: &GradStore, own: u64, c: &Coefficients) -> Result<()> {
        let mut ready = Vec::new();
        for Parameter { var, moments, skipped } in self.parameters.values() {
            if let (Moments::Kernel(moments), Some(grad)) = (moments, grads.get(var)) {
                if self.step - skipped == own {
                    ready.push((var.as_tensor(), grad.contiguous()?, moments));
                }
            }
        }
        for some in ready.chunks(SLOTS.len()) {
            let Some(gpu) = Gpu::of(some[0].0.device())? else {
                return Err(Error::Device("adam: the variables are on another device now".into()));
            };
            let mut args = Vec::with_capacity(4 * SLOTS.len() + 8);
            let mut count = 0;
            for (slot, names) in SLOTS.iter().enumerate() {
                let of = some.get(slot);
                let (var, grad, moments) = (of.map(|o| o.0), of.map(|o| &o.1), of.map(|o| o.2));
                let size = var.map_or(0, Tensor::elem_count);
                count += size;
                args.push((names[0], var.map_or(Arg::Out(None), Arg::InOut)));
                args.push((names[1], Arg::In(grad)));
                args.push((names[2], moments.map_or(Arg::Out(None), Arg::InOut)));
                args.push((names[3], Arg::Int(size)));
            }
            args.extend([
                ("beta1", Arg::Float(c.beta1)),
                ("rest1", Arg::Float(1. - c.beta1)),
                ("beta2", Arg::Float(c.beta2)),
                ("rest2", Arg::Float(1. - c.beta2)),
                ("step_size", Arg::Float(c.step_size)),
                ("correction", Arg::Float(c.bias_correction2_sqrt)),
                ("eps", Arg::Float(c.eps)),
                ("keep", Arg::Float(c.keep)),
            ]);
            let launch =
                LaunchSize { grid: count.div_ceil(STEP_BLOCK), block: STEP_BLOCK, shared_bytes: 0 };
            gpu.launch(&KernelLaunch { kernel: "adam_f32".into(), launch, args })?;
        }
        Ok(())
    }

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

/// What the formula needs at one step, in `f64` as PyTorch computes it.
struct Coefficients {
    beta1: f64,
    beta2: f64,
    eps: f64,
    /// `lr / (1 - β1^t)`.
    step_size: f64,
    /// `√(1 - β2^t)`.
    bias_correction2_sqrt: f64,
    /// `1 - lr λ`.
    keep: f64,
}

impl Coefficients {
    fn new(config: &AdamConfig, step: u64) -> Self {
        let AdamConfig { learning_rate, beta1, beta2, eps, weight_decay } = *config;
        let t = step as f64;
        Self {
            beta1,
            beta2,
            eps,
            step_size: learning_rate / (1. - beta1.powf(t)),
            bias_correction2_sqrt: (1. - beta2.powf(t)).sqrt(),
            keep: 1. - learning_rate * weight_decay,
        }
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

/// One pass over a parameter, its gradient and its moments.
struct FusedStep<'a> {
    moments: RefCell<Pair<'a>>,
    c: &'a Coefficients,
}

enum Pair<'a> {
    F32(&'a mut [f32], &'a mut [f32]),
    F64(&'a mut [f64], &'a mut [f64]),
}

impl InplaceOp2 for FusedStep<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        var: &mut CpuStorage,
        var_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (Some(at), Some(grad_at)) =
            (var_layout.contiguous_offsets(), grad_layout.contiguous_offsets())
        else {
            candle_core::bail!("adam: parameter and gradient must be contiguous");
        };
        // The same pass for both dtypes.
        macro_rules! pass {
            ($type:ty, $var:ident, $grad:ident, $m:ident, $v:ident) => {{
                let (var, grad) = (&mut $var[at.0..at.1], &$grad[grad_at.0..grad_at.1]);
                if [grad.len(), $m.len(), $v.len()] != [var.len(); 3] {
                    candle_core::bail!("adam: the gradient has another size than its parameter");
                }
                let (beta1, beta2) = (self.c.beta1 as $type, self.c.beta2 as $type);
                let (rest1, rest2) = ((1. - self.c.beta1) as $type, (1. - self.c.beta2) as $type);
                let step_size = self.c.step_size as $type;
                let correction = self.c.bias_correction2_sqrt as $type;
                let (eps, keep) = (self.c.eps as $type, self.c.keep as $type);
                let moments = $m.iter_mut().zip($v.iter_mut());
                for ((x, g), (m, v)) in var.iter_mut().zip(grad).zip(moments) {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *x = keep * *x - step_size * *m / (v.sqrt() / correction + eps);
                }
            }};
        }
        match (&mut *self.moments.borrow_mut(), var, grad) {
            (Pair::F32(m, v), CpuStorage::F32(var), CpuStorage::F32(grad)) => {
                pass!(f32, var, grad, m, v)
            }
            (Pair::F64(m, v), CpuStorage::F64(var), CpuStorage::F64(grad)) => {
                pass!(f64, var, grad, m, v)
            }
            _ => candle_core::bail!("adam: parameter and gradient must have the same dtype"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn var(values: &[f64], dtype: DType) -> Var {
        let tensor = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        Var::from_tensor(&tensor).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    /// The gradient of Σ scale·x²/2 is scale·x.
    fn grads(x: &Var, scale: f64) -> GradStore {
        (x.sqr().unwrap().sum_all().unwrap() * (scale / 2.)).unwrap().backward().unwrap()
    }

    #[test]
    fn three_steps_are_those_of_the_formula() {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
            let start = [1.0, -0.5, 3.0, 0.0];
            let x = var(&start, dtype);
            let config = AdamConfig { learning_rate: 0.1, ..AdamConfig::default() };
            let mut adam = Adam::new([("x".to_string(), x.clone())], config).unwrap();
            let (mut expected, mut m, mut v) = (start, [0.; 4], [0.; 4]);
            for t in 1..=3 {
                adam.step(&grads(&x, 2.)).unwrap();
                for i in 0..4 {
                    let g = 2. * expected[i];
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.999 * v[i] + 0.001 * g * g;
                    let m_hat = m[i] / (1. - 0.9f64.powi(t));
                    let v_hat = v[i] / (1. - 0.999f64.powi(t));
                    expected[i] -= 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
                }
            }
            for (found, expected) in values(&x).iter().zip(expected) {
                assert!((found - expected).abs() <= tolerance * 3., "{found} {expected}");
            }
        }
    }

    #[test]
    fn decayed_weights_are_those_of_pytorchs_adamw() {
        let x = var(&[1., -2., 0.5], DType::F64);
        let config = AdamConfig { learning_rate: 0.1, weight_decay: 0.05, ..Default::default() };
        let mut adam = Adam::new([("x".to_string(), x.clone())], config).unwrap();
        for gradient in [[0.5, -1., 2.], [1., 0., -1.]] {
            let gradient = Tensor::new(&gradient, &Device::Cpu).unwrap();
            let loss = (x.as_tensor() * gradient).unwrap().sum_all().unwrap();
            adam.step(&loss.backward().unwrap()).unwrap();
        }
        // torch.optim.AdamW([p], lr=0.1, weight_decay=0.05) with these gradients.
        let expected = [0.7940068006285094, -1.8135441765291886, 0.36887879669993157];
        for (a, b) in values(&x).iter().zip(expected) {
            assert!((a - b).abs() < 1e-14, "{a} instead of {b}");
        }
    }

    #[test]
    fn composed_adam_steps_equal_those_of_the_fused_pass() {
        let (fused, composed) = (var(&[1., -2., 3.], DType::F64), var(&[1., -2., 3.], DType::F64));
        let config = AdamConfig::default();
        let mut adam = Adam::new([("x".to_string(), fused.clone())], config).unwrap();
        let zeros = composed.zeros_like().unwrap();
        let moments = Moments::Device { m: zeros.clone(), v: zeros };
        let mut parameter = Parameter { var: composed.clone(), moments, skipped: 0 };
        for t in 1..=5 {
            adam.step(&grads(&fused, 1.)).unwrap();
            let grads = grads(&composed, 1.);
            let grad = grads.get(&composed).unwrap();
            parameter.update(grad, &Coefficients::new(&config, t)).unwrap();
        }
        for (a, b) in values(&fused).iter().zip(values(&composed)) {
            assert!((a - b).abs() <= 1e-14, "{a} {b}");
        }
        assert_ne!(values(&fused), [1., -2., 3.]);
    }

    #[test]
    fn a_saved_state_continues_with_the_same_bits() {
        let (x, y) = (var(&[1., -2.], DType::F32), var(&[1., -2.], DType::F32));
        let config = AdamConfig::default();
        let mut adam = Adam::new([("x".to_string(), x.clone())], config).unwrap();
        for _ in 0..4 {
            adam.step(&grads(&x, 1.)).unwrap();
        }
        let state = adam.state().unwrap();
        y.set(&x.as_tensor().copy().unwrap()).unwrap();
        let mut other = Adam::new([("x".to_string(), y.clone())], config).unwrap();
        other.restore(&state).unwrap();
        assert_eq!(other.step_count(), 4);
        for _ in 0..4 {
            adam.step(&grads(&x, 1.)).unwrap();
            other.step(&grads(&y, 1.)).unwrap();
        }
        assert_eq!(values(&x), values(&y));
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
        let x = var(&[1., -2.], DType::F32);
        let mut adam = Adam::new([("x".to_string(), x)], AdamConfig::default()).unwrap();
        let state = |name: &str, values: &[f64], dtype| AdamState {
            step: 9,
            moments: [format!("m.{name}"), format!("v.{name}")]
                .map(|key| (key, var(values, dtype).as_tensor().clone()))
                .into(),
        };
        assert!(adam.restore(&state("y", &[1., 2.], DType::F32)).is_err());
        assert!(adam.restore(&state("x", &[1.], DType::F32)).is_err());
        assert!(adam.restore(&state("x", &[1., 2.], DType::F64)).is_err());
        assert_eq!(adam.step_count(), 0);
        adam.restore(&state("x", &[1., 2.], DType::F32)).unwrap();
        assert_eq!(adam.step_count(), 9);
    }

    #[test]
    fn a_variable_without_a_gradient_is_skipped_and_counted() {
        for dtype in [DType::F32, DType::F64] {
            let (x, y) = (var(&[1., -2.], dtype), var(&[1., -2.], dtype));
            let vars = [("x".to_string(), x.clone()), ("y".to_string(), y.clone())];
            // Decay is for what is trained, as in PyTorch.
            let config = AdamConfig { weight_decay: 0.1, ..AdamConfig::default() };
            let mut adam = Adam::new(vars, config).unwrap();
            let before = adam.state().unwrap();
            for _ in 0..50 {
                adam.step(&grads(&x, 1.)).unwrap();
                assert_eq!(adam.skipped(), ["y"]);
            }
            assert_eq!((adam.step_count(), adam.skipped_steps("y")), (50, Some(50)));
            assert_eq!((adam.skipped_steps("x"), adam.skipped_steps("z")), (Some(0), None));
            assert_eq!(values(&y), [1., -2.]);
            let state = adam.state().unwrap();
            assert_eq!(values(&state.moments["v.y"]), values(&before.moments["v.y"]));
            // From here on y is trained as if it had just begun, also from a saved state.
            let z = var(&[1., -2.], dtype);
            let mut fresh = Adam::new([("y".to_string(), z.clone())], config).unwrap();
            let copies =
                [&x, &y].map(|var| Var::from_tensor(&var.as_tensor().copy().unwrap()).unwrap());
            let named = ["x", "y"].map(String::from).into_iter().zip(copies.clone());
            let mut restored = Adam::new(named, config).unwrap();
            restored.restore(&state).unwrap();
            assert_eq!(restored.skipped_steps("y"), Some(50));
            let both = |a: &Var, b: &Var| {
                let loss = (a.sqr().unwrap() + b.sqr().unwrap()).unwrap().sum_all().unwrap();
                (loss * 0.5).unwrap().backward().unwrap()
            };
            for _ in 0..3 {
                adam.step(&both(&x, &y)).unwrap();
                restored.step(&both(&copies[0], &copies[1])).unwrap();
                fresh.step(&grads(&z, 1.)).unwrap();
                assert!(adam.skipped().is_empty());
            }
            assert_eq!(values(&y), values(&z));
            assert_eq!((values(&x), values(&y)), (values(&copies[0]), values(&copies[1])));
        }
    }

    #[test]
    fn a_loss_that_reaches_no_variable_is_an_error() {
        let (x, y) = (var(&[1.], DType::F32), var(&[1.], DType::F32));
        let mut adam = Adam::new([("x".to_string(), x)], AdamConfig::default()).unwrap();
        let error = adam.step(&grads(&y, 1.)).unwrap_err().to_string();
        assert!(error.contains("no gradient for any of its variables"), "{error}");
        assert_eq!(adam.step_count(), 0);
    }

    #[test]
    fn a_step_on_a_gradient_that_is_not_finite_moves_nothing() {
        for (scale, what) in [
            (f64::INFINITY, "the gradient of y"),
            (1e25, "the squared gradient of y"),
            (5e20, "the squared gradient of y"),
        ] {
            let (x, y) = (var(&[1.], DType::F32), var(&[1.], DType::F32));
            let vars = [("x".to_string(), x.clone()), ("y".to_string(), y.clone())];
            let mut adam = Adam::new(vars, AdamConfig::default()).unwrap();
            let of_y = (y.sum_all().unwrap() * scale).unwrap();
            let loss = (x.sum_all().unwrap() + of_y).unwrap();
            let error = adam.step(&loss.backward().unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{what} is not finite at step 0")), "{error}");
            assert_eq!((values(&x), values(&y), adam.step_count()), (vec![1.], vec![1.], 0));
        }
    }

    #[test]
    fn settings_that_would_make_weights_nan_are_refused() {
        let x = var(&[1.], DType::F32);
        let plain = AdamConfig::default();
        for (config, named) in [
            (AdamConfig { learning_rate: f64::NAN, ..plain }, "learning_rate"),
            (AdamConfig { learning_rate: 1e39, ..plain }, "learning_rate"),
            (AdamConfig { beta1: 1., ..plain }, "beta1"),
            (AdamConfig { beta2: -0.1, ..plain }, "beta2"),
            (AdamConfig { eps: 0., ..plain }, "eps"),
            (AdamConfig { weight_decay: f64::INFINITY, ..plain }, "weight_decay"),
        ] {
            let made = Adam::new([("x".to_string(), x.clone())], config);
            let error = made.unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
            // They can be changed between steps.
            let mut adam = Adam::new([("x".to_string(), x.clone())], plain).unwrap();
            adam.config = config;
            assert_eq!(adam.step(&grads(&x, 1.)).unwrap_err().to_string(), error);
            assert_eq!(values(&x), [1.]);
        }
    }

    #[test]
    fn a_name_or_a_variable_that_is_given_twice_is_an_error() {
        let (x, y) = (var(&[1.], DType::F32), var(&[1.], DType::F32));
        let named = |a: &str, b: &str, y: &Var| {
            let vars = [(a.to_string(), x.clone()), (b.to_string(), y.clone())];
            Adam::new(vars, AdamConfig::default())
        };
        let error = named("x", "x", &y).unwrap_err().to_string();
        assert!(error.contains("two variables are called x"), "{error}");
        let error = named("a", "b", &x).unwrap_err().to_string();
        assert!(error.contains("a and b are one variable"), "{error}");
    }
}
