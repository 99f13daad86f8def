//! What goes from the δ of a step through the weights: to the step before, to the inputs, and to the
//! initial states.

use std::marker::PhantomData;
use std::ops::Range;

use crate::backward::{GroupMemory, ReductionGroup};
use crate::cells::cell::{Cell, Operand};
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{dispatch, Accumulate, GemmBiasAct, Strided};
use crate::simd::math::Identity;
use crate::simd::vector::{Element, Vector};
use crate::SequenceDims;

/// # Safety
/// As the other methods of [`ReductionGroup`].
impl<E: Element> ReductionGroup<'_, E> {
    /// What goes from step `t` to the inputs and to the initial states.
    pub(crate) unsafe fn gradients_before<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        windows: Range<usize>,
        memory: &GroupMemory<E>,
    ) {
        let args = self.args;
        let SequenceDims { input_size, hidden_size, output_size, .. } = args.dims;
        let wants_initial = !(args.grad_h_0.is_null() && args.grad_c_0.is_null());
        if args.grad_x.at.is_null() && !wants_initial {
            return;
        }
        let delta = self.total(memory.delta, self.row, windows.clone(), memory.total);
        if !args.grad_x.at.is_null() {
            let out = Strided { at: args.grad_x.get(self.first, t), stride: args.grad_x.row };
            let operand = args.layout.input_operand;
            self.through_weights::<V>(t, delta, operand, args.w_input, input_size, out);
        }
        // A row without steps has no δ: it hands its gradient through.
        let begins = |local: usize| {
            let (from, to) = args.spans.of(self.first + local);
            from == t && from < to
        };
        if !wants_initial || !(0..self.rows).any(begins) {
            return;
        }
        let out = Strided { at: memory.product, stride: output_size };
        let operand = args.layout.state_operand;
        self.through_weights::<V>(t, delta, operand, args.w_state, output_size, out);
        let direct = C::HAS_DIRECT
            .then(|| self.total(memory.direct, output_size, windows.clone(), memory.total_direct));
        let carry_c = C::HAS_C
            .then(|| self.total(memory.carry_c, hidden_size, windows.clone(), memory.total_c));
        for local in (0..self.rows).filter(|local| begins(*local)) {
            let row = self.first + local;
            if !args.grad_h_0.is_null() {
                for unit in 0..output_size {
                    let mut grad = *memory.product.add(local * output_size + unit);
                    if !args.mask.is_null() {
                        grad = grad * *args.mask.add(row * output_size + unit);
                    }
                    if let Some(direct) = direct {
                        grad = grad + *direct.add(local * output_size + unit);
                    }
                    *args.grad_h_0.add(row * output_size + unit) = grad;
                }
            }
            if let (Some(carry), false) = (carry_c, args.grad_c_0.is_null()) {
                let to = args.grad_c_0.add(row * hidden_size);
                std::ptr::copy_nonoverlapping(carry.add(local * hidden_size), to, hidden_size);
            }
        }
    }

    /// The sum of the windows' rows of `len` elements: where there is one window, its own.
    unsafe fn total(
        &self,
        rows: *const E,
        len: usize,
        windows: Range<usize>,
        total: *mut E,
    ) -> *const E {
        let size = self.rows * len;
        let of = |window: usize| rows.add(window % self.slots * size);
        if windows.len() == 1 {
            return of(windows.start);
        }
        std::ptr::copy_nonoverlapping(of(windows.start), total, size);
        for window in windows.skip(1) {
            for index in 0..size {
                *total.add(index) = *total.add(index) + *of(window).add(index);
            }
        }
        total
    }

    /// `out = Wᵀ δ`, for some columns of δ and the weights `(columns of δ, len)` that they belong to,
    /// rows packed; for tiles that take part in step `t`.
    pub(crate) unsafe fn through_weights<V: Vector<Elem = E>>(
        &self,
        t: usize,
        delta: *const E,
        operand: Operand,
        weights: *const E,
        len: usize,
        out: Strided<*mut E>,
    ) {
        for panel in Panels::<V>::new(len).iter() {
            let tiles = self.rows.div_ceil(V::mr(panel.registers));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                if !self.args.spans.any(self.first + local, height, t) {
                    continue;
                }
                let product = Accumulate {
                    a: delta.add(local * self.row + operand.at),
                    row_stride: self.row,
                    k_stride: 1,
                    count: operand.len,
                    panel: weights.add(panel.at * operand.len),
                };
                let out = Strided { at: out.at.add(local * out.stride + panel.at), ..out };
                dispatch!(V, height, panel.registers, |ROWS, WIDTH| {
                    GemmBiasAct::<V, Identity, false, ROWS, WIDTH> {
                        bias: std::ptr::null(),
                        products: [product, Accumulate::none()],
                        out,
                        last: panel.last,
                        activation: PhantomData,
                    }
                });
            }
        }
    }
}
