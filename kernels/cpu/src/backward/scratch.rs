//! The memory that a group of rows computes in.

use crate::backward::args::Backward;
use crate::backward::recompute;
use crate::cells::cell::WeightLayout;
use crate::simd::vector::Element;
use crate::view::ViewMut;
use crate::SequenceDims;
use crate::Window;

/// How many windows share a step, at most.
pub(crate) fn overlap(windows: &[Window]) -> usize {
    let sharing = |(index, window): (usize, &Window)| {
        windows[index..].iter().take_while(|later| later.start < window.end).count()
    };
    windows.iter().enumerate().map(sharing).max().unwrap_or(1)
}

/// The parts of a group's memory; of no size where the cell or the call has no use for them.
pub(crate) struct GroupMemory<E> {
    /// `(slots, rows, row of δ)`: δ of this step and of the one after it, for every window that
    /// shares a step.
    pub(crate) delta: ViewMut<E, 0>,
    pub(crate) next: ViewMut<E, 0>,
    /// `(slots, rows, P)` and `(slots, rows, H)`: what else goes from a step to the one before.
    pub(crate) direct: ViewMut<E, 0>,
    pub(crate) carry_c: ViewMut<E, 0>,
    /// `(rows, ..)`: the windows' sums of the above.
    pub(crate) total: ViewMut<E, 0>,
    pub(crate) total_direct: ViewMut<E, 0>,
    pub(crate) total_c: ViewMut<E, 0>,
    /// `(rows, P)`: what comes from the products of the step after.
    pub(crate) product: ViewMut<E, 1>,
    /// `(rows, P)`: gradients from outside.
    pub(crate) outside: ViewMut<E, 1>,
    /// `(rows, H)`: gradients of inner values.
    pub(crate) grad_inner: ViewMut<E, 1>,
    /// δ of a block: panel after panel, each `(rows, steps, width)` registers.
    pub(crate) packed_deltas: ViewMut<E, 0>,
    /// `(rows, block steps, P)` and `(rows, block steps, H)`: what fed the products of a block,
    /// where it does not lie elsewhere.
    pub(crate) inputs: ViewMut<E, 0>,
    pub(crate) inner: ViewMut<E, 0>,
    /// States of a block, computed again.
    pub(crate) recomputed: ViewMut<E, 0>,
}

/// The number of elements of each part of [`GroupMemory`], in the order of its fields.
fn sizes<E: Element>(args: &Backward<E>, rows: usize, block_steps: usize) -> [usize; 14] {
    let SequenceDims { hidden_size, output_size, .. } = args.dims;
    let WeightLayout { deltas, packed_delta_len, .. } = args.layout;
    let slots = overlap(args.windows);
    let row = row_of_deltas::<E>(deltas);
    let if_gated = |size| if args.layout.is_simple { 0 } else { size };
    let if_carried = |size| if args.is_carried() { size } else { 0 };
    let if_inner = |size| if args.layout.has_inner() { size } else { 0 };
    [
        slots * rows * row,
        slots * rows * row,
        if_gated(slots * rows * output_size),
        if_gated(slots * rows * hidden_size),
        rows * row,
        if_gated(rows * output_size),
        if_gated(rows * hidden_size),
        rows * output_size,
        rows * output_size,
        if_inner(rows * hidden_size),
        block_steps * rows * packed_delta_len,
        if_carried(block_steps * rows * output_size),
        if_inner(block_steps * rows * hidden_size),
        recompute::recomputed_len(args, rows),
    ]
    // Whole cache lines.
    .map(|size| size.next_multiple_of(64 / size_of::<E>()))
}

impl<E: Element> GroupMemory<E> {
    /// The parts of `memory`.
    ///
    /// # Safety
    /// It must have [`scratch_len`] elements.
    pub(crate) unsafe fn new(
        args: &Backward<E>,
        rows: usize,
        block_steps: usize,
        memory: ViewMut<E, 0>,
    ) -> Self {
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let mut at = 0;
        let parts = sizes(args, rows, block_steps).map(|size| {
            let part = memory.add(at).narrow(size);
            at += size;
            part
        });
        let [delta, next, direct, carry_c, total, total_direct, total_c, ..] = parts;
        let [.., product, outside, grad_inner, packed_deltas, inputs, inner, recomputed] = parts;
        Self {
            delta,
            next,
            direct,
            carry_c,
            total,
            total_direct,
            total_c,
            product: product.reshape([output_size as isize]),
            outside: outside.reshape([output_size as isize]),
            grad_inner: grad_inner.reshape([hidden_size as isize]),
            packed_deltas,
            inputs,
            inner,
            recomputed,
        }
    }
}

/// The number of elements from a row of δ to the next: whole cache lines.
pub(crate) fn row_of_deltas<E>(deltas: usize) -> usize {
    deltas.next_multiple_of(64 / size_of::<E>())
}

/// The number of elements of [`Scratch::memory`](crate::backward::Scratch::memory) for a group of `rows` rows.
pub(crate) fn scratch_len<E: Element>(
    args: &Backward<E>,
    rows: usize,
    block_steps: usize,
) -> usize {
    sizes(args, rows, block_steps).iter().sum()
}
