//! The states that a layer begins with and ends with.

use candle_core::Tensor;

use crate::{Error, Result};

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
