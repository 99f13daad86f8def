//! Dropout, from the seeded generator.

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};

use crate::rng::SeededRng;
use crate::{Error, Result};

/// Leaves each number of `x` out with probability `p`, and multiplies the others by the inverse of the
/// probability with which they are kept: the expectation is `x`.
///
/// What is left out is 0 and has a gradient of 0, also where `x` or the gradient is NaN or infinite.
///
/// - `x`: any shape, `f32` or `f64`
/// - `p`: in `[0, 1)`; `1 - p` is rounded to a multiple of 2^-32, at least one, which the scale follows
///
/// # Errors
/// [`Error::Config`] when `p` is out of range; [`Error::DType`] for other dtypes.
///
/// # Source
/// Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
pub fn dropout(x: &Tensor, p: f64, rng: &mut SeededRng) -> Result<Tensor> {
    check_probability("dropout", p)?;
    if p == 0. {
        return Ok(x.clone());
    }
    if !matches!(x.dtype(), DType::F32 | DType::F64) {
        return Err(Error::DType {
            op: "dropout",
            tensor: "x".into(),
            expected: "f32 or f64",
            actual: x.dtype().as_str().into(),
        });
    }
    let keep = Keep::new(p);
    let kept = keep.draw(x.elem_count(), rng);
    if x.device().is_cpu() {
        return Ok(x.contiguous()?.apply_op1(Dropout { kept, scale: keep.scale() })?);
    }
    let kept: Vec<u8> = (0..x.elem_count()).map(|index| is_kept(&kept, index).into()).collect();
    let kept = Tensor::from_vec(kept, x.dims(), &Device::Cpu)?.to_device(x.device())?;
    select(&kept, x, keep.scale())
}

/// `x` times `scale` where `kept`, `(..)` of `u8`, is not 0; elsewhere 0. Composed, for devices.
fn select(kept: &Tensor, x: &Tensor, scale: f64) -> Result<Tensor> {
    Ok(kept.where_cond(&(x * scale)?, &x.zeros_like()?)?)
}

