//! `ModelStream`: a sequence that a model reads step by step.

use std::fmt;
use std::sync::Arc;

use super::config::{ModelConfig, ModelTask};
use super::error::ModelError;
use super::forecast::SeasonMemory;
use super::outputs::softmax;
use crate::network::{Network, Number, Stream};

/// One sequence, read step by step: each step is preprocessed as the training data were, and gives what the model
/// predicts now. A step that is no error allocates nothing.
#[derive(Clone)]
pub struct ModelStream<E> {
    config: Arc<ModelConfig>,
    stream: Stream<E>,
    /// The inputs of a step after preprocessing.
    inputs: Vec<E>,
    /// The values of the step before, filled in where they were missing.
    last: Vec<f64>,
    memory: Option<SeasonMemory>,
    /// The meaning of the network's outputs.
    outputs: Vec<E>,
}

impl<E: Number> ModelStream<E> {
    pub(super) fn new(
        network: Arc<Network<E>>,
        config: Arc<ModelConfig>,
    ) -> Result<Self, ModelError> {
        let outputs = vec![E::ZERO; network.output_size()];
        let stream = Stream::new(network).map_err(|error| ModelError::new(error.to_string()))?;
        let mut new =
            Self { config, stream, inputs: Vec::new(), last: Vec::new(), memory: None, outputs };
        if let ModelTask::Sequences(sequences) = &new.config.task {
            let preprocessor = &sequences.preprocessor;
            if !preprocessor.is_stepwise() {
                return Err(ModelError::new(
                    "the model scales whole sequences: it cannot read one step by step",
                ));
            }
            new.inputs = vec![E::ZERO; preprocessor.input_size()];
            new.last = preprocessor.means.clone();
            new.memory = sequences
                .forecast
                .map(|forecast| SeasonMemory::new(&forecast, preprocessor.features.len()));
        }
        Ok(new)
    }

    /// Takes one step, and returns what the model predicts now: the probability of each class of the sequence so far or
    /// of this step, numbers of the sequence so far in the units of the data, or a forecast of the steps behind this
    /// one.
    ///
    /// - `x_t`: `(I,)`, as in the data, NaN for a missing value; of an image the pixels of a step, from 0 to 1
    ///
    /// A model of forecasts learnt from windows of a length: it is read from its first step on after
    /// [`reset`](Self::reset).
    ///
    /// # Errors
    /// [`ModelError`] when there is not a value for each feature, for a value that is missing and must not be, and for
    /// a model of texts. Nothing has changed then.
    pub fn push(&mut self, x_t: &[E]) -> Result<&[E], ModelError> {
        let Self { config, stream, inputs, last, memory, .. } = self;
        let expected = match &config.task {
            ModelTask::Images { .. } => config.input_size,
            ModelTask::Sequences(sequences) => sequences.preprocessor.features.len(),
            ModelTask::Text { .. } => {
                return Err(ModelError::new("the model reads characters, not numbers"))
            }
        };
        if x_t.len() != expected {
            let found = x_t.len();
            return Err(ModelError::new(format!("a step has {expected} values, got {found}")));
        }
        if let ModelTask::Sequences(sequences) = &config.task {
            sequences.preprocessor.apply_step(x_t, last, inputs)?;
            if let Some(memory) = memory {
                memory.push(x_t.iter().map(|value| value.to_f64()));
            }
            stream.step(inputs);
        } else {
            stream.step(x_t);
        }
        self.interpret();
        Ok(&self.outputs)
    }

    /// Takes one character of a text, and returns the probability of each character of the vocabulary to be the next.
    ///
    /// # Errors
    /// [`ModelError`] for a character that the model does not know, and for a model of anything but texts.
    pub fn push_char(&mut self, character: char) -> Result<&[E], ModelError> {
        let ModelTask::Text { vocabulary } = &self.config.task else {
            return Err(ModelError::new("the model reads numbers, not characters"));
        };
        let Ok(id) = vocabulary.binary_search(&character) else {
            return Err(unknown(character));
        };
        self.stream.step_id(id);
        self.interpret();
        Ok(&self.outputs)
    }

    /// Makes of the network's outputs what they stand for.
    fn interpret(&mut self) {
        let Self { config, stream, memory, outputs, .. } = self;
        match &config.task {
            ModelTask::Sequences(task) => {
                task.interpret(stream.outputs(), memory.as_ref(), outputs);
            }
            _ => softmax(stream.outputs(), outputs),
        }
    }

    /// The prediction after the last step; zeros before the first.
    pub fn outputs(&self) -> &[E] {
        &self.outputs
    }

    /// The network's own outputs after the last step: logits, or scaled numbers.
    pub fn raw_outputs(&self) -> &[E] {
        self.stream.outputs()
    }

    /// The last layer's state h.
    pub fn hidden(&self) -> &[E] {
        self.stream.hidden()
    }

    /// Goes back to before the first step.
    pub fn reset(&mut self) {
        self.stream.reset();
        self.outputs.fill(E::ZERO);
        if let ModelTask::Sequences(sequences) = &self.config.task {
            self.last.copy_from_slice(&sequences.preprocessor.means);
        }
        if let Some(memory) = &mut self.memory {
            memory.reset();
        }
    }
}

/// That a character is not in the vocabulary.
pub(super) fn unknown(character: char) -> ModelError {
    ModelError::new(format!("the model does not know the character {character:?}"))
}

impl<E: Number> fmt::Debug for ModelStream<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStream").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}
