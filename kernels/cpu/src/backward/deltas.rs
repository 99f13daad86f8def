//! δ of a step, for one window of steps that gradients share.
//!
//! - `delta_fused`: of simple cells, made in the registers of the product
//! - `delta_gated`: of all others, row by row

use crate::backward::group::ReductionGroup;
use crate::simd::vector::Element;
use crate::view::{View, ViewMut};
use crate::Window;

impl<E: Element> ReductionGroup<'_, E> {
    /// The gradients from outside that reach a row's state at step `t`: of its output, and of the
    /// final state.
    ///
    /// # Safety
    /// The row must be one of the group, and `t` a step.
    pub(crate) unsafe fn outside(
        &self,
        t: usize,
        window: Window,
        row: usize,
    ) -> [Option<View<E, 0>>; 2] {
        let args = self.args;
        if t < window.losses_from {
            return [None, None];
        }
        let is_last = t + 1 == args.spans.of(row).1;
        [
            args.grad_outputs.map(|grad| grad.at(row, t)),
            args.grad_last_h.filter(|_| is_last).map(|grad| grad.row(row)),
        ]
    }

    /// Clears the δ of rows that take no part in step `t`.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and `delta` have `(rows, row of δ)` elements.
    pub(crate) unsafe fn clear_others(&self, t: usize, delta: ViewMut<E, 1>) {
        if self.args.spans.lengths.is_none() {
            return;
        }
        for local in 0..self.rows {
            if !self.args.spans.has(self.first + local, t) {
                delta.row(local).fill(E::ZERO, self.row);
            }
        }
    }
}
