//! Rows that go through all steps together: their states, and the cell's pointwise part.

use std::marker::PhantomData;

use crate::cells::cell::Cell;
use crate::cells::pointwise::{BeforeRow, ForwardRow, InnerRow};
use crate::forward::args::Forward;
use crate::forward::steps::{copy_or_zero, multiply};
use crate::rows::RowRange;
use crate::simd::vector::{Element, Vector};
use crate::view::{View, ViewMut};

/// States of the rows of a block, where outputs do not hold them; else of no size.
#[derive(Clone, Copy)]
pub(crate) struct Carried<E> {
    /// `(rows, P)`.
    pub(crate) h: ViewMut<E, 1>,
    /// `(rows, P)`: h with the mask.
    pub(crate) masked: ViewMut<E, 1>,
    /// `(rows, H)`.
    pub(crate) c: ViewMut<E, 1>,
}

/// Rows that go through all steps together.
///
/// Only [`forward_rows`](crate::forward::forward_rows) makes one, which is copied where threads share the rows. Its methods count rows within the block as
/// `local`, and steps from 0 to `args.steps`.
#[derive(Clone, Copy)]
pub(crate) struct RowBlock<'a, E> {
    pub(crate) args: &'a Forward<'a, E>,
    pub(crate) first: usize,
    /// Those that this thread works on.
    pub(crate) rows: RowRange,
    pub(crate) carried: Carried<E>,
    /// `(rows, H)`: inner values; of no size if the cell has none.
    pub(crate) inner: ViewMut<E, 1>,
}

