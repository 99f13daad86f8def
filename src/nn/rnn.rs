//! The simple recurrent network (Elman), with tanh or relu.

use serde::{Deserialize, Serialize};

use super::named_stack::named_stack;
use super::stack::{Stack, StackConfig};
use crate::recurrence::Cell;

/// The activation `f` of an [`Rnn`]: PyTorch's `nonlinearity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `tanh(z)`.
    #[default]
    Tanh,
    /// `max(z, 0)`.
    Relu,
}

/// The sizes of an [`Rnn`], and its activation.
///
/// ```
/// use candle_rnn::nn::RnnConfig;
/// let config = RnnConfig { bidirectional: true, ..RnnConfig::new(28, 150) };
/// assert_eq!(config.num_layers, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RnnConfig {
    /// The number of features of the input at each step, I.
    pub input_size: usize,
    /// The number of features of the hidden state, H.
    pub hidden_size: usize,
    /// The activation, f.
    pub activation: Activation,
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

impl RnnConfig {
    /// One layer of tanh units, forward in time, without dropout.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self {
            input_size,
            hidden_size,
            activation: Activation::Tanh,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            recurrent_dropout: 0.,
        }
    }
}

impl From<RnnConfig> for StackConfig {
    fn from(config: RnnConfig) -> Self {
        let cell = match config.activation {
            Activation::Tanh => Cell::Tanh,
            Activation::Relu => Cell::Relu,
        };
        Self {
            num_layers: config.num_layers,
            bidirectional: config.bidirectional,
            dropout: config.dropout,
            recurrent_dropout: config.recurrent_dropout,
            ..Self::new(cell, config.input_size, config.hidden_size)
        }
    }
}

/// Layers of Elman's network: `h_t = f(W_ih x_t + b + W_hh h_{t-1})`.
///
/// There is one bias, as TensorFlow's `BasicRNNCell` has it, unless weights are read that have PyTorch's two.
///
/// # Source
/// Elman (1990), "Finding Structure in Time".
#[derive(Clone, Debug)]
#[doc(alias = "BasicRNNCell")]
#[doc(alias = "SimpleRNN")]
pub struct Rnn(Stack);

named_stack!(Rnn, RnnConfig);
