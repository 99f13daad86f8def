//! The mean and the maximum of a sequence's outputs over its steps.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, WithDType};

use super::checks::check;
use crate::Result;

/// The mean over the steps beside the maximum over the steps: `(B, T, F)` to `(B, 2·F)`.
///
/// The gradient of the maximum goes to the first step that has it. A NaN among the values is in
/// both results.
///
/// - `x`: `(B, T, F)`, `f32` or `f64`
/// - `lengths`: the steps of each row, at most T, as in [`Sequences::lengths`]; padding behind them is not
///   read, whatever it holds, and gets no gradient. A row without steps gives zeros. All rows have T steps
///   if `None`.
///
/// # Errors
/// [`Error::Shape`] unless x is `(B, T, F)` with T at least 1, [`Error::DType`] unless it is `f32` or
/// `f64`, [`Error::Config`] when there is not one length a row, or one is larger than T.
///
/// [`Sequences::lengths`]: crate::Sequences::lengths
/// [`Error::Shape`]: crate::Error::Shape
/// [`Error::DType`]: crate::Error::DType
/// [`Error::Config`]: crate::Error::Config
pub fn mean_max(x: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    pool(x, lengths, Reductions::MeanMax)
}

/// The mean over the steps: `(B, T, F)` to `(B, F)`.
///
/// - `x`, `lengths`: as in [`mean_max`]
///
/// # Errors
/// As [`mean_max`].
pub fn mean(x: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    pool(x, lengths, Reductions::Mean)
}

/// The maximum over the steps: `(B, T, F)` to `(B, F)`. The gradient goes to the first step that has it.
///
/// - `x`, `lengths`: as in [`mean_max`]
///
/// # Errors
/// As [`mean_max`].
pub fn max(x: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    pool(x, lengths, Reductions::Max)
}

/// The reductions over the steps, one beside the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reductions {
    MeanMax,
    Mean,
    Max,
}

impl Reductions {
    fn name(self) -> &'static str {
        match self {
            Self::MeanMax => "mean-max",
            Self::Mean => "mean",
            Self::Max => "max",
        }
    }

    /// The features of the result, of `features` of x; and how many of them are means.
    fn widths(self, features: usize) -> (usize, usize) {
        let means = features * usize::from(self != Self::Max);
        (means + features * usize::from(self != Self::Mean), means)
    }

    fn join(self, mean: Tensor, max: Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::MeanMax => Tensor::cat(&[mean, max], 1)?,
            Self::Mean => mean,
            Self::Max => max,
        })
    }
}

fn pool(x: &Tensor, lengths: Option<&[usize]>, reductions: Reductions) -> Result<Tensor> {
    let (batch_size, seq_len, features) = check(reductions.name(), x, lengths)?;
    if !x.device().is_cpu() {
        return composed(x, lengths, reductions);
    }
    let lengths = lengths.map_or_else(|| vec![seq_len; batch_size], <[usize]>::to_vec);
    let op = MeanMax { reductions, seq_len, features, lengths, largest: OnceLock::new() };
    Ok(x.contiguous()?.apply_op1(op)?)
}

/// The same of Candle's ops, on any device.
fn composed(x: &Tensor, lengths: Option<&[usize]>, reductions: Reductions) -> Result<Tensor> {
    let Some(lengths) = lengths else { return reductions.join(x.mean(1)?, x.max(1)?) };
    let (batch_size, seq_len, features) = x.dims3()?;
    let flags = |flags: Vec<u8>, shape: &[usize]| Tensor::from_vec(flags, shape, x.device());
    let exists = lengths.iter().flat_map(|len| (0..seq_len).map(move |t| u8::from(t < *len)));
    let exists = flags(exists.collect(), &[batch_size, seq_len, 1])?.broadcast_as(x.shape())?;
    let filled = |value: f64| -> Result<Tensor> {
        let fill = Tensor::full(value, (), &Device::Cpu)?.to_dtype(x.dtype())?;
        let fill = fill.to_device(x.device())?.broadcast_as(x.shape())?;
        Ok(exists.where_cond(x, &fill)?)
    };
    let counts: Vec<f64> = lengths.iter().map(|len| 1. / (*len).max(1) as f64).collect();
    let counts = Tensor::from_vec(counts, (batch_size, 1), &Device::Cpu)?.to_dtype(x.dtype())?;
    let mean = filled(0.)?.sum(1)?.broadcast_mul(&counts.to_device(x.device())?)?;
    let has_steps = lengths.iter().map(|len| u8::from(*len > 0)).collect();
    let has_steps = flags(has_steps, &[batch_size, 1])?.broadcast_as((batch_size, features))?;
    let max = has_steps.where_cond(&filled(f64::NEG_INFINITY)?.max(1)?, &mean.zeros_like()?)?;
    reductions.join(mean, max)
}

