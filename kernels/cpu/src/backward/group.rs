//! A group of rows whose weight gradients are summed together.

use crate::backward::args::{Backward, BlockStates};
use crate::backward::scratch::GroupMemory;
use crate::rows::RowRange;
use crate::view::ViewMut;
use crate::Window;

/// Rows that go through all steps together, and whose samples are summed in their order.
///
/// Only [`backward_rows`](crate::backward::backward_rows) makes one, from its arguments; it is copied where threads share the rows. Its methods count rows within the group as `local`.
#[derive(Clone, Copy)]
pub(crate) struct ReductionGroup<'a, E> {
    pub(crate) args: &'a Backward<'a, E>,
    pub(crate) first: usize,
    /// The number of all its rows.
    pub(crate) size: usize,
    /// Those that this thread works on.
    pub(crate) rows: RowRange,
    /// Elements of a row of δ.
    pub(crate) row: usize,
    /// How many windows share a step, at most.
    pub(crate) slots: usize,
    /// The group's part of the sums of δ by row of the table, where inputs are looked up and these are wanted.
    pub(crate) table_deltas: Option<ViewMut<E, 0>>,
    pub(crate) memory: GroupMemory<ViewMut<E, 0>>,
}

impl<E> ReductionGroup<'_, E> {
    /// The window's δ of a step, `(rows, row of δ)`.
    pub(crate) fn delta(&self, step: &Step<E>) -> ViewMut<E, 1> {
        self.in_slot(self.memory.delta, step)
    }

    /// The window's δ of the step after.
    pub(crate) fn next_delta(&self, step: &Step<E>) -> ViewMut<E, 1> {
        self.in_slot(self.memory.next, step)
    }

    /// Takes δ of the step before for those of this step.
    pub(crate) fn swap_deltas(&mut self) {
        std::mem::swap(&mut self.memory.delta, &mut self.memory.next);
    }

    /// `memory.product` by row, `(rows, P)`.
    pub(crate) fn product(&self) -> ViewMut<E, 1> {
        self.memory.product.reshape([self.args.input.dims.output_size as isize])
    }

    /// `memory.outside` by row, `(rows, P)`.
    pub(crate) fn outside_memory(&self) -> ViewMut<E, 1> {
        self.memory.outside.reshape([self.args.input.dims.output_size as isize])
    }

    /// `memory.grad_inner` by row, `(rows, H)`.
    pub(crate) fn grad_inner(&self) -> ViewMut<E, 1> {
        self.memory.grad_inner.reshape([self.args.input.dims.hidden_size as isize])
    }

    fn in_slot(&self, memory: ViewMut<E, 0>, step: &Step<E>) -> ViewMut<E, 1> {
        // SAFETY: such memory has `(slots, rows, row of δ)` elements.
        unsafe { memory.add(step.slot * self.size * self.row).reshape([self.row as isize]) }
    }
}

/// Steps that are worked on together.
pub(crate) struct StepBlock<E> {
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) states: BlockStates<E>,
}

impl<E> StepBlock<E> {
    /// The number of its steps.
    pub(crate) fn len(&self) -> usize {
        self.end - self.begin
    }
}

/// A step of a block in one window of steps that gradients share.
pub(crate) struct Step<'a, E> {
    pub(crate) t: usize,
    pub(crate) block: &'a StepBlock<E>,
    pub(crate) window: Window,
    /// The window's place among those that share a step.
    pub(crate) slot: usize,
    /// Whether its δ are added to the packed ones: those of another window.
    pub(crate) adds: bool,
}

impl<E> Step<'_, E> {
    /// The number of a row of the group and this step among those of the block, which packed δ are in the order of.
    pub(crate) fn sample(&self, local: usize) -> usize {
        local * self.block.len() + self.t - self.block.begin
    }

    /// Whether gradients come from the step after.
    pub(crate) fn follows(&self) -> bool {
        self.t + 1 < self.window.end
    }
}
