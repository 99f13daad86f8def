//! The arguments of a backward pass.

// One contract holds for a whole pass, that of `backward_rows`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::forward::{Checkpoints, PassInput};
use crate::view::{View, ViewMut};
use crate::Window;

/// The arguments of a backward pass.
#[derive(Clone, Copy)]
pub(crate) struct Backward<'a, E> {
    pub(crate) input: PassInput<'a, E>,
    /// Through which steps gradients flow together; their losses follow each other up to step T.
    pub(crate) windows: &'a [Window],
    pub(crate) kept: Kept<E>,
    /// Rows packed, in, by [`OperandKind`](crate::cells::cell::OperandKind); those of the inner value of no size if
    /// there is none.
    pub(crate) weights: [View<E, 0>; 3],
    /// `(P,)` by row and step, in: gradients of all outputs.
    pub(crate) grad_outputs: Option<View<E, 2>>,
    /// `(P,)` and `(H,)` by row, in: gradients of the final states.
    pub(crate) grad_last_h: Option<View<E, 1>>,
    pub(crate) grad_last_c: Option<View<E, 1>>,
    /// `(I,)` by row and step, out, if wanted. Steps that no window reaches are left as they are.
    pub(crate) grad_x: Option<ViewMut<E, 2>>,
    /// `(P,)` and `(H,)` by row, out, if wanted. Left as they are if no window reaches step 1.
    pub(crate) grad_h_0: Option<ViewMut<E, 1>>,
    pub(crate) grad_c_0: Option<ViewMut<E, 1>>,
}

/// The states of the forward pass, as far as they are left.
#[derive(Clone, Copy)]
pub(crate) enum Kept<E> {
    /// All.
    All(BlockStates<E>),
    /// Some, and the packed weights to compute the others with.
    Checkpoints(Checkpoints<View<E, 2>>, View<E, 0>),
}

impl<E> Backward<'_, E> {
    /// The state before a step of a row; zeros if absent.
    ///
    /// # Safety
    /// The row must take part in the step, and `states` hold the one before.
    pub(crate) unsafe fn h_before(
        &self,
        states: &BlockStates<E>,
        row: usize,
        step: usize,
    ) -> Option<View<E, 0>> {
        if step == self.input.spans.of(row).0 {
            self.input.initial.h(row)
        } else {
            Some(states.h_from(row, step as isize - 1).reshape([]))
        }
    }
}

/// The memory of a group of rows.
#[derive(Clone, Copy)]
pub(crate) struct Scratch<E> {
    /// Packed, out: the group's part of the weights' gradients, if wanted.
    pub(crate) sums: Option<ViewMut<E, 0>>,
    /// `(V, len)` for each gate block that the input feeds, out: the group's part of the sums of δ by row of the table,
    /// where inputs are looked up and these are wanted.
    pub(crate) table_deltas: Option<ViewMut<E, 0>>,
    /// [`scratch_len`] elements.
    pub(crate) memory: ViewMut<E, 0>,
}

/// States by their row in the batch and their step in the sequence, from a row and a step on.
#[derive(Clone, Copy)]
pub(crate) struct BlockStates<E> {
    /// `(P,)`.
    pub(crate) h: View<E, 2>,
    /// `(H,)`, if the cell has it; else of no size.
    pub(crate) c: View<E, 2>,
    /// `(A, H)`, unless the cell is simple; then of no size.
    pub(crate) gates: View<E, 2>,
    /// The row and the step of the first element of each.
    pub(crate) first: [usize; 2],
}

impl<E> BlockStates<E> {
    /// The state h of rows after a step, from a row of the batch on.
    ///
    /// # Safety
    /// Row and step must be among those that are there.
    #[inline(always)]
    pub(crate) unsafe fn h(&self, row: usize, step: usize) -> View<E, 1> {
        self.h_from(row, step as isize).reshape([self.h.strides()[0]])
    }

    /// The states h from a row of the batch and a step on.
    ///
    /// # Safety
    /// Row and step must be among those that are there, as is the one before the first that is computed again.
    #[inline(always)]
    pub(crate) unsafe fn h_from(&self, row: usize, step: isize) -> View<E, 2> {
        self.view_from(self.h, row, step)
    }

    /// One of the views from a row of the batch and a step on.
    ///
    /// # Safety
    /// Row and step must be among those that are there.
    #[inline(always)]
    unsafe fn view_from(&self, view: View<E, 2>, row: usize, step: isize) -> View<E, 2> {
        let ([first_row, first_step], [of_row, of_step]) = (self.first, view.strides());
        view.offset((row - first_row) as isize * of_row + (step - first_step as isize) * of_step)
    }

    /// The state c of a row after a step.
    ///
    /// # Safety
    /// Row and step must be among those that are there, and the cell must have such a state.
    #[inline(always)]
    pub(crate) unsafe fn c(&self, row: usize, step: usize) -> View<E, 0> {
        self.view_from(self.c, row, step as isize).reshape([])
    }

    /// The gates of a row at a step.
    ///
    /// # Safety
    /// Row and step must be among those that are there, and the cell must not be a simple one.
    #[inline(always)]
    pub(crate) unsafe fn gates(&self, row: usize, step: usize) -> View<E, 0> {
        self.view_from(self.gates, row, step as isize).reshape([])
    }
}
