//! Losses of numbers: mean squared error, mean absolute error, Huber.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor, WithDType};

use crate::{Error, Result};

/// The mean squared error over all elements, a differentiable scalar.
///
/// - `predictions`, `targets`: of one shape, such as `(N, K)`, with at least one element, `f32` or `f64`
///
/// ```
/// # use candle_core::{Device, Tensor};
/// use candle_rnn::train::mse;
/// # fn main() -> candle_rnn::Result<()> {
/// let predictions = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let targets = Tensor::new(&[[1f32, 4.]], &Device::Cpu)?;
/// assert_eq!(mse(&predictions, &targets)?.to_scalar::<f32>()?, 2.);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Shape`] when the shapes differ or there is no element, [`Error::DType`] unless both are `f32` or both
/// `f64`.
pub fn mse(predictions: &Tensor, targets: &Tensor) -> Result<Tensor> {
    mean(predictions, targets, Distance::Squared)
}

/// The mean absolute error over all elements, a differentiable scalar. Where prediction and target are equal
/// its gradient is 0.
///
/// - `predictions`, `targets`: as in [`mse`]
///
/// # Errors
/// As [`mse`].
pub fn mae(predictions: &Tensor, targets: &Tensor) -> Result<Tensor> {
    mean(predictions, targets, Distance::Absolute)
}

/// The mean Huber loss over all elements, a differentiable scalar: `d² / 2` for a difference d of at most `delta`,
/// `delta · (|d| - delta / 2)` beyond.
///
/// - `predictions`, `targets`: as in [`mse`]
/// - `delta`: finite and above 0
///
/// # Errors
/// As [`mse`]; [`Error::Config`] for a delta out of its range.
///
/// # Source
/// Huber (1964), "Robust Estimation of a Location Parameter"; PyTorch's `HuberLoss`.
pub fn huber(predictions: &Tensor, targets: &Tensor, delta: f64) -> Result<Tensor> {
    if !(delta > 0. && delta.is_finite()) {
        return Err(Error::Config(format!(
            "the delta of the Huber loss must be finite and above 0, got {delta}"
        )));
    }
    mean(predictions, targets, Distance::Huber(delta))
}

fn mean(predictions: &Tensor, targets: &Tensor, distance: Distance) -> Result<Tensor> {
    let op = distance.name();
    if predictions.elem_count() == 0 {
        let (expected, actual) = ("at least one element".into(), predictions.dims().to_vec());
        return Err(Error::Shape { op, tensor: "predictions", expected, actual });
    }
    if targets.dims() != predictions.dims() {
        let (expected, actual) = (format!("{:?}", predictions.dims()), targets.dims().to_vec());
        return Err(Error::Shape { op, tensor: "targets", expected, actual });
    }
    let dtype = predictions.dtype();
    for (tensor, found) in [("predictions", dtype), ("targets", targets.dtype())] {
        let expected = if !matches!(found, DType::F32 | DType::F64) {
            "f32 or f64"
        } else if found != dtype {
            "of the dtype of predictions"
        } else {
            continue;
        };
        let (tensor, actual) = (tensor.into(), found.as_str().into());
        return Err(Error::DType { op, tensor, expected, actual });
    }
    if !predictions.device().is_cpu() {
        return composed(predictions, targets, distance);
    }
    Ok(predictions.contiguous()?.apply_op2(&targets.contiguous()?, Regression(distance))?)
}

/// The same of Candle's ops, on any device.
fn composed(predictions: &Tensor, targets: &Tensor, distance: Distance) -> Result<Tensor> {
    let difference = (predictions - targets)?;
    Ok(match distance {
        Distance::Squared => difference.sqr()?.mean_all()?,
        // The gradient of Candle's `abs` is 1 at 0.
        Distance::Absolute => (&difference * difference.detach().sign()?)?.mean_all()?,
        // Its gradient is the clipped difference, which is a constant here.
        Distance::Huber(delta) => {
            let clipped = difference.detach().clamp(-delta, delta)?;
            (&clipped * (&difference - (&clipped * 0.5)?)?)?.mean_all()?
        }
    })
}

