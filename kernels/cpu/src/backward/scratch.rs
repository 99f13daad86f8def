//! The memory that a group of rows computes in.

use crate::backward::{recompute, Backward};
use crate::cells::cell::WeightLayout;
use crate::simd::vector::Element;
use crate::SequenceDims;
use crate::Window;

/// How many windows share a step, at most.
pub(crate) fn overlap(windows: &[Window]) -> usize {
    let sharing = |(index, window): (usize, &Window)| {
        windows[index..].iter().take_while(|later| later.start < window.end).count()
    };
    windows.iter().enumerate().map(sharing).max().unwrap_or(1)
}

/// The parts of a group's memory.
pub(crate) struct GroupMemory<E> {
    /// `(slots, rows, row of δ)`: δ of this step and of the one after it, for every window that
    /// shares a step.
    pub(crate) delta: *mut E,
    pub(crate) next: *mut E,
    /// `(slots, rows, P)` and `(slots, rows, H)`: what else goes from a step to the one before.
    pub(crate) direct: *mut E,
    pub(crate) carry_c: *mut E,
    /// `(rows, ..)`: the windows' sums of the above.
    pub(crate) total: *mut E,
    pub(crate) total_direct: *mut E,
    pub(crate) total_c: *mut E,
    /// `(rows, P)`: what comes from the products of the step after.
    pub(crate) product: *mut E,
    /// `(rows, P)`: gradients from outside.
    pub(crate) outside: *mut E,
    /// `(rows, H)`: gradients of inner values.
    pub(crate) grad_inner: *mut E,
    /// δ of a block as packed_deltas: panel after panel, each `(rows, steps, width)` registers.
    pub(crate) packed_deltas: *mut E,
    /// `(rows, block steps, P)` and `(rows, block steps, H)`: what fed the products of a block,
    /// where it does not lie elsewhere.
    pub(crate) inputs: *mut E,
    pub(crate) inner: *mut E,
    /// States of a block, computed again.
    pub(crate) recomputed: *mut E,
    len: usize,
}

impl<E: Element> GroupMemory<E> {
    pub(crate) fn new(args: &Backward<E>, rows: usize, block_steps: usize, base: *mut E) -> Self {
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let WeightLayout { deltas, packed_delta_len, .. } = args.layout;
        let slots = overlap(args.windows);
        let mut len = 0;
        let mut take = |size: usize| {
            let at = base.wrapping_add(len);
            // Whole cache lines.
            len += size.next_multiple_of(64 / size_of::<E>());
            at
        };
        let row = row_of_deltas::<E>(deltas);
        let if_gated = |size| if args.layout.is_simple { 0 } else { size };
        let if_carried = |size| if args.is_carried() { size } else { 0 };
        let if_inner = |size| if args.layout.has_inner() { size } else { 0 };
        Self {
            delta: take(slots * rows * row),
            next: take(slots * rows * row),
            direct: take(if_gated(slots * rows * output_size)),
            carry_c: take(if_gated(slots * rows * hidden_size)),
            total: take(rows * row),
            total_direct: take(if_gated(rows * output_size)),
            total_c: take(if_gated(rows * hidden_size)),
            product: take(rows * output_size),
            outside: take(rows * output_size),
            grad_inner: take(if_inner(rows * hidden_size)),
            packed_deltas: take(block_steps * rows * packed_delta_len),
            inputs: take(if_carried(block_steps * rows * output_size)),
            inner: take(if_inner(block_steps * rows * hidden_size)),
            recomputed: take(recompute::recomputed_len(args, rows)),
            len,
        }
    }
}

/// Elements from a row of δ to the next: whole cache lines.
pub(crate) fn row_of_deltas<E>(deltas: usize) -> usize {
    deltas.next_multiple_of(64 / size_of::<E>())
}

/// Elements that [`Scratch::memory`](crate::backward::Scratch::memory) needs for a group of `rows` rows.
pub(crate) fn scratch_len<E: Element>(
    args: &Backward<E>,
    rows: usize,
    block_steps: usize,
) -> usize {
    GroupMemory::new(args, rows, block_steps, std::ptr::null_mut()).len
}
