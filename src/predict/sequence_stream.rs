//! `SequenceStream`: a sequence of one's own that arrives step by step.

use std::borrow::Borrow;

use super::prediction::softmax;
use super::sequences::{SequencePrediction, SequencePredictor};
use super::steps::StepReader;
use crate::data::Scaling;
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
    /// What the step before was filled to, where its values were missing.
    last: Vec<f64>,
}

impl<P: Borrow<SequencePredictor>> SequenceStream<P> {
    /// A stream that has seen nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that reads sequences in both directions or more than the last output of each,
    /// for a forecast, which is made from a whole window, and for a model that scales each sequence as a whole;
    /// [`Error::Candle`] when the weights cannot be read.
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
        if spec.target == TaskKind::Forecast {
            return Err(Error::Config(
                "a forecast is made from a whole window: predict the window".into(),
            ));
        }
        if spec.preprocessor.config.scaling == Scaling::PerSequence {
            return Err(Error::Config(
                "the model scales whole sequences: it cannot read one step by step".into(),
            ));
        }
        let steps = StepReader::new(model.network()?)?;
        Ok(Self { predictor, steps, last: Vec::new() })
    }

    /// The last layer's output after the last step, `(P,)`.
    ///
    /// # Errors
    /// [`Error::Candle`] on a device alone.
    pub fn hidden(&self) -> Result<Vec<f32>> {
        self.steps.hidden()
    }

    /// Takes one step and returns what the model predicts now: the class of the sequence so far, the class of this step, or
    /// the numbers of the sequence so far.
    ///
    /// - `x_t`: `(I,)`, as in the data: it is preprocessed as the training data were
    ///
    /// # Errors
    /// As [`Preprocessor::apply_step`](crate::data::Preprocessor::apply_step); nothing has changed then.
    pub fn push(&mut self, x_t: &[f64]) -> Result<SequencePrediction> {
        let predictor: &SequencePredictor = self.predictor.borrow();
        let (spec, model) = (predictor.spec(), predictor.model());
        let mut last = self.last.clone();
        let inputs = spec.preprocessor.apply_step(x_t, &mut last)?;
        let outputs = self.steps.push(model, &inputs)?;
        self.last = last;
        Ok(match spec.target {
            TaskKind::Numbers | TaskKind::Forecast => {
                SequencePrediction::Numbers(spec.unscaled(&outputs))
            }
            TaskKind::Class | TaskKind::StepClass => SequencePrediction::Class(softmax(&outputs)),
        })
    }
}
