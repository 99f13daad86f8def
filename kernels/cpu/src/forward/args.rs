//! The arguments of a forward pass.

use crate::cells::cell::WeightLayout;
use crate::forward::steps::{Checkpoints, Initial, Ring, Spans};
use crate::view::{View, ViewMut};
use crate::SequenceDims;

/// The arguments of a forward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a, E> {
    pub(crate) dims: SequenceDims,
    pub(crate) layout: WeightLayout,
    /// Steps to run; the first of them is step `offset` of the sequence.
    pub(crate) steps: usize,
    pub(crate) offset: usize,
    /// Steps whose inputs are multiplied with their weights ahead of the recurrence, or 0: gates have
    /// slots for them.
    pub(crate) ahead: usize,
    /// `(I,)` by row and step, in.
    pub(crate) x: View<E, 2>,
    pub(crate) initial: Initial<E>,
    /// Packed, in.
    pub(crate) weights: View<E, 0>,
    /// `(P,)` out; all steps have slots, or at least 2.
    pub(crate) h: Ring<E>,
    /// `(H,)` out, if the cell has it; else of no size.
    pub(crate) c: Ring<E>,
    /// `(A, H)` out, unless the cell is simple; then of no size.
    pub(crate) gates: Ring<E>,
    /// `(P,)` by row, in: the recurrent dropout's mask.
    pub(crate) mask: Option<View<E, 1>>,
    pub(crate) spans: Spans<'a>,
    /// Out.
    pub(crate) checkpoints: Option<Checkpoints<ViewMut<E, 2>>>,
    /// `(P,)` and `(H,)` by row, out: final states; the latter if the cell has it.
    pub(crate) last_h: Option<ViewMut<E, 1>>,
    pub(crate) last_c: Option<ViewMut<E, 1>>,
}

impl<E> Forward<'_, E> {
    /// Whether states are carried in memory of the pass's own: where outputs do not hold what the
    /// next step's products read.
    pub(crate) fn is_carried(&self) -> bool {
        is_carried(&self.spans, self.mask)
    }

    /// The number of elements of scratch that [`forward_rows`](crate::forward::forward_rows) needs for `rows` rows.
    pub(crate) fn scratch_len(&self, rows: usize) -> usize {
        scratch_len(&self.dims, &self.layout, self.is_carried(), rows)
    }
}

/// Whether rows differ in length, or have masks.
pub(crate) fn is_carried<E>(spans: &Spans, mask: Option<View<E, 1>>) -> bool {
    spans.lengths.is_some() || mask.is_some()
}

/// The number of elements of scratch that [`forward_rows`](crate::forward::forward_rows) needs for `rows` rows.
pub(crate) fn scratch_len(
    dims: &SequenceDims,
    layout: &WeightLayout,
    is_carried: bool,
    rows: usize,
) -> usize {
    let SequenceDims { hidden_size, output_size, .. } = *dims;
    let carried = if is_carried { 2 * output_size + hidden_size } else { 0 };
    let inner = if layout.has_inner() { hidden_size } else { 0 };
    rows * (carried + inner)
}
