//! δ of a step, for one window of steps that gradients share.
//!
//! - `simple`: of simple cells, made in the registers of the product
//! - `gated`: of all others, row by row

use crate::backward::ReductionGroup;
use crate::simd::vector::Element;
use crate::Window;

/// # Safety
/// As the other methods of [`ReductionGroup`].
impl<E: Element> ReductionGroup<'_, E> {
    /// The gradients from outside that reach a row's state at step `t`: of its output, and of the
    /// final state; null for none.
    pub(crate) unsafe fn outside(
        &self,
        t: usize,
        window: Window,
        row: usize,
    ) -> (*const E, *const E) {
        let args = self.args;
        let null = std::ptr::null();
        if t < window.losses_from {
            return (null, null);
        }
        let output =
            if args.grad_outputs.at.is_null() { null } else { args.grad_outputs.get(row, t) };
        let is_last = t + 1 == args.spans.of(row).1 && !args.grad_last_h.is_null();
        (output, if is_last { args.grad_last_h.add(row * args.dims.output_size) } else { null })
    }

    /// Rows that take no part in step `t` have no δ.
    pub(crate) unsafe fn clear_others(&self, t: usize, delta: *mut E) {
        if self.args.spans.lengths.is_null() {
            return;
        }
        for local in 0..self.rows {
            if !self.args.spans.has(self.first + local, t) {
                std::slice::from_raw_parts_mut(delta.add(local * self.row), self.row).fill(E::ZERO);
            }
        }
    }
}
