//! The forward pass of some batch rows over all steps, on one thread.
//!
//! ```text
//! for each step
//!     for each section of gates, each panel of its columns, each tile of rows
//!         z = b + W_ih x_t + W_hh h_{t-1}           in registers, stored once
//!     for each row, if the cell is not a simple one
//!         the cell's pointwise part, on the gates that are still in the cache
//!     the same again for gates that a middle value feeds, if there are any
//! ```
//!
//! A simple cell's `f(z)` is applied in the registers, and what is stored is `h_t`.
//!
//! What makes it fast:
//! 1. Batch rows are independent, so rows go through all steps on their thread, with no barrier.
//! 2. Input projection, recurrence and bias share the registers of a tile.
//! 3. A panel of weights is read once a step for all rows of the thread: above the second-level
//!    cache that is what counts; below, it does no harm. Where weights come from memory at every
//!    step, those of the inputs are used for several steps at once.
//!
//! Steps are counted in the order of the recurrence: backwards in time where the pass runs
//! backwards. A row takes part in the steps of its span alone; before it has its initial state,
//! behind it its final one, and its outputs there are zero. A tile takes part as long as any of its
//! rows does.

use std::marker::PhantomData;
use std::ops::Range;

use super::cell::{Cell, Columns, Plan, Source};
use super::panels::{split, Panels};
use super::pointwise::{BeforeRow, ForwardRow, MiddleRow};
use super::tile::{dispatch, Affine, Product, Rows};
use super::vector::{Element, Vector};
use crate::recurrence::SequenceDims;

/// Numbers of every row at every step.
#[derive(Clone, Copy)]
pub(super) struct Steps<P> {
    /// Those of row 0 at step 0.
    pub(super) at: P,
    /// From a row to the next.
    pub(super) row: usize,
    /// From a step to the next; a negative number, wrapped, where steps lie backwards.
    pub(super) step: usize,
    /// Step t is in slot `t % slots`.
    pub(super) slots: usize,
}

impl<E> Steps<*mut E> {
    /// Nothing.
    pub(super) const NONE: Self = Self { at: std::ptr::null_mut(), row: 0, step: 0, slots: 1 };

    #[inline(always)]
    pub(super) fn get(&self, row: usize, step: usize) -> *mut E {
        let step = if self.slots == 1 { 0 } else { step % self.slots };
        self.at.wrapping_add(row.wrapping_mul(self.row)).wrapping_add(step.wrapping_mul(self.step))
    }
}

impl<E> Steps<*const E> {
    #[inline(always)]
    pub(super) fn get(&self, row: usize, step: usize) -> *const E {
        self.at.wrapping_add(row.wrapping_mul(self.row)).wrapping_add(step.wrapping_mul(self.step))
    }
}

/// In which steps a row takes part.
#[derive(Clone, Copy)]
pub(super) struct Spans {
    /// Of every row; or null: all steps.
    pub(super) lengths: *const usize,
    /// T.
    pub(super) seq_len: usize,
    /// Whether steps run backwards in time: then a row begins late rather than that it ends early.
    pub(super) reverse: bool,
}

impl Spans {
    /// The first step, and the one behind the last.
    #[inline(always)]
    pub(super) unsafe fn of(&self, row: usize) -> (usize, usize) {
        if self.lengths.is_null() {
            return (0, self.seq_len);
        }
        let len = *self.lengths.add(row);
        if self.reverse {
            (self.seq_len - len, self.seq_len)
        } else {
            (0, len)
        }
    }

    #[inline(always)]
    pub(super) unsafe fn has(&self, row: usize, step: usize) -> bool {
        let (from, to) = self.of(row);
        (from..to).contains(&step)
    }

    /// Whether any of the rows takes part.
    #[inline(always)]
    pub(super) unsafe fn any(&self, first: usize, rows: usize, step: usize) -> bool {
        self.lengths.is_null() || (first..first + rows).any(|row| self.has(row, step))
    }
}

/// The states that a pass begins with: rows of h `(P,)` and c `(H,)`, or null: zeros.
#[derive(Clone, Copy)]
pub(super) struct Initial<E> {
    pub(super) h: *const E,
    pub(super) h_row: usize,
    pub(super) c: *const E,
    pub(super) c_row: usize,
}

