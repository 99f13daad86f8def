//! Whole calls: lengths checked, batches cut into blocks of rows, blocks given to threads.
//!
//! - `forward`, `backward`: the two passes
//! - `states`: the states that the first leaves for the second
//! - `table`: the products and gradients of inputs that are looked up in a table
//! - `groups`: how the backward pass cuts a batch

mod backward;
mod forward;
mod groups;
mod states;
mod table;

use crate::cells::cell::WeightLayout;
use crate::forward::{Initial, Inputs, Lookup, PassInput, Spans};
use crate::kernels::Kernels;
use crate::simd::vector::Element;
use crate::threads::Crew;
use crate::view::{Place, View};
use crate::workspace::Buffer;
use crate::SequenceDims;
pub use backward::{backward, BackwardCall, Gradients, Wanted};
pub use forward::{forward, ForwardOutput};
pub use states::{Save, Saved};

/// The most features of an input, a state or an output.
const MAX_SIZE: usize = 1 << if usize::BITS < 64 { 14 } else { 28 };
/// The most steps of all rows together.
const MAX_ROWS: usize = 1 << if usize::BITS < 64 { 14 } else { 32 };

/// The arguments of both passes. D is the number of directions: the second runs backwards in time.
#[derive(Clone, Copy, Debug)]
pub struct RawCall<'a, E> {
    /// B, T, I, H and P.
    pub dims: SequenceDims,
    /// D: 1 or 2.
    pub directions: usize,
    /// `(B, T, I)`, or `(T, B, I)`; with `ids` a table, `(V, I)`.
    pub x: &'a [E],
    /// `(B, T)`, or `(T, B)`: the rows of `x` that rows read at their steps, each below V. Needs the feature `table`, which
    /// is on by default.
    pub ids: Option<&'a [u32]>,
    /// Whether `x`, `ids` and outputs have the time first.
    pub time_major: bool,
    /// `[h_0 | c_0]`, `(D, B, P)` and `(D, B, H)`, the latter if the cell has it; zeros if `None`.
    pub initial: Option<&'a [E]>,
    /// `(B,)`: steps of every row, at most T; or all have T.
    pub lengths: Option<&'a [usize]>,
    /// `(D, B, P)`: the recurrent dropout's mask.
    pub mask: Option<&'a [E]>,
    /// Weights that [`pack_weights`](crate::pack_weights) packed, by direction.
    pub weights: &'a [&'a [E]],
}

impl<'a, E> RawCall<'a, E> {
    /// A batch-first call from zero states, over rows that all have T steps; a direction for each of the weights.
    pub fn new(dims: SequenceDims, x: &'a [E], weights: &'a [&'a [E]]) -> Self {
        Self {
            dims,
            directions: weights.len(),
            x,
            ids: None,
            time_major: false,
            initial: None,
            lengths: None,
            mask: None,
            weights,
        }
    }
}

/// A call whose lengths were checked, and the kernels that run it.
#[derive(Clone, Copy)]
struct CheckedInput<'a, E> {
    call: RawCall<'a, E>,
    kernels: &'a Kernels<E>,
    layout: WeightLayout,
}

