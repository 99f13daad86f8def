//! Sequences of requests as data sets of a model.

use super::http_error::HttpError;
use crate::data::{Dataset, DatasetBuilder, MissingPolicy, Target};
use crate::predict::{SequencePrediction, SequencePredictor};
use crate::wording::counted;

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
    for (index, sequence) in sequences.iter().enumerate() {
        check_values(model, index + 1, sequence)?;
    }
    let checked = dataset(model, sequences).and_then(|data| model.check(&data));
    checked.map_err(|error| HttpError::unfit(error.to_string()))
}

/// Checks that a sequence has the values that a model needs.
///
/// - `number`: the number of the sequence in its request, from 1
///
/// # Errors
/// 422 with what is missing.
fn check_values(model: &SequencePredictor, number: usize, values: &[f32]) -> Result<(), HttpError> {
    let spec = model.spec();
    let (names, width) = (&spec.preprocessor.features, spec.preprocessor.features.len().max(1));
    if spec.preprocessor.config.missing == MissingPolicy::Refuse {
        if let Some(at) = values.iter().position(|value| value.is_nan()) {
            let (step, name) = (at / width + 1, &names[at % width]);
            return Err(HttpError::unfit(format!(
                "sequence {number}, step {step}: the value of {name} is missing, and this model fills in no missing \
                 values: send a number"
            )));
        }
    }
    if spec.forecast.is_none() {
        return Ok(());
    }
    let (window, steps) = (model.config().task.training.window, values.len() / width);
    let Some(surplus) = steps.checked_sub(window) else {
        return Err(HttpError::unfit(format!(
            "sequence {number} has {}: a forecast is made from the last {window} steps of a series, send as many",
            counted(steps, "step")
        )));
    };
    let last = &values[surplus * width..];
    let is_unknown =
        |column: &usize| last.iter().skip(*column).step_by(width).all(|value| value.is_nan());
    match (0..names.len()).find(is_unknown) {
        None => Ok(()),
        Some(column) => Err(HttpError::unfit(format!(
            "sequence {number}: the last {window} steps have no value of {}, so there is nothing to forecast from: send \
             at least one",
            names[column]
        ))),
    }
}

/// Checks that all predictions are numbers.
///
/// # Errors
/// As [`check_outputs`].
pub(super) fn check_predictions(found: &[SequencePrediction]) -> Result<(), HttpError> {
    for prediction in found {
        match prediction {
            SequencePrediction::Class(class) => check_outputs(&class.probabilities)?,
            SequencePrediction::Steps(steps) => {
                check_outputs(steps.iter().flat_map(|step| &step.probabilities))?;
            }
            SequencePrediction::Numbers(numbers) => check_outputs(numbers)?,
        }
    }
    Ok(())
}

/// Checks that all outputs are finite as FP32: JSON has nothing else.
///
/// # Errors
/// 422 with the first that is not: sequences far from those of the training data lead to such.
pub(super) fn check_outputs<'a>(
    outputs: impl IntoIterator<Item = &'a f64>,
) -> Result<(), HttpError> {
    match outputs.into_iter().find(|value| !(**value as f32).is_finite()) {
        None => Ok(()),
        Some(value) => Err(HttpError::unfit(format!(
            "the prediction is {value}, not a finite number: send values like those of the training data"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::Prediction;

    #[test]
    fn predictions_that_are_no_numbers_are_refused() {
        let class = |second: f64| Prediction { label: 0, probabilities: vec![0.5, second] };
        let of = |second: f64| {
            [
                SequencePrediction::Class(class(second)),
                SequencePrediction::Steps(vec![class(0.5), class(second)]),
                SequencePrediction::Numbers(vec![1., second]),
            ]
        };
        for prediction in of(0.5) {
            assert!(check_predictions(&[prediction]).is_ok());
        }
        for wrong in [f64::NAN, f64::INFINITY, 1e300] {
            for prediction in of(wrong) {
                assert_eq!(check_predictions(&[prediction]).unwrap_err().status, 422);
            }
        }
    }
}
