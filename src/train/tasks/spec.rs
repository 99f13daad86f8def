//! `SequenceSpec`: the inputs and the predictions of a network.

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use super::sequence_training::SequenceTraining;
use super::task_kind::TaskKind;
use crate::data::{
    season_of, Dataset, ForecastTarget, Padder, Preprocessor, Scaler, Scaling, Target,
};
use crate::model::{ClassifierConfig, Readout};
use crate::recurrence::Outputs;
use crate::{Error, Result};

/// The inputs and predictions of a network: all that is needed to use it on other data of the same kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceSpec {
    /// The kind of target.
    pub target: TaskKind,
    /// The sizes of the network.
    pub model: ClassifierConfig,
    /// The preprocessing of the inputs.
    pub preprocessor: Preprocessor,
    /// The names of the C classes, or of the K numbers.
    pub outputs: Vec<String>,
    /// How target numbers are scaled; `None` unless they are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_scaler: Option<Scaler>,
    /// The target of a forecast, if that is the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastTarget>,
}

impl SequenceSpec {
    /// Fits a spec to a training split; `series`, the training steps of all series, takes its place for a forecast.
    ///
    /// # Errors
    /// [`Error::Config`] for data without a target, with a single class or with missing target numbers, and as
    /// [`Preprocessor::fit`].
    pub fn fit(
        training: &SequenceTraining,
        train: &Dataset,
        series: Option<&Dataset>,
    ) -> Result<Self> {
        let preprocessor = Preprocessor::fit(training.preprocess, series.unwrap_or(train))?;
        let features = train.features();
        let (mut target_scaler, mut forecast) = (None, None);
        let mut network = training.network.clone();
        let (target, outputs) = match (train.target(), series) {
            (_, Some(series)) => {
                let season = Some(season_of(series)).filter(|season| *season <= training.window);
                let of = ForecastTarget { horizon: training.horizon, season: season.unwrap_or(1) };
                forecast = Some(of);
                let names = |step: usize| features.iter().map(move |name| format!("{name}+{step}"));
                (TaskKind::Forecast, (1..=training.horizon).flat_map(names).collect())
            }
            (Target::Class(labels), None) => (TaskKind::Class, labels.names.clone()),
            (Target::StepClass(labels), None) => {
                // What is read of the outputs is a matter of whole sequences.
                network.readout = Readout::Last;
                (TaskKind::StepClass, labels.names.clone())
            }
            (Target::Numbers(numbers), None) => {
                let rows = (0..train.len()).filter_map(|index| train.numbers(index));
                let mut rows_checked = rows.clone().enumerate();
                if let Some((index, _)) =
                    rows_checked.find(|(_, row)| row.iter().any(|value| !value.is_finite()))
                {
                    let id = train.id(index);
                    return Err(Error::Config(format!(
                        "the target of sequence {id} is missing or not finite: leave such sequences out"
                    )));
                }
                let mut all = rows.clone();
                if let Some(first) = all.next().filter(|first| all.all(|row| row == *first)) {
                    let values: Vec<String> = first.iter().map(f32::to_string).collect();
                    return Err(Error::Config(format!(
                        "the target is {} in all training examples: there is nothing to learn",
                        values.join(", ")
                    )));
                }
                target_scaler = Some(Scaler::fit(Scaling::Standard, numbers.names.len(), rows));
                (TaskKind::Numbers, numbers.names.clone())
            }
            (Target::None, None) => {
                return Err(Error::Config(
                    "the data have no target to learn: name a label column, or ask for a forecast"
                        .into(),
                ))
            }
        };
        let is_of_classes = matches!(target, TaskKind::Class | TaskKind::StepClass);
        if is_of_classes && train.class_counts().iter().filter(|count| **count > 0).count() < 2 {
            let name = outputs.first().map_or("", String::as_str);
            return Err(Error::Config(format!(
                "all training examples are of one class, {name}: there is nothing to learn"
            )));
        }
        let model = ClassifierConfig {
            network,
            input_size: preprocessor.input_size(),
            seq_len: 0,
            num_classes: outputs.len(),
        };
        model.check()?;
        Ok(Self { target, model, preprocessor, outputs, target_scaler, forecast })
    }

