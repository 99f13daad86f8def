//! δ of a cell that is not simple: products first, then the cell's reverse of a step, row by row.

use std::marker::PhantomData;

use crate::backward::group::{ReductionGroup, StepBlock};
use crate::backward::scratch::GroupMemory;
use crate::cells::cell::{Cell, WeightLayout};
use crate::cells::pointwise::{BackwardRow, BeforeRow, GradRow, InnerDelta};
use crate::forward::multiply;
use crate::gemm::layout::Panels;
use crate::gemm::microkernel::load_some;
use crate::simd::vector::{Element, Kernel, Vector};
use crate::view::{View, ViewMut};
use crate::SequenceDims;
use crate::Window;

/// A step in one window of steps that gradients share.
struct Step<'a, E> {
    t: usize,
    window: Window,
    /// Rows before the window's own, where each has its slot.
    slot: usize,
    /// Whether gradients come from the step after.
    follows: bool,
    /// Whether δ are added to the packed ones.
    adds: bool,
    /// `(rows, row of δ)` out.
    delta: ViewMut<E, 1>,
    block: &'a StepBlock<E>,
    memory: &'a GroupMemory<E>,
}

impl<E: Element> ReductionGroup<'_, E> {
    /// Computes `δ_t` of any other cell; `adds` it to the packed ones if it is not the first window's.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold; `t` must be a step of the block and of the window, and the
    /// steps after it done.
    pub(crate) unsafe fn gated_delta<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        window: usize,
        adds: bool,
        block: &StepBlock<E>,
        memory: &GroupMemory<E>,
    ) {
        let args = self.args;
        let slot = window % self.slots * self.rows;
        let (next, delta) = (self.in_slot(memory.next, window), self.in_slot(memory.delta, window));
        let window = args.windows[window];
        let follows = t + 1 < window.end;
        if follows {
            let operand = args.layout.state_operand;
            let (next, size) = (next.as_view(), args.dims.output_size);
            self.through_weights::<V>(t, next, operand, args.w_state, size, memory.product);
        }
        let step = Step { t, window, slot, follows, adds, delta, block, memory };
        if args.layout.has_inner() {
            self.inner_deltas::<V, C>(&step);
        }
        for local in 0..self.rows {
            if args.spans.has(self.first + local, t) {
                self.row_delta::<V, C>(&step, local);
                self.pack_deltas::<V>(&step, local);
            }
        }
        self.clear_others(t, delta);
    }

    /// Computes δ of the columns that inner values feed, and the gradients of those values.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, the cell must have inner values, and what the step after
    /// sends through the state be in `memory.product`.
    unsafe fn inner_deltas<V: Vector<Elem = E>, C: Cell>(&self, step: &Step<E>) {
        let Step { t, delta, block, memory, .. } = *step;
        let args = self.args;
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let WeightLayout { inner_operand: operand, projection, .. } = args.layout;
        for local in 0..self.rows {
            let row = self.first + local;
            if args.spans.has(row, t) {
                V::vectorize(InnerDelta::<V, C> {
                    units: output_size,
                    gates: if projection > 0 { None } else { Some(block.states.gates(row, t)) },
                    stride: hidden_size,
                    grad: self.grad_row::<C>(step, local),
                    grad_h: memory.product.row(local),
                    delta: delta.row(local).add(operand.at),
                    cell: PhantomData,
                });
            }
        }
        self.clear_others(t, delta);
        let (delta, out) = (delta.as_view(), memory.grad_inner);
        self.through_weights::<V>(t, delta, operand, args.w_inner, hidden_size, out);
    }

    /// Computes δ of a row, and what goes to the step before.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, the row must take part in the step, and the step's
    /// products be done.
    unsafe fn row_delta<V: Vector<Elem = E>, C: Cell>(&self, step: &Step<E>, local: usize) {
        let Step { t, slot, block, memory, .. } = *step;
        let args = self.args;
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let row = self.first + local;
        let has_inner = args.layout.has_inner();
        let (steps, index) = (block.end - block.begin, t - block.begin);
        V::vectorize(BackwardRow::<V, C> {
            units: hidden_size,
            gates: block.states.gates(row, t),
            before: self.before_row::<C>(block, row, t, memory, local),
            c: if C::HAS_C { Some(block.states.c(row, t)) } else { None },
            grad_h: self.grad_h::<C>(step, local),
            mask: match args.mask {
                Some(mask) if args.layout.projection == 0 => Some(mask.row(row)),
                _ => None,
            },
            grad_c: if C::HAS_C { self.grad_c(step, local) } else { [None, None] },
            grad_inner: if has_inner { Some(memory.grad_inner.row(local).as_view()) } else { None },
            delta: step.delta.row(local),
            direct: if C::HAS_DIRECT {
                Some(memory.direct.add((slot + local) * output_size))
            } else {
                None
            },
            carry_c: if C::HAS_C {
                Some(memory.carry_c.add((slot + local) * hidden_size))
            } else {
                None
            },
            inner: if has_inner {
                Some(memory.inner.add((local * steps + index) * hidden_size))
            } else {
                None
            },
            next_gates: if t > block.begin { Some(block.states.gates(row, t - 1)) } else { None },
            cell: PhantomData,
        });
    }

    /// Puts δ of a row among the packed ones.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and the row's δ be there.
    unsafe fn pack_deltas<V: Vector<Elem = E>>(&self, step: &Step<E>, local: usize) {
        let Step { t, block, memory, .. } = *step;
        let steps = block.end - block.begin;
        V::vectorize(PackDeltaRow::<V> {
            layout: &self.args.layout,
            delta: step.delta.row(local).as_view(),
            packed_deltas: memory.packed_deltas,
            rows: self.rows,
            steps,
            index: local * steps + t - block.begin,
            adds: step.adds,
            vector: PhantomData,
        });
    }

    /// Whether gradients come to a row from the step after.
    fn goes_on(&self, step: &Step<E>, row: usize) -> bool {
        step.follows && step.t + 1 < self.args.spans.of(row).1
    }

    /// The gradient of a row's state after the step.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and `local` be a row of the group.
    unsafe fn grad_row<C: Cell>(&self, step: &Step<E>, local: usize) -> GradRow<E> {
        let Step { slot, memory, .. } = *step;
        let args = self.args;
        let (row, size) = (self.first + local, args.dims.output_size);
        let [outside, last] = self.outside(step.t, step.window, row);
        let goes_on = self.goes_on(step, row);
        GradRow {
            outside,
            last,
            product: if goes_on { Some(memory.product.row(local).as_view()) } else { None },
            mask: args.mask.map(|mask| mask.row(row)),
            direct: if C::HAS_DIRECT && goes_on {
                Some(memory.direct.add((slot + local) * size).as_view())
            } else {
                None
            },
        }
    }

    /// The same as [`Cell::backward`] is to have it: an inner value's products come between, and a
    /// projected state takes no part.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and `local` be a row of the group.
    unsafe fn grad_h<C: Cell>(&self, step: &Step<E>, local: usize) -> GradRow<E> {
        if !self.args.layout.has_inner() {
            self.grad_row::<C>(step, local)
        } else if self.args.layout.projection > 0 {
            GradRow::NONE
        } else {
            let product = Some(step.memory.product.row(local).as_view());
            GradRow { product, ..GradRow::NONE }
        }
    }

    /// The gradients of a row's state c after the step: by way of the step after, and of the final
    /// state.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, `local` be a row of the group, and the cell have c.
    unsafe fn grad_c(&self, step: &Step<E>, local: usize) -> [Option<View<E, 0>>; 2] {
        let Step { t, slot, memory, .. } = *step;
        let args = self.args;
        let (row, size) = (self.first + local, args.dims.hidden_size);
        let carried = memory.carry_c.add((slot + local) * size).as_view();
        let is_last = t + 1 == args.spans.of(row).1 && t >= step.window.losses_from;
        [
            if self.goes_on(step, row) { Some(carried) } else { None },
            args.grad_last_c.filter(|_| is_last).map(|grad| grad.row(row)),
        ]
    }

    /// The states before step `t` of a row.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and the row take part in the step.
    unsafe fn before_row<C: Cell>(
        &self,
        block: &StepBlock<E>,
        row: usize,
        t: usize,
        memory: &GroupMemory<E>,
        local: usize,
    ) -> BeforeRow<E> {
        let args = self.args;
        let size = args.dims.output_size;
        let h = args.h_before(&block.states, row, t);
        let c = if !C::HAS_C {
            None
        } else if t == args.spans.of(row).0 {
            args.initial.c(row)
        } else {
            Some(block.states.c(row, t - 1))
        };
        // Only a cell that has both a direct path and an inner value reads both.
        match (args.mask, h) {
            (Some(mask), Some(h)) if C::HAS_DIRECT && args.layout.has_inner() => {
                let h_in = memory.outside.row(local);
                multiply(h, mask.row(row), h_in, size);
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
    /// Of the group.
    rows: usize,
    /// Of the block.
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
