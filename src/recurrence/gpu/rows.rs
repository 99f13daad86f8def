//! Copies and biases of matrices, by kernels of our own: Candle's upload shapes and strides for each.

use candle_core::{DType, Tensor};

use super::device::Gpu;
use super::launch::{Arg, DriverCall, KernelLaunch};
use super::limits::{DeviceLimits, LaunchSize};
use super::plan::STEP_BLOCK;

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

impl Gpu {
    /// Copies a tensor into another of its shape; with `lengths`, `(B,)`, zeros behind the rows' ends of a
    /// `(B, T, W)`.
    pub(crate) fn copy(
        &self,
        from: &Tensor,
        to: &Tensor,
        lengths: Option<&Tensor>,
    ) -> candle_core::Result<()> {
        self.launch(&copy_launch(from, to, lengths, false, &self.limits())?)
    }

    /// The same numbers in memory of their own, one behind the other.
    pub(crate) fn copied(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        let copy = self.alloc(tensor.shape(), tensor.dtype(), tensor.device())?;
        self.copy(tensor, &copy, None)?;
        Ok(copy)
    }

    /// The same numbers, one behind the other: a copy unless they are so.
    pub(crate) fn contiguous(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        if tensor.is_contiguous() {
            Ok(tensor.clone())
        } else {
            self.copied(tensor)
        }
    }

    /// Tensors of one shape, one behind the other along their first dimension.
    pub(crate) fn joined(&self, parts: &[&Tensor]) -> candle_core::Result<Tensor> {
        let (Some(first), count) = (parts.first(), parts.len()) else {
            candle_core::bail!("rows: nothing is joined")
        };
        if count == 1 {
            return self.contiguous(first);
        }
        if first.dtype() != DType::F32 {
            return self.joined_by_candle(parts);
        }
        let mut dims = first.dims().to_vec();
        let rows = dims[0];
        dims[0] *= count;
        let all = self.alloc(dims, first.dtype(), first.device())?;
        for (index, part) in parts.iter().enumerate() {
            self.copy(part, &all.narrow(0, index * rows, rows)?, None)?;
        }
        Ok(all)
    }

    /// The same of numbers that the kernel does not copy.
    fn joined_by_candle(&self, parts: &[&Tensor]) -> candle_core::Result<Tensor> {
        self.note(DriverCall::Allocation);
        parts.iter().for_each(|_| self.note(DriverCall::Copy));
        Tensor::cat(parts, 0)
    }

    /// Writes biases into every row, which a product is then added to; and ones, with which products sum rows.
    ///
    /// - `bias`, `other`: `(W,)`, their sum is written
    /// - `to`: `(rows, W)`, or columns of a wider matrix
    /// - `ones`: of any shape, contiguous
    pub(crate) fn write_biases(
        &self,
        [bias, other]: [Option<&Tensor>; 2],
        to: &Tensor,
        ones: Option<&Tensor>,
    ) -> candle_core::Result<()> {
        let ((rows, width), count) = (to.dims2()?, ones.map_or(0, Tensor::elem_count));
        let args = vec![
            ("bias", Arg::In(bias)),
            ("other", Arg::In(other)),
            ("to", Arg::Out(Some(to))),
            ("ones", Arg::Out(ones)),
            ("row_count", Arg::Int(rows)),
            ("width", Arg::Int(width)),
            ("row_stride", Arg::Int(to.stride()[0])),
            ("ones_count", Arg::Int(count)),
        ];
        let launch = walk(rows * width, &self.limits());
        self.launch(&KernelLaunch { kernel: "rows_bias_f32".into(), launch, args })
    }
}