impl<E> Initial<E> {
    fn row(pointer: *const E, row: usize, stride: usize) -> *const E {
        if pointer.is_null() {
            pointer
        } else {
            pointer.wrapping_add(row * stride)
        }
    }

    pub(super) fn h(&self, row: usize) -> *const E {
        Self::row(self.h, row, self.h_row)
    }

    pub(super) fn c(&self, row: usize) -> *const E {
        Self::row(self.c, row, self.c_row)
    }
}

/// The arguments of a forward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(super) struct Forward<E> {
    pub(super) dims: SequenceDims,
    pub(super) plan: Plan,
    /// Steps to run; the first of them is step `offset` of the sequence.
    pub(super) steps: usize,
    pub(super) offset: usize,
    /// Steps whose inputs are multiplied with their weights ahead of the recurrence, or 0: gates have
    /// slots for them.
    pub(super) ahead: usize,
    /// `(I,)` in.
    pub(super) x: Steps<*const E>,
    pub(super) initial: Initial<E>,
    /// Packed, in.
    pub(super) weights: *const E,
    /// `(P,)` out; all steps have slots, or at least 2.
    pub(super) h: Steps<*mut E>,
    /// `(H,)` out, if the cell has it.
    pub(super) c: Steps<*mut E>,
    /// `(A, H)` out, unless the cell is simple.
    pub(super) gates: Steps<*mut E>,
    /// `(B, P)` in: the recurrent dropout's mask; or null.
    pub(super) mask: *const E,
    pub(super) spans: Spans,
    pub(super) checkpoints: Checkpoints<E>,
    /// `(B, P)` and `(B, H)` out, final states; or null.
    pub(super) last_h: *mut E,
    pub(super) last_c: *mut E,
}

/// States that are kept for the backward pass to compute the others from.
#[derive(Clone, Copy)]
pub(super) struct Checkpoints<E> {
    /// `(B, count, P)`: the states after `every`, `2 · every`, ... steps; or null: none are kept.
    pub(super) h: *mut E,
    /// `(B, count, H)`, if the cell has it.
    pub(super) c: *mut E,
    pub(super) every: usize,
    pub(super) count: usize,
}

impl<E> Checkpoints<E> {
    /// None.
    pub(super) const NONE: Self =
        Self { h: std::ptr::null_mut(), c: std::ptr::null_mut(), every: usize::MAX, count: 0 };

