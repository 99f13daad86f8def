//! The backward pass of a group of batch rows, on one thread, and on others that have nothing else to do.
//!
//! One reverse sweep gives δ_t, the gradients of the gates' pre-activations; for a simple cell,
//! `δ_t = f'(h_t) · (∂L/∂h_t + W_hhᵀ δ_{t+1})`. All others are sums of its products:
//!
//! ```text
//! ∂L/∂W_hh = Σ δ_t h_{t-1}ᵀ    ∂L/∂W_ih = Σ δ_t x_tᵀ    ∂L/∂b = Σ δ_t    over rows and steps
//! ∂L/∂x_t  = W_ihᵀ δ_t         ∂L/∂h_0  = W_hhᵀ δ_1
//! ```
//!
//! ```text
//! for each block of steps, the last block first:             its states, kept or computed again
//!     for t in the block, backwards
//!         for each panel of units, for each tile of rows:  W_hhᵀ δ_{t+1}
//!         for each row:                                     δ_t, stored as a row and as packed_deltas
//!         for each panel of inputs, if wanted:              ∂L/∂x_t
//!     for each panel of gates, for some rows at a time
//!         for each tile of columns of [1 | x_t | h_{t-1}]:  sums += z δ over the block's packed_deltas
//! ```
//!
//! Why it is fast:
//! 1. A simple cell needs only `h` from the forward pass, and its δ are made in the registers of the
//!    product; other cells keep their gates, so that no product is done again.
//! 2. A block's δ stay in the second-level cache until the sums have used them; a panel's δ of a
//!    few rows stay in the first-level cache for all tiles of columns.
//! 3. `x` and `h` are broadcast from where they lie: nothing is transposed, and nothing copied
//!    unless rows differ in length or have masks.
//!
//! Truncation is part of the sweep: each window of steps that gradients share carries δ of its own,
//! from its last step to its first, and the sums see the δ of all windows added up.
//!
//! The sums of a group are added to those of the other groups afterwards, in a fixed order. Rows do not depend on each other
//! before that, nor do panels of sums, so a thread hands half of those that are left to one that is idle: neither
//! that nor the number of threads changes a bit.
//!
//! - `args`: the arguments; `group`: rows that are summed together
//! - `scratch`: what a group computes in
//! - `recompute`: states of a block
//! - `deltas`: δ of a step; `delta_fused`: in the registers of the product; `delta_gated`: row by row
//! - `input_grads`: what goes from δ to inputs and initial states
//! - `weight_grads`: the weights' gradients
//! - `windows`: which windows of truncation a step belongs to

// One contract holds for a whole pass, that of `backward_rows`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

mod args;
mod deltas;
mod delta_fused;
mod delta_gated;
mod group;
mod input_grads;
mod recompute;
mod scratch;
mod weight_grads;
mod windows;

use crate::cells::cell::Cell;
use crate::forward::STEPS_BETWEEN_LOOKS;
use crate::rows::RowRange;
use crate::simd::vector::{Element, Vector};
use crate::SequenceDims;
pub(crate) use args::{Backward, BlockStates, Kept, Scratch};
use group::{ReductionGroup, Step, StepBlock};
pub(crate) use scratch::scratch_len;
use scratch::{row_of_deltas, GroupMemory};
pub(crate) use weight_grads::{Factors, PanelUpdate};
use windows::{overlap, windows_at};

/// Bytes of δ that stay in the second-level cache.
const BLOCK_BYTES: usize = 256 << 10;
/// Samples that a block has at least, if there are so many: each block reads and writes the sums.
const BLOCK_SAMPLES: usize = 256;
/// The same where the sums, of this many bytes at least, do not stay in the second-level cache.
const LARGE_BLOCK_SAMPLES: usize = 1024;
const LARGE_SUMS: usize = 2 << 20;

/// Steps whose δ are kept at a time, `sample` bytes each, in groups of at most `rows` rows, for sums of
/// `weight_grads` bytes.
pub(crate) fn block_steps(dims: &SequenceDims, sample: usize, sums: usize, rows: usize) -> usize {
    let least = if sums < LARGE_SUMS { BLOCK_SAMPLES } else { LARGE_BLOCK_SAMPLES };
    let most = (BLOCK_BYTES / sample).max(least).div_ceil(rows).max(1);
    // As many as that allows, but of one size.
    dims.seq_len.div_ceil(dims.seq_len.div_ceil(most))
}

/// Runs the group of rows `first..first + rows`, `block_steps` steps at a time.
///
/// # Safety
/// - The CPU must have V's features.
/// - The memory behind the views of `args` must be alive and as large as the sizes in `args` and the
///   shapes of its fields say; what is read must be initialised, and what is written lie apart from it.
/// - `scratch` must have the sizes that its fields name.
/// - No other thread may use the scratch, or these rows of what is written.
pub(crate) unsafe fn backward_rows<V: Vector, C: Cell>(
    args: &Backward<V::Elem>,
    first: usize,
    rows: usize,
    block_steps: usize,
    scratch: Scratch<V::Elem>,
) {
    let seq_len = args.input.dims.seq_len;
    let mut group = ReductionGroup {
        args,
        first,
        size: rows,
        rows: RowRange { first: 0, count: rows },
        row: row_of_deltas::<V::Elem>(args.input.layout.deltas),
        slots: overlap(args.windows),
        table_deltas: scratch.table_deltas,
        memory: GroupMemory::new(args, rows, block_steps, scratch.memory),
    };
    if let (Some(table), Some(sums)) = (args.input.inputs.table(), scratch.table_deltas) {
        sums.fill(V::Elem::ZERO, args.input.layout.table_len(table.table_rows));
    }
    let reached = args.windows[0].start;
    let mut end = seq_len;
    // States from here on are there, or were computed again.
    let mut computed_from = seq_len;
    while end > reached {
        // Blocks begin at multiples, as checkpoints do, of which each is for several blocks.
        let begin = ((end - 1) / block_steps * block_steps).max(reached);
        let states = group.states::<V, C>(begin, end, &mut computed_from);
        let block = StepBlock { begin, end, states };
        sweep::<V, C>(group, &block, end);
        if block.len() % 2 == 1 {
            group.swap_deltas();
        }
        group.sums::<V>(&block, scratch.sums);
        end = begin;
    }
}

/// Computes δ of a block's steps before `end`, the last first, and what they send to inputs and initial states; the
/// rows part where an idle thread takes over half of them.
///
/// # Safety
/// The contract of `backward_rows` must hold, and the steps from `end` on be done.
unsafe fn sweep<V: Vector, C: Cell>(
    mut group: ReductionGroup<V::Elem>,
    block: &StepBlock<V::Elem>,
    end: usize,
) {
    let Backward { input, windows, .. } = group.args;
    for t in (block.begin..end).rev() {
        if t % STEPS_BETWEEN_LOOKS == 0 {
            if let Some([first, second]) = group.rows.halves(input.crew) {
                // SAFETY: each has rows of its own, which no other thread uses.
                let go_on = |rows| unsafe {
                    sweep::<V, C>(ReductionGroup { rows, ..group }, block, t + 1);
                };
                return input.crew.both(&|| go_on(first), &|| go_on(second));
            }
        }
        group.swap_deltas();
        let at_step = windows_at(windows, t);
        for index in at_step.clone() {
            let (window, slot) = (windows[index], index % group.slots);
            let step = Step { t, block, window, slot, adds: index > at_step.start };
            if C::IS_SIMPLE {
                group.simple_delta::<V, C>(&step);
            } else {
                group.gated_delta::<V, C>(&step);
            }
        }
        group.gradients_before::<V, C>(t, at_step);
    }
}
