//! Trainable recurrent networks for Candle: layers, training, saved runs and predictions, for sequences of any kind.
//!
//! A [`Dataset`](data::Dataset) holds sequences of any length with a class, a class at each step or numbers as their
//! target; [`data::formats::read`] reads it from a file. A [`SequenceTask`](train::tasks::SequenceTask) is a recurrent
//! network that learns from one, or forecasts a series, a [`TextTask`](train::tasks::TextTask) one that learns from a
//! text. A [`Trainer`] trains these and any other [`Task`]; a [`Session`](run::Session) does so with a run directory, of
//! which an interrupted training goes on with the same bits. A [`SequencePredictor`](predict::SequencePredictor) or a
//! [`Generator`](predict::Generator) uses the run:
//!
#![doc = concat!("```no_run\n", include_str!("../examples/csv_classifier.rs"), "```")]
//!
//! A first program, `examples/wave.rs`, in which an LSTM learns to continue a wave:
//!
#![doc = concat!("```\n", include_str!("../examples/wave.rs"), "```")]
//!
//! [`Rnn`], [`Gru`] and [`Lstm`] are layers of one kind of cell, [`Stack`] of any; they are
//! [`candle_core::Module`]s, and [`Adam`] is a [`candle_nn::Optimizer`]. [`Error`] becomes Candle's with `?`.
//!
//! The reference job is MNIST read row by row: a digit is a sequence of 28 rows of 28 pixels; a layer of recurrent units
//! takes one row after the other; a dense layer tells the digit from its last state. A trained run of it is loaded in one
//! line, see [`predict::Predictor`]:
//!
//! ```no_run
//! # fn main() -> candle_rnn::Result<()> {
//! let model = candle_rnn::predict::Predictor::load("runs/0001")?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! The modules stand in the order in which data flows through them.
//!
//! - [`data`]: files on disk to batches of sequences
//! - [`recurrence`]: a cell's step over whole sequences, such as `h_t = tanh(W_ih x_t + b + W_hh h_{t-1})`,
//!   and where gradients are cut
//! - [`nn`]: layers made of it ([`nn::Rnn`], [`nn::Gru`], [`nn::Lstm`]), their weights and initial weights
//! - [`model`]: recurrent layers and a head, of sequences and of text
//! - [`optim`]: optimizers whose state can be saved
//! - [`distributed`]: processes that train one model together
//! - [`train`]: the training loop; it hands out events and prints nothing
//! - `settings`: those of a training as people write them
//! - [`run`]: the run directory, with checkpoints to go on from, and the session that keeps it
//! - `sweep`: many runs that differ in their settings, of which the best is wanted
//! - `report`: what people look at when a run has ended
//! - [`predict`]: trained models put to use
//! - [`export`]: trained models in the formats of other programs
//! - `serve`: an HTTP server of them
//!
//! The module `page` is what `export` and `serve` show people in a browser.
//!
//! [`files`] puts whole files on disk; [`rng`] gives all of them their seeded random numbers; [`Error`] is what all
//! of them return. A module knows only those above it in this list and in that of the sources.
//!
//! # Features
//!
//! - `cli` (default): the program `candle-rnn`, with the next five; a library user turns it off
//! - `download`: MNIST and Fashion-MNIST downloaded into the user's cache folder; Candle's `Dataset`
//! - `mpi`: training by several processes that `mpirun` starts; needs an MPI library and libclang
//! - `pictures`: PNG and JPEG pictures read as digits
//! - `report`: curves, confusion matrix, model card, TensorBoard's event files; turns on `settings`
//! - `sample`: 2,500 digits of MNIST embedded in the library, for examples and tests
//! - `serve`: an HTTP server of trained runs, with a page to look at them; turns on `pictures` and `sample`
//! - `settings`: settings from TOML files, named recipes, and sweeps over settings
//! - `cuda`, `metal`, `mkl`, `accelerate`: passed on to Candle

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod wording;

pub mod files;
pub mod rng;

pub mod data;
pub mod recurrence;
pub mod nn;
pub mod model;
pub mod optim;
pub mod distributed;
pub mod train;
#[cfg(feature = "settings")]
pub mod settings;
pub mod run;
#[cfg(feature = "settings")]
pub mod sweep;
#[cfg(feature = "report")]
pub mod report;
pub mod predict;
mod page;
pub mod export;
#[cfg(feature = "serve")]
pub mod serve;

pub use error::{Error, Result};
pub use model::{ClassifierConfig, SequenceClassifier};
pub use nn::{
    Activation, Dense, DenseConfig, Embedding, Gru, GruConfig, Init, Lstm, LstmConfig, Output,
    Reset, Rnn, RnnConfig, Sequences, Stack, StackConfig, VarSink,
};
pub use optim::{Adam, AdamConfig, Clip};
pub use predict::Predictor;
pub use recurrence::{Cell, State, Truncation};
pub use rng::{Purpose, SeededRng};
pub use train::{Task, Trainer, TrainerConfig};

/// README's example, compiled with the documentation's tests.
#[cfg(all(doctest, feature = "sample"))]
#[doc = include_str!("../README.md")]
struct Readme;
