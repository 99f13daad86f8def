//! `Task`, the interface between a trainer and what it trains.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::Score;
use crate::rng::SeededRng;
use crate::Result;

/// A model with its data: what a [`Trainer`](super::Trainer) trains, and all that it has to know of them.
///
/// [`Classification`](super::Classification) is one; `examples/time_series.rs` has another.
pub trait Task: Sync {
    /// Some examples, as the loss takes them.
    type Batch: Send + Sync;

    /// The variables that are trained, by name.
    fn vars(&self) -> &BTreeMap<String, Var>;

    /// Where they are computed with.
    fn device(&self) -> &Device;

    /// N, how many examples there are to train on.
    fn examples(&self) -> usize;

    /// Draws what an epoch does to its examples, such as moving each a little; the same position of `rng`
    /// must give the same.
    fn begin_epoch(&mut self, _rng: &mut SeededRng) {}

    /// The examples with these numbers below N, which stand at `place` and behind it in the epoch's
    /// order. It is called ahead of time and by any thread, and must always give the same.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn batch(&self, numbers: &[u32], place: usize) -> Result<Self::Batch>;

    /// The mean loss of a batch, a scalar with its graph; dropout draws from `rng`.
    ///
    /// # Errors
    /// Whatever keeps it from being computed.
    fn loss(&self, batch: &Self::Batch, rng: &mut SeededRng) -> Result<Tensor>;

    /// How well the model does on a batch.
    ///
    /// # Errors
    /// Whatever keeps it from being computed.
    fn score(&self, batch: &Self::Batch) -> Result<Score>;

    /// How well the model does on examples that it is not trained on.
    ///
    /// # Errors
    /// Whatever keeps it from being computed.
    fn validate(&self) -> Result<Score>;
}
