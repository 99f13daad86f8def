//! Gradient clipping by global norm or by value.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::files::tensors::numbers;
use crate::{Error, Result};

/// How gradients are clipped before a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clip {
    /// No clipping.
    #[default]
    None,
    /// Clipping by global norm: all gradients are scaled down together where their L2 norm is larger than this.
    ///
    /// # Source
    /// Pascanu et al. (2013), "On the Difficulty of Training Recurrent Neural Networks", section 3.2.
    Norm(f64),
    /// Clipping by value: each number is limited to this magnitude.
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
                "the bound of gradient clipping must be above 0, got {bound}"
            ))),
        }
    }
}

/// The result of [`clip`].
#[derive(Clone, Debug, PartialEq)]
pub enum ClipOutcome {
    /// The L2 norm of all gradients before clipping; infinite where finite gradients have a norm above the
    /// largest `f64`.
    Norm(f64),
    /// The variable whose gradient is NaN or infinite; nothing was clipped.
    NotFinite(String),
}

/// Clips the gradients of variables, and returns their L2 norm.
///
/// The norm is right for all finite gradients, also where their squares overflow or underflow.
///
/// - `vars`: the variables with their names, in the order in which squares are summed up
/// - `grads`: the gradients of a loss, which are replaced
/// - `clip`: how they are clipped; with [`Clip::None`] they are measured alone
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_rnn::optim::{clip, ClipOutcome};
/// use candle_rnn::{Adam, AdamConfig, Clip, Gru, GruConfig, Init, Purpose, SeededRng, VarSink};
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let gru = Gru::init(GruConfig::new(3, 8), Init::Orthogonal, rng, &sink)?;
/// let mut adam = Adam::new(&sink, AdamConfig::default())?;
/// let x = candle_core::Tensor::ones((2, 5, 3), DType::F32, &Device::Cpu)?;
/// let mut grads = gru.forward(&x)?.outputs.sqr()?.sum_all()?.backward()?;
/// let outcome = clip(sink.named()?.iter(), &mut grads, Clip::Norm(1.))?;
/// assert!(matches!(outcome, ClipOutcome::Norm(norm) if norm > 1.));
/// adam.step(&grads)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Candle`] when a gradient cannot be read.
pub fn clip<'a>(
    vars: impl Iterator<Item = (&'a String, &'a Var)> + Clone,
    grads: &mut GradStore,
    clip: Clip,
) -> Result<ClipOutcome> {
    let mut sum = 0.;
    for (name, var) in vars.clone() {
        let Some(grad) = grads.get(var) else { continue };
        let squares = sum_of_squares(grad)?;
        // Squares of finite numbers may overflow.
        if !squares.is_finite() && largest_magnitude(grad)?.is_none() {
            return Ok(ClipOutcome::NotFinite(name.clone()));
        }
        sum += squares;
    }
    let norm = if sum.is_normal() {
        Norm { root: sum.sqrt(), exponent: 0 }
    } else {
        scaled_norm(vars.clone(), grads)?
    };
    for (_, var) in vars {
        let Some(grad) = grads.get(var) else { continue };
        let cut = match clip {
            Clip::Norm(bound) if norm.value() > bound => norm.shorten(grad, bound)?,
            Clip::Value(bound) => grad.clamp(-bound, bound)?,
            _ => continue,
        };
        grads.insert(var, cut);
    }
    Ok(ClipOutcome::Norm(norm.value()))
}

/// A norm, `root · 2^exponent`.
#[derive(Clone, Copy)]
struct Norm {
    root: f64,
    exponent: i32,
}

impl Norm {
    /// Infinite where it is above the largest `f64`.
    fn value(self) -> f64 {
        scale(self.root, self.exponent)
    }

    /// A gradient times `bound / norm`.
    fn shorten(self, grad: &Tensor, bound: f64) -> Result<Tensor> {
        let (smallest, stride) = match grad.dtype() {
            DType::F64 => (f64::MIN_POSITIVE, 512),
            _ => (f64::from(f32::MIN_POSITIVE), 64),
        };
        let (mut factor, mut exponent) = (bound / self.root, -self.exponent);
        let mut grad = grad.clone();
        // A factor below the smallest normal number has few digits, or none: powers of two go first.
        while exponent != 0 || (factor > 0. && factor < smallest) {
            let part = if exponent == 0 { -stride } else { exponent.clamp(-stride, stride) };
            grad = (grad * scale(1., part))?;
            if exponent == 0 {
                factor = scale(factor, stride);
            } else {
                exponent -= part;
            }
        }
        Ok((grad * factor)?)
    }
}

/// `x · 2^exponent`, rounded once at most.
fn scale(x: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    x * 2f64.powi(half) * 2f64.powi(exponent - half)
}

