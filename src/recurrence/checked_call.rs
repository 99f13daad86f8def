//! The arguments of a call after their checks.

use candle_core::Tensor;
use candle_rnn_kernels::SequenceDims;

use super::gpu::plan::RecurrentDType;
use super::{Cell, State, Unroll};
use crate::Result;

/// The arguments of a call, checked, and without borrows: what every backend reads.
#[derive(Clone, Debug)]
pub(super) struct CheckedCall {
    pub(super) cell: Cell,
    pub(super) dims: SequenceDims,
    /// The number of directions, D: 1 or 2.
    pub(super) directions: usize,
    pub(super) time_major: bool,
    pub(super) unroll: Unroll,
    pub(super) recurrent_dtype: RecurrentDType,
    pub(super) lengths: Option<Vec<usize>>,
    /// `(D, B, P)`, contiguous, without a graph.
    pub(super) mask: Option<Tensor>,
    pub(super) initial: Option<State>,
}

impl CheckedCall {
    /// `[h_0 | c_0]`, flat, in one tensor; h_0 as it is for a cell without c.
    pub(super) fn joined_initial(&self) -> Result<Option<Tensor>> {
        let Some(State { h, c, .. }) = &self.initial else { return Ok(None) };
        Ok(Some(match c {
            None => h.contiguous()?,
            Some(c) => Tensor::cat(&[&h.flatten_all()?, &c.flatten_all()?], 0)?,
        }))
    }

    /// The shape of all outputs.
    pub(super) fn outputs_shape(&self) -> [usize; 3] {
        let SequenceDims { batch_size, seq_len, output_size, .. } = self.dims;
        let features = self.directions * output_size;
        if self.time_major {
            [seq_len, batch_size, features]
        } else {
            [batch_size, seq_len, features]
        }
    }
}
