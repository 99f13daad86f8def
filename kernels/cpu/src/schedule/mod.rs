//! Whole calls: lengths checked, batches cut into blocks of rows, blocks given to threads.
//!
//! - `forward`, `backward`: the two passes
//! - `groups`: how the backward pass cuts a batch

mod backward;
mod forward;
mod groups;

use crate::cells::cell::WeightLayout;
use crate::forward::{Initial, Spans};
use crate::kernels::Kernels;
use crate::simd::vector::Element;
use crate::view::View;
use crate::workspace::Buffer;
use crate::SequenceDims;
pub use backward::{backward, BackwardCall, Gradients, Wanted};
pub use forward::{forward, Output};

/// The most features of an input, a state or an output.
const MAX_SIZE: usize = 1 << if usize::BITS < 64 { 14 } else { 28 };
/// The most steps of all rows together.
const MAX_ROWS: usize = 1 << if usize::BITS < 64 { 14 } else { 32 };
/// Rows that a thread should have together, so that a tile is full and weights are read seldom.
const MIN_ROWS: usize = 5;

/// What both passes read. D is the number of directions: the second runs backwards in time.
#[derive(Clone, Copy, Debug)]
pub struct RawCall<'a, E> {
    /// B, T, I, H and P.
    pub dims: SequenceDims,
    /// D: 1 or 2.
    pub directions: usize,
    /// `(B, T, I)`, or `(T, B, I)`.
    pub x: &'a [E],
    /// Whether `x` and outputs have the time first.
    pub time_major: bool,
    /// `[h_0 | c_0]`, `(D, B, P)` and `(D, B, H)`, the latter if the cell has it; zeros if `None`.
    pub initial: Option<&'a [E]>,
    /// `(B,)`: steps of every row, at most T; or all have T.
    pub lengths: Option<&'a [usize]>,
    /// `(D, B, P)`: the recurrent dropout's mask.
    pub mask: Option<&'a [E]>,
    /// What [`pack_weights`](crate::pack_weights) gives, by direction.
    pub weights: &'a [&'a [E]],
}

/// Which states are to be saved for a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Save {
    /// Nothing: there is no backward pass.
    None,
    /// The states of every step.
    All,
    /// Those at the ends of blocks of steps: the backward pass recomputes the others.
    Checkpoints,
}

/// States that the backward pass needs and nobody else sees. B and T are in the order of the
/// recurrence.
pub struct Saved<E> {
    pub(crate) save: Save,
    /// `(D, B, T, P)`, unless outputs hold it; or `(D, B, count, P)`: checkpoints.
    h: Buffer<E>,
    /// `(D, T, B, H)`, if the cell has it; or `(D, B, count, H)`.
    c: Buffer<E>,
    /// `(D, T, B, A·H)`, unless the cell is simple or there are checkpoints.
    gates: Buffer<E>,
}

