//! The gradients that δ of a step sends through the weights: to the step before, to the inputs, and to the
//! initial states.

use std::ops::Range;

use crate::backward::group::ReductionGroup;
use crate::cells::cell::{Cell, OperandKind};
use crate::forward::{add, multiply};
use crate::gemm::layout::Panels;
use crate::gemm::microkernel::{gemm, Accumulate};
use crate::simd::math::Identity;
use crate::simd::vector::{Element, Vector};
use crate::view::{View, ViewMut};
use crate::SequenceDims;

impl<E: Element> ReductionGroup<'_, E> {
    /// Computes the gradients of the inputs of step `t`, and of the initial states.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and the memory hold the δ of step `t` of these windows.
    pub(crate) unsafe fn gradients_before<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        windows: Range<usize>,
    ) {
        let (args, memory) = (self.args, &self.memory);
        let SequenceDims { hidden_size, output_size, .. } = args.input.dims;
        let wants_initial = args.grad_h_0.is_some() || args.grad_c_0.is_some();
        if args.grad_x.is_none() && !wants_initial {
            return;
        }
        let total = |rows: ViewMut<E, 0>, len: usize, total: ViewMut<E, 0>| {
            self.total(rows, len, windows.clone(), total)
        };
        let delta = total(memory.delta, self.row, memory.total);
        if let Some(grad_x) = args.grad_x {
            let out = grad_x.rows_at(self.first, t);
            self.through_weights::<V>(t, delta, OperandKind::Input, out);
        }
        // A row without steps has no δ: it hands its gradient through.
        let begins = |local: &usize| {
            let (from, to) = args.input.spans.of(self.first + local);
            from == t && from < to
        };
        if !wants_initial || !self.rows.iter().any(|local| begins(&local)) {
            return;
        }
        self.through_weights::<V>(t, delta, OperandKind::State, self.product());
        let direct = C::HAS_DIRECT.then(|| total(memory.direct, output_size, memory.total_direct));
        let carry_c = C::HAS_C.then(|| total(memory.carry_c, hidden_size, memory.total_c));
        for local in self.rows.iter().filter(begins) {
            let row = self.first + local;
            if let Some(grad_h_0) = args.grad_h_0 {
                let (grad, product) = (grad_h_0.row(row), self.product().row(local).as_view());
                match args.input.mask {
                    Some(mask) => multiply(product, mask.row(row), grad, output_size),
                    None => grad.copy_from(product, output_size),
                }
                if let Some(direct) = direct {
                    add(grad, direct.row(local), output_size);
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
        let of = |window: usize| rows.add(window % self.slots * self.size * len).as_view();
        let strides = [len as isize];
        if windows.len() == 1 {
            return of(windows.start).reshape(strides);
        }
        let (first, size) = (self.rows.first * len, self.rows.count * len);
        total.add(first).copy_from(of(windows.start).add(first), size);
        for window in windows.skip(1) {
            add(total.add(first), of(window).add(first), size);
        }
        total.as_view().reshape(strides)
    }

    /// Computes `out = Wᵀ δ`, for the weights of a kind of operand and the columns of δ that it feeds; for tiles that
    /// take part in step `t`.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold; `delta` must have the rows of the group, and `out` as many of the
    /// operand's size, apart from `delta`.
    pub(crate) unsafe fn through_weights<V: Vector<Elem = E>>(
        &self,
        t: usize,
        delta: View<E, 1>,
        kind: OperandKind,
        out: ViewMut<E, 1>,
    ) {
        let input = &self.args.input;
        let operand = input.layout.operand(kind);
        let weights = self.args.weights[kind as usize];
        for panel in Panels::<V>::new(kind.len(&input.dims)).iter() {
            let weights = weights.add(panel.at * operand.len).narrow(operand.len * panel.nr::<V>());
            for (local, height) in self.rows.tiles::<V>(&panel) {
                if !input.spans.any(self.first + local, height, t) {
                    continue;
                }
                let product = Accumulate {
                    a: delta.tile(local, operand.at).reshape([delta.strides()[0], 1]),
                    count: operand.len,
                    panel: weights,
                };
                let out = out.tile(local, panel.at);
                let products = [product, Accumulate::none()];
                gemm::<V, Identity, false>(height, &panel, None, products, out);
            }
        }
    }
}
