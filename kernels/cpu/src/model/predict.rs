//! Predictions for whole sequences, images and texts.

use super::config::{ModelTask, SequenceTask, TargetKind};
use super::error::ModelError;
use super::forecast::SeasonMemory;
use super::outputs::{probabilities, Prediction};
use super::stream::unknown;
use super::view::PIXELS;
use super::Model;
use crate::network::{Number, Readout, Stream};

/// Sequences that are read together.
const BATCH_SIZE: usize = 256;

/// Sequences of inputs, padded to the length of the longest.
struct PaddedBatch<E> {
    x: Vec<E>,
    seq_len: usize,
    lengths: Vec<usize>,
}

impl<E: Number> Model<E> {
    /// The prediction for each sequence; of a series to forecast, what comes behind its end.
    ///
    /// - `sequences`: each `(T_n, I)`, as in the data, NaN for a missing value; of images the pixels of the steps, from 0 to 1
    ///
    /// # Errors
    /// [`ModelError`] for a sequence without steps or with a part of one, for a value that is missing and must not be,
    /// for a series that is shorter than the window of a forecast or unknown in it, and for a model of texts.
    pub fn predict(&self, sequences: &[&[E]]) -> Result<Vec<Prediction<E>>, ModelError> {
        let features = self.features();
        if features == 0 {
            return Err(ModelError::new("the model reads characters: give it a text"));
        }
        for (index, values) in sequences.iter().enumerate() {
            let steps = values.len() / features;
            let least = self.window().unwrap_or(1);
            if steps * features != values.len() || steps < least {
                return Err(ModelError::new(format!(
                    "sequence {} has {} values: it takes {features} values for each of at least {least} {}",
                    index + 1,
                    values.len(),
                    if least == 1 { "step" } else { "steps" }
                )));
            }
        }
        let mut predictions = Vec::with_capacity(sequences.len());
        for sequences in sequences.chunks(BATCH_SIZE) {
            let known: Vec<&[E]> = sequences.iter().map(|values| self.known(values)).collect();
            predictions.extend(match &self.config.task {
                ModelTask::Sequences(of) => self.predict_sequences(of, &known)?,
                ModelTask::Images { .. } | ModelTask::Text { .. } => {
                    let inputs = known.iter().map(|values| values.to_vec()).collect();
                    self.predict_classes(inputs)?
                }
            });
        }
        Ok(predictions)
    }

    /// The prediction for each image.
    ///
    /// - `images`: each `(28, 28)`, row by row, 0 (background) to 255 (ink)
    ///
    /// # Errors
    /// [`ModelError`] for an image that has not 784 pixels, and for a model of anything but images.
    pub fn predict_images(&self, images: &[&[u8]]) -> Result<Vec<Prediction<E>>, ModelError> {
        let ModelTask::Images { view } = &self.config.task else {
            return Err(ModelError::new("the model does not read images"));
        };
        if let Some(image) = images.iter().find(|image| image.len() != PIXELS) {
            let found = image.len();
            return Err(ModelError::new(format!("an image has {PIXELS} pixels, got {found}")));
        }
        let order = view.order();
        let mut predictions = Vec::with_capacity(images.len());
        for images in images.chunks(BATCH_SIZE) {
            let inputs = images.iter().map(|image| {
                order.iter().map(|at| E::from_f64(f64::from(image[*at]) / 255.)).collect()
            });
            predictions.extend(self.predict_classes(inputs.collect())?);
        }
        Ok(predictions)
    }

    /// The probabilities of the next character after each character of a text.
    ///
    /// # Errors
    /// [`ModelError`] for a character that the model does not know, and for a model of anything but texts.
    pub fn predict_text(&self, text: &str) -> Result<Vec<Vec<E>>, ModelError> {
        let ModelTask::Text { vocabulary } = &self.config.task else {
            return Err(ModelError::new("the model does not read texts"));
        };
        let id = |character| vocabulary.binary_search(&character).map_err(|_| unknown(character));
        let ids: Vec<usize> = text.chars().map(id).collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let logits = self.network.run_steps(&self.network.embed(&ids), [1, ids.len()], None);
        Ok(logits.chunks_exact(vocabulary.len()).map(probabilities).collect())
    }

