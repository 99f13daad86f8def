//! The exponential moving average (EMA) of the weights over a run's steps.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::{Error, Result};

/// The exponential moving average of named weights.
///
/// After step t it is `e ← d_t e + (1 - d_t) w` with `d_t = min(d, (1 + t) / (10 + t))`: short runs are
/// not held back by the initial weights.
///
/// # Source
/// Polyak & Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging"; the beginning as in
/// TensorFlow's `ExponentialMovingAverage`.
#[derive(Clone, Debug)]
pub(crate) struct Average {
    decay: f64,
    weights: BTreeMap<String, Tensor>,
}

impl Average {
    /// Begins with the weights as they are; `decay` is d, at least 0 and less than 1.
    ///
    /// # Errors
    /// [`Error::Candle`] when they cannot be copied.
    pub(crate) fn new(decay: f64, vars: &BTreeMap<String, Var>) -> Result<Self> {
        let copy = |(name, var): (&String, &Var)| -> Result<(String, Tensor)> {
            Ok((name.clone(), var.as_detached_tensor().copy()?))
        };
        Ok(Self { decay, weights: vars.iter().map(copy).collect::<Result<_>>()? })
    }

    /// Takes the weights after `step` steps in.
    ///
    /// # Errors
    /// [`Error::Candle`] when Candle fails.
    pub(crate) fn update(&mut self, step: u64, vars: &BTreeMap<String, Var>) -> Result<()> {
        let t = step as f64;
        let decay = self.decay.min((1. + t) / (10. + t));
        for (name, average) in &mut self.weights {
            if let Some(var) = vars.get(name) {
                let kept = (&*average * decay)?;
                *average = (kept + (var.as_detached_tensor() * (1. - decay))?)?;
            }
        }
        Ok(())
    }

    /// The averages by name.
    pub(crate) fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }

    /// Continues from saved averages; on an error nothing has changed.
    ///
    /// # Errors
    /// [`Error::Config`] when one is missing or does not fit.
    pub(crate) fn restore(&mut self, saved: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut restored = BTreeMap::new();
        for (name, average) in &self.weights {
            let fits = |saved: &&Tensor| {
                saved.shape() == average.shape() && saved.dtype() == average.dtype()
            };
            let Some(saved) = saved.get(name).filter(fits) else {
                return Err(Error::Config(format!(
                    "the saved state has no average of {name} in the model's shape and dtype"
                )));
            };
            restored.insert(name.clone(), saved.to_device(average.device())?);
        }
        self.weights = restored;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn an_average_follows_its_formula_and_goes_on_when_restored() {
        let var = Var::new(&[1f64, -2.], &Device::Cpu).unwrap();
        let vars = BTreeMap::from([("w".to_string(), var.clone())]);
        let mut average = Average::new(0.9, &vars).unwrap();
        let mut expected = [1., -2.];
        for step in 1..200u64 {
            var.set(&(var.as_tensor() + 0.5).unwrap()).unwrap();
            average.update(step, &vars).unwrap();
            let decay = 0.9f64.min((1. + step as f64) / (10. + step as f64));
            for (e, w) in expected.iter_mut().zip(var.to_vec1::<f64>().unwrap()) {
                *e = decay * *e + (1. - decay) * w;
            }
        }
        let found = average.weights()["w"].to_vec1::<f64>().unwrap();
        assert_eq!(found, expected);
        let mut other = Average::new(0.9, &vars).unwrap();
        other.restore(average.weights()).unwrap();
        assert_eq!(other.weights()["w"].to_vec1::<f64>().unwrap(), found);
        assert!(other.restore(&BTreeMap::new()).unwrap_err().to_string().contains("of w"));
    }
}