impl<'a, E: Element> CheckedInput<'a, E> {
    /// Checks every length.
    fn new(kernels: &'a Kernels<E>, call: RawCall<'a, E>) -> Self {
        let SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size } = call.dims;
        let checked = Self { call, kernels, layout: kernels.layout(&call.dims) };
        let layout = &checked.layout;
        assert!(matches!(call.directions, 1 | 2) && seq_len > 0);
        // Sizes of which products of two, and of the number of gates, cannot wrap.
        assert!([input_size, hidden_size, output_size].iter().all(|size| *size <= MAX_SIZE));
        assert!(layout.projection > 0 || output_size == hidden_size, "only an LSTM is projected");
        let rows = batch_size.checked_mul(seq_len);
        match call.ids {
            None => {
                let values = rows.and_then(|rows| rows.checked_mul(input_size));
                assert_eq!(Some(call.x.len()), values);
            }
            Some(ids) => {
                assert!(checked.ids().is_some(), "compiled without the feature `table`");
                assert!(input_size > 0 && call.x.len().is_multiple_of(input_size));
                assert_eq!(Some(ids.len()), rows);
                let table_rows = call.x.len() / input_size;
                assert!(ids.iter().all(|id| (*id as usize) < table_rows), "a row beyond the table");
            }
        }
        assert!(rows.is_some_and(|rows| rows <= MAX_ROWS));
        assert_eq!(call.weights.len(), call.directions);
        assert!(call.weights.iter().all(|weights| weights.len() == layout.packed_len));
        assert!(call.initial.is_none_or(|initial| initial.len() == checked.states_len()));
        assert!(call.lengths.is_none_or(|lengths| {
            lengths.len() == batch_size && lengths.iter().all(|len| *len <= seq_len)
        }));
        assert!(call.mask.is_none_or(|mask| mask.len() == checked.h_len()));
        checked
    }

    /// The numbers of the table's rows, if inputs are looked up.
    fn ids(&self) -> Option<&'a [u32]> {
        self.call.ids.filter(|_| cfg!(feature = "table"))
    }

    /// The number of rows of all directions.
    fn rows(&self) -> usize {
        self.call.directions * self.call.dims.batch_size
    }

    /// H, or 0 if the cell has no c.
    fn c_size(&self) -> usize {
        usize::from(self.kernels.has_c) * self.call.dims.hidden_size
    }

    /// Elements of final h of all directions.
    fn h_len(&self) -> usize {
        self.rows() * self.call.dims.output_size
    }

    /// Elements of final states.
    fn states_len(&self) -> usize {
        self.h_len() + self.rows() * self.c_size()
    }

    /// Where a direction begins in `(B, T, D, len)` or `(T, B, D, len)`, and the strides of rows and
    /// steps as it goes through it.
    fn public_layout(&self, direction: usize, directions: usize, len: usize) -> Place<2> {
        let SequenceDims { batch_size, seq_len, .. } = self.call.dims;
        let len_of_step = directions * len;
        let (row, step) = if self.call.time_major {
            (len_of_step, batch_size * len_of_step)
        } else {
            (seq_len * len_of_step, len_of_step)
        };
        if direction == 0 {
            (0, [row as isize, step as isize])
        } else {
            let last_step = (seq_len - 1) * step;
            (last_step + (directions - 1) * len, [row as isize, -(step as isize)])
        }
    }

    /// A direction's part of all outputs, or of their gradients.
    fn outputs_layout(&self, direction: usize) -> Place<2> {
        self.public_layout(direction, self.call.directions, self.call.dims.output_size)
    }

    /// The first element of a direction's h and c in `[h | c]`, and the stride of their rows; no c if the cell has none.
    fn states_layout(&self, direction: usize) -> [Option<Place<1>>; 2] {
        let first = direction * self.call.dims.batch_size;
        let [h, c] = [self.call.dims.output_size, self.c_size()];
        let of_c = self.kernels.has_c.then(|| (self.h_len() + first * c, [c as isize]));
        [Some((first * h, [h as isize])), of_c]
    }

    /// `[h | c]` of a direction, by row.
    fn states(&self, all: Option<&[E]>, direction: usize) -> [Option<View<E, 1>>; 2] {
        self.states_layout(direction).map(|place| Some(View::with_strides(all?, place?)))
    }

    /// The arguments of a direction's passes.
    ///
    /// - `products`: of a table's rows, by direction; empty where nothing reads them
    fn pass_input<'c>(
        &self,
        direction: usize,
        products: &[Buffer<E>],
        crew: &'c Crew,
    ) -> PassInput<'c, E>
    where
        'a: 'c,
    {
        let RawCall { dims, x, initial, lengths, mask, .. } = self.call;
        let inputs = match self.ids() {
            None => {
                let place = self.public_layout(direction, 1, dims.input_size);
                Inputs::Rows(View::with_strides(x, place))
            }
            Some(ids) => Inputs::Table(Lookup {
                ids: View::with_strides(ids, self.public_layout(direction, 1, 1)),
                table_rows: x.len() / dims.input_size,
                products: View::new(products.get(direction).map_or(&[][..], |of| of)),
            }),
        };
        let [h, c] = self.states(initial, direction);
        let mask_place =
            (direction * dims.batch_size * dims.output_size, [dims.output_size as isize]);
        PassInput {
            dims,
            layout: self.layout,
            inputs,
            initial: Initial { h, c },
            mask: mask.map(|mask| View::with_strides(mask, mask_place)),
            spans: Spans { lengths, seq_len: dims.seq_len, reverse: direction == 1 },
            crew,
        }
    }

    /// The final states of rows without steps are their initial ones, and so are the gradients.
    fn hand_through(&self, grad_last: &[E], grad_initial: &mut [E]) {
        let batch_size = self.call.dims.batch_size;
        let mut at = 0;
        for size in [self.call.dims.output_size, self.c_size()] {
            for row in 0..self.rows() {
                if self.call.lengths.is_some_and(|lengths| lengths[row % batch_size] == 0) {
                    grad_initial[at..at + size].copy_from_slice(&grad_last[at..at + size]);
                }
                at += size;
            }
        }
    }
}
