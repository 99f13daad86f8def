//! Errors for tensors that do not fit.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

pub(super) fn wrong_shape(tensor: &'static str, expected: String, actual: &Tensor) -> Error {
    Error::Shape { op: OP, tensor, expected, actual: actual.dims().to_vec() }
}

pub(super) fn check_dtype(tensor: &str, actual: &Tensor, wanted: DType) -> Result<()> {
    let dtype = actual.dtype();
    if dtype == wanted && matches!(dtype, DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(Error::DType {
        op: OP,
        tensor: tensor.into(),
        expected: match wanted {
            DType::F32 => "f32, as the weights",
            DType::F64 => "f64, as the weights",
            _ => "f32 or f64",
        },
        actual: dtype.as_str().into(),
    })
}

/// The name of the operation in errors.
pub(super) const OP: &str = "recurrence";
