//! Copies and biases of matrices, by kernels of our own: Candle's upload shapes and strides for each.

use candle_core::{DType, Tensor};

use super::copy::{copy_launch, walk};
use super::device::Gpu;
use super::launch::{Arg, DriverCall, KernelLaunch};

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

    /// Prepares a sweep: writes biases into every row, which a product is then added to; ones, with which products sum
    /// rows; and a copy of the recurrent weights.
    ///
    /// - `bias`, `other`: `(W,)`, their sum is written
    /// - `to`: `(rows, W)`, or columns of a wider matrix
    /// - `ones`: of any shape, contiguous
    /// - `copied`: two tensors of as many numbers, contiguous: the first is copied into the second
    pub(crate) fn write_biases(
        &self,
        [bias, other]: [Option<&Tensor>; 2],
        to: &Tensor,
        ones: Option<&Tensor>,
        copied: Option<[&Tensor; 2]>,
    ) -> candle_core::Result<()> {
        let ((rows, width), count) = (to.dims2()?, ones.map_or(0, Tensor::elem_count));
        let args = vec![
            ("bias", Arg::In(bias)),
            ("other", Arg::In(other)),
            ("to", Arg::Out(Some(to))),
            ("ones", Arg::Out(ones)),
            ("from", Arg::In(copied.map(|[from, _]| from))),
            ("copy", Arg::Out(copied.map(|[_, copy]| copy))),
            ("row_count", Arg::Int(rows)),
            ("width", Arg::Int(width)),
            ("row_stride", Arg::Int(to.stride()[0])),
            ("ones_count", Arg::Int(count)),
            ("copy_count", Arg::Int(copied.map_or(0, |[from, _]| from.elem_count()))),
        ];
        let launch = walk(rows * width, &self.limits());
        self.launch(&KernelLaunch { kernel: "rows_bias_f32".into(), launch, args })
    }
}
