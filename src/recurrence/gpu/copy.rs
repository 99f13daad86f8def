//! The launch that copies a matrix, of any strides.

use candle_core::{DType, Tensor};

use super::launch::{Arg, KernelLaunch};
use super::limits::{DeviceLimits, LaunchSize, STEP_BLOCK};

/// Blocks of a multiprocessor that walk through a tensor.
const BLOCKS: usize = 8;

/// The sizes of a launch whose threads walk through so many numbers.
pub(super) fn walk(count: usize, limits: &DeviceLimits) -> LaunchSize {
    let most = BLOCKS * limits.multiprocessors.max(1);
    LaunchSize { grid: count.div_ceil(STEP_BLOCK).min(most), block: STEP_BLOCK, shared_bytes: 0 }
}

/// Sizes and strides of a tensor as `(B, T, W)`; of a matrix, a step a row.
fn as_rows(tensor: &Tensor) -> candle_core::Result<([usize; 3], [usize; 3])> {
    Ok(match (tensor.dims(), tensor.stride()) {
        (&[width], &[unit]) => ([1, 1, width], [0, 0, unit]),
        (&[rows, width], &[row, unit]) => ([rows, 1, width], [row, 0, unit]),
        (&[rows, steps, width], &[row, step, unit]) => ([rows, steps, width], [row, step, unit]),
        (dims, _) => {
            candle_core::bail!("rows are copied of tensors of 1 to 3 dimensions, got {dims:?}")
        }
    })
}

/// The launch that copies a tensor, of any strides, into another of its shape.
pub(super) fn copy_launch<'a>(
    from: &'a Tensor,
    to: &'a Tensor,
    lengths: Option<&'a Tensor>,
    adds: bool,
    limits: &DeviceLimits,
) -> candle_core::Result<KernelLaunch<'a>> {
    let (dims, from_strides) = as_rows(from)?;
    let (to_dims, to_strides) = as_rows(to)?;
    let is_dense = to_strides[2] == 1 || dims[2] == 1;
    if dims != to_dims || !is_dense || [from.dtype(), to.dtype()] != [DType::F32; 2] {
        candle_core::bail!("rows: {from:?} cannot be copied into {to:?}")
    }
    let args = vec![
        ("from", Arg::In(Some(from))),
        ("lengths", Arg::In(lengths)),
        ("to", if adds { Arg::InOut(to) } else { Arg::Out(Some(to)) }),
        ("batch_size", Arg::Int(dims[0])),
        ("seq_len", Arg::Int(dims[1])),
        ("width", Arg::Int(dims[2])),
        ("from_row_stride", Arg::Int(from_strides[0])),
        ("from_step_stride", Arg::Int(from_strides[1])),
        ("from_unit_stride", Arg::Int(from_strides[2])),
        ("to_row_stride", Arg::Int(to_strides[0])),
        ("to_step_stride", Arg::Int(to_strides[1])),
        ("adds", Arg::Int(usize::from(adds))),
    ];
    let launch = walk(dims.iter().product(), limits);
    Ok(KernelLaunch { kernel: "rows_copy_f32".into(), launch, args })
}