/// The cost of a prediction's distance from its target.
#[derive(Clone, Copy, Debug)]
enum Distance {
    Squared,
    Absolute,
    /// With its delta.
    Huber(f64),
}

impl Distance {
    fn name(self) -> &'static str {
        match self {
            Self::Squared => "mse",
            Self::Absolute => "mae",
            Self::Huber(_) => "huber",
        }
    }

    fn cost(self, difference: f64) -> f64 {
        match self {
            Self::Squared => difference * difference,
            Self::Absolute => difference.abs(),
            Self::Huber(delta) if difference.abs() <= delta => difference * difference / 2.,
            Self::Huber(delta) => delta * (difference.abs() - delta / 2.),
        }
    }

    /// The derivative of [`cost`](Self::cost).
    fn slope(self, difference: f64) -> f64 {
        match self {
            Self::Squared => 2. * difference,
            Self::Absolute if difference == 0. => 0.,
            Self::Absolute => difference.signum(),
            Self::Huber(delta) => difference.clamp(-delta, delta),
        }
    }
}

/// Predictions and targets to the mean cost of their distances.
struct Regression(Distance);

impl Regression {
    fn forward<E: WithDType>(&self, predictions: &[E], targets: &[E]) -> CpuStorage {
        let pairs = predictions.iter().zip(targets);
        let costs = pairs.map(|(p, t)| self.0.cost(p.to_f64() - t.to_f64()));
        let mean = costs.sum::<f64>() / predictions.len() as f64;
        E::to_cpu_storage_owned(vec![E::from_f64(mean)])
    }

    fn backward<E: WithDType>(&self, predictions: &Tensor, targets: &Tensor, grad: f64) -> Grads {
        let pair = [predictions, targets].map(|tensor| tensor.flatten_all()?.to_vec1::<E>());
        let [predictions, targets] = pair;
        let (predictions, targets) = (predictions?, targets?);
        let scale = grad / predictions.len() as f64;
        let pairs = predictions.iter().zip(&targets);
        let slopes = pairs.map(|(p, t)| E::from_f64(scale * self.0.slope(p.to_f64() - t.to_f64())));
        Tensor::from_vec(slopes.collect(), predictions.len(), &candle_core::Device::Cpu)
    }
}

type Grads = candle_core::Result<Tensor>;

