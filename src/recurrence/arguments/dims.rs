//! The sizes of a recurrence, and whether its arguments fit to them.

use candle_core::{DType, Tensor};
use candle_rnn_kernels::SequenceDims;

use super::super::Cell;
use super::{check_dtype, wrong_shape, State, WeightSizes, OP};
use crate::{Error, Result};

/// Checks that `x` fits to weights of the given sizes and dtype.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree or T is 0; [`Error::DType`] when dtypes disagree;
/// [`Error::Config`] when it is more than memory can hold.
pub(in crate::recurrence) fn check(
    x: &Tensor,
    sizes: WeightSizes,
    dtype: DType,
    time_major: bool,
) -> Result<SequenceDims> {
    let WeightSizes { input_size, .. } = sizes;
    let (batch_size, seq_len) = match (x.dims(), time_major) {
        (&[rows, steps, inputs], false) | (&[steps, rows, inputs], true)
            if steps > 0 && inputs == input_size =>
        {
            (rows, steps)
        }
        _ => {
            let order = if time_major { "T, B" } else { "B, T" };
            let expected = format!("({order}, {input_size}) with T at least 1");
            return Err(wrong_shape("x", expected, x));
        }
    };
    check_dtype("x", x, dtype)?;
    of(batch_size, seq_len, sizes)
}

/// Checks that such a size can be in memory.
pub(in crate::recurrence) fn of(
    batch_size: usize,
    seq_len: usize,
    sizes: WeightSizes,
) -> Result<SequenceDims> {
    let WeightSizes { input_size, hidden_size, output_size } = sizes;
    let dims = SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size };
    // Room for the largest float, all gates of two directions, and padding.
    let rows = batch_size.checked_mul(seq_len).and_then(|rows| rows.checked_mul(128));
    let widest = input_size
        .checked_add(hidden_size)
        .and_then(|width| width.checked_add(output_size))
        .and_then(|width| width.checked_add(64));
    if rows.zip(widest).and_then(|(rows, width)| rows.checked_mul(width)).is_none() {
        return Err(Error::Config(format!("{OP}: {dims:?} is more than memory can hold")));
    }
    Ok(dims)
}

/// Checks the shape and the dtype of states.
pub(in crate::recurrence) fn check_state(
    dims: &SequenceDims,
    cell: Cell,
    directions: usize,
    state: &State,
    dtype: DType,
) -> Result<()> {
    let SequenceDims { batch_size, hidden_size, output_size, .. } = *dims;
    let expect = |name, tensor: &Tensor, size: usize| {
        if tensor.dims() != [directions, batch_size, size] {
            let expected = format!("({directions}, {batch_size}, {size})");
            return Err(wrong_shape(name, expected, tensor));
        }
        check_dtype(name, tensor, dtype)
    };
    expect("h_0", &state.h, output_size)?;
    match (&state.c, cell.has_c()) {
        (Some(c), true) => expect("c_0", c, hidden_size),
        (None, false) => Ok(()),
        (None, true) => Err(Error::Config(format!("{OP}: lstm needs c_0 beside h_0"))),
        (Some(_), false) => Err(Error::Config(format!("{OP}: {} has no state c", cell.name()))),
    }
}

/// Checks the shape and the dtype of a recurrent dropout's mask.
pub(in crate::recurrence) fn check_mask(
    dims: &SequenceDims,
    directions: usize,
    mask: &Tensor,
    dtype: DType,
) -> Result<()> {
    let expected = [directions, dims.batch_size, dims.output_size];
    if mask.dims() != expected {
        return Err(wrong_shape("mask", format!("{expected:?}"), mask));
    }
    check_dtype("mask", mask, dtype)
}

/// Checks the lengths of rows.
pub(in crate::recurrence) fn check_lengths(dims: &SequenceDims, lengths: &[usize]) -> Result<()> {
    let SequenceDims { batch_size, seq_len, .. } = *dims;
    if lengths.len() != batch_size {
        let found = lengths.len();
        return Err(Error::Config(format!(
            "{OP}: lengths must be one for each of {batch_size} rows, got {found}"
        )));
    }
    match lengths.iter().find(|length| **length > seq_len) {
        None => Ok(()),
        Some(length) => Err(Error::Config(format!(
            "{OP}: lengths must be at most {seq_len}, the steps of x, got {length}"
        ))),
    }
}
