//! `Task`, the interface between a trainer and what it trains.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::{PiecewiseValidation, Score, StepContext};
use crate::rng::SeededRng;
use crate::{Error, Result};

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

    /// Whether an epoch goes through the examples in the order 0, 1, .., N - 1, unshuffled: for pieces of long
    /// sequences that follow each other, whose state is carried in [`StepContext::state`]. A state has as many rows as
    /// the batch that it comes from: where examples are rows, the batch size should divide N.
    fn is_sequential(&self) -> bool {
        false
    }

    /// Arranges the order of an epoch that has begun, such as [by length](crate::data::bucket_by_length); the same order and position of `rng`
    /// must give the same. Each epoch begins with a stretch of `rng` of its own.
    ///
    /// - `order`: the numbers of all examples, shuffled unless the task is sequential; as many must be left
    /// - `step_size`: the number of examples in an optimizer step, which are cut from the order as it then is: a batch, or
    ///   all that a step adds up
    fn arrange(&self, _order: &mut Vec<u32>, _step_size: usize, _rng: &mut SeededRng) {}

    /// How much these examples count in the mean [loss](Self::loss) of a batch that has them: what it divides by, such as
    /// their number, which is the default, their labelled steps, or the sum of their class weights. A step that consists of
    /// several parts, of batches that are added up or of those that processes share out, weighs their losses by it, and so
    /// has the mean loss of all its examples. The loss of a part that weighs 0 is not computed, and draws and carries nothing.
    ///
    /// - `numbers`: as [`batch`](Self::batch) takes them
    /// - returns a finite number, at least 0
    fn weight(&self, numbers: &[u32]) -> f64 {
        numbers.len() as f64
    }

    /// The examples with these numbers below N, which stand at `place` and behind it in the epoch's
    /// order. It is called ahead of time and by any thread, and must always give the same.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn batch(&self, numbers: &[u32], place: usize) -> Result<Self::Batch>;

    /// The tensors that the loss of a batch reads, where it differs from that of any other batch with as many examples in
    /// their numbers alone: neither in shapes, nor in other numbers of the host, nor in what it draws or carries. A GPU may then
    /// record a step once and run it again ([`TrainerConfig::gpu_graph`](super::TrainerConfig::gpu_graph)): the trainer copies
    /// the numbers of other batches into these tensors. Each has memory of its own, contiguous, and at least one dimension.
    ///
    /// # Errors
    /// [`Error::Config`] where that is not so, as of a task that does not say otherwise.
    fn fixed_tensors<'a>(&self, _batch: &'a Self::Batch) -> Result<Vec<&'a Tensor>> {
        Err(Error::Config(
            "gpu_graph: the steps of this task are not recorded, since batches of as many examples may have other \
             shapes: set it to false"
                .into(),
        ))
    }

    /// The mean loss of a batch, a scalar with its graph: over its examples, or whatever else [`weight`](Self::weight)
    /// counts. Dropout draws from the context's stream; a task that
    /// trains statefully begins with the context's state and carries the final one. The batches of an epoch, and of
    /// a step that adds up several, come in order.
    ///
    /// # Errors
    /// Whatever keeps it from being computed.
    fn loss(&self, batch: &Self::Batch, context: &mut StepContext<'_>) -> Result<Tensor>;

    /// How many 32-bit words the loss of a batch of these examples draws from its stream: several processes that share
    /// the batches of a step out pass over what the others draw. `None` where that is not known; the task is then trained
    /// by several processes only as long as its losses draw nothing.
    ///
    /// - `numbers`: as [`batch`](Self::batch) takes them
    fn dropout_draws(&self, _numbers: &[u32]) -> Option<u64> {
        None
    }

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

    /// The validation in pieces, which several processes share out; `None` where one process validates. Its score is that
    /// of [`validate`](Self::validate), to the last bit.
    fn piecewise_validation(&self) -> Option<&dyn PiecewiseValidation> {
        None
    }
}
