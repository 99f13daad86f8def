//! `SequencePredictor`: a model that was trained on data of one's own, ready for more of them.

use std::path::Path;

use candle_core::Device;
use candle_nn::VarBuilder;
use serde::Serialize;

use super::network::{LazyNetwork, StepNetwork};
use super::prediction::{softmax, Prediction};
use super::trace::{trace, Trace};
use crate::data::{Dataset, Padder};
use crate::model::SequenceClassifier;
use crate::run::{self, RunConfig};
use crate::train::tasks::{for_each_output, Report, SequenceConfig, SequenceSpec, TaskKind};
use crate::wording::counted;
use crate::Result;

/// A model that was trained on data of one's own.
///
/// ```no_run
/// # fn main() -> candle_rnn::Result<()> {
/// use candle_rnn::data::formats::{read, ReadOptions};
/// use candle_rnn::predict::SequencePredictor;
///
/// let model = SequencePredictor::load("runs/0001")?;
/// let data = read("vowels.csv", &ReadOptions::default())?.sequences()?;
/// for (index, prediction) in model.predict(&data)?.iter().enumerate() {
///     if let Some(found) = prediction.class() {
///         println!("{}: {}", data.id(index), model.spec().outputs[found.label]);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SequencePredictor {
    config: RunConfig<SequenceConfig>,
    model: SequenceClassifier,
    padder: Padder,
    network: LazyNetwork,
}

/// A model's prediction for a sequence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SequencePrediction {
    /// Its class.
    Class(Prediction),
    /// The class of each step.
    Steps(Vec<Prediction>),
    /// Numbers, in the units of the data: K, or K times I of a forecast, step by step; none of a forecast from too few
    /// steps.
    Numbers(Vec<f64>),
}

impl SequencePrediction {
    /// The class of the sequence; `None` unless the model predicts one.
    pub fn class(&self) -> Option<&Prediction> {
        match self {
            Self::Class(prediction) => Some(prediction),
            Self::Steps(_) | Self::Numbers(_) => None,
        }
    }

    /// The class of each step; `None` unless the model predicts them.
    pub fn steps(&self) -> Option<&[Prediction]> {
        match self {
            Self::Steps(predictions) => Some(predictions),
            Self::Class(_) | Self::Numbers(_) => None,
        }
    }

    /// The numbers, or the forecast; `None` for classes.
    pub fn numbers(&self) -> Option<&[f64]> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            Self::Class(_) | Self::Steps(_) => None,
        }
    }
}

impl SequencePredictor {
    /// Loads the model of a run directory, or of a checkpoint of it, on the CPU.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) and [`Error::Io`](crate::Error::Io) when the directory is not
    /// that of a whole run of such a task.
    pub fn load(run: impl AsRef<Path>) -> Result<Self> {
        Self::load_on(run, &Device::Cpu)
    }

    /// Loads the model of a run directory, on a device.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = run.as_ref();
        let config = run::read_config::<SequenceConfig>(run)?;
        let dtype = config.task.training.dtype.dtype();
        let weights = run::read_weights(run, &config)?;
        let vb = VarBuilder::from_tensors(weights.into_iter().collect(), dtype, device);
        let model = SequenceClassifier::new(&config.task.spec.model, vb)?.freeze()?;
        let padder = config.task.spec.padder(dtype, device)?;
        Ok(Self { config, model, padder, network: LazyNetwork::default() })
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig<SequenceConfig> {
        &self.config
    }

    /// The model's inputs and predictions.
    pub fn spec(&self) -> &SequenceSpec {
        &self.config.task.spec
    }

    pub(super) fn model(&self) -> &SequenceClassifier {
        &self.model
    }

    /// The layers for steps of one sequence.
    pub(super) fn network(&self) -> Result<StepNetwork> {
        self.network.get(None, self.model.rnn(), self.model.head())
    }

    /// Checks that data are such as the model reads, whatever their target.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), all of which are found here.
    pub fn check(&self, data: &Dataset) -> Result<()> {
        self.spec().preprocessor.check(data)?;
        self.known(data).map(|_| ())
    }

