//! `Report`: how well a network does on a data set.

use serde::Serialize;

use super::forecast_report::{ForecastCounter, ForecastReport};
use super::outputs::for_each_output;
use super::spec::SequenceSpec;
use super::task_kind::TaskKind;
use crate::data::{Dataset, Padder};
use crate::model::SequenceClassifier;
use crate::train::class_report::{ClassCounter, ClassReport};
use crate::train::numbers_report::{NumbersCounter, NumbersReport};
use crate::{Error, Result};

/// How well a network does on a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of classes, of sequences or of steps.
    Classes(ClassReport),
    /// Of numbers.
    Numbers(NumbersReport),
    /// Of forecasts.
    Forecast(ForecastReport),
}

impl Report {
    /// Measures a model on data that [`SequenceSpec::data`] has taken.
    ///
    /// # Errors
    /// [`Error::Config`] when the data have no target, [`Error::Candle`] when Candle fails.
    pub fn measure(
        spec: &SequenceSpec,
        model: &SequenceClassifier,
        padder: &Padder,
        data: &Dataset,
    ) -> Result<Self> {
        let no_target =
            || Error::Config("the data have no target to compare predictions with".into());
        let read = spec.read();
        match (spec.target, &spec.forecast) {
            (TaskKind::Class | TaskKind::StepClass, _) => {
                let mut counter = ClassCounter::new(spec.outputs.len());
                for_each_output(model, padder, data, read, |index, logits| {
                    if let Some(label) = data.label(index) {
                        counter.add(label, logits);
                        return Ok(());
                    }
                    let labels = data.step_labels(index).ok_or_else(no_target)?;
                    let steps = logits.chunks_exact(spec.outputs.len());
                    labels.zip(steps).for_each(|(label, logits)| counter.add(label, logits));
                    Ok(())
                })?;
                Ok(Self::Classes(counter.report(&spec.outputs)))
            }
            (TaskKind::Forecast, Some(of)) => {
                let mut counter = ForecastCounter::new(*of, data.features());
                for_each_output(model, padder, data, read, |index, differences| {
                    let scaler = &spec.preprocessor.scaler;
                    let forecast = of.forecast(data.sequence(index), scaler, differences);
                    counter.add(data, index, &forecast);
                    Ok(())
                })?;
                Ok(Self::Forecast(counter.report()))
            }
            _ => {
                let scaler = spec.target_scaler.as_ref().ok_or_else(no_target)?;
                let mut counter = NumbersCounter::new(&scaler.center);
                for_each_output(model, padder, data, read, |index, scaled| {
                    let truth = data.numbers(index).ok_or_else(no_target)?;
                    let truth: Vec<f64> = truth.iter().map(|value| f64::from(*value)).collect();
                    counter.add(&truth, &spec.unscaled(scaled));
                    Ok(())
                })?;
                Ok(Self::Numbers(counter.report(&spec.outputs)))
            }
        }
    }
}
