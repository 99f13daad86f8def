//! Rows that go through all steps together: their states, and the cell's pointwise part.

use std::marker::PhantomData;

use crate::cells::cell::Cell;
use crate::cells::pointwise::{BeforeRow, ForwardRow, InnerRow};
use crate::forward::{copy_or_zero, multiply, Checkpoints, Forward};
use crate::simd::vector::{Element, Vector};

/// States of a row_block's rows, row by row, where outputs do not hold them.
#[derive(Clone, Copy)]
pub(crate) struct Carried<E> {
    /// `(rows, P)`.
    pub(crate) h: *mut E,
    /// `(rows, P)`: h with the mask.
    pub(crate) masked: *mut E,
    /// `(rows, H)`.
    pub(crate) c: *mut E,
}

/// Rows that go through all steps together.
pub(crate) struct RowBlock<'a, E> {
    pub(crate) args: &'a Forward<E>,
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) carried: Carried<E>,
    /// `(rows, H)`: inner values.
    pub(crate) inner: *mut E,
}

/// # Safety
/// Every method needs what [`forward_rows`](crate::forward::forward_rows) asks for: it made the row_block.
impl<E: Element> RowBlock<'_, E> {
    fn output_size(&self) -> usize {
        self.args.dims.output_size
    }

    pub(crate) fn hidden_size(&self) -> usize {
        self.args.dims.hidden_size
    }

    /// Puts initial states where they are carried.
    pub(crate) unsafe fn begin<C: Cell>(&self) {
        if !self.args.is_carried() {
            return;
        }
        let initial = &self.args.initial;
        for local in 0..self.rows {
            let row = self.first + local;
            let h = self.carried.h.add(local * self.output_size());
            copy_or_zero(initial.h(row), h, self.output_size());
            self.mask(local);
            if C::HAS_C {
                let c = self.carried.c.add(local * self.hidden_size());
                copy_or_zero(initial.c(row), c, self.hidden_size());
            }
        }
    }

    /// What the products of a row read of the carried state.
    unsafe fn mask(&self, local: usize) {
        if self.args.mask.is_null() {
            return;
        }
        let size = self.output_size();
        let mask = self.args.mask.add((self.first + local) * size);
        let h = self.carried.h.add(local * size);
        multiply(h, mask, self.carried.masked.add(local * size), size);
    }

    /// The states before a step that the products read: of a row_block's row, and the distance to the
    /// next row's; null for zeros.
    pub(crate) fn state(&self, local: usize, step: usize) -> (*const E, usize) {
        let args = self.args;
        if args.is_carried() {
            let carried = if args.mask.is_null() { self.carried.h } else { self.carried.masked };
            return (carried.wrapping_add(local * self.output_size()), self.output_size());
        }
        let row = self.first + local;
        match step.checked_sub(1) {
            Some(before) => (args.h.get(row, before), args.h.row),
            None => (args.initial.h(row), args.initial.h_row),
        }
    }

    /// States before a step.
    fn before(&self, local: usize, step: usize) -> BeforeRow<E> {
        let args = self.args;
        let h_in = self.state(local, step).0;
        if args.is_carried() {
            let h = self.carried.h.wrapping_add(local * self.output_size());
            return BeforeRow {
                h,
                h_in,
                c: self.carried.c.wrapping_add(local * self.hidden_size()),
            };
        }
        let row = self.first + local;
        let c = match step.checked_sub(1) {
            Some(before) => args.c.get(row, before).cast_const(),
            None => args.initial.c(row),
        };
        BeforeRow { h: h_in, h_in, c }
    }

    /// [`Cell::forward`] for every row.
    pub(crate) unsafe fn pointwise<V: Vector<Elem = E>, C: Cell>(&self, step: usize) {
        let Forward { h, c, gates, spans, offset, layout, .. } = self.args;
        for local in 0..self.rows {
            let row = self.first + local;
            if !spans.has(row, offset + step) {
                continue;
            }
            let h = if layout.has_inner() {
                self.inner.add(local * self.hidden_size())
            } else {
                h.get(row, step)
            };
            V::vectorize(ForwardRow::<V, C> {
                units: self.hidden_size(),
                gates: gates.get(row, step),
                before: self.before(local, step),
                h,
                c: c.get(row, step),
                cell: PhantomData,
            });
        }
    }

    /// [`Cell::forward_inner`] for every row.
    pub(crate) unsafe fn pointwise_inner<V: Vector<Elem = E>, C: Cell>(&self, step: usize) {
        let Forward { h, gates, spans, offset, .. } = self.args;
        for local in 0..self.rows {
            let row = self.first + local;
            if spans.has(row, offset + step) {
                V::vectorize(InnerRow::<V, C> {
                    units: self.hidden_size(),
                    gates: gates.get(row, step),
                    before: self.before(local, step).h,
                    h: h.get(row, step),
                    cell: PhantomData,
                });
            }
        }
    }

    /// Takes the states after a step along, of rows that take part; the outputs of others are zero.
    pub(crate) unsafe fn carry<C: Cell>(&self, step: usize) {
        let Forward { h, c, spans, offset, .. } = self.args;
        for local in 0..self.rows {
            let row = self.first + local;
            let output = h.get(row, step);
            if !spans.has(row, offset + step) {
                std::slice::from_raw_parts_mut(output, self.output_size()).fill(E::ZERO);
                continue;
            }
            let size = self.output_size();
            std::ptr::copy_nonoverlapping(output, self.carried.h.add(local * size), size);
            self.mask(local);
            if C::HAS_C {
                let size = self.hidden_size();
                let to = self.carried.c.add(local * size);
                std::ptr::copy_nonoverlapping(c.get(row, step), to, size);
            }
        }
    }

    /// The states after `done` steps.
    fn after(&self, local: usize, done: usize) -> BeforeRow<E> {
        self.before(local, done)
    }

    pub(crate) unsafe fn checkpoint<C: Cell>(&self, done: usize) {
        let Checkpoints { h, c, every, count } = self.args.checkpoints;
        let is_due = done.is_multiple_of(every) && done < self.args.steps;
        if h.is_null() || !is_due {
            return;
        }
        for local in 0..self.rows {
            let slot = (self.first + local) * count + done / every - 1;
            let after = self.after(local, done);
            let size = self.output_size();
            std::ptr::copy_nonoverlapping(after.h, h.add(slot * size), size);
            if C::HAS_C {
                let size = self.hidden_size();
                std::ptr::copy_nonoverlapping(after.c, c.add(slot * size), size);
            }
        }
    }

    /// Hands out final states.
    pub(crate) unsafe fn end<C: Cell>(&self) {
        let Forward { last_h, last_c, steps, .. } = *self.args;
        for local in 0..self.rows {
            let row = self.first + local;
            let after = self.after(local, steps);
            if !last_h.is_null() {
                let size = self.output_size();
                std::ptr::copy_nonoverlapping(after.h, last_h.add(row * size), size);
            }
            if C::HAS_C && !last_c.is_null() {
                let size = self.hidden_size();
                std::ptr::copy_nonoverlapping(after.c, last_c.add(row * size), size);
            }
        }
    }
}
