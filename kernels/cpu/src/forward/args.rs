//! The arguments of a forward pass.

use crate::cells::cell::WeightLayout;
use crate::forward::inputs::Inputs;
use crate::forward::steps::{Checkpoints, Initial, Ring, Spans};
use crate::threads::Crew;
use crate::view::{View, ViewMut};
use crate::SequenceDims;

/// The arguments of both passes over a direction, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(crate) struct PassInput<'a, E> {
    pub(crate) dims: SequenceDims,
    pub(crate) layout: WeightLayout,
    pub(crate) inputs: Inputs<E>,
    pub(crate) initial: Initial<E>,
    /// `(P,)` by row, in: the recurrent dropout's mask.
    pub(crate) mask: Option<View<E, 1>>,
    pub(crate) spans: Spans<'a>,
    /// Who may take over some of a thread's rows.
    pub(crate) crew: &'a Crew,
}

/// The arguments of a forward pass.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a, E> {
    pub(crate) input: PassInput<'a, E>,
    /// Steps to run; the first of them is step `offset` of the sequence.
    pub(crate) steps: usize,
    pub(crate) offset: usize,
    /// Steps whose inputs are multiplied with their weights ahead of the recurrence, or 0: gates have
    /// slots for them.
    pub(crate) ahead: usize,
    /// Packed, in.
    pub(crate) weights: View<E, 0>,
    /// `(P,)` out; all steps have slots, or at least 2.
    pub(crate) h: Ring<E>,
    /// `(H,)` out, if the cell has it; else of no size.
    pub(crate) c: Ring<E>,
    /// `(A, H)` out, unless the cell is simple; then of no size.
    pub(crate) gates: Ring<E>,
    /// Out.
    pub(crate) checkpoints: Option<Checkpoints<ViewMut<E, 2>>>,
    /// `(P,)` and `(H,)` by row, out: final states; the latter if the cell has it.
    pub(crate) last_h: Option<ViewMut<E, 1>>,
    pub(crate) last_c: Option<ViewMut<E, 1>>,
}

impl<E> PassInput<'_, E> {
    /// Whether states are carried in memory of the pass's own: where rows differ in length or have masks, outputs do
    /// not hold what the next step's products read.
    pub(crate) fn is_carried(&self) -> bool {
        self.spans.lengths.is_some() || self.mask.is_some()
    }

    /// The number of elements of scratch that [`forward_rows`](crate::forward::forward_rows) needs for `rows` rows.
    pub(crate) fn scratch_len(&self, rows: usize) -> usize {
        let SequenceDims { hidden_size, output_size, .. } = self.dims;
        let carried = if self.is_carried() { 2 * output_size + hidden_size } else { 0 };
        rows * (carried + inner_len(&self.dims, &self.layout))
    }
}

/// The number of elements of a row's inner values.
pub(crate) fn inner_len(dims: &SequenceDims, layout: &WeightLayout) -> usize {
    usize::from(layout.has_inner()) * dims.hidden_size
}
