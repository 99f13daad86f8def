//! δ of a cell that is not simple: products first, then the cell's reverse of a step, row by row.

use std::marker::PhantomData;

use crate::backward::group::{ReductionGroup, Step};
use crate::cells::cell::{Cell, OperandKind, WeightLayout};
use crate::cells::pointwise::{BackwardRow, BeforeRow, GradRow, InnerDelta};
use crate::forward::multiply;
use crate::gemm::layout::Panels;
use crate::gemm::microkernel::load_some;
use crate::simd::vector::{Element, Kernel, Vector};
use crate::view::{View, ViewMut};
use crate::SequenceDims;

impl<E: Element> ReductionGroup<'_, E> {
    /// Computes δ of any other cell.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold; the step must be one of the window, and the steps after it done.
    pub(crate) unsafe fn gated_delta<V: Vector<Elem = E>, C: Cell>(&self, step: &Step<E>) {
        let (t, memory) = (step.t, &self.memory);
        if step.follows() {
            let next = self.next_delta(step).as_view();
            self.through_weights::<V>(t, next, OperandKind::State, self.product());
        }
        if self.args.input.layout.has_inner() {
            self.inner_deltas::<V, C>(step);
        }
        for local in self.rows.iter().filter(|local| self.takes_part(step, *local)) {
            self.row_delta::<V, C>(step, local);
            V::vectorize(PackDeltaRow::<V> {
                layout: &self.args.input.layout,
                delta: self.delta(step).row(local).as_view(),
                packed_deltas: memory.packed_deltas,
                rows: self.size,
                steps: step.block.len(),
                index: step.sample(local),
                adds: step.adds,
                vector: PhantomData,
            });
        }
        self.clear_others(step);
    }

    /// Whether a row takes part in the step.
    fn takes_part(&self, step: &Step<E>, local: usize) -> bool {
        self.args.input.spans.has(self.first + local, step.t)
    }

    /// Computes δ of the columns that inner values feed, and the gradients of those values.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, the cell must have inner values, and what the step after
    /// sends through the state be in `memory.product`.
    unsafe fn inner_deltas<V: Vector<Elem = E>, C: Cell>(&self, step: &Step<E>) {
        let (t, delta) = (step.t, self.delta(step));
        let SequenceDims { hidden_size, output_size, .. } = self.args.input.dims;
        let layout = &self.args.input.layout;
        for local in self.rows.iter().filter(|local| self.takes_part(step, *local)) {
            let gates = || step.block.states.gates(self.first + local, t);
            V::vectorize(InnerDelta::<V, C> {
                units: output_size,
                gates: if layout.projection > 0 { None } else { Some(gates()) },
                stride: hidden_size,
                grad: self.grad_row::<C>(step, local),
                grad_h: self.product().row(local),
                delta: delta.row(local).add(layout.operand(OperandKind::Inner).at),
                cell: PhantomData,
            });
        }
        self.clear_others(step);
        let out = self.grad_inner();
        self.through_weights::<V>(t, delta.as_view(), OperandKind::Inner, out);
    }

    /// Computes δ of a row, and what goes to the step before.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, the row must take part in the step, and the step's
    /// products be done.
    unsafe fn row_delta<V: Vector<Elem = E>, C: Cell>(&self, step: &Step<E>, local: usize) {
        let Step { t, block, .. } = *step;
        let (args, memory) = (self.args, &self.memory);
        let SequenceDims { hidden_size, output_size, .. } = args.input.dims;
        let WeightLayout { projection, .. } = args.input.layout;
        let row = self.first + local;
        let has_inner = args.input.layout.has_inner();
        let carried = self.carried_row(step, local);
        V::vectorize(BackwardRow::<V, C> {
            units: hidden_size,
            gates: block.states.gates(row, t),
            before: self.before_row::<C>(step, local),
            c: C::HAS_C.then(|| block.states.c(row, t)),
            grad_h: self.grad_h::<C>(step, local),
            mask: args.input.mask.filter(|_| projection == 0).map(|mask| mask.row(row)),
            grad_c: if C::HAS_C { self.grad_c(step, local) } else { [None, None] },
            grad_inner: has_inner.then(|| self.grad_inner().row(local).as_view()),
            delta: self.delta(step).row(local),
            direct: C::HAS_DIRECT.then(|| memory.direct.add(carried * output_size)),
            carry_c: C::HAS_C.then(|| memory.carry_c.add(carried * hidden_size)),
            inner: has_inner.then(|| memory.inner.add(step.sample(local) * hidden_size)),
            next_gates: (t > block.begin).then(|| block.states.gates(row, t - 1)),
            cell: PhantomData,
        });
    }

    /// The number of a row among those of `memory.direct` and `memory.carry_c`.
    fn carried_row(&self, step: &Step<E>, local: usize) -> usize {
        step.slot * self.size + local
    }

    /// Whether gradients come to a row from the step after.
    fn goes_on(&self, step: &Step<E>, row: usize) -> bool {
        step.follows() && step.t + 1 < self.args.input.spans.of(row).1
    }

    /// The gradient of a row's state after the step.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and `local` be a row of the group.
    unsafe fn grad_row<C: Cell>(&self, step: &Step<E>, local: usize) -> GradRow<E> {
        let (input, memory) = (&self.args.input, &self.memory);
        let row = self.first + local;
        let [outside, last] = self.outside(step, row);
        let (mut product, mut direct) = (None, None);
        if self.goes_on(step, row) {
            product = Some(self.product().row(local).as_view());
            if C::HAS_DIRECT {
                let at = self.carried_row(step, local) * input.dims.output_size;
                direct = Some(memory.direct.add(at).as_view());
            }
        }
        GradRow { outside, last, product, mask: input.mask.map(|mask| mask.row(row)), direct }
    }

    /// The same as [`Cell::backward`] is to have it: an inner value's products come between, and a
    /// projected state takes no part.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and `local` be a row of the group.
    unsafe fn grad_h<C: Cell>(&self, step: &Step<E>, local: usize) -> GradRow<E> {
        let layout = &self.args.input.layout;
        if !layout.has_inner() {
            return self.grad_row::<C>(step, local);
        }
        let product = self.product().row(local).as_view();
        GradRow { product: (layout.projection == 0).then_some(product), ..GradRow::NONE }
    }

    /// The gradients of a row's state c after the step: by way of the step after, and of the final
    /// state.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, `local` be a row of the group, and the cell have c.
    unsafe fn grad_c(&self, step: &Step<E>, local: usize) -> [Option<View<E, 0>>; 2] {
        let input = &self.args.input;
        let row = self.first + local;
        let carried = self.carried_row(step, local) * input.dims.hidden_size;
        let carried = self.memory.carry_c.add(carried).as_view();
        let is_last = step.t + 1 == input.spans.of(row).1 && step.t >= step.window.losses_from;
        [
            self.goes_on(step, row).then_some(carried),
            self.args.grad_last_c.filter(|_| is_last).map(|grad| grad.row(row)),
        ]
    }

    /// The states of a row before the step.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and the row take part in the step.
    unsafe fn before_row<C: Cell>(&self, step: &Step<E>, local: usize) -> BeforeRow<E> {
        let Step { t, block, .. } = *step;
        let input = &self.args.input;
        let row = self.first + local;
        let h = self.args.h_before(&block.states, row, t);
        let c = if !C::HAS_C {
            None
        } else if t == input.spans.of(row).0 {
            input.initial.c(row)
        } else {
            Some(block.states.c(row, t - 1))
        };
        // Only a cell that has both a direct path and an inner value reads both.
        match (input.mask, h) {
            (Some(mask), Some(h)) if C::HAS_DIRECT && input.layout.has_inner() => {
                let h_in = self.outside_memory().row(local);
                multiply(h, mask.row(row), h_in, input.dims.output_size);
                BeforeRow { h: Some(h), h_in: Some(h_in.as_view()), c }
            }
            _ => BeforeRow { h, h_in: h, c },
        }
    }
}

