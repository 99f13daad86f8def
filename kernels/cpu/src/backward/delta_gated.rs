//! δ of a cell that is not simple: products first, then the cell's reverse of a step, row by row.

use std::marker::PhantomData;

use crate::backward::{GroupMemory, ReductionGroup, StepBlock};
use crate::cells::cell::{Cell, WeightLayout};
use crate::cells::pointwise::{BackwardRow, BeforeRow, GradRow, InnerDelta};
use crate::forward::multiply;
use crate::gemm::layout::Panels;
use crate::gemm::microkernel::{load_some, Strided};
use crate::simd::vector::{Element, Kernel, Vector};
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
    /// Whether δ are added to the packed_deltas.
    adds: bool,
    /// `(rows, row of δ)` out.
    delta: *mut E,
    block: &'a StepBlock<E>,
    memory: &'a GroupMemory<E>,
}

/// # Safety
/// As the other methods of [`ReductionGroup`].
impl<E: Element> ReductionGroup<'_, E> {
    /// `δ_t` of any other cell; `adds` it to the packed_deltas if it is not the first window's.
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
        let (next, delta) = (memory.next.add(slot * self.row), memory.delta.add(slot * self.row));
        let window = args.windows[window];
        let follows = t + 1 < window.end;
        if follows {
            let output_size = args.dims.output_size;
            let out = Strided { at: memory.product, stride: output_size };
            let operand = args.layout.state_operand;
            self.through_weights::<V>(t, next, operand, args.w_state, output_size, out);
        }
        let step = Step { t, window, slot, follows, adds, delta, block, memory };
        if args.layout.has_inner() {
            self.inner_deltas::<V, C>(&step);
        }
        for local in 0..self.rows {
            if args.spans.has(self.first + local, t) {
                self.row_delta::<V, C>(&step, local);
                self.packed_deltas::<V>(&step, local);
            }
        }
        self.clear_others(t, delta);
    }

    /// δ of the columns that inner values feed, and the gradients of those.
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
                    gates: if projection > 0 {
                        std::ptr::null()
                    } else {
                        block.states.gates.get(row, t)
                    },
                    stride: hidden_size,
                    grad: self.grad_row::<C>(step, local),
                    grad_h: memory.product.add(local * output_size),
                    delta: delta.add(local * self.row + operand.at),
                    cell: PhantomData,
                });
            }
        }
        let out = Strided { at: memory.grad_inner, stride: hidden_size };
        self.clear_others(t, delta);
        self.through_weights::<V>(t, delta, operand, args.w_inner, hidden_size, out);
    }

    /// δ of a row, and what goes to the step before.
    unsafe fn row_delta<V: Vector<Elem = E>, C: Cell>(&self, step: &Step<E>, local: usize) {
        let Step { t, slot, block, memory, .. } = *step;
        let args = self.args;
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let row = self.first + local;
        let (null, has_inner) = (std::ptr::null(), args.layout.has_inner());
        let (steps, index) = (block.end - block.begin, t - block.begin);
        V::vectorize(BackwardRow::<V, C> {
            units: hidden_size,
            gates: block.states.gates.get(row, t),
            before: self.before_row::<C>(block, row, t, memory, local),
            c: if C::HAS_C { block.states.c.get(row, t) } else { null },
            grad_h: self.grad_h::<C>(step, local),
            mask: if args.mask.is_null() || args.layout.projection > 0 {
                null
            } else {
                args.mask.add(row * output_size)
            },
            grad_c: self.grad_c(step, local),
            grad_inner: if has_inner { memory.grad_inner.add(local * hidden_size) } else { null },
            delta: step.delta.add(local * self.row),
            direct: memory.direct.add((slot + local) * output_size),
            carry_c: memory.carry_c.add((slot + local) * hidden_size),
            inner: if has_inner {
                memory.inner.add((local * steps + index) * hidden_size)
            } else {
                std::ptr::null_mut()
            },
            next_gates: if t > block.begin { block.states.gates.get(row, t - 1) } else { null },
            cell: PhantomData,
        });
    }

    /// Puts δ of a row among the packed_deltas.
    unsafe fn packed_deltas<V: Vector<Elem = E>>(&self, step: &Step<E>, local: usize) {
        let Step { t, block, memory, .. } = *step;
        let steps = block.end - block.begin;
        V::vectorize(PackDeltaRow::<V> {
            layout: &self.args.layout,
            delta: step.delta.add(local * self.row),
            packed_deltas: memory.packed_deltas,
            rows: self.rows,
            steps,
            index: local * steps + t - block.begin,
            adds: step.adds,
            vector: PhantomData,
        });
    }

    /// Whether gradients come to a row from the step after.
    unsafe fn goes_on(&self, step: &Step<E>, row: usize) -> bool {
        step.follows && step.t + 1 < self.args.spans.of(row).1
    }

    /// The gradient of a row's state after the step.
    unsafe fn grad_row<C: Cell>(&self, step: &Step<E>, local: usize) -> GradRow<E> {
        let Step { slot, memory, .. } = *step;
        let args = self.args;
        let (row, size) = (self.first + local, args.dims.output_size);
        let null = std::ptr::null();
        let (outside, last) = self.outside(step.t, step.window, row);
        let goes_on = self.goes_on(step, row);
        let if_on = |row: *mut E| if goes_on { row.cast_const() } else { null };
        GradRow {
            outside,
            last,
            product: if_on(memory.product.wrapping_add(local * size)),
            mask: if args.mask.is_null() { null } else { args.mask.wrapping_add(row * size) },
            direct: if C::HAS_DIRECT {
                if_on(memory.direct.wrapping_add((slot + local) * size))
            } else {
                null
            },
        }
    }

    /// The same as [`Cell::backward`] is to have it: an inner value's products come between, and a
    /// projected state takes no part.
    unsafe fn grad_h<C: Cell>(&self, step: &Step<E>, local: usize) -> GradRow<E> {
        let WeightLayout { projection, .. } = self.args.layout;
        let null = std::ptr::null();
        let nothing =
            GradRow { outside: null, last: null, product: null, mask: null, direct: null };
        match (self.args.layout.has_inner(), projection > 0) {
            (false, _) => self.grad_row::<C>(step, local),
            (true, true) => nothing,
            (true, false) => GradRow {
                product: step.memory.product.add(local * self.args.dims.output_size),
                ..nothing
            },
        }
    }

    /// The gradients of a row's state c after the step: by way of the step after, and of the final
    /// state; null for none.
    unsafe fn grad_c(&self, step: &Step<E>, local: usize) -> [*const E; 2] {
        let Step { t, slot, memory, .. } = *step;
        let args = self.args;
        let (row, size) = (self.first + local, args.dims.hidden_size);
        let null = std::ptr::null();
        let carried = memory.carry_c.add((slot + local) * size).cast_const();
        let is_last = t + 1 == args.spans.of(row).1 && t >= step.window.losses_from;
        [
            if self.goes_on(step, row) { carried } else { null },
            if is_last && !args.grad_last_c.is_null() {
                args.grad_last_c.add(row * size)
            } else {
                null
            },
        ]
    }

    /// The states before step `t` of a row.
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
        let c = match C::HAS_C {
            false => std::ptr::null(),
            true if t == args.spans.of(row).0 => args.initial.c(row),
            true => block.states.c.get(row, t - 1),
        };
        // Only a cell that has both a direct and an inner value reads both.
        if args.mask.is_null() || h.is_null() || !(C::HAS_DIRECT && args.layout.has_inner()) {
            return BeforeRow { h, h_in: h, c };
        }
        let h_in = memory.outside.add(local * size);
        multiply(h, args.mask.add(row * size), h_in, size);
        BeforeRow { h, h_in, c }
    }
}