    /// The part of a sequence that the model reads: of series to forecast, the last window.
    fn known<'a>(&self, values: &'a [E]) -> &'a [E] {
        let window = self.window().map_or(values.len(), |window| window * self.features());
        &values[values.len() - window..]
    }

    fn predict_classes(&self, inputs: Vec<Vec<E>>) -> Result<Vec<Prediction<E>>, ModelError> {
        let batch = self.padded(inputs)?;
        let outputs = self.run(&batch);
        let outputs = outputs.chunks_exact(self.network.output_size());
        Ok(outputs.map(|logits| Prediction::Class(probabilities(logits))).collect())
    }

    fn predict_sequences(
        &self,
        of: &SequenceTask,
        sequences: &[&[E]],
    ) -> Result<Vec<Prediction<E>>, ModelError> {
        let mut inputs = Vec::with_capacity(sequences.len());
        for values in sequences {
            let mut own = Vec::new();
            of.preprocessor.apply(values, &mut own)?;
            inputs.push(own);
        }
        let batch = self.padded(inputs)?;
        let width = self.network.output_size();
        if of.target == TargetKind::StepClass {
            let PaddedBatch { x, seq_len, lengths } = &batch;
            let outputs = self.network.run_steps(x, [lengths.len(), *seq_len], Some(lengths));
            let rows = outputs.chunks_exact(seq_len * width).zip(lengths);
            let steps = rows.map(|(row, len)| {
                let steps = row.chunks_exact(width).take(*len).map(probabilities);
                Prediction::Steps(steps.collect())
            });
            return Ok(steps.collect());
        }
        let outputs = self.run(&batch);
        let rows = outputs.chunks_exact(width).zip(sequences);
        rows.map(|(row, values)| self.meaning(of, row, values)).collect()
    }

    /// The meaning of outputs.
    fn meaning(
        &self,
        of: &SequenceTask,
        outputs: &[E],
        values: &[E],
    ) -> Result<Prediction<E>, ModelError> {
        let memory = of.forecast.map(|forecast| {
            let features = of.preprocessor.features.len();
            let mut memory = SeasonMemory::new(&forecast, features);
            for step in values.chunks_exact(features) {
                memory.push(step.iter().map(|value| value.to_f64()));
            }
            memory
        });
        let mut meaning = vec![E::ZERO; outputs.len()];
        of.interpret(outputs, memory.as_ref(), &mut meaning);
        if memory.is_some() && meaning.iter().any(|number| number.to_f64().is_nan()) {
            return Err(ModelError::new(
                "a series lacks all values of a feature in its last window: there is nothing to forecast from",
            ));
        }
        Ok(if of.target == TargetKind::Class {
            Prediction::Class(meaning)
        } else {
            Prediction::Numbers(meaning)
        })
    }

    fn padded(&self, inputs: Vec<Vec<E>>) -> Result<PaddedBatch<E>, ModelError> {
        let width = self.network.input_size();
        let lengths: Vec<usize> = inputs.iter().map(|inputs| inputs.len() / width).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let seq_len = match self.config.readout {
            Readout::All { seq_len } if longest > seq_len => {
                return Err(ModelError::new(format!(
                    "the model reads sequences of {seq_len} steps, got {longest}"
                )))
            }
            Readout::All { seq_len } => seq_len,
            Readout::Last | Readout::MeanMax => longest,
        };
        let mut x = Vec::with_capacity(inputs.len() * seq_len * width);
        for (row, inputs) in inputs.iter().enumerate() {
            x.extend_from_slice(inputs);
            x.resize((row + 1) * seq_len * width, E::ZERO);
        }
        Ok(PaddedBatch { x, seq_len, lengths })
    }

    fn run(&self, batch: &PaddedBatch<E>) -> Vec<E> {
        let PaddedBatch { x, seq_len, lengths } = batch;
        // One sequence alone gives the same bits sooner as a stream.
        if let ([_], Ok(mut stream)) = (&lengths[..], Stream::new(self.network.clone())) {
            return stream.read(x).to_vec();
        }
        let differ = lengths.iter().any(|len| len != seq_len).then_some(&lengths[..]);
        self.network.run(x, [lengths.len(), *seq_len], differ)
    }
}