    /// How many there are in a sequence.
    pub(super) fn count(every: usize, seq_len: usize) -> usize {
        (seq_len - 1) / every
    }
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows.
unsafe impl<E: Send + Sync> Sync for Forward<E> {}

impl<E> Forward<E> {
    /// Whether states are carried in memory of the pass's own: where outputs do not hold what the
    /// next step's products read.
    pub(super) fn is_carried(&self) -> bool {
        !(self.spans.lengths.is_null() && self.mask.is_null())
    }
}

/// Elements of scratch that [`forward_rows`] needs.
pub(super) fn scratch_len<E>(args: &Forward<E>, rows: usize) -> usize {
    let SequenceDims { hidden_size, output_size, .. } = args.dims;
    let carried = if args.is_carried() { 2 * output_size + hidden_size } else { 0 };
    let middle = if args.plan.has_middle() { hidden_size } else { 0 };
    rows * (carried + middle)
}

/// Runs rows `first..first + rows`.
///
/// # Safety
/// The CPU must have V's features; all pointers must be valid for the sizes in `args`, `scratch` for
/// [`scratch_len`] elements, and no other thread may touch the scratch, or these rows of what is
/// written.
pub(super) unsafe fn forward_rows<V: Vector, C: Cell>(
    args: &Forward<V::Elem>,
    first: usize,
    rows: usize,
    scratch: *mut V::Elem,
) {
    let SequenceDims { hidden_size, output_size, .. } = args.dims;
    let size = if args.is_carried() { rows * output_size } else { 0 };
    let masked = scratch.add(size);
    let c = masked.add(size);
    let middle = if args.is_carried() { c.add(rows * hidden_size) } else { scratch };
    let chunk = Chunk { args, first, rows, carried: Carried { h: scratch, masked, c }, middle };
    chunk.begin::<C>();
    for step in 0..args.steps {
        if args.ahead > 0 && step % args.ahead == 0 {
            let steps = step..args.steps.min(step + args.ahead);
            for columns in args.plan.columns().iter().filter(|columns| columns.input) {
                chunk.products::<V, C>(steps.clone(), columns, Of::Inputs);
            }
        }
        let of = if args.ahead > 0 { Of::Source } else { Of::Both };
        for columns in args.plan.columns() {
            if columns.source != Source::Middle {
                chunk.products::<V, C>(step..step + 1, columns, of);
            }
        }
        if !C::IS_SIMPLE {
            chunk.pointwise::<V, C>(step);
        }
        if args.plan.has_middle() {
            for columns in args.plan.columns() {
                if columns.source == Source::Middle {
                    chunk.products::<V, C>(step..step + 1, columns, of);
                }
            }
            if args.plan.projection == 0 {
                chunk.pointwise_middle::<V, C>(step);
            }
        }
        if args.is_carried() {
            chunk.carry::<C>(step);
        }
        chunk.checkpoint::<C>(step + 1);
    }
    chunk.end::<C>();
}

/// States of a chunk's rows, row by row, where outputs do not hold them.
#[derive(Clone, Copy)]
struct Carried<E> {
    /// `(rows, P)`.
    h: *mut E,
    /// `(rows, P)`: h with the mask.
    masked: *mut E,
    /// `(rows, H)`.
    c: *mut E,
}

/// Which products of a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Both,
    Inputs,
    Source,
}

/// Rows that go through all steps together.
struct Chunk<'a, E> {
    args: &'a Forward<E>,
    first: usize,
    rows: usize,
    carried: Carried<E>,
    /// `(rows, H)`: middle values.
    middle: *mut E,
}

