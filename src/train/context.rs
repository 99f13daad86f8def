//! `StepContext`, what a task's loss draws from and carries along.

use super::CarriedState;
use crate::rng::SeededRng;

/// The context of a batch's loss: random numbers and carried state.
///
/// A trainer keeps both: what a loss draws and carries counts once the optimizer step has succeeded, and is
/// saved with the trainer's state.
#[derive(Debug)]
pub struct StepContext<'a> {
    /// The stream of random numbers of dropout.
    pub rng: &'a mut SeededRng,
    /// The state carried from the batch before of the same epoch, for stateful truncated backpropagation through time:
    /// read it at the beginning, [`carry`](CarriedState::carry) the final state at the end. An epoch begins
    /// without one.
    pub state: &'a mut CarriedState,
}
