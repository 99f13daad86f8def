//! Gated recurrent units.

use serde::{Deserialize, Serialize};

use super::named_stack::named_stack;
use super::stack::{Stack, StackConfig};
use crate::recurrence::Cell;

/// Where a [`Gru`]'s reset gate acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// On the product `W_hn h_{t-1} + b_hn`: cuDNN, PyTorch, Keras's `reset_after=True`.
    #[default]
    After,
    /// On `h_{t-1}`, before the product: the paper, TensorFlow 1, Keras's `reset_after=False`.
    Before,
}

/// The sizes of a [`Gru`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GruConfig {
    /// The number of features of the input at each step, I.
    pub input_size: usize,
    /// The number of features of the hidden state, H.
    pub hidden_size: usize,
    /// Where the reset gate acts.
    pub reset: Reset,
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

impl GruConfig {
    /// One layer, forward in time, reset after the product, without dropout.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self {
            input_size,
            hidden_size,
            reset: Reset::After,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            recurrent_dropout: 0.,
        }
    }
}

impl From<GruConfig> for StackConfig {
    fn from(config: GruConfig) -> Self {
        let cell = match config.reset {
            Reset::After => Cell::Gru,
            Reset::Before => Cell::GruResetBefore,
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

/// Layers of gated recurrent units: the equations of [`Cell::Gru`], or of [`Cell::GruResetBefore`].
///
/// # Source
/// Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
/// Machine Translation", equations 5 to 8.
#[derive(Clone, Debug)]
#[doc(alias = "GRUCell")]
pub struct Gru(Stack);

named_stack!(Gru, GruConfig);
