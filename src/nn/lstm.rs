//! Long short-term memory.

use serde::{Deserialize, Serialize};

use super::named_stack::named_stack;
use super::stack::{Stack, StackConfig};
use crate::recurrence::Cell;

/// The sizes of an [`Lstm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LstmConfig {
    /// The number of features of the input at each step, I.
    pub input_size: usize,
    /// The number of features of the hidden state, H.
    pub hidden_size: usize,
    /// The size of the projected hidden state, P, if there is a projection: `h_t = W_hr (o ⊙ tanh(c_t))`.
    pub proj_size: Option<usize>,
    /// The initial bias of the forget gate, where it differs from [`Init`](super::Init)'s.
    pub forget_bias: Option<f64>,
    /// The number of layers, L.
    pub num_layers: usize,
    /// Whether each layer runs in both directions.
    pub bidirectional: bool,
    /// The dropout probability between layers, in training:
    /// [`Sequences::dropout`](super::Sequences::dropout) turns it on.
    pub dropout: f64,
    /// The dropout probability of the hidden state in the recurrent products, in training, the same units at
    /// every step of a sequence (variational dropout); turned on by the same.
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
/// # Source
/// Hochreiter & Schmidhuber (1997), "Long Short-Term Memory"; Gers, Schmidhuber & Cummins (2000),
/// "Learning to Forget"; the projection: Sak, Senior & Beaufays (2014), section 2.
#[derive(Clone, Debug)]
#[doc(alias = "BasicLSTMCell")]
#[doc(alias = "LSTMCell")]
#[doc(alias = "LSTMBlockFusedCell")]
pub struct Lstm(Stack);

named_stack!(Lstm, LstmConfig);
