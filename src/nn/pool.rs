//! What is read of all outputs of a sequence: their mean and their largest values.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType};

use crate::{Error, Result};

/// The mean over the steps beside the largest value over the steps: `(B, T, F)` to `(B, 2·F)`.
///
/// The gradient of the largest value goes to the first step that has it. A NaN among the values is in
/// both results.
///
/// # Errors
/// [`Error::Shape`] unless x is `(B, T, F)` with T at least 1, [`Error::DType`] unless it is `f32` or
/// `f64`.
pub fn mean_max(x: &Tensor) -> Result<Tensor> {
    let (batch_size, seq_len, features) = match *x.dims() {
        [batch_size, seq_len, features] if seq_len > 0 => (batch_size, seq_len, features),
        _ => {
            return Err(Error::Shape {
                op: NAME,
                tensor: "x",
                expected: "(B, T, F), T at least 1".into(),
                actual: x.dims().to_vec(),
            })
        }
    };
    if !matches!(x.dtype(), DType::F32 | DType::F64) {
        return Err(Error::DType {
            op: NAME,
            tensor: "x".into(),
            expected: "f32 or f64",
            actual: x.dtype().as_str().into(),
        });
    }
    if !x.device().is_cpu() {
        return Ok(Tensor::cat(&[x.mean(1)?, x.max(1)?], 1)?);
    }
    let op = MeanMax { batch_size, seq_len, features, largest: OnceLock::new() };
    Ok(x.contiguous()?.apply_op1(op)?)
}

const NAME: &str = "mean-max";

struct MeanMax {
    batch_size: usize,
    seq_len: usize,
    features: usize,
    /// `(B, F)`: the steps of the largest values.
    largest: OnceLock<Vec<u32>>,
}

impl MeanMax {
    fn forward<E: WithDType>(&self, x: &[E]) -> Vec<E> {
        let Self { batch_size, seq_len, features, .. } = *self;
        let mut out = vec![E::zero(); batch_size * 2 * features];
        let mut largest = vec![0; batch_size * features];
        let scale = E::from_f64(1. / seq_len as f64);
        let rows = x.chunks_exact((seq_len * features).max(1));
        let places = largest.chunks_exact_mut(features.max(1));
        for ((x, out), places) in rows.zip(out.chunks_exact_mut((2 * features).max(1))).zip(places)
        {
            let (mean, max) = out.split_at_mut(features);
            max.copy_from_slice(&x[..features]);
            for (t, x) in x.chunks_exact(features).enumerate() {
                mean.iter_mut().zip(x).for_each(|(sum, x)| *sum += *x);
                for ((max, place), x) in max.iter_mut().zip(places.iter_mut()).zip(x) {
                    // Not equal to itself: NaN, which no comparison would let in or out.
                    #[allow(clippy::eq_op)]
                    let is_larger = *x > *max || (*x != *x && *max == *max);
                    if is_larger {
                        (*max, *place) = (*x, t as u32);
                    }
                }
            }
            mean.iter_mut().for_each(|sum| *sum *= scale);
        }
        // An op runs forward once; a second time would give the same.
        let _ = self.largest.set(largest);
        out
    }

    fn backward<E: WithDType>(&self, grad: &[E]) -> candle_core::Result<Vec<E>> {
        let Self { batch_size, seq_len, features, .. } = *self;
        let Some(largest) = self.largest.get() else {
            candle_core::bail!("{NAME}: backward without forward");
        };
        let scale = E::from_f64(1. / seq_len as f64);
        let mut grad_x = Vec::with_capacity(batch_size * seq_len * features);
        let grads = grad.chunks_exact((2 * features).max(1));
        for (grad, places) in grads.zip(largest.chunks_exact(features.max(1))) {
            let (mean, max) = grad.split_at(features);
            for t in 0..seq_len as u32 {
                grad_x.extend(mean.iter().zip(max).zip(places).map(|((mean, max), place)| {
                    let of_mean = *mean * scale;
                    if *place == t {
                        of_mean + *max
                    } else {
                        of_mean
                    }
                }));
            }
        }
        Ok(grad_x)
    }
}

impl CustomOp1 for MeanMax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("{NAME}: x must be contiguous");
        };
        let out = match x {
            CpuStorage::F32(x) => CpuStorage::F32(self.forward(&x[start..end])),
            CpuStorage::F64(x) => CpuStorage::F64(self.forward(&x[start..end])),
            _ => candle_core::bail!("{NAME}: x must be f32 or f64"),
        };
        Ok((out, Shape::from((self.batch_size, 2 * self.features))))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.flatten_all()?;
        Ok(Some(match x.dtype() {
            DType::F32 => {
                Tensor::from_vec(self.backward(&grad.to_vec1::<f32>()?)?, x.shape(), x.device())?
            }
            _ => Tensor::from_vec(self.backward(&grad.to_vec1::<f64>()?)?, x.shape(), x.device())?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn values_and_gradients_are_those_of_candles_mean_and_max() {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-15)] {
            let numbers: Vec<f64> =
                (0..3 * 4 * 5).map(|i| ((i * 37) % 61) as f64 / 61. - 0.5).collect();
            let x = Tensor::from_vec(numbers, (3, 4, 5), &Device::Cpu).unwrap();
            let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
            let weights: Vec<f64> = (0..30).map(|i| f64::from(i) / 7. - 2.).collect();
            let weights = Tensor::from_vec(weights, (3, 10), &Device::Cpu).unwrap();
            let weights = weights.to_dtype(dtype).unwrap();
            let of = |out: Tensor| {
                let store = (&out * &weights).unwrap().sum_all().unwrap().backward().unwrap();
                [values(&out), values(store.get(&x).unwrap())].concat()
            };
            let composed = [x.mean(1).unwrap(), x.max(1).unwrap()];
            let expected = of(Tensor::cat(&composed, 1).unwrap());
            let found = of(mean_max(x.as_tensor()).unwrap());
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() <= tolerance * 3., "{a} instead of {b}");
            }
        }
    }

    #[test]
    fn the_first_of_equal_values_gets_the_gradient_and_nan_comes_through() {
        let x = Var::from_tensor(&Tensor::new(&[[[1f64], [1.], [0.]]], &Device::Cpu).unwrap());
        let x = x.unwrap();
        let store = mean_max(x.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
        let third = 1. / 3.;
        assert_eq!(values(store.get(&x).unwrap()), [third + 1., third, third]);
        for place in 0..3 {
            let mut numbers = vec![1f64, 2., 3.];
            numbers[place] = f64::NAN;
            let x = Tensor::from_vec(numbers, (1, 3, 1), &Device::Cpu).unwrap();
            assert!(values(&mean_max(&x).unwrap()).iter().all(|value| value.is_nan()), "{place}");
        }
    }

    #[test]
    fn what_is_no_sequence_is_refused() {
        for shape in [vec![3, 4], vec![3, 0, 2]] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            assert!(matches!(mean_max(&x), Err(Error::Shape { .. })));
        }
        let x = Tensor::zeros((1, 1, 1), DType::U32, &Device::Cpu).unwrap();
        assert!(matches!(mean_max(&x), Err(Error::DType { .. })));
        let none = Tensor::zeros((0, 2, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(mean_max(&none).unwrap().dims(), [0, 6]);
    }
}