/// The mask of variational dropout: 0 with probability `p`, else the inverse of the probability
/// of being kept, as [`dropout`] rounds it.
///
/// # Errors
/// As [`dropout`].
pub(super) fn mask(
    shape: &[usize],
    p: f64,
    rng: &mut SeededRng,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    check_probability("dropout", p)?;
    let count = shape.iter().product();
    let keep = Keep::new(p);
    let (kept, scale) = (keep.draw(count, rng), keep.scale());
    let values: Vec<f64> =
        (0..count).map(|index| if is_kept(&kept, index) { scale } else { 0. }).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

/// How many 32-bit words [`dropout`] of `count` numbers draws.
pub(crate) fn draws(count: usize, p: f64) -> u64 {
    if p == 0. {
        return 0;
    }
    64 * count.div_ceil(64) as u64
}

/// Checks that a probability is in `[0, 1)`.
pub(crate) fn check_probability(name: &str, p: f64) -> Result<()> {
    if (0. ..1.).contains(&p) {
        return Ok(());
    }
    Err(Error::Config(format!("{name} must be at least 0 and less than 1, got {p}")))
}

/// The probability with which a number is kept, in units of 2^-32: what is drawn and what is scaled by
/// agree.
#[derive(Clone, Copy)]
struct Keep(u64);

impl Keep {
    const UNITS: u64 = 1 << 32;

    /// The nearest to `1 - p`, at least one unit.
    fn new(p: f64) -> Self {
        Self((((1. - p) * Self::UNITS as f64).round() as u64).max(1))
    }

    /// The inverse of the probability.
    fn scale(self) -> f64 {
        Self::UNITS as f64 / self.0 as f64
    }

    /// A bit for each of `count` numbers, set with this probability.
    fn draw(self, count: usize, rng: &mut SeededRng) -> Vec<u64> {
        let word = |_| {
            let mut word = 0;
            for pair in 0..32 {
                let bits = rng.bits();
                word |= u64::from((bits & 0xffff_ffff) < self.0) << (2 * pair);
                word |= u64::from((bits >> 32) < self.0) << (2 * pair + 1);
            }
            word
        };
        (0..count.div_ceil(64)).map(word).collect()
    }
}

fn is_kept(kept: &[u64], index: usize) -> bool {
    kept[index / 64] >> (index % 64) & 1 == 1
}

/// `x` times the scale where it is kept, else 0; forward and backward.
struct Dropout {
    /// A bit for each number.
    kept: Vec<u64>,
    scale: f64,
}

impl Dropout {
    fn apply<E: Copy + std::ops::Mul<Output = E>>(&self, x: &[E], scale: E, zero: E) -> Vec<E> {
        x.iter()
            .enumerate()
            .map(|(index, x)| if is_kept(&self.kept, index) { *x * scale } else { zero })
            .collect()
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("dropout needs a contiguous tensor")
        };
        let output = match storage {
            CpuStorage::F32(x) => {
                CpuStorage::F32(self.apply(&x[start..end], self.scale as f32, 0.))
            }
            CpuStorage::F64(x) => CpuStorage::F64(self.apply(&x[start..end], self.scale, 0.)),
            _ => candle_core::bail!("dropout: no kernel for this dtype"),
        };
        Ok((output, layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let op = Self { kept: self.kept.clone(), scale: self.scale };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&op)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use candle_core::Var;

    #[test]
    fn a_share_of_p_is_left_out_and_the_mean_stays() {
        for p in [0.1, 0.5, 0.9] {
            let x = Tensor::ones(100_000, DType::F32, &Device::Cpu).unwrap();
            let mut rng = SeededRng::new(1, Purpose::Dropout);
            let y = dropout(&x, p, &mut rng).unwrap();
            assert_eq!(rng.position(), u128::from(draws(x.elem_count(), p)));
            let y = y.to_vec1::<f32>().unwrap();
            let zeros = y.iter().filter(|y| **y == 0.).count() as f64 / 1e5;
            // Five standard deviations.
            assert!((zeros - p).abs() < 5. * (p * (1. - p) / 1e5).sqrt(), "{p} {zeros}");
            let scale = 1. / (1. - p);
            assert!(y.iter().all(|y| *y == 0. || f64::from((*y - scale as f32).abs()) < 1e-6));
        }
    }

    #[test]
    fn the_gradient_has_the_mask_of_the_values_and_seeds_repeat() {
        let x = Var::ones((3, 50), DType::F64, &Device::Cpu).unwrap();
        let y = dropout(x.as_tensor(), 0.3, &mut SeededRng::new(2, Purpose::Dropout)).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        let values = y.to_vec2::<f64>().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec2::<f64>().unwrap(), values);
        let again = dropout(x.as_tensor(), 0.3, &mut SeededRng::new(2, Purpose::Dropout)).unwrap();
        assert_eq!(again.to_vec2::<f64>().unwrap(), values);
        let mask =
            mask(&[3, 50], 0.3, &mut SeededRng::new(2, Purpose::Dropout), DType::F64, &Device::Cpu);
        assert_eq!(mask.unwrap().to_vec2::<f64>().unwrap(), values);
    }

    #[test]
    fn the_mean_stays_also_where_nearly_all_is_left_out() {
        // Per probability 2^24 numbers; of 0.99999 167 are kept on average, of 0.999995 84.
        let count = 1 << 24;
        for p in [0.5, 0.999, 0.99999, 0.999995] {
            let mut rng = SeededRng::new(7, Purpose::Dropout);
            let x = Tensor::ones(count, DType::F32, &Device::Cpu).unwrap();
            let y = dropout(&x, p, &mut rng).unwrap().to_vec1::<f32>().unwrap();
            let mean = y.iter().map(|y| f64::from(*y)).sum::<f64>() / count as f64;
            // Five standard deviations of the mean: 0.6 % at 0.999, 39 % at 0.99999.
            let deviation = (p / (1. - p) / count as f64).sqrt();
            assert!((mean - 1.).abs() <= 5. * deviation, "{p}: {mean}");
        }
    }

    #[test]
    fn the_scale_is_the_inverse_of_the_probability_of_being_kept() {
        for p in [1e-12, 0.1, 0.5, 0.999, 0.99999, 0.9999999, 1. - 2f64.powi(-33), 1. - 1e-16] {
            let keep = Keep::new(p);
            let probability = keep.0 as f64 / 2f64.powi(32);
            assert!((1..=1 << 32).contains(&keep.0), "{p}: {}", keep.0);
            assert!((probability * keep.scale() - 1.).abs() <= 1e-15, "{p}");
            // Rounded by half a unit, or up to the first.
            assert!((probability - (1. - p)).abs() <= 2f64.powi(-32), "{p}: {probability}");
        }
        let mut rng = SeededRng::new(1, Purpose::Dropout);
        let all = Keep::new(1e-12).draw(128, &mut rng);
        assert_eq!((all, Keep::new(1e-12).scale()), (vec![u64::MAX; 2], 1.));
    }

    #[test]
    fn the_composition_for_devices_selects_as_the_op_does() {
        let x = Tensor::new(&[1f64, f64::NAN, -3., f64::INFINITY], &Device::Cpu).unwrap();
        let x = Var::from_tensor(&x).unwrap();
        let kept = Tensor::new(&[1u8, 0, 1, 0], &Device::Cpu).unwrap();
        let y = select(&kept, x.as_tensor(), 4.).unwrap();
        assert_eq!(y.to_vec1::<f64>().unwrap(), [4., 0., -12., 0.]);
        let weights = Tensor::new(&[1f64, f64::NAN, 2., f64::INFINITY], &Device::Cpu).unwrap();
        let grads = (y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>().unwrap(), [4., 0., 8., 0.]);
    }

    #[test]
    fn what_is_left_out_is_zero_whatever_stood_there() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let x = Var::from_tensor(&Tensor::full(bad, 64, &Device::Cpu).unwrap()).unwrap();
            let y = dropout(&x, 0.5, &mut SeededRng::new(2, Purpose::Dropout)).unwrap();
            let grads = y.sum_all().unwrap().backward().unwrap();
            let grad = grads.get(&x).unwrap().to_vec1::<f32>().unwrap();
            let y = y.to_vec1::<f32>().unwrap();
            assert!(y.contains(&0.) && y.iter().any(|y| !y.is_finite()), "{y:?}");
            for (y, grad) in y.iter().zip(grad) {
                assert_eq!(grad, if *y == 0. { 0. } else { 2. });
            }
            // A gradient that is not finite stops there too.
            let of = |grad: f32| {
                let x = Var::ones(64, DType::F32, &Device::Cpu).unwrap();
                let y = dropout(&x, 0.5, &mut SeededRng::new(2, Purpose::Dropout)).unwrap();
                let grads = (y * f64::from(grad)).unwrap().sum_all().unwrap().backward().unwrap();
                grads.get(&x).unwrap().to_vec1::<f32>().unwrap()
            };
            let grads = of(bad);
            assert!(grads.contains(&0.), "{grads:?}");
            assert!(grads.iter().all(|grad| *grad == 0. || !grad.is_finite()), "{grads:?}");
        }
    }

    #[test]
    fn a_probability_out_of_range_is_an_error() {
        let x = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        for p in [-0.1, 1., f64::NAN] {
            let error = dropout(&x, p, &mut SeededRng::new(1, Purpose::Dropout)).unwrap_err();
            assert!(error.to_string().contains("less than 1"), "{error}");
        }
    }
}
