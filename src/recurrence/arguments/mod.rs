//! What a recurrence takes: weights, states, sizes, and how it is run.
//!
//! - `unroll`: which states are read, and how far gradients flow back
//! - `weights`: the weights of a layer
//! - `dims`: sizes, and whether tensors fit to them

pub(super) mod dims;
mod unroll;
mod weights;

use candle_core::{DType, Tensor};

use crate::{Error, Result};
pub use unroll::{Outputs, Unroll};
pub use weights::{WeightSizes, Weights};

/// The states of a layer, or of a stack of layers.
///
/// D is the number of directions; of a stack, the states of all layers follow each other, forward
/// before backward: `L·D` instead of D.
///
/// A state carries the graph that made it, and so the graphs of all calls before:
/// [`detach`](Self::detach) where gradients are to stop.
#[derive(Clone, Debug)]
#[doc(alias = "LSTMStateTuple")]
pub struct State {
    /// `(D, B, P)`.
    pub h: Tensor,
    /// `(D, B, H)`, of a cell that has it.
    pub c: Option<Tensor>,
    /// The calls in the graph that made it, one behind the other.
    calls: usize,
}

impl State {
    /// The calls that a state's graph may hold one behind the other. Candle goes through a graph, and frees it, by
    /// recursion: several times as many overflow the stack of a thread.
    pub const MAX_CALLS: usize = 1000;

    /// The state h of a cell that has no other.
    pub fn new(h: Tensor) -> Self {
        Self::from_parts(h, None)
    }

    /// The states h and, of a cell that has it, c.
    pub fn from_parts(h: Tensor, c: Option<Tensor>) -> Self {
        Self { h, c, calls: 0 }
    }

    /// The same values without the graph that made them.
    pub fn detach(&self) -> Self {
        Self::from_parts(self.h.detach(), self.c.as_ref().map(Tensor::detach))
    }

    /// A part of this state's tensors, which carries its graph.
    pub(crate) fn part(&self, h: Tensor, c: Option<Tensor>) -> Self {
        Self { h, c, calls: self.calls }
    }

    /// Whether a graph made it.
    fn is_tracked(&self) -> bool {
        self.h.track_op() || self.c.as_ref().is_some_and(Tensor::track_op)
    }

    /// The state after a call that began with `before`.
    pub(crate) fn after(self, before: Option<&State>) -> Self {
        let calls = if self.is_tracked() { before.map_or(0, |before| before.calls) + 1 } else { 0 };
        Self { calls, ..self }
    }

    /// Checks that another call may begin with this state.
    ///
    /// # Errors
    /// [`Error::Config`] when its graph holds [`MAX_CALLS`](Self::MAX_CALLS) calls.
    pub(crate) fn check_depth(&self) -> Result<()> {
        if self.calls < Self::MAX_CALLS || !self.is_tracked() {
            return Ok(());
        }
        Err(Error::Config(format!(
            "the state carries the graph of {} calls, and Candle's recursion over a longer one would overflow \
             the stack: detach the state (State::detach) where gradients are to stop, or run the sequence in \
             one call of Stack::forward",
            self.calls
        )))
    }
}

/// How a layer runs over a batch of sequences, besides its weights and `x`.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// States before the first step; zeros if `None`.
    pub initial: Option<&'a State>,
    /// `(B,)`: the steps of each row, at most T; all have T if `None`.
    pub lengths: Option<&'a [usize]>,
    /// `(D, B, P)`: what the state is multiplied with wherever a product reads it, the same at every
    /// step: variational dropout (Gal & Ghahramani, 2016). A constant: it gets no gradient.
    pub mask: Option<&'a Tensor>,
    /// Whether `x` is `(T, B, I)`, and so are the outputs.
    pub time_major: bool,
    /// What is read, and how far gradients flow back.
    pub unroll: Unroll,
}

impl Call<'_> {
    /// From zeros, over whole sequences of one length, batch-first.
    pub fn new(unroll: impl Into<Unroll>) -> Self {
        Self { initial: None, lengths: None, mask: None, time_major: false, unroll: unroll.into() }
    }
}

pub(super) fn wrong_shape(tensor: &'static str, expected: String, actual: &Tensor) -> Error {
    Error::Shape { op: OP, tensor, expected, actual: actual.dims().to_vec() }
}

pub(super) fn check_dtype(tensor: &str, actual: &Tensor, wanted: DType) -> Result<()> {
    let dtype = actual.dtype();
    if dtype == wanted && matches!(dtype, DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(Error::DType {
        op: OP,
        tensor: tensor.into(),
        expected: match wanted {
            DType::F32 => "f32, as the weights",
            DType::F64 => "f64, as the weights",
            _ => "f32 or f64",
        },
        actual: dtype.as_str().into(),
    })
}

/// The name of the operation in errors.
const OP: &str = "recurrence";
