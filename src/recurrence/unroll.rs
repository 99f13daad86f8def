//! How a sequence is unrolled: which states are read, and how far gradients flow back.

use crate::recurrence::Truncation;
use crate::{Error, Result};

/// Which states a sequence's reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Those of all steps: `(B, T, H)`.
    All,
    /// That of the last step: `(B, H)`. The others are kept where only the backward pass sees
    /// them, which saves reading and writing gradients of zero.
    Last,
}

/// How a sequence is run: which states are read, how far gradients flow back, and which states are
/// kept for the backward pass.
///
/// Values do not depend on the last two. `Outputs` alone is full backpropagation with all states
/// kept.
///
/// ```
/// use candle_rnn::recurrence::Truncation;
/// use candle_rnn::recurrence::{Outputs, Unroll};
/// # fn main() -> candle_rnn::Result<()> {
/// let in_segments = Unroll::new(Outputs::All).truncated(Truncation::segments(5)?);
/// let in_small_memory = Unroll::new(Outputs::Last).recomputing()?;
/// # let _ = (in_segments, in_small_memory);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unroll {
    outputs: Outputs,
    truncation: Truncation,
    recompute: bool,
}

impl Unroll {
    /// Full backpropagation through time, with all states kept.
    pub fn new(outputs: Outputs) -> Self {
        Self { outputs, truncation: Truncation::FULL, recompute: false }
    }

    /// The same with gradients cut as `truncation` says. In a pass that runs backwards in time, so
    /// do its steps: windows are counted from its first step, the last in time.
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation, ..self }
    }

    /// The same with states kept only at the ends of blocks of steps: the backward pass computes
    /// the others again. Of T states about √T or fewer are kept, and one block's are in memory at a
    /// time; it takes up to 1.4 times the time, and gives the same bits.
    ///
    /// # Errors
    /// [`Error::Config`] when all states are read: then they are there anyway.
    pub fn recomputing(self) -> Result<Self> {
        match self.outputs {
            Outputs::Last => Ok(Self { recompute: true, ..self }),
            Outputs::All => Err(Error::Config(
                "states that are all read need not be computed again: recompute with the last \
                 state alone"
                    .into(),
            )),
        }
    }

    /// Which states are read.
    pub fn outputs(&self) -> Outputs {
        self.outputs
    }

    /// How far gradients flow back.
    pub fn truncation(&self) -> Truncation {
        self.truncation
    }

    /// Whether states are computed again.
    pub fn recomputes(&self) -> bool {
        self.recompute
    }
}

impl From<Outputs> for Unroll {
    fn from(outputs: Outputs) -> Self {
        Self::new(outputs)
    }
}