impl CustomOp2 for Regression {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        predictions: &CpuStorage,
        layout: &Layout,
        targets: &CpuStorage,
        layout_of_targets: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (Some((p, p_end)), Some((t, t_end))) =
            (layout.contiguous_offsets(), layout_of_targets.contiguous_offsets())
        else {
            candle_core::bail!("{}: predictions and targets must be contiguous", self.name());
        };
        let loss = match (predictions, targets) {
            (CpuStorage::F32(predictions), CpuStorage::F32(targets)) => {
                self.forward(&predictions[p..p_end], &targets[t..t_end])
            }
            (CpuStorage::F64(predictions), CpuStorage::F64(targets)) => {
                self.forward(&predictions[p..p_end], &targets[t..t_end])
            }
            _ => candle_core::bail!("{}: both must be f32 or both f64", self.name()),
        };
        Ok((loss, Shape::from(())))
    }

    fn bwd(
        &self,
        predictions: &Tensor,
        targets: &Tensor,
        _loss: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let grads = match predictions.dtype() {
            DType::F32 => self.backward::<f32>(predictions, targets, grad)?,
            _ => self.backward::<f64>(predictions, targets, grad)?,
        };
        let grads = grads.reshape(predictions.shape())?;
        let of_targets = if targets.track_op() { Some(grads.neg()?) } else { None };
        Ok((Some(grads), of_targets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    const ALL: [Distance; 3] = [Distance::Squared, Distance::Absolute, Distance::Huber(0.7)];
    const PREDICTIONS: [f64; 6] = [0.3, -2., 1.5, 0.1, 4., -0.5];
    const TARGETS: [f64; 6] = [0.3, 1., 1., 0.2, 3.3, -3.];

    fn var(numbers: &[f64], dtype: DType) -> Var {
        let tensor = Tensor::from_slice(numbers, (3, 2), &Device::Cpu).unwrap();
        Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn losses_of_numbers_are_the_same_composed() {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-15)] {
            let (x, y) = (var(&PREDICTIONS, dtype), var(&TARGETS, dtype));
            for distance in ALL {
                let of = |loss: Tensor| {
                    let store = (&loss * 3.).unwrap().backward().unwrap();
                    let [x, y] = [&x, &y].map(|var| values(store.get(var).unwrap()));
                    [values(&loss), x, y].concat()
                };
                let found = of(mean(x.as_tensor(), y.as_tensor(), distance).unwrap());
                let expected = of(composed(x.as_tensor(), y.as_tensor(), distance).unwrap());
                assert_eq!(found.len(), 13);
                for (a, b) in found.iter().zip(&expected) {
                    let is_close = (a - b).abs() <= tolerance * b.abs().max(1.);
                    assert!(is_close, "{distance:?}: {a} instead of {b}");
                }
            }
        }
    }

    #[test]
    fn values_are_those_of_the_definitions() {
        let (x, y) = (var(&PREDICTIONS, DType::F64), var(&TARGETS, DType::F64));
        let of = |loss: Result<Tensor>| loss.unwrap().to_scalar::<f64>().unwrap();
        // Differences 0, -3, 0.5, -0.1, 0.7 and 2.5.
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-14, "{found}");
        close(of(mse(&x, &y)), (9. + 0.25 + 0.01 + 0.49 + 6.25) / 6.);
        close(of(mae(&x, &y)), 6.8 / 6.);
        close(of(huber(&x, &y, 1.)), (2.5 + 0.125 + 0.005 + 0.245 + 2.) / 6.);
    }

    #[test]
    fn regression_gradients_are_those_of_finite_differences() {
        const EPS: f64 = 1e-6;
        let y = var(&TARGETS, DType::F64);
        for distance in ALL {
            let x = var(&PREDICTIONS, DType::F64);
            let store = mean(&x, &y, distance).unwrap().backward().unwrap();
            for (index, grad) in values(store.get(&x).unwrap()).into_iter().enumerate() {
                let shifted = |by: f64| {
                    let mut numbers = PREDICTIONS;
                    numbers[index] += by;
                    let loss = mean(&var(&numbers, DType::F64), &y, distance).unwrap();
                    loss.to_scalar::<f64>().unwrap()
                };
                let difference = (shifted(EPS) - shifted(-EPS)) / (2. * EPS);
                assert!((grad - difference).abs() <= 1e-6, "{distance:?}: {grad} {difference}");
            }
        }
    }

    #[test]
    fn numbers_that_are_not_finite_make_the_loss_so() {
        for distance in ALL {
            for bad in [f64::NAN, f64::INFINITY] {
                let x = var(&[bad, 0., 0., 0., 0., 0.], DType::F64);
                let y = var(&TARGETS, DType::F64);
                let loss = mean(&x, &y, distance).unwrap().to_scalar::<f64>().unwrap();
                assert!(!loss.is_finite(), "{distance:?} of {bad}: {loss}");
            }
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_errors_that_name_them() {
        let x = var(&PREDICTIONS, DType::F32);
        let error = |x: &Tensor, y: &Tensor| mse(x, y).unwrap_err().to_string();
        let flat = x.flatten_all().unwrap();
        assert!(error(&x, &flat).contains("targets must have shape [3, 2]"));
        let doubles = x.to_dtype(DType::F64).unwrap();
        assert!(error(&x, &doubles).contains("targets must be of the dtype"));
        let integers = x.to_dtype(DType::U32).unwrap();
        assert!(error(&integers, &x).contains("predictions must be f32 or f64"));
        let empty = Tensor::zeros((0, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(error(&empty, &empty).contains("at least one element"));
        for delta in [0., -1., f64::NAN, f64::INFINITY] {
            assert!(huber(&x, &x, delta).unwrap_err().to_string().contains("delta"));
        }
    }
}
