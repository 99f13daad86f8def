//! Checks and conversions of tensors that become weights.

use candle_core::{DType, Device, Tensor};

use crate::files::tensors::is_finite;
use crate::{Error, Result};

/// Checks tensors, and brings them to one dtype.
pub(super) struct Checks {
    pub(super) dtype: DType,
}

impl Checks {
    /// For tensors that become `f64` if one of them is, else `f32`.
    pub(super) fn of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let has_f64 = tensors.into_iter().any(|tensor| tensor.dtype() == DType::F64);
        Self { dtype: if has_f64 { DType::F64 } else { DType::F32 } }
    }

    /// Checks that a tensor has this shape, and all else.
    pub(super) fn shape(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Tensor> {
        self.tensor(name, tensor, tensor.dims() == shape, &format!("{shape:?}"))
    }

    /// Checks a tensor whose shape `fits` or not, and converts it; `shape` is what it should be.
    pub(super) fn tensor(
        &self,
        name: &str,
        tensor: &Tensor,
        fits: bool,
        shape: &str,
    ) -> Result<Tensor> {
        let fail = |expected, found| Err(Error::Weight { name: name.into(), expected, found });
        if !fits {
            return fail(format!("shape {shape}"), found(tensor));
        }
        if !matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return fail("f16, bf16, f32 or f64".into(), found(tensor));
        }
        // Not every device has f64, which the check needs.
        let is_finite = |tensor: &Tensor| is_finite(&tensor.detach().to_device(&Device::Cpu)?);
        if !is_finite(tensor)? {
            return fail("finite numbers".into(), "NaN or infinity".into());
        }
        let converted = tensor.to_dtype(self.dtype)?;
        if tensor.dtype() == DType::F64 && self.dtype != DType::F64 && !is_finite(&converted)? {
            let dtype = self.dtype.as_str();
            return fail(format!("numbers that {dtype} holds"), "a larger one".into());
        }
        Ok(converted)
    }
}

/// The shape and the dtype of a tensor, in words.
pub(super) fn found(tensor: &Tensor) -> String {
    format!("{:?} of {}", tensor.dims(), tensor.dtype().as_str())
}

/// The parts of a tensor `(G·H, ..)`, each `(H, ..)`, in another order: the `n`-th that is returned
/// was the `order[n]`-th.
pub(super) fn gates(tensor: &Tensor, order: &[usize]) -> Result<Vec<Tensor>> {
    let rows = tensor.dim(0)? / order.len();
    let part = |gate: &usize| Ok(tensor.narrow(0, gate * rows, rows)?);
    order.iter().map(part).collect()
}

/// The same in one tensor, in memory of its own.
pub(super) fn in_order(tensor: &Tensor, order: &[usize]) -> Result<Tensor> {
    Ok(match order {
        [_] => tensor.force_contiguous()?,
        _ => Tensor::cat(&gates(tensor, order)?, 0)?,
    })
}