    /// Checks that the sizes fit together, as those of a file may not.
    ///
    /// # Errors
    /// [`Error::Config`] naming what does not fit.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        let features = self.preprocessor.features.len();
        let widths = [self.preprocessor.scaler.width(), self.preprocessor.means.len()];
        let forecasts =
            self.forecast.map_or(self.outputs.len(), |of| of.horizon.saturating_mul(features));
        let scaled = self.target_scaler.as_ref().map_or(self.outputs.len(), Scaler::width);
        let fits = widths == [features; 2]
            && self.preprocessor.scaler.is_valid()
            && self.target_scaler.as_ref().is_none_or(Scaler::is_valid)
            && self.model.input_size == self.preprocessor.input_size()
            && [self.model.num_classes, forecasts, scaled] == [self.outputs.len(); 3]
            && (self.target == TaskKind::Forecast) == self.forecast.is_some()
            && (self.target == TaskKind::Numbers) == self.target_scaler.is_some();
        if fits {
            return Ok(());
        }
        Err(Error::Config(
            "it contradicts itself: features, outputs and the sizes of the model do not fit together".into(),
        ))
    }

    /// The numbers that scaled ones stand for.
    pub fn unscaled(&self, scaled: &[f64]) -> Vec<f64> {
        let value = |(column, value): (usize, &f64)| {
            self.target_scaler.as_ref().map_or(*value, |scaler| scaler.unscale(column, *value))
        };
        scaled.iter().enumerate().map(value).collect()
    }

    /// A maker of batches for this network.
    ///
    /// # Errors
    /// As [`Padder::new`].
    pub fn padder(&self, dtype: DType, device: &Device) -> Result<Padder> {
        let padder =
            Padder::new(self.preprocessor.clone(), self.target_scaler.clone(), dtype, device)?;
        Ok(match self.forecast {
            Some(forecast) => padder.forecasting(forecast),
            None => padder,
        })
    }

    /// The outputs of the network that are read: those of the last step, or of all.
    pub(crate) fn read(&self) -> Outputs {
        if self.target == TaskKind::StepClass {
            Outputs::All
        } else {
            Outputs::Last
        }
    }

    /// Data for this network, whose classes have the network's numbers. Data without a target are taken as they are.
    ///
    /// # Errors
    /// [`Error::Config`] when the features differ, values are missing that are not to be, the target is another, or
    /// a class is one that the network does not know.
    pub fn data(&self, data: Dataset) -> Result<Dataset> {
        self.preprocessor.check(&data)?;
        match self.renamed(data.target())? {
            Some(target) => data.with_target(target),
            None => Ok(data),
        }
    }

    /// A target whose classes have the network's numbers; `None` for one that stays as it is.
    ///
    /// # Errors
    /// As [`data`](Self::data), of the target.
    pub fn renamed(&self, target: &Target) -> Result<Option<Target>> {
        let is_alike = matches!(
            (self.target, target),
            (TaskKind::Forecast, _)
                | (_, Target::None)
                | (TaskKind::Class, Target::Class(_))
                | (TaskKind::StepClass, Target::StepClass(_))
                | (TaskKind::Numbers, Target::Numbers(_))
        );
        if !is_alike {
            return Err(Error::Config(format!(
                "the model predicts {}, the data have {}",
                self.target.name(),
                target.kind().name()
            )));
        }
        if self.target == TaskKind::Forecast {
            // Its target is its own next steps.
            return Ok(None);
        }
        let classes = match target {
            Target::Class(labels) | Target::StepClass(labels) => labels.clone(),
            Target::Numbers(numbers) if numbers.names.len() != self.outputs.len() => {
                let (expected, found) = (self.outputs.len(), numbers.names.len());
                return Err(Error::Config(format!(
                    "the model predicts {expected} numbers, the data have {found}"
                )));
            }
            _ => return Ok(None),
        };
        if classes.names == self.outputs {
            return Ok(None);
        }
        let classes = classes.renamed(&self.outputs).map_err(|name| {
            let known = self.outputs.join(", ");
            Error::Config(format!(
                "the class {name} is not among those of the training data: {known}"
            ))
        })?;
        Ok(Some(if self.target == TaskKind::Class {
            Target::Class(classes)
        } else {
            Target::StepClass(classes)
        }))
    }
}
