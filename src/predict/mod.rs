//! Inference with trained models.
//!
//! [`Predictor`] classifies images, [`Stream`] one row at a time; [`SequencePredictor`] predicts whatever a model was
//! trained to of sequences of one's own, [`SequenceStream`] step by step; [`Generator`] continues texts.

mod images;
mod prediction;
mod sequence_stream;
mod sequences;
mod text;

pub use images::{Predictor, Stream};
pub use prediction::Prediction;
pub use sequence_stream::SequenceStream;
pub use sequences::{SequencePrediction, SequencePredictor};
pub use text::{GenerateConfig, Generator};
