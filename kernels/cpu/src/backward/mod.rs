//! The backward pass of a group of batch rows, on one thread.
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
//! What makes it fast:
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
//! The sums of a group are added to those of the other groups afterwards, in a fixed order: how
//! many threads there are changes no bit.
//!
//! - `scratch`: what a group computes in
//! - `recompute`: states of a block
//! - `deltas`: δ of a step; `delta_fused`: in the registers of the product; `delta_gated`: row by row
//! - `input_grads`: what goes from δ to inputs and initial states
//! - `weight_grads`: the weights' gradients

mod deltas;
mod delta_fused;
mod delta_gated;
mod input_grads;
mod recompute;
mod scratch;
mod weight_grads;

use crate::cells::cell::{Cell, WeightLayout};
use crate::forward::{Checkpoints, Initial, Spans, Steps};
use crate::simd::vector::Vector;
use crate::SequenceDims;
use crate::Window;
use recompute::BlockStates;
pub(crate) use scratch::scratch_len;
use scratch::{overlap, row_of_deltas, GroupMemory};

/// The arguments of a backward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(crate) struct Backward<'a, E> {
    pub(crate) dims: SequenceDims,
    pub(crate) layout: WeightLayout,
    /// Through which steps gradients flow together; their losses follow each other up to step T.
    pub(crate) windows: &'a [Window],
    /// `(I,)` in.
    pub(crate) x: Steps<*const E>,
    pub(crate) initial: Initial<E>,
    pub(crate) kept: Kept<E>,
    /// `(B, P)` in: the recurrent dropout's mask; or null.
    pub(crate) mask: *const E,
    pub(crate) spans: Spans,
    /// Weights that the state, the inner value and the input feed, rows packed, in; those of the
    /// input null if `grad_x` is.
    pub(crate) w_state: *const E,
    pub(crate) w_inner: *const E,
    pub(crate) w_input: *const E,
    /// `(P,)` in: gradients of all outputs; or null.
    pub(crate) grad_outputs: Steps<*const E>,
    /// `(B, P)` and `(B, H)` in: gradients of the final states; or null.
    pub(crate) grad_last_h: *const E,
    pub(crate) grad_last_c: *const E,
    /// `(I,)` out, or null: not wanted. Steps that no window reaches are left as they are.
    pub(crate) grad_x: Steps<*mut E>,
    /// `(B, P)` and `(B, H)` out, or null: not wanted. Left as they are if no window reaches step 1.
    pub(crate) grad_h_0: *mut E,
    pub(crate) grad_c_0: *mut E,
}

/// What is left of the states of the forward pass.
#[derive(Clone, Copy)]
pub(crate) enum Kept<E> {
    /// All.
    All(BlockStates<E>),
    /// Some, and the packed weights to compute the others with.
    Checkpoints(Checkpoints<E>, *const E),
}

impl<E> Kept<E> {
    pub(crate) fn all(h: Steps<*const E>, c: Steps<*const E>, gates: Steps<*const E>) -> Self {
        Self::All(BlockStates { h, c, gates })
    }
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows.
unsafe impl<E: Send + Sync> Sync for Backward<'_, E> {}

impl<E> Backward<'_, E> {
    /// Whether rows differ in length, or have masks.
    fn is_carried(&self) -> bool {
        !(self.spans.lengths.is_null() && self.mask.is_null())
    }

    /// The state before a step of a row.
    unsafe fn h_before(&self, states: &BlockStates<E>, row: usize, step: usize) -> *const E {
        if step == self.spans.of(row).0 {
            self.initial.h(row)
        } else {
            states.h.get(row, step.wrapping_sub(1))
        }
    }
}

/// What a group of rows computes in.
#[derive(Clone, Copy)]
pub(crate) struct Scratch<E> {
    /// Packed, out: the group's part of the weights' gradients; or null: not wanted.
    pub(crate) sums: *mut E,
    /// [`scratch_len`] elements.
    pub(crate) memory: *mut E,
}

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
/// The CPU must have V's features; all pointers must be valid for the sizes in `dims`, those of
/// `scratch` as they say, and no other thread may touch the scratch or these rows.
pub(crate) unsafe fn backward_rows<V: Vector, C: Cell>(
    args: &Backward<V::Elem>,
    first: usize,
    rows: usize,
    block_steps: usize,
    scratch: Scratch<V::Elem>,
) {
    let seq_len = args.dims.seq_len;
    let mut memory = GroupMemory::new(args, rows, block_steps, scratch.memory);
    let mut group = ReductionGroup {
        args,
        first,
        rows,
        row: row_of_deltas::<V::Elem>(args.layout.deltas),
        slots: overlap(args.windows),
        spans: Vec::new(),
    };
    // The windows of step t are `windows[from..to]`.
    let (mut from, mut to) = (args.windows.len(), args.windows.len());
    let reached = args.windows[0].start;
    let mut end = seq_len;
    // States from here on are there, or were computed again.
    let mut computed_from = seq_len;
    while end > reached {
        // Blocks begin at multiples, as checkpoints do, of which each is for several blocks.
        let begin = ((end - 1) / block_steps * block_steps).max(reached);
        let states = group.states::<V, C>(begin, end, &mut computed_from, memory.recomputed);
        let block = StepBlock { begin, end, states };
        for t in (begin..end).rev() {
            while from > 0 && args.windows[from - 1].end > t {
                from -= 1;
            }
            while args.windows[to - 1].start > t {
                to -= 1;
            }
            std::mem::swap(&mut memory.delta, &mut memory.next);
            for window in from..to {
                if C::IS_SIMPLE {
                    group.simple_delta::<V, C>(t, window, window > from, &block, &memory);
                } else {
                    group.gated_delta::<V, C>(t, window, window > from, &block, &memory);
                }
            }
            group.gradients_before::<V, C>(t, from..to, &memory);
        }
        if !scratch.sums.is_null() {
            group.sums::<V>(&block, &memory, scratch.sums);
        }
        end = begin;
    }
}

/// Rows that go through all steps together.
///
/// # Safety
/// Every method needs what [`backward_rows`] asks for: it made the group, with pointers that are
/// valid for the sizes in `dims`, and hands out parts of its scratch.
struct ReductionGroup<'a, E> {
    args: &'a Backward<'a, E>,
    first: usize,
    rows: usize,
    /// Elements of a row of δ.
    row: usize,
    /// How many windows share a step, at most.
    slots: usize,
    /// Which packed_deltas of a block count, by row.
    spans: Vec<(usize, usize)>,
}

/// Steps that are worked on together.
struct StepBlock<E> {
    begin: usize,
    end: usize,
    states: BlockStates<E>,
}