    /// The model's prediction for each sequence; for a series, the forecast of what follows its end.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the features are not those that the model reads, or values are
    /// missing that are not to be; and for a series that is shorter than the window of a forecast, or unknown in it.
    pub fn predict(&self, data: &Dataset) -> Result<Vec<SequencePrediction>> {
        let spec = self.spec();
        spec.preprocessor.check(data)?;
        let data = self.known(data)?;
        let empty = SequencePrediction::Numbers(Vec::new());
        let mut predictions = vec![empty; data.len()];
        let classes = spec.outputs.len();
        for_each_output(&self.model, &self.padder, &data, spec.read(), |index, outputs| {
            predictions[index] = match (spec.target, &spec.forecast) {
                (TaskKind::Class, _) => SequencePrediction::Class(softmax(outputs)),
                (TaskKind::StepClass, _) => {
                    SequencePrediction::Steps(outputs.chunks_exact(classes).map(softmax).collect())
                }
                (_, Some(forecast)) => {
                    let scaler = &spec.preprocessor.scaler;
                    SequencePrediction::Numbers(forecast.forecast(
                        data.sequence(index),
                        scaler,
                        outputs,
                    ))
                }
                (_, None) => SequencePrediction::Numbers(spec.unscaled(outputs)),
            };
            Ok(())
        })?;
        Ok(predictions)
    }

    /// The model's predictions and hidden states after each step of each sequence.
    ///
    /// # Errors
    /// As [`predict`](Self::predict); and [`Error::Config`](crate::Error::Config) for a forecast, which is made from a whole
    /// window.
    pub fn trace(&self, data: &Dataset) -> Result<Vec<Trace>> {
        let spec = self.spec();
        if spec.target == TaskKind::Forecast {
            return Err(crate::Error::Config(
                "a forecast is made from a whole window: predict the window".into(),
            ));
        }
        spec.preprocessor.check(data)?;
        let read = |outputs: &[f64]| {
            if spec.target == TaskKind::Numbers {
                spec.unscaled(outputs)
            } else {
                softmax(outputs).probabilities
            }
        };
        let of = |index| {
            let batch = self.padder.batch_without_target(data, &[index])?;
            trace(&self.model, &spec.model.network, &batch.x, spec.target, read)
        };
        (0..data.len() as u32).map(of).collect()
    }

    /// The data as the model reads them: of series to forecast, the last window alone.
    pub(super) fn known(&self, data: &Dataset) -> Result<Dataset> {
        if self.spec().forecast.is_none() {
            return Ok(data.clone());
        }
        let window = self.config.task.training.window;
        if let Some(short) = (0..data.len()).find(|index| data.seq_len(*index) < window) {
            return Err(crate::Error::Config(format!(
                "the series {} has {}: a forecast needs {window}",
                data.id(short),
                counted(data.seq_len(short), "step")
            )));
        }
        let last = data.parts(|len| len - window..len);
        if let Some(unknown) = (0..last.len()).find(|index| !last.knows_each_feature(*index)) {
            return Err(crate::Error::Config(format!(
                "the last {window} steps of the series {} lack all values of a feature: there is nothing to forecast from",
                data.id(unknown)
            )));
        }
        Ok(last)
    }

    /// How well the model does on data with a target; of series to forecast, at every step behind a window.
    ///
    /// # Errors
    /// As [`SequenceSpec::data`] and [`Report::measure`]; [`Error::Config`](crate::Error::Config) for series that are
    /// all too short.
    pub fn report(&self, data: &Dataset) -> Result<Report> {
        let mut data = self.spec().data(data.clone())?;
        if self.spec().forecast.is_some() {
            let training = &self.config.task.training;
            let (window, horizon) = (training.window, training.horizon);
            let longest = data.lengths().into_iter().max().unwrap_or(0);
            data = data.windows(window, horizon, |len| 0..len);
            if data.is_empty() {
                return Err(self.nothing_to_forecast(longest));
            }
        }
        self.report_windows(&data)
    }

    /// What is wrong with series that are all too short, the longest of which has so many steps.
    pub(super) fn nothing_to_forecast(&self, longest: usize) -> crate::Error {
        let training = &self.config.task.training;
        crate::Error::Config(format!(
            "there is nothing to compare forecasts with: that takes {} known steps of a series, of which the longest \
             has {longest}",
            training.window + training.horizon
        ))
    }

    pub(super) fn padder(&self) -> &Padder {
        &self.padder
    }

    /// The same of data that [`SequenceSpec::data`] has taken and, of series, was cut into windows.
    ///
    /// # Errors
    /// As [`Report::measure`].
    pub fn report_windows(&self, data: &Dataset) -> Result<Report> {
        Report::measure(self.spec(), &self.model, &self.padder, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_taken_apart_by_their_kind() {
        let class = softmax(&[0., 2.]);
        let one = SequencePrediction::Class(class.clone());
        assert_eq!((one.class(), one.steps(), one.numbers()), (Some(&class), None, None));
        let steps = SequencePrediction::Steps(vec![class.clone(); 3]);
        assert_eq!((steps.class(), steps.steps().map(<[_]>::len)), (None, Some(3)));
        let numbers = SequencePrediction::Numbers(vec![1., 2.]);
        assert_eq!((numbers.steps(), numbers.numbers()), (None, Some(&[1., 2.][..])));
    }
}
