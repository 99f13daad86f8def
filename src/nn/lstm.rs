//! Long short-term memory.

use serde::{Deserialize, Serialize};

use super::stack::{Stack, StackConfig};
use crate::recurrence::Cell;

/// The sizes of an [`Lstm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LstmConfig {
    /// I, features of the input at each step.
    pub input_size: usize,
    /// H, units.
    pub hidden_size: usize,
    /// P, if the state is projected: `h_t = W_hr (o ⊙ tanh(c_t))` has P numbers.
    pub proj_size: Option<usize>,
    /// The initial bias of the forget gate, if it is not to be as the initialisation's source has
    /// it: see [`Init`](super::Init).
    pub forget_bias: Option<f64>,
    /// L, layers on top of each other.
    pub num_layers: usize,
    /// Whether each layer runs in both directions.
    pub bidirectional: bool,
    /// Probability that a number between two layers is left out in training:
    /// [`Sequences::dropout`](super::Sequences::dropout) turns it on.
    pub dropout: f64,
    /// Probability that a unit's state is left out of the recurrent products in training, the same
    /// units at every step of a sequence; turned on by the same.
    pub recurrent_dropout: f64,
}

impl LstmConfig {
    /// One layer, forward in time, without projection and dropout.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self {
            input_size,
            hidden_size,
            proj_size: None,
            forget_bias: None,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            recurrent_dropout: 0.,
        }
    }
}

impl From<LstmConfig> for StackConfig {
    fn from(config: LstmConfig) -> Self {
        Self {
            proj_size: config.proj_size,
            forget_bias: config.forget_bias,
            num_layers: config.num_layers,
            bidirectional: config.bidirectional,
            dropout: config.dropout,
            recurrent_dropout: config.recurrent_dropout,
            ..Self::new(Cell::Lstm, config.input_size, config.hidden_size)
        }
    }
}

/// Layers of long short-term memory: the equations of [`Cell::Lstm`].
///
/// It is a [`Stack`], which has its methods.
///
/// # Source
/// Hochreiter & Schmidhuber (1997), "Long Short-Term Memory"; Gers, Schmidhuber & Cummins (2000),
/// "Learning to Forget"; the projection: Sak, Senior & Beaufays (2014), section 2.
#[derive(Clone, Debug)]
#[doc(alias = "BasicLSTMCell")]
#[doc(alias = "LSTMCell")]
#[doc(alias = "LSTMBlockFusedCell")]
pub struct Lstm(Stack);

super::named_stack!(Lstm, LstmConfig);
