//! The forward pass of some batch rows over all steps, on one thread, and on others that have nothing else to do.
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
//! Why it is fast:
//! 1. Batch rows are independent, so rows go through all steps on their thread, with no barrier; every few steps it looks
//!    whether another thread is idle, and hands half of its rows over.
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
//! - `args`: the arguments; `inputs`: where inputs come from
//! - `steps`: rows of elements by step
//! - `row_block`: rows that go through all steps together
//! - `products`: what they multiply at a step

// One contract holds for a whole pass, that of `forward_rows`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

mod args;
mod inputs;
mod row_block;
mod products;
mod steps;

use crate::cells::cell::{Cell, Source};
use crate::rows::RowRange;
use crate::simd::vector::Vector;
use crate::view::ViewMut;
use crate::SequenceDims;
pub(crate) use args::{inner_len, Forward, PassInput};
pub(crate) use inputs::{Inputs, Lookup};
use products::Operands;
use row_block::{Carried, RowBlock};
pub(crate) use steps::{
    add, checkpoint_count, copy_or_zero, multiply, Checkpoints, Initial, Ring, Spans,
};

/// How many steps it takes to see that a thread is idle.
pub(crate) const STEPS_BETWEEN_LOOKS: usize = 4;

/// Runs rows `first..first + rows`.
///
/// # Safety
/// - The CPU must have V's features.
/// - The memory behind the views of `args` must be alive and as large as the sizes in `args` and the
///   shapes of its fields say; what is read must be initialised, and what is written lie apart from it.
/// - `scratch` must have [`PassInput::scratch_len`] elements.
/// - No other thread may use the scratch, or these rows of what is written.
pub(crate) unsafe fn forward_rows<V: Vector, C: Cell>(
    args: &Forward<V::Elem>,
    first: usize,
    rows: usize,
    scratch: ViewMut<V::Elem, 0>,
) {
    let SequenceDims { batch_size, hidden_size, output_size, .. } = args.input.dims;
    debug_assert!(first + rows <= batch_size);
    let is_carried = args.input.is_carried();
    let carried_rows = if is_carried { rows } else { 0 };
    let masked = scratch.add(carried_rows * output_size);
    let c = masked.add(carried_rows * output_size);
    let inner = c.add(carried_rows * hidden_size).reshape([hidden_size as isize]);
    let carried = Carried {
        h: scratch.reshape([output_size as isize]),
        masked: masked.reshape([output_size as isize]),
        c: c.reshape([hidden_size as isize]),
    };
    let rows = RowRange { first: 0, count: rows };
    let row_block = RowBlock { args, first, rows, carried, inner };
    row_block.begin::<C>();
    run_from::<V, C>(&row_block, 0);
}

/// Runs the steps of a block of rows from `begin` on; the rows part where an idle thread takes over half of them.
///
/// # Safety
/// The contract of `forward_rows` must hold, and the steps before `begin` be done.
unsafe fn run_from<V: Vector, C: Cell>(row_block: &RowBlock<V::Elem>, begin: usize) {
    let args = row_block.args;
    let PassInput { layout, crew, .. } = &args.input;
    let is_carried = args.input.is_carried();
    let steps_between_looks = args.ahead.max(STEPS_BETWEEN_LOOKS);
    for step in begin..args.steps {
        if step % steps_between_looks == 0 {
            if let Some([first, second]) = row_block.rows.halves(crew) {
                // SAFETY: each has rows of its own, which no other thread uses.
                let go_on = |rows| unsafe {
                    run_from::<V, C>(&RowBlock { rows, ..*row_block }, step);
                };
                return crew.both(&|| go_on(first), &|| go_on(second));
            }
        }
        if args.ahead > 0 && step % args.ahead == 0 {
            let steps = step..args.steps.min(step + args.ahead);
            for columns in layout.columns().iter().filter(|columns| columns.input) {
                row_block.products::<V, C>(steps.clone(), columns, Operands::InputOnly);
            }
        }
        let operands = if args.ahead > 0 { Operands::RecurrentOnly } else { Operands::All };
        for columns in layout.columns() {
            if columns.source != Source::Inner {
                row_block.products::<V, C>(step..step + 1, columns, operands);
            }
        }
        if !C::IS_SIMPLE {
            row_block.pointwise::<V, C>(step);
        }
        if layout.has_inner() {
            for columns in layout.columns() {
                if columns.source == Source::Inner {
                    row_block.products::<V, C>(step..step + 1, columns, operands);
                }
            }
            if layout.projection == 0 {
                row_block.pointwise_inner::<V, C>(step);
            }
        }
        if is_carried {
            row_block.carry::<C>(step);
        }
        row_block.checkpoint::<C>(step + 1);
    }
    row_block.end::<C>();
}
