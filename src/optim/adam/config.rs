//! The settings of an Adam, and what a step needs of them.

use candle_core::Tensor;

use crate::{Error, Result};

/// The settings of [`Adam`](super::Adam).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// The learning rate; it may be changed between steps.
    pub learning_rate: f64,
    /// β1, the decay of the running mean of gradients, in `[0, 1)`.
    pub beta1: f64,
    /// β2, the decay of the running mean of squared gradients, in `[0, 1)`.
    pub beta2: f64,
    /// ε, which is added to the denominator.
    pub eps: f64,
    /// λ, AdamW's decoupled weight decay of all parameters.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0. }
    }
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

/// The coefficients of the formula at one step, in `f64` as PyTorch computes them.
#[derive(Debug)]
pub(super) struct Coefficients {
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) eps: f64,
    /// `lr / (1 - β1^t)`.
    pub(super) step_size: f64,
    /// `√(1 - β2^t)`.
    pub(super) bias_correction2_sqrt: f64,
    /// `1 - lr λ`.
    pub(super) keep: f64,
}

impl Coefficients {
    pub(super) fn new(config: &AdamConfig, step: u64) -> Self {
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

    /// As the kernel takes them.
    pub(super) fn numbers(&self) -> [f32; 8] {
        let Self { beta1, beta2, eps, step_size, bias_correction2_sqrt, keep } = *self;
        [beta1, 1. - beta1, beta2, 1. - beta2, step_size, bias_correction2_sqrt, eps, keep]
            .map(|number| number as f32)
    }
}

/// A step that has begun and that a device may have recorded.
#[derive(Debug)]
pub(super) struct BegunStep {
    pub(super) coefficients: Coefficients,
    /// `(8,)`, the same on the GPU, where recorded launches read them; `None` where no kernel moves a variable.
    pub(super) kept: Option<Tensor>,
}
