//! The forward pass of some batch rows over all steps, on one thread.
//!
//! ```text
//! for each step
//!     for each gate block, each panel of its columns, each tile of rows
//!         z = b + W_ih x_t + W_hh h_{t-1}           in registers, stored once
//!     for each row, if the cell is not a simple one
//!         the cell's pointwise part, on the gates that are still in the cache
//!     the same again for gates that an inner value feeds, if there are any
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
//!
//! - `steps`: rows of elements by step
//! - `row_block`: rows that go through all steps together
//! - `products`: what they multiply at a step

mod row_block;
mod products;
mod steps;

use crate::cells::cell::{Cell, Source, WeightLayout};
use crate::simd::vector::Vector;
use crate::SequenceDims;
use products::Operands;
use row_block::{Carried, RowBlock};
pub(crate) use steps::{copy_or_zero, multiply, Checkpoints, Initial, Spans, Steps};

/// The arguments of a forward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(crate) struct Forward<E> {
    pub(crate) dims: SequenceDims,
    pub(crate) layout: WeightLayout,
    /// Steps to run; the first of them is step `offset` of the sequence.
    pub(crate) steps: usize,
    pub(crate) offset: usize,
    /// Steps whose inputs are multiplied with their weights ahead of the recurrence, or 0: gates have
    /// slots for them.
    pub(crate) ahead: usize,
    /// `(I,)` in.
    pub(crate) x: Steps<*const E>,
    pub(crate) initial: Initial<E>,
    /// Packed, in.
    pub(crate) weights: *const E,
    /// `(P,)` out; all steps have slots, or at least 2.
    pub(crate) h: Steps<*mut E>,
    /// `(H,)` out, if the cell has it.
    pub(crate) c: Steps<*mut E>,
    /// `(A, H)` out, unless the cell is simple.
    pub(crate) gates: Steps<*mut E>,
    /// `(B, P)` in: the recurrent dropout's mask; or null.
    pub(crate) mask: *const E,
    pub(crate) spans: Spans,
    pub(crate) checkpoints: Checkpoints<E>,
    /// `(B, P)` and `(B, H)` out, final states; or null.
    pub(crate) last_h: *mut E,
    pub(crate) last_c: *mut E,
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows.
unsafe impl<E: Send + Sync> Sync for Forward<E> {}

impl<E> Forward<E> {
    /// Whether states are carried in memory of the pass's own: where outputs do not hold what the
    /// next step's products read.
    pub(crate) fn is_carried(&self) -> bool {
        !(self.spans.lengths.is_null() && self.mask.is_null())
    }
}

/// Elements of scratch that [`forward_rows`] needs.
pub(crate) fn scratch_len<E>(args: &Forward<E>, rows: usize) -> usize {
    let SequenceDims { hidden_size, output_size, .. } = args.dims;
    let carried = if args.is_carried() { 2 * output_size + hidden_size } else { 0 };
    let inner = if args.layout.has_inner() { hidden_size } else { 0 };
    rows * (carried + inner)
}

/// Runs rows `first..first + rows`.
///
/// # Safety
/// The CPU must have V's features; all pointers must be valid for the sizes in `args`, `scratch` for
/// [`scratch_len`] elements, and no other thread may touch the scratch, or these rows of what is
/// written.
pub(crate) unsafe fn forward_rows<V: Vector, C: Cell>(
    args: &Forward<V::Elem>,
    first: usize,
    rows: usize,
    scratch: *mut V::Elem,
) {
    let SequenceDims { hidden_size, output_size, .. } = args.dims;
    let size = if args.is_carried() { rows * output_size } else { 0 };
    let masked = scratch.add(size);
    let c = masked.add(size);
    let inner = if args.is_carried() { c.add(rows * hidden_size) } else { scratch };
    let row_block =
        RowBlock { args, first, rows, carried: Carried { h: scratch, masked, c }, inner };
    row_block.begin::<C>();
    for step in 0..args.steps {
        if args.ahead > 0 && step % args.ahead == 0 {
            let steps = step..args.steps.min(step + args.ahead);
            for columns in args.layout.columns().iter().filter(|columns| columns.input) {
                row_block.products::<V, C>(steps.clone(), columns, Operands::InputOnly);
            }
        }
        let of = if args.ahead > 0 { Operands::RecurrentOnly } else { Operands::All };
        for columns in args.layout.columns() {
            if columns.source != Source::Inner {
                row_block.products::<V, C>(step..step + 1, columns, of);
            }
        }
        if !C::IS_SIMPLE {
            row_block.pointwise::<V, C>(step);
        }
        if args.layout.has_inner() {
            for columns in args.layout.columns() {
                if columns.source == Source::Inner {
                    row_block.products::<V, C>(step..step + 1, columns, of);
                }
            }
            if args.layout.projection == 0 {
                row_block.pointwise_inner::<V, C>(step);
            }
        }
        if args.is_carried() {
            row_block.carry::<C>(step);
        }
        row_block.checkpoint::<C>(step + 1);
    }
    row_block.end::<C>();
}
