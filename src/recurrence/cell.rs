//! The cells that a recurrence can have.

use candle_rnn_kernels::CellKind;
use serde::{Deserialize, Serialize};

/// The function that a recurrent unit computes from its input and its state.
///
/// `σ` is the logistic function, `⊙` the product number by number; each gate has its own rows of
/// `W_ih`, `W_hh`, `b_ih` and `b_hh`, in the order in which they are named here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[doc(alias = "BasicRNNCell")]
pub enum Cell {
    /// `h_t = tanh(W_ih x_t + b + W_hh h_{t-1})`: Elman's network (1990).
    #[default]
    Tanh,
    /// `h_t = max(W_ih x_t + b + W_hh h_{t-1}, 0)`.
    Relu,
    /// Gated recurrent unit, gates `r z n`; the reset gate acts after the product, as in cuDNN and
    /// PyTorch:
    /// `r, z = σ(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`,
    /// `n = tanh(W_in x_t + b_in + r ⊙ (W_hn h_{t-1} + b_hn))`,
    /// `h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}`.
    #[doc(alias = "GRUCell")]
    Gru,
    /// The same with the reset gate before the product, as Cho et al. (2014) wrote it:
    /// `n = tanh(W_in x_t + b_in + b_hn + W_hn (r ⊙ h_{t-1}))`.
    GruResetBefore,
    /// Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate of Gers et al., 2000),
    /// gates `i f g o`:
    /// `i, f, o = σ(..)`, `g = tanh(..)`, `c_t = f ⊙ c_{t-1} + i ⊙ g`, `h_t = o ⊙ tanh(c_t)`; with
    /// a projection (Sak et al., 2014), `h_t = W_hr (o ⊙ tanh(c_t))`.
    #[doc(alias = "BasicLSTMCell")]
    #[doc(alias = "LSTMCell")]
    Lstm,
    /// Minimal gated unit (Zhou et al., 2016), gates `f n`, with the gate after the product:
    /// `f = σ(..)`, `n = tanh(W_in x_t + b_in + f ⊙ (W_hn h_{t-1} + b_hn))`,
    /// `h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n`.
    MinimalGru,
}

impl Cell {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Tanh, Self::Relu, Self::Gru, Self::GruResetBefore, Self::Lstm, Self::MinimalGru];

    /// The name used on the command line and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Relu => "relu",
            Self::Gru => "gru",
            Self::GruResetBefore => "gru-reset-before",
            Self::Lstm => "lstm",
            Self::MinimalGru => "minimal-gru",
        }
    }

    /// The kernels' name for it, with an LSTM's projection or without.
    pub(crate) fn kernels(self, is_projected: bool) -> CellKind {
        match self {
            Self::Tanh => CellKind::Tanh,
            Self::Relu => CellKind::Relu,
            Self::Gru => CellKind::Gru,
            Self::GruResetBefore => CellKind::GruResetBefore,
            Self::Lstm if is_projected => CellKind::ProjectedLstm,
            Self::Lstm => CellKind::Lstm,
            Self::MinimalGru => CellKind::MinimalGru,
        }
    }

    /// G: rows of the weights for each unit.
    pub fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 1,
            Self::MinimalGru => 2,
            Self::Gru | Self::GruResetBefore => 3,
            Self::Lstm => 4,
        }
    }

    /// Whether there is a second state, c.
    pub fn has_c(self) -> bool {
        self == Self::Lstm
    }

    /// Whether it trains two biases, as PyTorch does, or one.
    pub fn has_two_biases(self) -> bool {
        !matches!(self, Self::Tanh | Self::Relu)
    }
}
