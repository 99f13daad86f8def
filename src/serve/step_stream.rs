//! `StepStream`: what a served model has read of a sequence whose steps are still arriving.

use std::sync::Arc;

use super::served_model::{ServedModel, ServedPredictor};
use crate::predict::{Predictor, SequencePrediction, SequencePredictor, SequenceStream, Stream};
use crate::{Error, Result};

/// The state of a sequence whose steps are still arriving.
#[derive(Debug)]
pub(super) enum StepStream {
    Images(Stream<Arc<Predictor>>),
    Sequences(SequenceStream<Arc<SequencePredictor>>),
}

/// A model's prediction and hidden state after a step.
#[derive(Debug, PartialEq)]
pub(super) struct ReadStep {
    /// The probability of each class, or the numbers.
    pub(super) outputs: Vec<f64>,
    /// The last layer's output, `(P,)`, if it is asked for.
    pub(super) hidden: Option<Vec<f32>>,
}

impl StepStream {
    /// A stream that has read nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that does not read step by step.
    pub(super) fn new(model: &ServedModel) -> Result<Self> {
        match model.predictor() {
            ServedPredictor::Images(predictor) => {
                Ok(Self::Images(Stream::new(Arc::clone(predictor))))
            }
            ServedPredictor::Sequences(predictor) => {
                Ok(Self::Sequences(SequenceStream::new(Arc::clone(predictor))?))
            }
            ServedPredictor::Texts(_) => {
                Err(Error::Config("a language model has no steps of numbers".into()))
            }
        }
    }

    /// Reads steps until one cannot be read: what is predicted after each, and what is wrong.
    ///
    /// - `steps`: each `(I,)`, in the units of the data
    pub(super) fn read(
        &mut self,
        steps: &[Vec<f64>],
        wants_hidden: bool,
    ) -> (Vec<ReadStep>, Result<()>) {
        let mut found = Vec::with_capacity(steps.len());
        for step in steps {
            match self.push(step, wants_hidden) {
                Ok(read) => found.push(read),
                Err(error) => return (found, Err(error)),
            }
        }
        (found, Ok(()))
    }

    fn push(&mut self, x_t: &[f64], wants_hidden: bool) -> Result<ReadStep> {
        let (outputs, hidden) = match self {
            Self::Images(stream) => {
                let inputs: Vec<f64> = x_t.iter().map(|pixel| pixel / 255.).collect();
                let outputs = stream.push(&inputs)?.probabilities;
                (outputs, wants_hidden.then(|| stream.hidden()))
            }
            Self::Sequences(stream) => {
                let outputs = match stream.push(x_t)? {
                    SequencePrediction::Class(class) => class.probabilities,
                    SequencePrediction::Numbers(numbers) => numbers,
                    SequencePrediction::Steps(_) => {
                        return Err(Error::Config("a step has one prediction".into()))
                    }
                };
                (outputs, wants_hidden.then(|| stream.hidden()))
            }
        };
        Ok(ReadStep { outputs, hidden: hidden.transpose()? })
    }
}
