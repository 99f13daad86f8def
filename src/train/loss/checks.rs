//! Checks of the arguments of the losses.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// The name of cross-entropy in errors.
pub(super) const OP: &str = "cross_entropy";

/// The error of a tensor with another shape.
pub(super) fn wrong_shape(tensor: &'static str, expected: String, actual: &Tensor) -> Error {
    Error::Shape { op: OP, tensor, expected, actual: actual.dims().to_vec() }
}

/// N and C of logits `(N, C)`.
///
/// # Errors
/// [`Error::Shape`] when they have another rank or no element.
pub(super) fn logits_2d(logits: &Tensor) -> Result<(usize, usize)> {
    match *logits.dims() {
        [rows, classes] if rows > 0 && classes > 0 => Ok((rows, classes)),
        _ => Err(wrong_shape("logits", "(N, C), both at least 1".into(), logits)),
    }
}

/// B, T and C of logits `(B, T, C)`.
///
/// # Errors
/// [`Error::Shape`] when they have another rank or no element.
pub(super) fn logits_3d(logits: &Tensor) -> Result<(usize, usize, usize)> {
    match *logits.dims() {
        [rows, steps, classes] if rows * steps * classes > 0 => Ok((rows, steps, classes)),
        _ => Err(wrong_shape("logits", "(B, T, C), all at least 1".into(), logits)),
    }
}

/// Checks a smoothing.
///
/// # Errors
/// [`Error::Config`] unless it is at least 0 and less than 1.
pub(super) fn check_smoothing(smoothing: f64) -> Result<()> {
    if (0. ..1.).contains(&smoothing) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "label smoothing must be at least 0 and less than 1, got {smoothing}"
    )))
}

/// Checks that there is one label a row.
///
/// # Errors
/// [`Error::Shape`] when there is not, and as [`check_dtypes`].
pub(super) fn check(logits: &Tensor, labels: &Tensor, rows: usize) -> Result<()> {
    if labels.dims() != [rows] {
        return Err(wrong_shape("labels", format!("({rows},)"), labels));
    }
    check_dtypes(logits, labels)
}

/// Checks the dtypes.
///
/// # Errors
/// [`Error::DType`] unless labels are `u32` and logits `f32` or `f64`.
pub(super) fn check_dtypes(logits: &Tensor, labels: &Tensor) -> Result<()> {
    let wrong_dtype = |tensor: &str, expected, actual: &Tensor| Error::DType {
        op: OP,
        tensor: tensor.into(),
        expected,
        actual: actual.dtype().as_str().into(),
    };
    if labels.dtype() != DType::U32 {
        return Err(wrong_dtype("labels", "u32", labels));
    }
    if !matches!(logits.dtype(), DType::F32 | DType::F64) {
        return Err(wrong_dtype("logits", "f32 or f64", logits));
    }
    Ok(())
}