/// Puts a row of δ among the packed_deltas: panel after panel.
struct PackDeltaRow<'a, V: Vector> {
    layout: &'a WeightLayout,
    delta: *const V::Elem,
    packed_deltas: *mut V::Elem,
    rows: usize,
    /// Of the block.
    steps: usize,
    /// The sample's number.
    index: usize,
    adds: bool,
    vector: PhantomData<V>,
}

impl<V: Vector> Kernel<V> for PackDeltaRow<'_, V> {
    #[inline(always)]
    unsafe fn run(self) {
        for columns in self.layout.columns() {
            for panel in Panels::<V>::new(columns.len).iter() {
                let nr = panel.nr::<V>();
                let at =
                    (columns.packed_delta + panel.at) * self.rows * self.steps + self.index * nr;
                let (to, from) =
                    (self.packed_deltas.add(at), self.delta.add(columns.at + panel.at));
                for register in 0..panel.registers {
                    let is_last = register + 1 == panel.registers;
                    let count = if is_last { panel.last } else { V::LANES };
                    let mut value = load_some::<V>(from.add(register * V::LANES), count);
                    let to = to.add(register * V::LANES);
                    if self.adds {
                        value = value.add(V::load(to));
                    }
                    value.store(to);
                }
            }
        }
    }
}
