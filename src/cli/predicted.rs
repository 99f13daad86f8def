//! Predictions of the sequences of a file: as rows of a table, as JSON, and as lines for people.

use std::path::Path;

use candle_rnn::data::Dataset;
use candle_rnn::predict::{Prediction, SequencePrediction, SequencePredictor};
use candle_rnn::train::tasks::TaskKind;
use serde_json::{json, Value};

/// The columns that all predictions have besides the predicted values.
#[derive(Clone, Copy)]
pub(super) struct OutputShape {
    /// Whether there are several files: then each prediction says which it is of.
    pub(super) has_files: bool,
    /// Whether the files say when a step was: then a forecast says of which time the last known step is.
    pub(super) has_times: bool,
}

/// A model's prediction for a sequence.
#[derive(Clone, Copy)]
pub(super) struct Predicted<'a> {
    pub(super) model: &'a SequencePredictor,
    /// Where it was read.
    pub(super) file: &'a Path,
    pub(super) data: &'a Dataset,
    /// Its number in `data`.
    pub(super) index: usize,
    pub(super) found: &'a SequencePrediction,
}

/// The columns of a table of predictions.
pub(super) fn header(model: &SequencePredictor, shape: OutputShape) -> Vec<String> {
    let spec = model.spec();
    let mut names: Vec<String> = Vec::new();
    if shape.has_files {
        names.push("file".into());
    }
    names.push("id".into());
    let probabilities = || spec.outputs.iter().map(|name| format!("p({name})"));
    match spec.target {
        TaskKind::Class => {
            names.push("label".into());
            names.extend(probabilities());
        }
        TaskKind::StepClass => {
            names.extend(["step".into(), "label".into()]);
            names.extend(probabilities());
        }
        TaskKind::Numbers => names.extend(spec.outputs.iter().cloned()),
        TaskKind::Forecast => {
            if shape.has_times {
                names.push("last_time".into());
            }
            names.push("step".into());
            names.extend(spec.preprocessor.features.iter().cloned());
        }
    }
    names
}

impl Predicted<'_> {
    fn id(&self) -> String {
        self.data.id(self.index)
    }

    /// It as rows of the table.
    pub(super) fn rows(&self, shape: OutputShape) -> Vec<Vec<String>> {
        let spec = self.model.spec();
        let of_class = |found: &Prediction| -> Vec<String> {
            let label = spec.outputs[found.label].clone();
            let probabilities = found.probabilities.iter().map(f64::to_string);
            std::iter::once(label).chain(probabilities).collect()
        };
        let mut first: Vec<String> = Vec::new();
        if shape.has_files {
            first.push(self.file.display().to_string());
        }
        first.push(self.id());
        if shape.has_times && spec.target == TaskKind::Forecast {
            first.push(self.data.last_time(self.index).unwrap_or_default().to_string());
        }
        let row = |cells: Vec<String>| first.iter().cloned().chain(cells).collect();
        let numbered = |step: usize, cells: Vec<String>| {
            row(std::iter::once((step + 1).to_string()).chain(cells).collect())
        };
        match self.found {
            SequencePrediction::Class(found) => vec![row(of_class(found))],
            SequencePrediction::Steps(steps) => {
                let steps = steps.iter().enumerate();
                steps.map(|(step, found)| numbered(step, of_class(found))).collect()
            }
            SequencePrediction::Numbers(numbers) if spec.target == TaskKind::Forecast => {
                let steps = numbers.chunks_exact(spec.preprocessor.features.len());
                let cells = |values: &[f64]| values.iter().map(f64::to_string).collect();
                steps.enumerate().map(|(step, values)| numbered(step, cells(values))).collect()
            }
            SequencePrediction::Numbers(numbers) => {
                vec![row(numbers.iter().map(f64::to_string).collect())]
            }
        }
    }

    /// It as a JSON object.
    pub(super) fn object(&self) -> Value {
        let spec = self.model.spec();
        let mut object = json!({ "input": self.file.display().to_string(), "id": self.id() });
        match self.found {
            SequencePrediction::Class(found) => {
                object["label"] = json!(spec.outputs[found.label]);
                object["classes"] = json!(spec.outputs);
                object["probabilities"] = json!(found.probabilities);
            }
            SequencePrediction::Steps(steps) => {
                let labels: Vec<&str> =
                    steps.iter().map(|found| spec.outputs[found.label].as_str()).collect();
                object["labels"] = json!(labels);
                object["classes"] = json!(spec.outputs);
                object["steps"] = steps.iter().map(|found| json!(found.probabilities)).collect();
            }
            SequencePrediction::Numbers(numbers) if spec.target == TaskKind::Forecast => {
                let steps = numbers.chunks_exact(spec.preprocessor.features.len());
                if let Some(time) = self.data.last_time(self.index) {
                    object["last_time"] = json!(time);
                }
                object["features"] = json!(spec.preprocessor.features);
                object["forecast"] = steps.map(|step| json!(step)).collect();
            }
            SequencePrediction::Numbers(numbers) => {
                object["names"] = json!(spec.outputs);
                object["numbers"] = json!(numbers);
            }
        }
        object
    }

    /// It as a line for people, with the truth if it is known.
    pub(super) fn text(&self, shape: OutputShape) -> String {
        let (spec, data, index) = (self.model.spec(), self.data, self.index);
        let mut id = self.id();
        if shape.has_files {
            id = format!("{}: {id}", self.file.display());
        }
        let class = |found: &Prediction| {
            format!(
                "{} ({:.1} %)",
                spec.outputs[found.label],
                100. * found.probabilities[found.label]
            )
        };
        let number = |value: &f64| format!("{value:.4}");
        let listed = |values: &[f64]| values.iter().map(number).collect::<Vec<_>>().join(", ");
        match self.found {
            SequencePrediction::Class(found) => {
                let truth = data.label(index).map(|label| &data.class_names()[label as usize]);
                let truth = truth.map_or(String::new(), |name| format!("; its label is {name}"));
                format!("{id}: {}{truth}", class(found))
            }
            SequencePrediction::Steps(steps) => {
                let labels: Vec<&str> =
                    steps.iter().map(|found| spec.outputs[found.label].as_str()).collect();
                format!("{id}: {}", labels.join(" "))
            }
            SequencePrediction::Numbers(numbers) if spec.target == TaskKind::Forecast => {
                let steps = numbers.chunks_exact(spec.preprocessor.features.len());
                let steps: Vec<String> = steps.map(listed).collect();
                let after =
                    data.last_time(index).map_or(String::new(), |time| format!(" after {time}"));
                format!("{id}{after}: {}", steps.join("; "))
            }
            SequencePrediction::Numbers(numbers) => {
                let truth = data.numbers(index).map_or(String::new(), |truth| {
                    let truth: Vec<f64> = truth.iter().map(|value| f64::from(*value)).collect();
                    format!("; its target is {}", listed(&truth))
                });
                format!("{id}: {}{truth}", listed(numbers))
            }
        }
    }
}