/// # Safety
/// Every method needs what [`forward_rows`] asks for: it made the chunk.
impl<E: Element> Chunk<'_, E> {
    fn output_size(&self) -> usize {
        self.args.dims.output_size
    }

    fn hidden_size(&self) -> usize {
        self.args.dims.hidden_size
    }

    /// Puts initial states where they are carried.
    unsafe fn begin<C: Cell>(&self) {
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

    /// The states before a step that the products read: of a chunk's row, and the distance to the
    /// next row's; null for zeros.
    fn state(&self, local: usize, step: usize) -> (*const E, usize) {
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

    /// A section's pre-activations, or a simple cell's states.
    unsafe fn products<V: Vector<Elem = E>, C: Cell>(
        &self,
        steps: Range<usize>,
        columns: &Columns,
        of: Of,
    ) {
        let depth = columns.depth();
        // What an earlier call began.
        let goes_on = of == Of::Source && columns.input;
        if goes_on && columns.source == Source::Nothing {
            return;
        }
        for panel in Panels::<V>::new(columns.len).iter() {
            let bias = self.args.weights.add(columns.packed + panel.at * depth);
            let tiles = self.rows.div_ceil(V::tile_height(panel.width));
            for step in steps.clone() {
                for tile in 0..tiles {
                    let (local, height) = split(self.rows, tiles, tile);
                    let row = self.first + local;
                    if !self.args.spans.any(row, height, self.args.offset + step) {
                        continue;
                    }
                    let (at, stride) = self.out::<C>(columns, row, step);
                    let out = Rows { at: at.add(panel.at), stride };
                    let w_ih = bias.add(panel.wide::<V>());
                    let w_source = w_ih.add(columns.inputs * panel.wide::<V>());
                    let none = Product::none();
                    let products = [
                        if goes_on { none } else { self.of_inputs(columns, row, step, w_ih) },
                        match of {
                            Of::Inputs => none,
                            _ => self.of_source(columns, local, step, w_source),
                        },
                    ];
                    macro_rules! affine {
                        ($adds:literal) => {
                            dispatch!(V, height, panel.width, |ROWS, WIDTH| {
                                Affine::<V, C::InTile, $adds, ROWS, WIDTH> {
                                    bias,
                                    products,
                                    out,
                                    last: panel.last,
                                    activation: PhantomData,
                                }
                            })
                        };
                    }
                    if goes_on {
                        affine!(true);
                    } else {
                        affine!(false);
                    }
                }
            }
        }
    }

    /// Where a section's products go: of a row, and the distance to the next.
    fn out<C: Cell>(&self, columns: &Columns, row: usize, step: usize) -> (*mut E, usize) {
        let Forward { h, gates, plan, .. } = self.args;
        if C::IS_SIMPLE || plan.projection > 0 && columns.source == Source::Middle {
            (h.get(row, step), h.row)
        } else {
            (gates.get(row, step).wrapping_add(columns.at), gates.row)
        }
    }

    fn of_inputs(&self, columns: &Columns, row: usize, step: usize, panel: *const E) -> Product<E> {
        let x = self.args.x;
        let count = columns.inputs;
        Product { a: x.get(row, step), row_stride: x.row, k_stride: 1, count, panel }
    }

    fn of_source(
        &self,
        columns: &Columns,
        local: usize,
        step: usize,
        panel: *const E,
    ) -> Product<E> {
        let (a, row_stride) = match columns.source {
            Source::Nothing => (std::ptr::null(), 0),
            Source::State => self.state(local, step),
            Source::Middle => {
                let size = self.hidden_size();
                (self.middle.wrapping_add(local * size).cast_const(), size)
            }
        };
        let count = if a.is_null() { 0 } else { columns.sources };
        Product { a, row_stride, k_stride: 1, count, panel }
    }

    /// [`Cell::forward`] for every row.
    unsafe fn pointwise<V: Vector<Elem = E>, C: Cell>(&self, step: usize) {
        let Forward { h, c, gates, spans, offset, plan, .. } = self.args;
        for local in 0..self.rows {
            let row = self.first + local;
            if !spans.has(row, offset + step) {
                continue;
            }
            let h = if plan.has_middle() {
                self.middle.add(local * self.hidden_size())
            } else {
                h.get(row, step)
            };
            V::call(ForwardRow::<V, C> {
                units: self.hidden_size(),
                gates: gates.get(row, step),
                before: self.before(local, step),
                h,
                c: c.get(row, step),
                cell: PhantomData,
            });
        }
    }

    /// [`Cell::forward_middle`] for every row.
    unsafe fn pointwise_middle<V: Vector<Elem = E>, C: Cell>(&self, step: usize) {
        let Forward { h, gates, spans, offset, .. } = self.args;
        for local in 0..self.rows {
            let row = self.first + local;
            if spans.has(row, offset + step) {
                V::call(MiddleRow::<V, C> {
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
    unsafe fn carry<C: Cell>(&self, step: usize) {
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

    unsafe fn checkpoint<C: Cell>(&self, done: usize) {
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
    unsafe fn end<C: Cell>(&self) {
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

/// # Safety
/// Both must be valid for `len` elements, `from` unless it is null.
pub(super) unsafe fn copy_or_zero<E: Element>(from: *const E, to: *mut E, len: usize) {
    if from.is_null() {
        std::slice::from_raw_parts_mut(to, len).fill(E::ZERO);
    } else {
        std::ptr::copy_nonoverlapping(from, to, len);
    }
}

/// `to = a ⊙ b`.
///
/// # Safety
/// All must be valid for `len` elements, and `to` apart from the others.
pub(super) unsafe fn multiply<E: Element>(a: *const E, b: *const E, to: *mut E, len: usize) {
    let (a, b) = (std::slice::from_raw_parts(a, len), std::slice::from_raw_parts(b, len));
    let to = std::slice::from_raw_parts_mut(to, len);
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = *a * *b;
    }
}

impl<E: Element> Product<E> {
    /// A product of nothing.
    pub(super) fn none() -> Self {
        let null = std::ptr::null();
        Self { a: null, row_stride: 0, k_stride: 0, count: 0, panel: null }
    }
}