impl<'a, E: Element> RawCall<'a, E> {
    fn check(&self, kernels: &Kernels<E>, layout: &WeightLayout) {
        let SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size } = self.dims;
        assert!(matches!(self.directions, 1 | 2) && seq_len > 0);
        // Sizes of which products of two, and of the number of gates, cannot wrap.
        assert!([input_size, hidden_size, output_size].iter().all(|size| *size <= MAX_SIZE));
        assert!(layout.projection > 0 || output_size == hidden_size, "only an LSTM is projected");
        let values = batch_size.checked_mul(seq_len).and_then(|rows| rows.checked_mul(input_size));
        assert_eq!(Some(self.x.len()), values);
        assert!(batch_size.checked_mul(seq_len).is_some_and(|rows| rows <= MAX_ROWS));
        assert_eq!(self.weights.len(), self.directions);
        assert!(self.weights.iter().all(|weights| weights.len() == layout.packed_len));
        let states = self.states_len(kernels);
        assert!(self.initial.is_none_or(|initial| initial.len() == states));
        assert!(self.lengths.is_none_or(|lengths| {
            lengths.len() == batch_size && lengths.iter().all(|len| *len <= seq_len)
        }));
        assert!(self.mask.is_none_or(|mask| mask.len() == self.h_len()));
    }

    /// Elements of final h of all directions.
    fn h_len(&self) -> usize {
        self.directions * self.dims.batch_size * self.dims.output_size
    }

    /// Elements of final states.
    fn states_len(&self, kernels: &Kernels<E>) -> usize {
        let c = self.directions * self.dims.batch_size * self.dims.hidden_size;
        self.h_len() + if kernels.has_c { c } else { 0 }
    }

    /// Where a direction begins in `(B, T, D, len)` or `(T, B, D, len)`, and the strides of rows and
    /// steps as it goes through it.
    fn public_layout(
        &self,
        direction: usize,
        directions: usize,
        len: usize,
    ) -> (usize, [isize; 2]) {
        let SequenceDims { batch_size, seq_len, .. } = self.dims;
        let len_of_step = directions * len;
        let (row, step) = if self.time_major {
            (len_of_step, batch_size * len_of_step)
        } else {
            (seq_len * len_of_step, len_of_step)
        };
        let at = if directions == 1 { 0 } else { direction * len };
        let [row, step_on] = [row as isize, step as isize];
        if direction == 0 {
            (at, [row, step_on])
        } else {
            (at + (seq_len - 1) * step, [row, -step_on])
        }
    }

    fn x(&self, direction: usize) -> View<E, 2> {
        let (first, strides) = self.public_layout(direction, 1, self.dims.input_size);
        View::with_strides(self.x, first, strides)
    }

    /// `[h | c]` for a direction, by row.
    fn states(
        &self,
        kernels: &Kernels<E>,
        all: Option<&[E]>,
        direction: usize,
    ) -> [Option<View<E, 1>>; 2] {
        let SequenceDims { batch_size, hidden_size, output_size, .. } = self.dims;
        let rows = |all: &[E], first: usize, len: usize| {
            View::with_strides(all, first + direction * batch_size * len, [len as isize])
        };
        [
            all.map(|all| rows(all, 0, output_size)),
            all.filter(|_| kernels.has_c).map(|all| rows(all, self.h_len(), hidden_size)),
        ]
    }

    fn initial(&self, kernels: &Kernels<E>, direction: usize) -> Initial<E> {
        let [h, c] = self.states(kernels, self.initial, direction);
        Initial { h, c }
    }

    /// The final states of rows without steps are their initial ones, and so are the gradients.
    fn hand_through(&self, kernels: &Kernels<E>, grad_last: &[E], grad_initial: &mut [E]) {
        let SequenceDims { batch_size, hidden_size, output_size, .. } = self.dims;
        let sizes = [Some(output_size), kernels.has_c.then_some(hidden_size)];
        let mut at = 0;
        for size in sizes.into_iter().flatten() {
            for row in 0..self.directions * batch_size {
                if self.lengths.is_some_and(|lengths| lengths[row % batch_size] == 0) {
                    grad_initial[at..at + size].copy_from_slice(&grad_last[at..at + size]);
                }
                at += size;
            }
        }
    }

    fn mask(&self, direction: usize) -> Option<View<E, 1>> {
        let SequenceDims { batch_size, output_size, .. } = self.dims;
        let first = direction * batch_size * output_size;
        self.mask.map(|mask| View::with_strides(mask, first, [output_size as isize]))
    }

    fn spans(&self, direction: usize) -> Spans<'a> {
        Spans { lengths: self.lengths, seq_len: self.dims.seq_len, reverse: direction == 1 }
    }
}

/// Where a direction begins in `(D, slots, B, len)`, which is in the order of the recurrence, and the strides
/// of rows and steps.
fn saved_layout(direction: usize, slots: usize, rows: usize, len: usize) -> (usize, [isize; 2]) {
    (direction * slots * rows * len, [len as isize, (rows * len) as isize])
}
