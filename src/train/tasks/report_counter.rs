//! `ReportCounter`, which makes a report of what a network says of each sequence.

use super::forecast_report::ForecastCounter;
use super::outputs::for_each_output;
use super::report::Report;
use super::spec::SequenceSpec;
use super::task_kind::TaskKind;
use crate::data::{Dataset, ForecastTarget, Padder, Scaler};
use crate::model::SequenceClassifier;
use crate::train::class_report::ClassCounter;
use crate::train::evaluate::judge;
use crate::train::numbers_report::NumbersCounter;
use crate::{Error, Result};

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
        let mut counter = ReportCounter::new(spec)?;
        counter.measure(model, padder, data)?;
        Ok(counter.report())
    }
}

/// Counts what a network says of sequences, one by one, be they in one data set or in several.
///
/// What it says is first judged, which may be done elsewhere, then added: of the same numbers in the same order it makes
/// the same report.
pub struct ReportCounter<'a> {
    spec: &'a SequenceSpec,
    counts: Counts<'a>,
}

/// The counts so far.
enum Counts<'a> {
    Classes(ClassCounter),
    Numbers(&'a Scaler, NumbersCounter),
    Forecast(ForecastTarget, ForecastCounter),
}

fn no_target() -> Error {
    Error::Config("the data have no target to compare predictions with".into())
}

impl<'a> ReportCounter<'a> {
    /// No sequence yet.
    ///
    /// # Errors
    /// [`Error::Config`] for numbers of which the spec does not say how they are scaled.
    pub fn new(spec: &'a SequenceSpec) -> Result<Self> {
        let counts = match (spec.target, &spec.forecast) {
            (TaskKind::Class | TaskKind::StepClass, _) => {
                Counts::Classes(ClassCounter::new(spec.outputs.len()))
            }
            (TaskKind::Forecast, Some(of)) => {
                Counts::Forecast(*of, ForecastCounter::new(*of, &spec.preprocessor.features))
            }
            _ => {
                let scaler = spec.target_scaler.as_ref().ok_or_else(no_target)?;
                Counts::Numbers(scaler, NumbersCounter::new(&scaler.center))
            }
        };
        Ok(Self { spec, counts })
    }

    /// Adds the sequences of data that [`SequenceSpec::data`] has taken.
    ///
    /// # Errors
    /// As [`Report::measure`].
    pub fn measure(
        &mut self,
        model: &SequenceClassifier,
        padder: &Padder,
        data: &Dataset,
    ) -> Result<()> {
        for_each_output(model, padder, data, self.spec.read(), |index, outputs| {
            let found = self.judge(data, index, outputs)?;
            self.add(data, index, &mut found.into_iter())
        })
    }

    /// The judgement of a network's outputs for a sequence: answer and loss of each of its labels, or its numbers in
    /// the units of the data.
    ///
    /// - `outputs`: as [`for_each_output`](super::for_each_output) hands them out
    ///
    /// # Errors
    /// [`Error::Config`] when the data have no target.
    pub(super) fn judge(&self, data: &Dataset, index: usize, outputs: &[f64]) -> Result<Vec<f64>> {
        match &self.counts {
            Counts::Classes(_) => {
                let labels = labels(data, index)?;
                let logits = outputs.chunks_exact(self.spec.outputs.len());
                let judged = labels.iter().zip(logits).flat_map(|(label, logits)| {
                    let (answer, loss) = judge(logits, *label as usize);
                    [answer as f64, loss]
                });
                Ok(judged.collect())
            }
            Counts::Numbers(..) => Ok(self.spec.unscaled(outputs)),
            Counts::Forecast(of, _) => {
                let (window, scaler) = (data.sequence(index), &self.spec.preprocessor.scaler);
                Ok(of.forecast(window, scaler, outputs))
            }
        }
    }

    /// Adds a sequence.
    ///
    /// - `found`: begins with what [`judge`](Self::judge) says of it, and is left behind that
    ///
    /// # Errors
    /// [`Error::Config`] when the data have no target, or `found` has fewer numbers.
    pub(super) fn add(
        &mut self,
        data: &Dataset,
        index: usize,
        found: &mut dyn Iterator<Item = f64>,
    ) -> Result<()> {
        let labels = match &self.counts {
            Counts::Classes(_) => labels(data, index)?,
            _ => Vec::new(),
        };
        let count = match &self.counts {
            Counts::Classes(_) => 2 * labels.len(),
            Counts::Numbers(scaler, _) => scaler.center.len(),
            Counts::Forecast(of, _) => of.horizon * data.features().len(),
        };
        let found: Vec<f64> = found.take(count).collect();
        if found.len() < count {
            let known = found.len();
            return Err(Error::Config(format!(
                "what was measured of sequence {index} has {known} numbers and needs {count}"
            )));
        }
        match &mut self.counts {
            Counts::Classes(counter) => {
                for (label, [answer, loss]) in labels.into_iter().zip(found.as_chunks::<2>().0) {
                    counter.count(label, (*answer as usize, *loss));
                }
            }
            Counts::Numbers(_, counter) => {
                let truth = data.numbers(index).ok_or_else(no_target)?;
                let truth: Vec<f64> = truth.iter().map(|value| f64::from(*value)).collect();
                counter.add(&truth, &found);
            }
            Counts::Forecast(_, counter) => counter.add(data, index, &found),
        }
        Ok(())
    }

    /// The report on the sequences that were added.
    pub fn report(self) -> Report {
        match self.counts {
            Counts::Classes(counter) => Report::Classes(counter.report(&self.spec.outputs)),
            Counts::Numbers(_, counter) => Report::Numbers(counter.report(&self.spec.outputs)),
            Counts::Forecast(_, counter) => Report::Forecast(counter.report()),
        }
    }
}

/// The class of a sequence, or those of its steps.
fn labels(data: &Dataset, index: usize) -> Result<Vec<u32>> {
    match data.label(index) {
        Some(label) => Ok(vec![label]),
        None => Ok(data.step_labels(index).ok_or_else(no_target)?.collect()),
    }
}