/// The norm of finite gradients whose squares overflow or underflow: of numbers near 1, which a power of
/// two makes of them.
fn scaled_norm<'a>(
    vars: impl Iterator<Item = (&'a String, &'a Var)> + Clone,
    grads: &GradStore,
) -> Result<Norm> {
    let mut largest = 0f64;
    for (_, var) in vars.clone() {
        if let Some(grad) = grads.get(var) {
            largest = largest.max(largest_magnitude(grad)?.unwrap_or(f64::INFINITY));
        }
    }
    if largest == 0. {
        return Ok(Norm { root: 0., exponent: 0 });
    }
    let exponent = largest.log2().floor() as i32;
    let mut sum = 0.;
    for (_, var) in vars {
        if let Some(grad) = grads.get(var) {
            let values = numbers(grad)?;
            sum += squares(&values, |value| scale(value, -exponent));
        }
    }
    Ok(Norm { root: sum.sqrt(), exponent })
}

/// The largest magnitude of a tensor's numbers, or `None` where one is NaN or infinite.
pub(super) fn largest_magnitude(tensor: &Tensor) -> Result<Option<f64>> {
    let mut largest = 0f64;
    for value in numbers(tensor)? {
        if !value.is_finite() {
            return Ok(None);
        }
        largest = largest.max(value.abs());
    }
    Ok(Some(largest))
}

/// In `f64`, in the order of memory: the same bits for any number of threads. Infinite or 0 where squares
/// are out of range.
pub(super) fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
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
    let sum = tensor.sqr()?.sum_all()?.to_device(&Device::Cpu)?;
    Ok(sum.to_dtype(DType::F64)?.to_scalar::<f64>()?)
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

    fn after(gradients: [&[f64]; 2], how: Clip) -> (ClipOutcome, Vec<f64>) {
        let (vars, mut grads) = problem(gradients);
        let found = clip(vars.iter(), &mut grads, how).unwrap();
        let values = vars.values().flat_map(|var| grads.get(var).unwrap().to_vec1().unwrap());
        (found, values.collect())
    }

    #[test]
    fn a_norm_is_that_of_all_gradients_together() {
        let long = [1.; 9];
        assert_eq!(after([&long, &[4.]], Clip::None).0, ClipOutcome::Norm(5.));
        let (found, values) = after([&[3.], &[0., 4.]], Clip::Norm(2.5));
        assert_eq!((found, values), (ClipOutcome::Norm(5.), vec![1.5, 0., 2.]));
        let (_, values) = after([&[3.], &[0., 4.]], Clip::Norm(5.));
        assert_eq!(values, [3., 0., 4.], "no larger than it may be");
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-15 * expected.abs(), "{found:e} {expected:e}");
    }

    #[test]
    fn a_norm_is_right_where_its_square_is_out_of_range() {
        for size in [1e200, 1e-200, 1e307, 1e-310, 1e154, 1e-162] {
            let (found, values) = after([&[3. * size], &[0., 4. * size]], Clip::Norm(size));
            let ClipOutcome::Norm(norm) = found else { panic!("{size:e}: {found:?}") };
            // Below 1e-308 numbers themselves have fewer digits.
            let tolerance = if size < 1e-300 { 1e-13 } else { 1e-15 };
            assert!((norm / size - 5.).abs() <= 5. * tolerance, "{size:e}: {norm:e}");
            for (found, expected) in values.iter().zip([0.6, 0., 0.8]) {
                assert!((found / size - expected).abs() <= tolerance, "{size:e}: {values:?}");
            }
        }
        // A norm beyond the range itself: cut all the same.
        let (found, values) = after([&[f64::MAX], &[f64::MAX, -f64::MAX, 0.]], Clip::Norm(2.));
        assert_eq!(found, ClipOutcome::Norm(f64::INFINITY));
        for (found, expected) in values.iter().zip([1., 1., -1., 0.]) {
            close(*found, expected * 2. / 3f64.sqrt());
        }
        // One part out of range beside one that is not.
        let (_, values) = after([&[1e200], &[1e150]], Clip::Norm(1.));
        close(values[0], 1.);
        close(values[1], 1e-50);
        let (found, _) = after([&[0.], &[0., 0.]], Clip::Norm(1.));
        assert_eq!(found, ClipOutcome::Norm(0.));
    }

    #[test]
    fn large_gradients_in_f32_are_cut_to_the_bound() {
        for count in [1usize, 10_000] {
            let gradient = Tensor::full(f32::MAX, count, &Device::Cpu).unwrap();
            let var = Var::from_tensor(&gradient.zeros_like().unwrap()).unwrap();
            let vars = BTreeMap::from([("a".to_string(), var.clone())]);
            let mut grads = candle_grads(&var, &gradient);
            let found = clip(vars.iter(), &mut grads, Clip::Norm(1.)).unwrap();
            let root = (count as f64).sqrt();
            let ClipOutcome::Norm(norm) = found else { panic!("{found:?}") };
            assert!((norm / (f64::from(f32::MAX) * root) - 1.).abs() <= 1e-12, "{norm:e}");
            for value in grads.get(&var).unwrap().to_vec1::<f32>().unwrap() {
                // Rounded to f32 a few times.
                assert!((f64::from(value) * root - 1.).abs() <= 3e-7, "{count}: {value:e}");
            }
        }
    }

    /// A store in which the variable has this gradient.
    fn candle_grads(var: &Var, gradient: &Tensor) -> GradStore {
        let loss = (var.as_tensor() * gradient).unwrap().sum_all().unwrap();
        loss.backward().unwrap()
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
            assert_eq!(found, ClipOutcome::NotFinite("b".into()));
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
