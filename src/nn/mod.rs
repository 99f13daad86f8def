//! Layers and their initial weights.
//!
//! - [`stack`]: layers on top of each other, in one direction or both: what runs
//! - [`rnn`], [`gru`], [`lstm`]: stacks of one cell, by the names that users look for
//! - [`cell`]: one step of one layer, with the same weights
//! - [`dense`], [`embedding`]: what stands before and behind recurrent layers
//! - [`dropout`]: seeded dropout
//! - [`pool`]: what is read of all outputs of a sequence
//! - [`init`]: seeded initial weights that go into a `VarMap`
//! - [`weights`]: weights from PyTorch, Keras and candle-nn, and back to PyTorch's names

pub mod cell;
pub mod dense;
mod dense_op;
pub mod dropout;
pub mod embedding;
pub mod gru;
pub mod init;
pub mod lstm;
pub mod pool;
pub mod rnn;
pub mod stack;
pub mod weights;

pub use cell::RecurrentCell;
pub use dense::{Dense, DenseConfig};
pub use embedding::Embedding;
pub use gru::{Gru, GruConfig, Reset};
pub use init::Init;
pub use lstm::{Lstm, LstmConfig};
pub use rnn::{Activation, Rnn, RnnConfig};
pub use stack::{Output, Sequences, Stack, StackConfig};

/// A stack of one cell: its configuration, and that it is a [`Stack`].
macro_rules! named_stack {
    ($name:ident, $config:ident) => {
        impl $name {
            /// Takes the weights from `vb` under PyTorch's names: see [`Stack::new`].
            ///
            /// # Errors
            /// As [`Stack::new`].
            pub fn new(config: $config, vb: candle_nn::VarBuilder) -> $crate::Result<Self> {
                Ok(Self($crate::nn::Stack::new(config.into(), vb)?))
            }

            /// Puts initial weights into `vars`, behind `prefix` and a dot if it is not empty, and
            /// builds on them: an optimizer that changes the variables changes this layer.
            ///
            /// # Errors
            /// As [`Stack::init`].
            pub fn init(
                config: $config,
                init: $crate::nn::Init,
                rng: &mut $crate::rng::SeededRng,
                vars: &$crate::nn::init::VarSink,
                prefix: &str,
            ) -> $crate::Result<Self> {
                Ok(Self($crate::nn::Stack::init(config.into(), init, rng, vars, prefix)?))
            }
        }

        impl std::ops::Deref for $name {
            type Target = $crate::nn::Stack;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl From<$name> for $crate::nn::Stack {
            fn from(layer: $name) -> Self {
                layer.0
            }
        }
    };
}
use named_stack;
