//! Gradients: how large they are together, and cut where they are too large.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Storage, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How gradients are cut before a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clip {
    /// As they are.
    #[default]
    None,
    /// All together are made shorter, where their norm is larger than this, so that it is this.
    ///
    /// # Source
    /// Pascanu et al. (2013), "On the Difficulty of Training Recurrent Neural Networks", section 3.2.
    Norm(f64),
    /// Each number is held between this and its negative.
    Value(f64),
}

impl Clip {
    /// Checks that the bound is above 0.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::None => Ok(()),
            Self::Norm(bound) | Self::Value(bound) if bound > 0. && bound.is_finite() => Ok(()),
            Self::Norm(bound) | Self::Value(bound) => Err(Error::Config(format!(
                "gradients are clipped at a number above 0, got {bound}"
            ))),
        }
    }
}

/// What [`clip`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The norm of all gradients together, before they were cut.
    Norm(f64),
    /// The variable whose gradient is NaN or infinite; nothing was cut.
    NotFinite(String),
}

/// Cuts the gradients of `vars`, which come in the order in which their squares are summed up.
///
/// # Errors
/// [`Error::Candle`] when a gradient cannot be read.
pub fn clip<'a>(
    vars: impl Iterator<Item = (&'a String, &'a Var)> + Clone,
    grads: &mut GradStore,
    clip: Clip,
) -> Result<Found> {
    let mut sum = 0.;
    for (name, var) in vars.clone() {
        let Some(grad) = grads.get(var) else { continue };
        let squares = sum_of_squares(grad)?;
        // An f64's range: of finite f32 numbers the squares are finite.
        if !squares.is_finite() {
            return Ok(Found::NotFinite(name.clone()));
        }
        sum += squares;
    }
    let norm = sum.sqrt();
    for (_, var) in vars {
        let Some(grad) = grads.get(var) else { continue };
        let cut = match clip {
            Clip::Norm(bound) if norm > bound => (grad * (bound / norm))?,
            Clip::Value(bound) => grad.clamp(-bound, bound)?,
            _ => continue,
        };
        grads.insert(var, cut);
    }
    Ok(Found::Norm(norm))
}

/// In `f64`, in the order of memory: the same bits for any number of threads.
fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let offsets = layout.contiguous_offsets();
    if let (Storage::Cpu(storage), Some((start, end))) = (&*storage, offsets) {
        match storage {
            CpuStorage::F32(values) => return Ok(squares(&values[start..end], f64::from)),
            CpuStorage::F64(values) => return Ok(squares(&values[start..end], |v| v)),
            _ => {}
        }
    }
    drop(storage);
    Ok(tensor.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

/// Eight sums side by side, which registers hold.
fn squares<T: Copy>(values: &[T], widen: impl Fn(T) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f64 = chunks.remainder().iter().map(|v| widen(*v) * widen(*v)).sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            let value = widen(*value);
            *sum += value * value;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use std::collections::BTreeMap;

    /// Two variables whose gradients are the given numbers.
    fn problem(gradients: [&[f64]; 2]) -> (BTreeMap<String, Var>, GradStore) {
        let mut vars = BTreeMap::new();
        let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
        for (name, gradient) in ["a", "b"].into_iter().zip(gradients) {
            let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
            let var = Var::from_tensor(&gradient.ones_like().unwrap()).unwrap();
            loss = (loss + (var.as_tensor() * gradient).unwrap().sum_all().unwrap()).unwrap();
            vars.insert(name.to_string(), var);
        }
        (vars, loss.backward().unwrap())
    }

    fn after(gradients: [&[f64]; 2], how: Clip) -> (Found, Vec<f64>) {
        let (vars, mut grads) = problem(gradients);
        let found = clip(vars.iter(), &mut grads, how).unwrap();
        let values = vars.values().flat_map(|var| grads.get(var).unwrap().to_vec1().unwrap());
        (found, values.collect())
    }

    #[test]
    fn a_norm_is_that_of_all_gradients_together() {
        let long = [1.; 9];
        assert_eq!(after([&long, &[4.]], Clip::None).0, Found::Norm(5.));
        let (found, values) = after([&[3.], &[0., 4.]], Clip::Norm(2.5));
        assert_eq!((found, values), (Found::Norm(5.), vec![1.5, 0., 2.]));
        let (_, values) = after([&[3.], &[0., 4.]], Clip::Norm(5.));
        assert_eq!(values, [3., 0., 4.], "no larger than it may be");
    }

    #[test]
    fn values_are_held_between_bounds() {
        let (_, values) = after([&[-3., 0.5], &[4.]], Clip::Value(1.));
        assert_eq!(values, [-1., 0.5, 1.]);
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named_and_nothing_is_cut() {
        for bad in [f64::NAN, f64::INFINITY] {
            let (found, values) = after([&[3.], &[bad]], Clip::Norm(1.));
            assert_eq!(found, Found::NotFinite("b".into()));
            assert_eq!(values[0], 3.);
        }
    }

    #[test]
    fn a_bound_must_be_above_zero() {
        for bound in [0., -1., f64::NAN, f64::INFINITY] {
            assert!(Clip::Norm(bound).check().is_err() && Clip::Value(bound).check().is_err());
        }
        assert!(Clip::Norm(1.).check().is_ok() && Clip::None.check().is_ok());
    }
}
