//! The memory that a group of rows computes in.

use crate::backward::args::{Backward, Kept};
use crate::backward::windows::overlap;
use crate::forward::PassInput;
use crate::simd::vector::Element;
use crate::view::ViewMut;
use crate::SequenceDims;

/// The number of elements of a row of h, c and gates that is computed again.
pub(crate) fn recomputed_sizes<E>(input: &PassInput<E>, every: usize) -> [usize; 3] {
    let SequenceDims { hidden_size, output_size, .. } = input.dims;
    // One state more: the checkpoint itself.
    [(1 + every) * output_size, (1 + every) * hidden_size, every * input.layout.gates]
}

/// The number of elements of memory for states that are computed again.
fn recomputed_len<E: Element>(args: &Backward<E>, rows: usize) -> usize {
    match args.kept {
        Kept::All(_) => 0,
        Kept::Checkpoints(checkpoints, _) => {
            let states: usize = recomputed_sizes(&args.input, checkpoints.every).iter().sum();
            rows * states + args.input.scratch_len(rows)
        }
    }
}

/// The parts of a group's memory; of no size where the cell or the call has no use for them.
#[derive(Clone, Copy)]
pub(crate) struct GroupMemory<T> {
    /// `(slots, rows, row of δ)`: δ of this step and of the one after it, for every window that
    /// shares a step.
    pub(crate) delta: T,
    pub(crate) next: T,
    /// `(slots, rows, P)` and `(slots, rows, H)`: what else goes from a step to the one before.
    pub(crate) direct: T,
    pub(crate) carry_c: T,
    /// `(rows, ..)`: the windows' sums of the above.
    pub(crate) total: T,
    pub(crate) total_direct: T,
    pub(crate) total_c: T,
    /// `(rows, P)`: what comes from the products of the step after.
    pub(crate) product: T,
    /// `(rows, P)`: gradients from outside.
    pub(crate) outside: T,
    /// `(rows, H)`: gradients of inner values.
    pub(crate) grad_inner: T,
    /// δ of a block: panel after panel, each `(rows, steps, width)` registers.
    pub(crate) packed_deltas: T,
    /// `(rows, block steps, P)` and `(rows, block steps, H)`: what fed the products of a block,
    /// where it does not lie elsewhere.
    pub(crate) inputs: T,
    pub(crate) inner: T,
    /// States of a block, computed again.
    pub(crate) recomputed: T,
}

impl<T> GroupMemory<T> {
    /// Memory of whose parts each is what `part` makes of its number of elements.
    fn of<E: Element>(
        args: &Backward<E>,
        rows: usize,
        block_steps: usize,
        mut part: impl FnMut(usize) -> T,
    ) -> Self {
        let SequenceDims { hidden_size, output_size, .. } = args.input.dims;
        let layout = &args.input.layout;
        let slots = overlap(args.windows);
        let row = row_of_deltas::<E>(layout.deltas);
        let if_gated = |size| if layout.is_simple { 0 } else { size };
        let if_carried = |size| if args.input.is_carried() { size } else { 0 };
        let if_inner = |size| if layout.has_inner() { size } else { 0 };
        // Whole cache lines.
        let mut part = |size: usize| part(size.next_multiple_of(64 / size_of::<E>()));
        Self {
            delta: part(slots * rows * row),
            next: part(slots * rows * row),
            direct: part(if_gated(slots * rows * output_size)),
            carry_c: part(if_gated(slots * rows * hidden_size)),
            total: part(rows * row),
            total_direct: part(if_gated(rows * output_size)),
            total_c: part(if_gated(rows * hidden_size)),
            product: part(rows * output_size),
            outside: part(rows * output_size),
            grad_inner: part(if_inner(rows * hidden_size)),
            packed_deltas: part(block_steps * rows * layout.packed_delta_len),
            inputs: part(if_carried(block_steps * rows * output_size)),
            inner: part(if_inner(block_steps * rows * hidden_size)),
            recomputed: part(recomputed_len(args, rows)),
        }
    }
}

impl<E: Element> GroupMemory<ViewMut<E, 0>> {
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
        let mut rest = memory;
        Self::of(args, rows, block_steps, |size| {
            let part = rest.narrow(size);
            rest = rest.add(size);
            part
        })
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
    let mut len = 0;
    GroupMemory::of(args, rows, block_steps, |size| len += size);
    len
}
