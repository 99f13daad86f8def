//! Where the steps of rows lie, which steps a row takes part in, and the states it begins with.

use crate::simd::vector::Element;
use crate::view::{View, ViewMut};

/// Rows by step, of which memory holds the last `slots` steps: step t is in slot `t % slots`.
#[derive(Clone, Copy)]
pub(crate) struct Ring<E> {
    view: ViewMut<E, 2>,
    slots: usize,
}

impl<E> Ring<E> {
    pub(crate) fn new(view: ViewMut<E, 2>, slots: usize) -> Self {
        Self { view, slots }
    }

    /// A row at a step.
    ///
    /// # Safety
    /// Row and step must be ones that the view behind this has memory for, modulo `slots`.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, row: usize, step: usize) -> ViewMut<E, 0> {
        let slot = if self.slots == 1 { 0 } else { step % self.slots };
        self.view.at(row, slot)
    }

    /// All rows at a step, from a row on.
    ///
    /// # Safety
    /// Row and step must be ones that the view behind this has memory for, modulo `slots`.
    #[inline(always)]
    pub(crate) unsafe fn rows_at(&self, row: usize, step: usize) -> ViewMut<E, 1> {
        self.at(row, step).reshape([self.view.strides()[0]])
    }
}

/// The steps that rows take part in.
#[derive(Clone, Copy)]
pub(crate) struct Spans<'a> {
    /// The number of steps of every row; all steps if absent.
    pub(crate) lengths: Option<&'a [usize]>,
    /// T.
    pub(crate) seq_len: usize,
    /// Whether steps run backwards in time: then a row begins late rather than that it ends early.
    pub(crate) reverse: bool,
}

impl<'a> Spans<'a> {
    /// The spans of the rows from `first` on.
    pub(crate) fn skip(self, first: usize) -> Self {
        Self { lengths: self.lengths.map(|lengths| &lengths[first..]), ..self }
    }

    /// The first step of a row, and the one behind the last.
    #[inline(always)]
    pub(crate) fn of(&self, row: usize) -> (usize, usize) {
        match self.lengths {
            None => (0, self.seq_len),
            Some(lengths) if self.reverse => (self.seq_len - lengths[row], self.seq_len),
            Some(lengths) => (0, lengths[row]),
        }
    }

    /// Whether a row takes part in a step.
    #[inline(always)]
    pub(crate) fn has(&self, row: usize, step: usize) -> bool {
        let (from, to) = self.of(row);
        (from..to).contains(&step)
    }

    /// Whether any of the rows `first..first + rows` takes part in a step.
    #[inline(always)]
    pub(crate) fn any(&self, first: usize, rows: usize, step: usize) -> bool {
        self.lengths.is_none() || (first..first + rows).any(|row| self.has(row, step))
    }
}

/// The states that a pass begins with, by row: h `(P,)` and c `(H,)`; zeros if absent.
#[derive(Clone, Copy)]
pub(crate) struct Initial<E> {
    pub(crate) h: Option<View<E, 1>>,
    pub(crate) c: Option<View<E, 1>>,
}

impl<E> Initial<E> {
    /// The state h of a row.
    ///
    /// # Safety
    /// The row must be one of the batch.
    pub(crate) unsafe fn h(&self, row: usize) -> Option<View<E, 0>> {
        self.h.map(|h| h.row(row))
    }

    /// The state c of a row.
    ///
    /// # Safety
    /// The row must be one of the batch.
    pub(crate) unsafe fn c(&self, row: usize) -> Option<View<E, 0>> {
        self.c.map(|c| c.row(row))
    }
}

/// Views of states that are kept for the backward pass to compute the others from.
#[derive(Clone, Copy)]
pub(crate) struct Checkpoints<P> {
    /// `(B, count, P)`: the states after `every`, `2 · every`, ... steps.
    pub(crate) h: P,
    /// `(B, count, H)`; of no size unless the cell has it.
    pub(crate) c: P,
    /// From a checkpoint to the next, in steps.
    pub(crate) every: usize,
}

/// The number of checkpoints in a sequence, one `every` so many steps.
pub(crate) fn checkpoint_count(every: usize, seq_len: usize) -> usize {
    (seq_len - 1) / every
}

/// Copies a row of `len` elements, or writes zeros if there is none.
///
/// # Safety
/// Both rows must have `len` elements, apart from each other, and nobody else may use those that are written.
pub(crate) unsafe fn copy_or_zero<E: Element>(
    from: Option<View<E, 0>>,
    to: ViewMut<E, 0>,
    len: usize,
) {
    match from {
        Some(from) => to.copy_from(from, len),
        None => to.fill(E::ZERO, len),
    }
}

/// `to += from`.
///
/// # Safety
/// Both rows must have `len` elements, apart from each other, and nobody else may use those of `to`.
pub(crate) unsafe fn add<E: Element>(to: ViewMut<E, 0>, from: View<E, 0>, len: usize) {
    for (sum, term) in to.slice(len).iter_mut().zip(from.slice(len)) {
        *sum = *sum + *term;
    }
}

/// `to = a ⊙ b`.
///
/// # Safety
/// All rows must have `len` elements, `to` apart from the others, and nobody else may use those of `to`.
pub(crate) unsafe fn multiply<E: Element>(
    a: View<E, 0>,
    b: View<E, 0>,
    to: ViewMut<E, 0>,
    len: usize,
) {
    for ((to, a), b) in to.slice(len).iter_mut().zip(a.slice(len)).zip(b.slice(len)) {
        *to = *a * *b;
    }
}
