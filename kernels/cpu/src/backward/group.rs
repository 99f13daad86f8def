//! A group of rows whose weight gradients are summed together.

// One contract holds for a whole pass, that of `backward_rows`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::backward::args::{Backward, BlockStates};
use crate::view::ViewMut;

/// Rows that go through all steps together, and whose samples are summed in their order.
///
/// Only [`backward_rows`](crate::backward::backward_rows) makes one, from its arguments. Its methods count rows within the group as `local`.
pub(crate) struct ReductionGroup<'a, E> {
    pub(crate) args: &'a Backward<'a, E>,
    pub(crate) first: usize,
    pub(crate) rows: usize,
    /// Elements of a row of δ.
    pub(crate) row: usize,
    /// How many windows share a step, at most.
    pub(crate) slots: usize,
    /// Which packed_deltas of a block count, by row.
    pub(crate) spans: Vec<(usize, usize)>,
}

impl<E> ReductionGroup<'_, E> {
    /// The rows of δ of a window, of memory that has a slot for each that shares a step.
    ///
    /// # Safety
    /// The memory must have `(slots, rows, row of δ)` elements.
    pub(crate) unsafe fn in_slot(&self, memory: ViewMut<E, 0>, window: usize) -> ViewMut<E, 1> {
        let size = self.rows * self.row;
        memory.add(window % self.slots * size).reshape([self.row as isize])
    }
}

/// Steps that are worked on together.
pub(crate) struct StepBlock<E> {
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) states: BlockStates<E>,
}
