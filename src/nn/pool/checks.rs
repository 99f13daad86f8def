//! Checks of what is pooled.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// B, T and F of x, `(B, T, F)`.
///
/// # Errors
/// As [`mean_max`](super::mean_max).
pub(super) fn check(
    op: &'static str,
    x: &Tensor,
    lengths: Option<&[usize]>,
) -> Result<(usize, usize, usize)> {
    let (batch_size, seq_len, features) = match *x.dims() {
        [batch_size, seq_len, features] if seq_len > 0 => (batch_size, seq_len, features),
        _ => {
            let (expected, actual) = ("(B, T, F), T at least 1".into(), x.dims().to_vec());
            return Err(Error::Shape { op, tensor: "x", expected, actual });
        }
    };
    if !matches!(x.dtype(), DType::F32 | DType::F64) {
        let actual = x.dtype().as_str().into();
        return Err(Error::DType { op, tensor: "x".into(), expected: "f32 or f64", actual });
    }
    if let Some(lengths) = lengths {
        if lengths.len() != batch_size {
            let found = lengths.len();
            return Err(Error::Config(format!("{op}: {found} lengths for {batch_size} rows")));
        }
        if let Some((row, len)) = lengths.iter().enumerate().find(|(_, len)| **len > seq_len) {
            return Err(Error::Config(format!(
                "{op}: row {row} has length {len}, but x has {seq_len} steps"
            )));
        }
    }
    Ok((batch_size, seq_len, features))
}
