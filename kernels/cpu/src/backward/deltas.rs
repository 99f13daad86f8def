//! δ of a step, for one window of steps that gradients share.
//!
//! - `delta_fused`: of simple cells, made in the registers of the product
//! - `delta_gated`: of all others, row by row

use crate::backward::group::{ReductionGroup, Step};
use crate::simd::vector::Element;
use crate::view::View;

impl<E: Element> ReductionGroup<'_, E> {
    /// The gradients from outside that reach a row's state at a step: of its output, and of the
    /// final state.
    ///
    /// # Safety
    /// The row must be one of the group.
    pub(crate) unsafe fn outside(&self, step: &Step<E>, row: usize) -> [Option<View<E, 0>>; 2] {
        let args = self.args;
        if step.t < step.window.losses_from {
            return [None, None];
        }
        let is_last = step.t + 1 == args.input.spans.of(row).1;
        [
            args.grad_outputs.map(|grad| grad.at(row, step.t)),
            args.grad_last_h.filter(|_| is_last).map(|grad| grad.row(row)),
        ]
    }

    /// Clears the δ of rows that take no part in a step.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold.
    pub(crate) unsafe fn clear_others(&self, step: &Step<E>) {
        let spans = self.args.input.spans;
        if spans.lengths.is_none() {
            return;
        }
        for local in self.rows.iter().filter(|local| !spans.has(self.first + local, step.t)) {
            self.delta(step).row(local).fill(E::ZERO, self.row);
        }
    }
}