impl<E: Element> RowBlock<'_, E> {
    fn output_size(&self) -> usize {
        self.args.input.dims.output_size
    }

    fn hidden_size(&self) -> usize {
        self.args.input.dims.hidden_size
    }

    /// Whether a row takes part in a step.
    fn takes_part(&self, local: usize, step: usize) -> bool {
        self.args.input.spans.has(self.first + local, self.args.offset + step)
    }

    /// Puts initial states where they are carried.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold.
    pub(crate) unsafe fn begin<C: Cell>(&self) {
        if !self.args.input.is_carried() {
            return;
        }
        let initial = &self.args.input.initial;
        for local in self.rows.iter() {
            let row = self.first + local;
            copy_or_zero(initial.h(row), self.carried.h.row(local), self.output_size());
            self.mask(local);
            if C::HAS_C {
                copy_or_zero(initial.c(row), self.carried.c.row(local), self.hidden_size());
            }
        }
    }

    /// Computes what the products of a row read of the carried state.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold, states must be carried, and `local` must be a row of the
    /// block.
    unsafe fn mask(&self, local: usize) {
        if let Some(mask) = self.args.input.mask {
            let (h, masked) = (self.carried.h.row(local), self.carried.masked.row(local));
            multiply(h.as_view(), mask.row(self.first + local), masked, self.output_size());
        }
    }

    /// The states before a step that the products read, from row `local` of the block on; zeros if
    /// absent.
    ///
    /// # Safety
    /// `local` must be a row of the block, and `step` at most `args.steps`.
    pub(crate) unsafe fn states(&self, local: usize, step: usize) -> Option<View<E, 1>> {
        let args = self.args;
        if args.input.is_carried() {
            let Carried { h, masked, .. } = self.carried;
            let carried = if args.input.mask.is_some() { masked } else { h };
            return Some(carried.tile(local, 0).as_view());
        }
        let row = self.first + local;
        match step.checked_sub(1) {
            Some(before) => Some(args.h.rows_at(row, before).as_view()),
            None => args.input.initial.h.map(|h| h.tile(row, 0)),
        }
    }

    /// The states of a row before a step.
    ///
    /// # Safety
    /// `local` must be a row of the block, and `step` at most `args.steps`.
    unsafe fn before<C: Cell>(&self, local: usize, step: usize) -> BeforeRow<E> {
        let args = self.args;
        let h_in = self.states(local, step).map(|states| states.reshape([]));
        if args.input.is_carried() {
            let c = if C::HAS_C { Some(self.carried.c.row(local).as_view()) } else { None };
            return BeforeRow { h: Some(self.carried.h.row(local).as_view()), h_in, c };
        }
        let row = self.first + local;
        let c = match step.checked_sub(1) {
            Some(before) if C::HAS_C => Some(args.c.at(row, before).as_view()),
            None if C::HAS_C => args.input.initial.c(row),
            _ => None,
        };
        BeforeRow { h: h_in, h_in, c }
    }

    /// Runs [`Cell::forward`] for every row.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold, the step's products must be done, and the cell must not be
    /// a simple one.
    pub(crate) unsafe fn pointwise<V: Vector<Elem = E>, C: Cell>(&self, step: usize) {
        let Forward { input, h, c, gates, .. } = self.args;
        let has_inner = input.layout.has_inner();
        for local in self.rows.iter().filter(|local| self.takes_part(*local, step)) {
            let row = self.first + local;
            let h = if has_inner { self.inner.row(local) } else { h.at(row, step) };
            V::vectorize(ForwardRow::<V, C> {
                units: self.hidden_size(),
                gates: gates.at(row, step),
                before: self.before::<C>(local, step),
                h,
                c: if C::HAS_C { Some(c.at(row, step)) } else { None },
                cell: PhantomData,
            });
        }
    }

    /// Runs [`Cell::forward_inner`] for every row.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold, and the products of the step's inner values must be done.
    pub(crate) unsafe fn pointwise_inner<V: Vector<Elem = E>, C: Cell>(&self, step: usize) {
        let Forward { h, gates, .. } = self.args;
        for local in self.rows.iter().filter(|local| self.takes_part(*local, step)) {
            let row = self.first + local;
            V::vectorize(InnerRow::<V, C> {
                units: self.hidden_size(),
                gates: gates.at(row, step),
                before: self.before::<C>(local, step).h,
                h: h.at(row, step),
                cell: PhantomData,
            });
        }
    }

    /// Takes the states after a step along, of rows that take part; the outputs of others are zero.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold, states must be carried, and the step must be done.
    pub(crate) unsafe fn carry<C: Cell>(&self, step: usize) {
        let Forward { h, c, .. } = self.args;
        for local in self.rows.iter() {
            let row = self.first + local;
            let output = h.at(row, step);
            if !self.takes_part(local, step) {
                output.fill(E::ZERO, self.output_size());
                continue;
            }
            self.carried.h.row(local).copy_from(output.as_view(), self.output_size());
            self.mask(local);
            if C::HAS_C {
                let c = c.at(row, step).as_view();
                self.carried.c.row(local).copy_from(c, self.hidden_size());
            }
        }
    }

    /// Keeps the states after `done` steps, if there is to be a checkpoint.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold, and so many steps must be done.
    pub(crate) unsafe fn checkpoint<C: Cell>(&self, done: usize) {
        let Some(checkpoints) = self.args.checkpoints else { return };
        let every = checkpoints.every;
        if !done.is_multiple_of(every) || done >= self.args.steps {
            return;
        }
        for local in self.rows.iter() {
            let (row, slot) = (self.first + local, done / every - 1);
            let after = self.before::<C>(local, done);
            copy_or_zero(after.h, checkpoints.h.at(row, slot), self.output_size());
            if C::HAS_C {
                copy_or_zero(after.c, checkpoints.c.at(row, slot), self.hidden_size());
            }
        }
    }

    /// Hands out final states.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold, and all steps must be done.
    pub(crate) unsafe fn end<C: Cell>(&self) {
        let Forward { last_h, last_c, steps, .. } = *self.args;
        for local in self.rows.iter() {
            let row = self.first + local;
            let after = self.before::<C>(local, steps);
            if let Some(last_h) = last_h {
                copy_or_zero(after.h, last_h.row(row), self.output_size());
            }
            if let (true, Some(last_c)) = (C::HAS_C, last_c) {
                copy_or_zero(after.c, last_c.row(row), self.hidden_size());
            }
        }
    }
}
