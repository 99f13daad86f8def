//! The states that a forward pass computes in, and leaves for the backward pass.

use crate::simd::vector::Element;
use crate::view::{Place, SharedSlice, View, ViewMut};
use crate::workspace::Buffer;

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
    pub(super) h: StateRows<E>,
    /// `(D, T, B, H)`, if the cell has it; or `(D, B, count, H)`.
    pub(super) c: StateRows<E>,
    /// `(D, T, B, A·H)`, unless the cell is simple or there are checkpoints.
    pub(super) gates: StateRows<E>,
}

/// The sizes and the order of rows of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StateShape {
    pub(super) directions: usize,
    pub(super) batch_size: usize,
    /// The number of steps, or of checkpoints.
    pub(super) slots: usize,
    /// The number of elements of a row; 0 for a state that is not there.
    pub(super) len: usize,
    /// Whether they lie as `(D, B, slots, len)`, rather than `(D, slots, B, len)`.
    pub(super) is_by_row: bool,
}

impl StateShape {
    /// The first element of a direction, and the strides of rows and slots.
    fn place(&self, direction: usize) -> Place<2> {
        let Self { batch_size, slots, len, is_by_row, .. } = *self;
        let strides = if is_by_row { [slots * len, len] } else { [len, batch_size * len] };
        (direction * batch_size * slots * len, strides.map(|stride| stride as isize))
    }
}

/// Rows of a state of all directions.
pub(super) struct StateRows<E> {
    pub(super) shape: StateShape,
    elements: Buffer<E>,
}

impl<E: Element> StateRows<E> {
    /// Memory for rows, of unspecified value.
    pub(super) fn new(shape: StateShape) -> Self {
        let StateShape { directions, batch_size, slots, len, .. } = shape;
        Self { shape, elements: Buffer::new(directions * batch_size * slots * len) }
    }

    /// A direction, by row and slot.
    pub(super) fn view(&self, direction: usize) -> View<E, 2> {
        View::with_strides(&self.elements, self.shape.place(direction))
    }

    /// The same for any direction, to write.
    pub(super) fn writer(&mut self) -> impl Fn(usize) -> ViewMut<E, 2> {
        let (shape, elements) = (self.shape, SharedSlice::new(&mut self.elements));
        move |direction| elements.view(shape.place(direction))
    }
}
