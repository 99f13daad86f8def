//! δ of a step, for one window of steps that gradients share.

use std::marker::PhantomData;

use super::super::cell::{Cell, Plan};
use super::super::forward::{copy_or_zero, multiply};
use super::super::panels::{split, Panels};
use super::super::pointwise::{BackwardRow, BeforeRow, GradRow, MiddleDelta};
use super::super::tile::{dispatch, load_some, Delta, Product, Rows};
use super::super::vector::{Element, Job, Vector};
use super::{Block, Group, Memory};
use crate::bptt::Window;
use crate::recurrence::SequenceDims;

/// # Safety
/// As the other methods of [`Group`].
impl<E: Element> Group<'_, E> {
    /// The gradients from outside that reach a row's state at step `t`: of its output, and of the
    /// final state; null for none.
    unsafe fn outside(&self, t: usize, window: Window, row: usize) -> (*const E, *const E) {
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

    /// `δ_t` of a simple cell; `adds` it to the samples if it is not the first window's.
    pub(super) unsafe fn simple_delta<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        window: usize,
        adds: bool,
        block: &Block<E>,
        memory: &Memory<E>,
    ) {
        let args = self.args;
        let hidden_size = args.dims.hidden_size;
        let slot = window % self.slots * self.rows * self.row;
        let (next, delta) = (memory.next.add(slot), memory.delta.add(slot));
        let window = args.windows[window];
        let outside = self.outside_rows(t, window, memory);
        let none = Rows { at: std::ptr::null(), stride: 0 };
        let (steps, step) = (block.end - block.begin, t - block.begin);
        for panel in Panels::<V>::new(hidden_size).iter() {
            let wide = panel.wide::<V>();
            let tiles = self.rows.div_ceil(V::tile_height(panel.width));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                let row = self.first + local;
                if !args.spans.any(row, height, t) {
                    continue;
                }
                let follows = t + 1 < window.end && args.spans.any(row, height, t + 1);
                let product = Product {
                    a: next.add(local * self.row).cast_const(),
                    row_stride: self.row,
                    k_stride: 1,
                    count: if follows { hidden_size } else { 0 },
                    panel: args.w_state.add(panel.at * hidden_size),
                };
                let of_tile = |rows: Rows<*const E>, first: usize| match rows.at.is_null() {
                    true => none,
                    false => {
                        Rows { at: rows.at.wrapping_add(first * rows.stride + panel.at), ..rows }
                    }
                };
                let sample = (local * steps + step) * wide;
                let states = block.states.h;
                dispatch!(V, height, panel.width, |ROWS, WIDTH| {
                    Delta::<V, C::InTile, ROWS, WIDTH> {
                        product,
                        grad_h: of_tile(outside, local),
                        mask: of_tile(Rows { at: args.mask, stride: hidden_size }, row),
                        h: Rows { at: states.get(row, t).add(panel.at), stride: states.row },
                        delta: Rows {
                            at: delta.add(local * self.row + panel.at),
                            stride: self.row,
                        },
                        samples: Rows {
                            at: memory.samples.add(panel.at * self.rows * steps + sample),
                            stride: steps * wide,
                        },
                        adds,
                        last: panel.last,
                        activation: PhantomData,
                    }
                });
            }
        }
        self.clear_others(t, delta);
    }

    /// A row of gradients from outside for each row of the group, or null: there are none.
    unsafe fn outside_rows(&self, t: usize, window: Window, memory: &Memory<E>) -> Rows<*const E> {
        let (output, last) = self.outside(t, window, self.first);
        let args = self.args;
        let size = args.dims.output_size;
        if args.spans.lengths.is_null() {
            match (output.is_null(), last.is_null()) {
                (_, true) => return Rows { at: output, stride: args.grad_outputs.row },
                (true, false) => return Rows { at: last, stride: size },
                (false, false) => {}
            }
        }
        for local in 0..self.rows {
            let (output, last) = self.outside(t, window, self.first + local);
            let to = memory.outside.add(local * size);
            copy_or_zero(output, to, size);
            if !last.is_null() {
                for unit in 0..size {
                    *to.add(unit) = *to.add(unit) + *last.add(unit);
                }
            }
        }
        Rows { at: memory.outside, stride: size }
    }

    /// Rows that take no part in step `t` have no δ.
    unsafe fn clear_others(&self, t: usize, delta: *mut E) {
        if self.args.spans.lengths.is_null() {
            return;
        }
        for local in 0..self.rows {
            if !self.args.spans.has(self.first + local, t) {
                std::slice::from_raw_parts_mut(delta.add(local * self.row), self.row).fill(E::ZERO);
            }
        }
    }

    /// `δ_t` of any other cell; `adds` it to the samples if it is not the first window's.
    pub(super) unsafe fn gated_delta<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        window: usize,
        adds: bool,
        block: &Block<E>,
        memory: &Memory<E>,
    ) {
        let args = self.args;
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let Plan { state_fed, middle_fed, projection, .. } = args.plan;
        let slot = window % self.slots * self.rows;
        let (next, delta) = (memory.next.add(slot * self.row), memory.delta.add(slot * self.row));
        let window = args.windows[window];
        let follows = t + 1 < window.end;
        if follows {
            let out = Rows { at: memory.product, stride: output_size };
            self.through_weights::<V>(
                0..self.rows,
                t,
                next,
                state_fed,
                args.w_state,
                output_size,
                out,
            );
        }
        let null = std::ptr::null();
        let grad_row = |local: usize| {
            let row = self.first + local;
            let (outside, last) = unsafe { self.outside(t, window, row) };
            let goes_on = follows && t + 1 < unsafe { args.spans.of(row) }.1;
            let if_on = |row: *mut E| if goes_on { row.cast_const() } else { null };
            let offset = local * output_size;
            GradRow {
                outside,
                last,
                product: if_on(memory.product.wrapping_add(offset)),
                mask: if args.mask.is_null() {
                    null
                } else {
                    args.mask.wrapping_add(row * output_size)
                },
                shortcut: match C::HAS_SHORTCUT {
                    true => if_on(memory.shortcut.wrapping_add(slot * output_size + offset)),
                    false => null,
                },
            }
        };
        let nothing =
            GradRow { outside: null, last: null, product: null, mask: null, shortcut: null };
        if args.plan.has_middle() {
            for local in 0..self.rows {
                let row = self.first + local;
                if args.spans.has(row, t) {
                    V::call(MiddleDelta::<V, C> {
                        units: output_size,
                        gates: if projection > 0 { null } else { block.states.gates.get(row, t) },
                        stride: hidden_size,
                        grad: grad_row(local),
                        grad_h: memory.product.add(local * output_size),
                        delta: delta.add(local * self.row + middle_fed.at),
                        cell: PhantomData,
                    });
                }
            }
            let out = Rows { at: memory.grad_middle, stride: hidden_size };
            self.clear_others(t, delta);
            self.through_weights::<V>(
                0..self.rows,
                t,
                delta,
                middle_fed,
                args.w_middle,
                hidden_size,
                out,
            );
        }
        for local in 0..self.rows {
            let row = self.first + local;
            if !args.spans.has(row, t) {
                continue;
            }
            let of_delta = delta.add(local * self.row);
            let grad_h = match (args.plan.has_middle(), projection > 0) {
                (false, _) => grad_row(local),
                (true, true) => nothing,
                (true, false) => {
                    GradRow { product: memory.product.add(local * output_size), ..nothing }
                }
            };
            let carry_c = memory.carry_c.add(slot * hidden_size + local * hidden_size);
            let goes_on = follows && t + 1 < args.spans.of(row).1;
            let is_last = t + 1 == args.spans.of(row).1 && t >= window.losses_from;
            let last_c = if is_last && !args.grad_last_c.is_null() {
                args.grad_last_c.add(row * hidden_size)
            } else {
                null
            };
            let (steps, step) = (block.end - block.begin, t - block.begin);
            V::call(BackwardRow::<V, C> {
                units: hidden_size,
                gates: block.states.gates.get(row, t),
                before: self.before_row::<C>(block, row, t, memory, local),
                c: if C::HAS_C { block.states.c.get(row, t) } else { null },
                grad_h,
                mask: match args.mask.is_null() || projection > 0 {
                    true => null,
                    false => args.mask.add(row * output_size),
                },
                grad_c: [if goes_on { carry_c.cast_const() } else { null }, last_c],
                grad_middle: match args.plan.has_middle() {
                    true => memory.grad_middle.add(local * hidden_size),
                    false => null,
                },
                delta: of_delta,
                shortcut: memory.shortcut.add(slot * output_size + local * output_size),
                carry_c,
                middle: match args.plan.has_middle() {
                    true => memory.middle.add((local * steps + step) * hidden_size),
                    false => std::ptr::null_mut(),
                },
                next_gates: match t > block.begin {
                    true => block.states.gates.get(row, t - 1),
                    false => null,
                },
                cell: PhantomData,
            });
            V::call(SampleRow::<V> {
                plan: &args.plan,
                delta: of_delta,
                samples: memory.samples,
                rows: self.rows,
                steps,
                index: local * steps + step,
                adds,
                vector: PhantomData,
            });
        }
        self.clear_others(t, delta);
    }

    /// The states before step `t` of a row.
    unsafe fn before_row<C: Cell>(
        &self,
        block: &Block<E>,
        row: usize,
        t: usize,
        memory: &Memory<E>,
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
        // Only a cell that has both a shortcut and a middle value reads both.
        if args.mask.is_null() || h.is_null() || !(C::HAS_SHORTCUT && args.plan.has_middle()) {
            return BeforeRow { h, h_in: h, c };
        }
        let h_in = memory.outside.add(local * size);
        multiply(h, args.mask.add(row * size), h_in, size);
        BeforeRow { h, h_in, c }
    }

    /// What fed the products of step `t`, where no memory holds it in a row of steps.
    pub(super) unsafe fn inputs_of_block(&mut self, block: &Block<E>, memory: &Memory<E>) {
        let args = self.args;
        if !args.is_carried() {
            return;
        }
        let size = args.dims.output_size;
        let steps = block.end - block.begin;
        self.spans.clear();
        for local in 0..self.rows {
            let row = self.first + local;
            let (from, to) = args.spans.of(row);
            let (from, to) = (from.max(block.begin), to.min(block.end));
            self.spans.push((from - block.begin.min(from), to.saturating_sub(from)));
            for t in from..to {
                let input = memory.inputs.add((local * steps + t - block.begin) * size);
                let h = args.h_before(&block.states, row, t);
                if h.is_null() || args.mask.is_null() {
                    copy_or_zero(h, input, size);
                } else {
                    multiply(h, args.mask.add(row * size), input, size);
                }
            }
        }
    }
}

/// Puts a row of δ among the samples: panel after panel.
struct SampleRow<'a, V: Vector> {
    plan: &'a Plan,
    delta: *const V::Elem,
    samples: *mut V::Elem,
    rows: usize,
    /// Of the block.
    steps: usize,
    /// The sample's number.
    index: usize,
    adds: bool,
    vector: PhantomData<V>,
}

impl<V: Vector> Job<V> for SampleRow<'_, V> {
    #[inline(always)]
    unsafe fn run(self) {
        for columns in self.plan.columns() {
            for panel in Panels::<V>::new(columns.len).iter() {
                let wide = panel.wide::<V>();
                let at = (columns.sample + panel.at) * self.rows * self.steps + self.index * wide;
                let (to, from) = (self.samples.add(at), self.delta.add(columns.at + panel.at));
                for register in 0..panel.width {
                    let is_last = register + 1 == panel.width;
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
