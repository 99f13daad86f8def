//! Inference with trained models.
//!
//! [`Predictor`] classifies images, [`Stream`] one row at a time; [`SequencePredictor`] predicts whatever a model was
//! trained to of sequences of one's own, [`SequenceStream`] step by step; [`Generator`] continues texts, [`TextStream`]
//! character by character. A [`Trace`] is what
//! a network predicts and holds after each step.
//!
//! What reads step by step stands on the kernels' own [`Stream`](candle_rnn_kernels::Stream) on the CPU: no tensor is
//! made. A program without Candle reads runs with the feature `model` of the crate `candle-rnn-kernels`.

mod files;
mod images;
mod network;
mod prediction;
mod sampling;
mod sequence_stream;
mod sequences;
mod steps;
mod text;
mod text_stream;
mod trace;

pub use images::{Predictor, Stream};
pub use prediction::Prediction;
pub use sequence_stream::SequenceStream;
pub use sequences::{SequencePrediction, SequencePredictor};
pub use text::{GenerateConfig, Generator};
pub use text_stream::TextStream;
pub use trace::Trace;
