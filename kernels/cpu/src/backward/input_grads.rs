//! What goes from the δ of a step through the weights: to the step before, to the inputs, and to the
//! initial states.

use std::marker::PhantomData;
use std::ops::Range;

use crate::backward::group::ReductionGroup;
use crate::backward::scratch::GroupMemory;
use crate::cells::cell::{Cell, Operand};
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{dispatch, Accumulate, GemmBiasAct};
use crate::simd::math::Identity;
use crate::simd::vector::{Element, Vector};
use crate::view::{View, ViewMut};
use crate::SequenceDims;

impl<E: Element> ReductionGroup<'_, E> {
    /// Computes what goes from step `t` to the inputs and to the initial states.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and `memory` the δ of step `t` of these windows.
    pub(crate) unsafe fn gradients_before<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        windows: Range<usize>,
        memory: &GroupMemory<E>,
    ) {
        let args = self.args;
        let SequenceDims { input_size, hidden_size, output_size, .. } = args.dims;
        let wants_initial = args.grad_h_0.is_some() || args.grad_c_0.is_some();
        if args.grad_x.is_none() && !wants_initial {
            return;
        }
        let delta = self.total(memory.delta, self.row, windows.clone(), memory.total);
        if let Some(grad_x) = args.grad_x {
            let out = grad_x.rows_at(self.first, t);
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
        let operand = args.layout.state_operand;
        self.through_weights::<V>(t, delta, operand, args.w_state, output_size, memory.product);
        let direct = C::HAS_DIRECT
            .then(|| self.total(memory.direct, output_size, windows.clone(), memory.total_direct));
        let carry_c = C::HAS_C
            .then(|| self.total(memory.carry_c, hidden_size, windows.clone(), memory.total_c));
        for local in (0..self.rows).filter(|local| begins(*local)) {
            let row = self.first + local;
            if let Some(grad_h_0) = args.grad_h_0 {
                let grad = grad_h_0.row(row);
                grad.copy_from(memory.product.row(local).as_view(), output_size);
                let grad = grad.slice(output_size);
                if let Some(mask) = args.mask {
                    for (grad, mask) in grad.iter_mut().zip(mask.row(row).slice(output_size)) {
                        *grad = *grad * *mask;
                    }
                }
                if let Some(direct) = direct {
                    for (sum, term) in grad.iter_mut().zip(direct.row(local).slice(output_size)) {
                        *sum = *sum + *term;
                    }
                }
            }
            if let (Some(carry), Some(grad_c_0)) = (carry_c, args.grad_c_0) {
                grad_c_0.row(row).copy_from(carry.row(local), hidden_size);
            }
        }
    }

    /// The sum of the windows' rows of `len` elements: where there is one window, its own.
    ///
    /// # Safety
    /// `rows` must have `(slots, rows, len)` elements, and `total` `(rows, len)`, apart from them.
    unsafe fn total(
        &self,
        rows: ViewMut<E, 0>,
        len: usize,
        windows: Range<usize>,
        total: ViewMut<E, 0>,
    ) -> View<E, 1> {
        let size = self.rows * len;
        let of = |window: usize| rows.add(window % self.slots * size).as_view();
        let strides = [len as isize];
        if windows.len() == 1 {
            return of(windows.start).reshape(strides);
        }
        total.copy_from(of(windows.start), size);
        for window in windows.skip(1) {
            for (sum, term) in total.slice(size).iter_mut().zip(of(window).slice(size)) {
                *sum = *sum + *term;
            }
        }
        total.as_view().reshape(strides)
    }

    /// Computes `out = Wᵀ δ`, for some columns of δ and the weights `(columns of δ, len)` that they
    /// belong to, rows packed; for tiles that take part in step `t`.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold; `delta` must have the rows of the group, `weights` be
    /// packed for these sizes, and `out` have `(rows, len)` elements, apart from `delta`.
    pub(crate) unsafe fn through_weights<V: Vector<Elem = E>>(
        &self,
        t: usize,
        delta: View<E, 1>,
        operand: Operand,
        weights: View<E, 0>,
        len: usize,
        out: ViewMut<E, 1>,
    ) {
        for panel in Panels::<V>::new(len).iter() {
            let weights = weights.add(panel.at * operand.len).narrow(operand.len * panel.nr::<V>());
            let tiles = self.rows.div_ceil(V::mr(panel.registers));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                if !self.args.spans.any(self.first + local, height, t) {
                    continue;
                }
                let product = Accumulate {
                    a: delta.tile(local, operand.at).reshape([delta.strides()[0], 1]),
                    count: operand.len,
                    panel: weights,
                };
                let out = out.tile(local, panel.at);
                dispatch!(V, height, panel.registers, |ROWS, WIDTH| {
                    GemmBiasAct::<V, Identity, false, ROWS, WIDTH> {
                        bias: None,
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
