//! Layers and their initial weights.
//!
//! - [`Rnn`], [`Gru`], [`Lstm`]: recurrent layers, in one direction or both
//! - [`Stack`]: the same with any [`Cell`](crate::recurrence::Cell); [`Sequences`] is what it reads and
//!   [`Output`] what it returns
//! - [`RecurrentCell`]: one step of one layer, with the same weights
//! - [`Dense`], [`Embedding`]: layers before and behind recurrent layers
//! - [`dropout()`]: seeded dropout
//! - [`pool`]: pooling over the outputs of a sequence: last, mean, max
//! - [`Init`], [`VarSink`]: seeded initial weights, and where they go
//! - [`weights`]: weights from PyTorch, Keras, TensorFlow and candle-nn, and back to PyTorch's names

mod cell;
mod dense;
pub(crate) mod dropout;
mod embedding;
mod gru;
pub(crate) mod init;
mod lstm;
mod named_stack;
pub mod pool;
mod rnn;
mod stack;
mod var_sink;
pub mod weights;

pub use cell::RecurrentCell;
pub use dense::{Dense, DenseConfig};
pub use dropout::dropout;
pub use embedding::Embedding;
pub use gru::{Gru, GruConfig, Reset};
pub use init::Init;
pub use lstm::{Lstm, LstmConfig};
pub use pool::mean_max;
pub use rnn::{Activation, Rnn, RnnConfig};
pub use stack::{Output, Sequences, Stack, StackConfig};
pub use var_sink::VarSink;
