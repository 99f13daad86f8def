//! The state of a trainer, from which it continues with the same bits.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{CarriedState, EpochMetrics};
use crate::optim::AdamState;

/// Where a trainer is; with weights and optimizer state, all that is needed to continue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epochs done.
    pub epoch: usize,
    /// Batches done of the epoch that has begun.
    pub batch: usize,
    /// Sum of these batches' losses, each times its share of the examples with [`Batching::Exact`].
    ///
    /// [`Batching::Exact`]: crate::data::batches::Batching::Exact
    pub loss_sum: f64,
    /// Seconds that they took.
    pub seconds: f64,
    /// Position of the shuffling stream before it drew this epoch's order.
    pub shuffle: u64,
    /// Position of the dropout stream.
    #[serde(default)]
    pub dropout: u64,
    /// Position of the stream of shifts before it drew this epoch's.
    #[serde(default)]
    pub augment: u64,
    /// The lowest validation loss so far.
    #[serde(default)]
    pub best_loss: Option<f64>,
    /// Epochs since it was found.
    #[serde(default)]
    pub waited: usize,
    /// How often it has not improved for the epochs of patience: what `Schedule::Plateau` counts.
    #[serde(default)]
    pub plateaus: u32,
}

/// A trainer's state: what [`Trainer::restore`](super::Trainer::restore) continues from.
#[derive(Clone, Debug)]
pub struct TrainerState {
    /// Where the trainer is.
    pub position: Position,
    /// The weights, by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The optimizer's state.
    pub adam: AdamState,
    /// The averages of the weights, by the weights' names; `None` unless they are asked for.
    pub average: Option<BTreeMap<String, Tensor>>,
    /// The state carried between the batches of the epoch that has begun; none of a task that carries none.
    pub carried: CarriedState,
    /// The best epoch so far with its weights; `None` without patience.
    pub best: Option<Best>,
}

/// The best epoch of a training with patience: the most accurate on the validation examples or, where there is no
/// right or wrong, the one with the lowest validation loss.
#[derive(Clone, Debug)]
pub struct Best {
    /// Its metrics.
    pub metrics: EpochMetrics,
    /// The weights that were measured, by name: the averages if there are some.
    pub weights: BTreeMap<String, Tensor>,
}

impl TrainerState {
    /// The weights that were measured: the averages if there are some.
    pub fn model(&self) -> &BTreeMap<String, Tensor> {
        self.average.as_ref().unwrap_or(&self.weights)
    }
}