/// Puts a row of δ among the packed ones: panel after panel.
struct PackDeltaRow<'a, V: Vector> {
    layout: &'a WeightLayout,
    /// A row of δ in.
    delta: View<V::Elem, 0>,
    /// A block's packed δ in|out.
    packed_deltas: ViewMut<V::Elem, 0>,
    /// The number of rows of the group.
    rows: usize,
    /// The number of steps of the block.
    steps: usize,
    /// The number of this row and step among those of the block.
    index: usize,
    adds: bool,
    vector: PhantomData<V>,
}

impl<V: Vector> Kernel<V> for PackDeltaRow<'_, V> {
    #[inline(always)]
    unsafe fn run(self) {
        debug_assert!(self.index < self.rows * self.steps);
        for columns in self.layout.columns() {
            for panel in Panels::<V>::new(columns.len).iter() {
                let nr = panel.nr::<V>();
                let at =
                    (columns.packed_delta + panel.at) * self.rows * self.steps + self.index * nr;
                let to = self.packed_deltas.add(at).narrow(nr);
                let from = self.delta.add(columns.at + panel.at);
                for register in 0..panel.registers {
                    let is_last = register + 1 == panel.registers;
                    let count = if is_last { panel.last } else { V::LANES };
                    let mut value = load_some::<V>(from.add(register * V::LANES), count);
                    let to = to.add(register * V::LANES).ptr(V::LANES);
                    if self.adds {
                        value = value.add(V::load(to));
                    }
                    value.store(to);
                }
            }
        }
    }
}
