//! Dropout, from the seeded generator.

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};

use crate::rng::Stream;
use crate::{Error, Result};

/// Leaves each number of `x` out with probability `p`, and multiplies the others by `1 / (1 - p)`.
///
/// - `x`: any shape, `f32` or `f64`
/// - `p`: in `[0, 1)`; rounded to a multiple of 2^-16
///
/// # Errors
/// [`Error::Config`] when `p` is out of range; [`Error::DType`] for other dtypes.
///
/// # Source
/// Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
pub fn dropout(x: &Tensor, p: f64, rng: &mut Stream) -> Result<Tensor> {
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
    if !x.device().is_cpu() {
        let mask = mask(x.dims(), p, rng, x.dtype(), x.device())?;
        return Ok((x * mask)?);
    }
    let kept = kept(x.elem_count(), p, rng);
    Ok(x.contiguous()?.apply_op1(Dropout { kept, scale: 1. / (1. - p) })?)
}

/// What variational dropout multiplies with: 0 with probability `p`, else `1 / (1 - p)`.
///
/// # Errors
/// As [`dropout`].
pub fn mask(
    shape: &[usize],
    p: f64,
    rng: &mut Stream,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    check_probability("dropout", p)?;
    let count = shape.iter().product();
    let kept = kept(count, p, rng);
    let values: Vec<f64> =
        (0..count).map(|index| if is_kept(&kept, index) { 1. / (1. - p) } else { 0. }).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

/// Checks that a probability is in `[0, 1)`.
pub(crate) fn check_probability(name: &str, p: f64) -> Result<()> {
    match (0. ..1.).contains(&p) {
        true => Ok(()),
        false => Err(Error::Config(format!("{name} must be at least 0 and less than 1, got {p}"))),
    }
}

/// A bit for each of `count` numbers: set with probability `1 - p`.
fn kept(count: usize, p: f64, rng: &mut Stream) -> Vec<u64> {
    let left_out = (p * 65536.).round() as u64;
    (0..count.div_ceil(64))
        .map(|_| {
            let mut word = 0;
            for quarter in 0..16 {
                let bits = rng.bits();
                for part in 0..4 {
                    let is_kept = (bits >> (16 * part) & 0xffff) >= left_out;
                    word |= u64::from(is_kept) << (4 * quarter + part);
                }
            }
            word
        })
        .collect()
}

fn is_kept(kept: &[u64], index: usize) -> bool {
    kept[index / 64] >> (index % 64) & 1 == 1
}

/// `x ⊙ mask`, forward and backward.
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
            let y = dropout(&x, p, &mut Stream::new(1, Purpose::Dropout)).unwrap();
            let y = y.to_vec1::<f32>().unwrap();
            let zeros = y.iter().filter(|y| **y == 0.).count() as f64 / 1e5;
            // Five standard deviations.
            assert!((zeros - p).abs() < 5. * (p * (1. - p) / 1e5).sqrt(), "{p} {zeros}");
            let scale = 1. / (1. - p);
            assert!(y.iter().all(|y| *y == 0. || f64::from((*y - scale as f32).abs()) < 1e-6));
        }
    }

    #[test]
    fn the_gradient_has_the_mask_of_the_values_and_a_seed_gives_the_same_again() {
        let x = Var::ones((3, 50), DType::F64, &Device::Cpu).unwrap();
        let y = dropout(x.as_tensor(), 0.3, &mut Stream::new(2, Purpose::Dropout)).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        let values = y.to_vec2::<f64>().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec2::<f64>().unwrap(), values);
        let again = dropout(x.as_tensor(), 0.3, &mut Stream::new(2, Purpose::Dropout)).unwrap();
        assert_eq!(again.to_vec2::<f64>().unwrap(), values);
        let mask =
            mask(&[3, 50], 0.3, &mut Stream::new(2, Purpose::Dropout), DType::F64, &Device::Cpu);
        assert_eq!(mask.unwrap().to_vec2::<f64>().unwrap(), values);
    }

    #[test]
    fn a_probability_out_of_range_is_an_error() {
        let x = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        for p in [-0.1, 1., f64::NAN] {
            let error = dropout(&x, p, &mut Stream::new(1, Purpose::Dropout)).unwrap_err();
            assert!(error.to_string().contains("less than 1"), "{error}");
        }
    }
}