struct MeanMax {
    reductions: Reductions,
    seq_len: usize,
    features: usize,
    /// `(B,)`.
    lengths: Vec<usize>,
    /// `(B, F)`: the steps of the largest values.
    largest: OnceLock<Vec<u32>>,
}

impl MeanMax {
    fn forward<E: WithDType>(&self, x: &[E]) -> Vec<E> {
        let Self { reductions, seq_len, features, ref lengths, .. } = *self;
        let (width, means) = reductions.widths(features);
        let mut out = vec![E::zero(); lengths.len() * width];
        let mut largest = vec![0; lengths.len() * features];
        let rows = x.chunks_exact((seq_len * features).max(1)).zip(lengths);
        let places = largest.chunks_exact_mut(features.max(1));
        for (((x, len), out), places) in rows.zip(out.chunks_exact_mut(width.max(1))).zip(places) {
            if *len == 0 {
                continue;
            }
            let scale = E::from_f64(1. / *len as f64);
            // One of them may be empty.
            let (mean, max) = out.split_at_mut(means);
            max.copy_from_slice(&x[..width - means]);
            for (t, x) in x.chunks_exact(features).take(*len).enumerate() {
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
        let Self { reductions, seq_len, features, ref lengths, .. } = *self;
        let Some(largest) = self.largest.get() else {
            candle_core::bail!("{}: backward without forward", reductions.name());
        };
        let (width, means) = reductions.widths(features);
        let mut grad_x = vec![E::zero(); lengths.len() * seq_len * features];
        let grads = grad.chunks_exact(width.max(1)).zip(largest.chunks_exact(features.max(1)));
        let rows = grad_x.chunks_exact_mut((seq_len * features).max(1)).zip(lengths);
        for ((grad_x, len), (grad, places)) in rows.zip(grads) {
            let scale = E::from_f64(1. / (*len).max(1) as f64);
            let (mean, max) = grad.split_at(means);
            for (t, grad_x) in grad_x.chunks_exact_mut(features).take(*len).enumerate() {
                grad_x.iter_mut().zip(mean).for_each(|(grad, mean)| *grad = *mean * scale);
                for ((grad, max), place) in grad_x.iter_mut().zip(max).zip(places) {
                    if *place == t as u32 {
                        *grad += *max;
                    }
                }
            }
        }
        Ok(grad_x)
    }
}

impl CustomOp1 for MeanMax {
    fn name(&self) -> &'static str {
        self.reductions.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("{}: x must be contiguous", self.name());
        };
        let out = match x {
            CpuStorage::F32(x) => CpuStorage::F32(self.forward(&x[start..end])),
            CpuStorage::F64(x) => CpuStorage::F64(self.forward(&x[start..end])),
            _ => candle_core::bail!("{}: x must be f32 or f64", self.name()),
        };
        Ok((out, Shape::from((self.lengths.len(), self.reductions.widths(self.features).0))))
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
    use crate::Error;
    use candle_core::Var;

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
            let found = of(mean_max(x.as_tensor(), None).unwrap());
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() <= tolerance * 3., "{a} instead of {b}");
            }
        }
    }

    #[test]
    fn the_first_of_equal_values_gets_the_gradient_nan_passes() {
        let x = Var::from_tensor(&Tensor::new(&[[[1f64], [1.], [0.]]], &Device::Cpu).unwrap());
        let x = x.unwrap();
        let store = mean_max(x.as_tensor(), None).unwrap().sum_all().unwrap().backward().unwrap();
        let third = 1. / 3.;
        assert_eq!(values(store.get(&x).unwrap()), [third + 1., third, third]);
        for place in 0..3 {
            let mut numbers = vec![1f64, 2., 3.];
            numbers[place] = f64::NAN;
            let x = Tensor::from_vec(numbers, (1, 3, 1), &Device::Cpu).unwrap();
            assert!(
                values(&mean_max(&x, None).unwrap()).iter().all(|value| value.is_nan()),
                "{place}"
            );
        }
    }

    /// Values and gradient, of rows that are padded with `padding`.
    fn ragged(
        padding: f64,
        lengths: &[usize],
        of: impl Fn(&Tensor, Option<&[usize]>) -> Result<Tensor>,
    ) -> [Vec<f64>; 2] {
        let (steps, features) = (4, 3);
        // All below zero: a maximum over zeros would show.
        let number = |row: usize, t: usize, f: usize| {
            if t < lengths[row] {
                -1. - ((row * 41 + t * 17 + f * 5) % 11) as f64
            } else {
                padding
            }
        };
        let numbers: Vec<f64> = (0..lengths.len() * steps * features)
            .map(|i| number(i / (steps * features), i / features % steps, i % features))
            .collect();
        let shape = (lengths.len(), steps, features);
        let x = Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()).unwrap();
        let out = of(x.as_tensor(), Some(lengths)).unwrap();
        let weights: Vec<f64> = (0..out.elem_count()).map(|i| i as f64 / 7. - 2.).collect();
        let weights = Tensor::from_vec(weights, out.dims(), &Device::Cpu).unwrap();
        let store = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
        [values(&out), values(store.get(&x).unwrap())]
    }

    #[test]
    fn padding_is_not_pooled_whatever_it_holds() {
        let lengths = [4, 2, 1, 3, 0];
        let found = ragged(0., &lengths, mean_max);
        for padding in [7., -1e9, f64::NAN, f64::INFINITY] {
            assert_eq!(ragged(padding, &lengths, mean_max), found, "{padding}");
            let both = Reductions::MeanMax;
            let composed = ragged(padding, &lengths, |x, lengths| composed(x, lengths, both));
            for (a, b) in composed.iter().flatten().zip(found.iter().flatten()) {
                assert!((a - b).abs() <= 1e-14, "{padding}: {a} instead of {b}");
            }
        }
        // Each row is as it is alone.
        for (row, len) in lengths.iter().enumerate().filter(|(_, len)| **len > 0) {
            let numbers: Vec<f64> = (0..len * 3)
                .map(|i| -1. - ((row * 41 + i / 3 * 17 + i % 3 * 5) % 11) as f64)
                .collect();
            let alone = Tensor::from_vec(numbers, (1, *len, 3), &Device::Cpu).unwrap();
            let alone = values(&mean_max(&alone, None).unwrap());
            assert_eq!(found[0][row * 6..][..6], alone, "{row}");
        }
        assert_eq!(found[0][4 * 6..], [0.; 6], "a row without steps");
        for lengths in [&[4, 2][..], &[5, 1, 1, 1, 1]] {
            let x = Tensor::zeros((5, 4, 3), DType::F32, &Device::Cpu).unwrap();
            assert!(matches!(mean_max(&x, Some(lengths)), Err(Error::Config(_))));
        }
    }

    #[test]
    fn what_is_no_sequence_is_refused() {
        for shape in [vec![3, 4], vec![3, 0, 2]] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            assert!(matches!(mean_max(&x, None), Err(Error::Shape { .. })));
        }
        let x = Tensor::zeros((1, 1, 1), DType::U32, &Device::Cpu).unwrap();
        assert!(matches!(mean_max(&x, None), Err(Error::DType { .. })));
        let none = Tensor::zeros((0, 2, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(mean_max(&none, None).unwrap().dims(), [0, 6]);
    }

    #[test]
    fn a_mean_and_a_maximum_alone_are_the_parts_of_both() {
        let lengths = [4, 2, 1, 3, 0];
        type Pool = fn(&Tensor, Option<&[usize]>) -> Result<Tensor>;
        for (alone, from) in [(mean as Pool, 0), (max as Pool, 3)] {
            let part = |x: &Tensor, lengths: Option<&[usize]>| -> Result<Tensor> {
                Ok(mean_max(x, lengths)?.narrow(1, from, 3)?)
            };
            let expected = ragged(f64::NAN, &lengths, part);
            assert_eq!(ragged(f64::NAN, &lengths, alone), expected, "from {from}");
            let reductions = if from == 0 { Reductions::Mean } else { Reductions::Max };
            let composed = |x: &Tensor, lengths: Option<&[usize]>| composed(x, lengths, reductions);
            let composed = ragged(f64::NAN, &lengths, composed);
            for (a, b) in composed.iter().flatten().zip(expected.iter().flatten()) {
                assert!((a - b).abs() <= 1e-14, "from {from}: {a} instead of {b}");
            }
        }
        let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(mean(&x, None).unwrap().dims(), [2, 4]);
        assert!(max(&x, Some(&[4, 1])).unwrap_err().to_string().contains("max: row 0"));
    }
}
