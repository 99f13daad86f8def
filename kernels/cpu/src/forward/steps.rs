//! Rows of elements by step: where they lie, which steps a row takes part in, and the states it begins
//! with.

use crate::simd::vector::Element;

/// Elements of every row at every step.
#[derive(Clone, Copy)]
pub(crate) struct Steps<P> {
    /// Those of row 0 at step 0.
    pub(crate) at: P,
    /// From a row to the next.
    pub(crate) row: usize,
    /// From a step to the next; a negative number, wrapped, where steps lie backwards.
    pub(crate) step: usize,
    /// Step t is in slot `t % slots`.
    pub(crate) slots: usize,
}

impl<E> Steps<*mut E> {
    /// Nothing.
    pub(crate) const NONE: Self = Self { at: std::ptr::null_mut(), row: 0, step: 0, slots: 1 };

    #[inline(always)]
    pub(crate) fn get(&self, row: usize, step: usize) -> *mut E {
        let step = if self.slots == 1 { 0 } else { step % self.slots };
        self.at.wrapping_add(row.wrapping_mul(self.row)).wrapping_add(step.wrapping_mul(self.step))
    }

    pub(crate) fn cast_const(self) -> Steps<*const E> {
        let Self { at, row, step, slots } = self;
        Steps { at: at.cast_const(), row, step, slots }
    }
}

impl<E> Steps<*const E> {
    #[inline(always)]
    pub(crate) fn get(&self, row: usize, step: usize) -> *const E {
        self.at.wrapping_add(row.wrapping_mul(self.row)).wrapping_add(step.wrapping_mul(self.step))
    }
}

/// In which steps a row takes part.
#[derive(Clone, Copy)]
pub(crate) struct Spans {
    /// Of every row; or null: all steps.
    pub(crate) lengths: *const usize,
    /// T.
    pub(crate) seq_len: usize,
    /// Whether steps run backwards in time: then a row begins late rather than that it ends early.
    pub(crate) reverse: bool,
}

impl Spans {
    /// The first step, and the one behind the last.
    #[inline(always)]
    pub(crate) unsafe fn of(&self, row: usize) -> (usize, usize) {
        if self.lengths.is_null() {
            return (0, self.seq_len);
        }
        let len = *self.lengths.add(row);
        if self.reverse {
            (self.seq_len - len, self.seq_len)
        } else {
            (0, len)
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn has(&self, row: usize, step: usize) -> bool {
        let (from, to) = self.of(row);
        (from..to).contains(&step)
    }

    /// Whether any of the rows takes part.
    #[inline(always)]
    pub(crate) unsafe fn any(&self, first: usize, rows: usize, step: usize) -> bool {
        self.lengths.is_null() || (first..first + rows).any(|row| self.has(row, step))
    }
}

/// The states that a pass begins with: rows of h `(P,)` and c `(H,)`, or null: zeros.
#[derive(Clone, Copy)]
pub(crate) struct Initial<E> {
    pub(crate) h: *const E,
    pub(crate) h_row: usize,
    pub(crate) c: *const E,
    pub(crate) c_row: usize,
}

impl<E> Initial<E> {
    fn row(pointer: *const E, row: usize, stride: usize) -> *const E {
        if pointer.is_null() {
            pointer
        } else {
            pointer.wrapping_add(row * stride)
        }
    }

    pub(crate) fn h(&self, row: usize) -> *const E {
        Self::row(self.h, row, self.h_row)
    }

    pub(crate) fn c(&self, row: usize) -> *const E {
        Self::row(self.c, row, self.c_row)
    }
}

/// States that are kept for the backward pass to compute the others from.
#[derive(Clone, Copy)]
pub(crate) struct Checkpoints<E> {
    /// `(B, count, P)`: the states after `every`, `2 · every`, ... steps; or null: none are kept.
    pub(crate) h: *mut E,
    /// `(B, count, H)`, if the cell has it.
    pub(crate) c: *mut E,
    pub(crate) every: usize,
    pub(crate) count: usize,
}

impl<E> Checkpoints<E> {
    /// None.
    pub(crate) const NONE: Self =
        Self { h: std::ptr::null_mut(), c: std::ptr::null_mut(), every: usize::MAX, count: 0 };

    /// How many there are in a sequence.
    pub(crate) fn count(every: usize, seq_len: usize) -> usize {
        (seq_len - 1) / every
    }
}

/// # Safety
/// Both must be valid for `len` elements, `from` unless it is null.
pub(crate) unsafe fn copy_or_zero<E: Element>(from: *const E, to: *mut E, len: usize) {
    if from.is_null() {
        std::slice::from_raw_parts_mut(to, len).fill(E::ZERO);
    } else {
        std::ptr::copy_nonoverlapping(from, to, len);
    }
}

/// `to = a ⊙ b`.
///
/// # Safety
/// All must be valid for `len` elements, and `to` apart from the others.
pub(crate) unsafe fn multiply<E: Element>(a: *const E, b: *const E, to: *mut E, len: usize) {
    let (a, b) = (std::slice::from_raw_parts(a, len), std::slice::from_raw_parts(b, len));
    let to = std::slice::from_raw_parts_mut(to, len);
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = *a * *b;
    }
}
