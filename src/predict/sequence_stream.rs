//! `SequenceStream`: a sequence of one's own that arrives step by step.

use std::borrow::Borrow;

use super::prediction::softmax;
use super::sequences::{SequencePrediction, SequencePredictor};
use super::steps::StepReader;
use crate::data::{Scaling, SequenceValues};
use crate::model::Readout;
use crate::train::tasks::TaskKind;
use crate::{Error, Result};

/// One sequence, read step by step as its values arrive.
///
/// - `P`: who holds the model: `&SequencePredictor`, `Arc<SequencePredictor>` or the model itself
///
/// ```no_run
/// # fn main() -> candle_rnn::Result<()> {
/// use candle_rnn::predict::{SequencePrediction, SequencePredictor, SequenceStream};
///
/// let model = SequencePredictor::load("runs/0001")?;
/// let mut stream = SequenceStream::new(&model)?;
/// for x_t in [[0.1, 2.], [0.3, 1.8]] {
///     if let SequencePrediction::Class(found) = stream.push(&x_t)? {
///         println!("{}", model.spec().outputs[found.label]);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SequenceStream<P = SequencePredictor> {
    predictor: P,
    steps: StepReader,
    /// The values of the step before, with missing ones filled in.
    last: Vec<f64>,
    /// The last steps of a series to forecast, `(W, I)` at most: those that a forecast is made from.
    window: Vec<f32>,
}

impl<P: Borrow<SequencePredictor>> SequenceStream<P> {
    /// A stream that has seen nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that reads sequences in both directions or more than the last output of each, and
    /// for a model that scales each sequence as a whole; [`Error::Candle`] when the weights cannot be read.
    pub fn new(predictor: P) -> Result<Self> {
        let model: &SequencePredictor = predictor.borrow();
        let spec = model.spec();
        let network = &spec.model.network;
        if network.bidirectional || network.readout != Readout::Last {
            return Err(Error::Config(
                "per-step predictions need a unidirectional model with the last-state readout"
                    .into(),
            ));
        }
        if spec.preprocessor.config.scaling == Scaling::PerSequence {
            return Err(Error::Config(
                "the model scales whole sequences: it cannot read one step by step".into(),
            ));
        }
        let steps = StepReader::new(model.network()?)?;
        Ok(Self { predictor, steps, last: Vec::new(), window: Vec::new() })
    }

    /// The last layer's output after the last step, `(P,)`.
    ///
    /// # Errors
    /// [`Error::Candle`] on a device alone.
    pub fn hidden(&self) -> Result<Vec<f32>> {
        self.steps.hidden()
    }

    /// Takes one step and returns what the model predicts now: the class of the sequence so far, the class of this step,
    /// the numbers of the sequence so far, or the forecast of what comes next. A forecast is made from the last W steps,
    /// which are read anew; as long as there are fewer, it has no numbers.
    ///
    /// - `x_t`: `(I,)`, as in the data: it is preprocessed as the training data were
    ///
    /// # Errors
    /// As [`Preprocessor::apply_step`](crate::data::Preprocessor::apply_step); [`Error::Config`] for a forecast from steps
    /// that lack all values of a feature; nothing has changed then.
    pub fn push(&mut self, x_t: &[f64]) -> Result<SequencePrediction> {
        let predictor: &SequencePredictor = self.predictor.borrow();
        let (spec, model) = (predictor.spec(), predictor.model());
        let mut last = self.last.clone();
        let inputs = spec.preprocessor.apply_step(x_t, &mut last)?;
        if let Some(forecast) = &spec.forecast {
            let window = self.window_with(x_t);
            if window.len() < predictor.config().task.training.window * x_t.len() {
                self.window = window;
                return Ok(SequencePrediction::Numbers(Vec::new()));
            }
            let mut steps = StepReader::new(predictor.network()?)?;
            let values = SequenceValues::F32(&window);
            let mut inputs: Vec<f64> = Vec::new();
            spec.preprocessor.apply(values, &mut inputs);
            let mut outputs = Vec::new();
            for step in inputs.chunks_exact(spec.preprocessor.input_size()) {
                outputs = steps.push(model, step)?;
            }
            let numbers = forecast.forecast(values, &spec.preprocessor.scaler, &outputs);
            if numbers.iter().any(|value| value.is_nan()) {
                return Err(Error::Config(
                    "the last steps lack all values of a feature: there is nothing to forecast from"
                        .into(),
                ));
            }
            (self.steps, self.window) = (steps, window);
            return Ok(SequencePrediction::Numbers(numbers));
        }
        let outputs = self.steps.push(model, &inputs)?;
        self.last = last;
        Ok(match spec.target {
            TaskKind::Numbers | TaskKind::Forecast => {
                SequencePrediction::Numbers(spec.unscaled(&outputs))
            }
            TaskKind::Class | TaskKind::StepClass => SequencePrediction::Class(softmax(&outputs)),
        })
    }

    /// The last steps of a series, of which a step is the last.
    fn window_with(&self, x_t: &[f64]) -> Vec<f32> {
        let predictor: &SequencePredictor = self.predictor.borrow();
        let most = predictor.config().task.training.window * x_t.len();
        let all = self.window.iter().copied().chain(x_t.iter().map(|value| *value as f32));
        let before = (self.window.len() + x_t.len()).saturating_sub(most);
        all.skip(before).collect()
    }
}
