//! The arguments of a call after their checks.

use candle_core::Tensor;
use candle_rnn_kernels::SequenceDims;

use super::gpu::plan::RecurrentDType;
use super::ids::look_up;
use super::{State, Unroll};
use crate::Result;

/// The arguments of a call, checked, and without borrows: what every backend reads.
#[derive(Clone, Debug)]
pub(super) struct CheckedCall {
    pub(super) dims: SequenceDims,
    /// The rows of `x`, then a table, that the steps read: as many as B·T.
    pub(super) ids: Option<Vec<u32>>,
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

    /// The call over inputs that are there step by step: where they are rows of a table, over these.
    ///
    /// # Errors
    /// [`Error::Candle`](crate::Error::Candle) when Candle fails.
    pub(super) fn looked_up(mut self, x: &Tensor) -> Result<(Tensor, Self)> {
        let Some(ids) = self.ids.take() else { return Ok((x.clone(), self)) };
        Ok((look_up(x, ids, &self.step_shape(self.dims.input_size))?, self))
    }

    /// The shapes of the states h and c.
    pub(super) fn state_shapes(&self) -> [[usize; 3]; 2] {
        let SequenceDims { batch_size, hidden_size, output_size, .. } = self.dims;
        [output_size, hidden_size].map(|size| [self.directions, batch_size, size])
    }

    /// The shape of all outputs.
    pub(super) fn outputs_shape(&self) -> [usize; 3] {
        self.step_shape(self.directions * self.dims.output_size)
    }

    /// The shape of all steps of all rows with as many features.
    fn step_shape(&self, features: usize) -> [usize; 3] {
        let SequenceDims { batch_size, seq_len, .. } = self.dims;
        if self.time_major {
            [seq_len, batch_size, features]
        } else {
            [batch_size, seq_len, features]
        }
    }
}
