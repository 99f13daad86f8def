//! Sequences of requests as data sets of a model.

use super::http_error::HttpError;
use crate::data::{Dataset, DatasetBuilder, Target};
use crate::predict::SequencePredictor;

/// The most steps of all sequences of a request together: what comes behind it waits for them.
const MAX_STEPS: usize = 1 << 16;

/// A data set of sequences, each `(T_n, I)`, step by step, with the names of a model's features.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) for a sequence without steps, [`Error::Shape`](crate::Error::Shape) for one
/// that does not consist of whole steps.
pub(super) fn dataset<'a>(
    model: &SequencePredictor,
    sequences: impl IntoIterator<Item = &'a Vec<f32>>,
) -> crate::Result<Dataset> {
    let features = &model.spec().preprocessor.features;
    let mut builder = DatasetBuilder::new(features.iter().cloned());
    for sequence in sequences {
        builder.push_steps(sequence, sequence.len() / features.len().max(1))?;
        builder.end_sequence()?;
    }
    builder.build(Target::None)
}

/// Checks that a model can read sequences, each `(T_n, I)`, so that those of one request do not spoil a batch.
///
/// # Errors
/// 422 with what is wrong.
pub(super) fn check(model: &SequencePredictor, sequences: &[Vec<f32>]) -> Result<(), HttpError> {
    if let Some(value) = sequences.iter().flatten().find(|value| value.is_infinite()) {
        return Err(HttpError::unfit(format!("values must be finite, got {value}")));
    }
    let features = model.spec().preprocessor.features.len().max(1);
    let steps = sequences.iter().map(Vec::len).sum::<usize>() / features;
    if steps > MAX_STEPS {
        return Err(HttpError::unfit(format!(
            "the sequences of a request have at most {MAX_STEPS} steps together, got {steps}: send several requests"
        )));
    }
    let checked = dataset(model, sequences).and_then(|data| model.check(&data));
    checked.map_err(|error| HttpError::unfit(error.to_string()))
}
