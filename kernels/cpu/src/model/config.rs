//! `config.json`: what a model reads and predicts, and its sizes.

use serde::Deserialize;
use serde_json::Value;

use super::error::ModelError;
use super::forecast::ForecastWindow;
use super::preprocess::{Columns, SequencePreprocessor};
use super::view::ImageView;
use crate::kernels::CellKind;
use crate::network::Readout;

/// The kind of target that a model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// The class of a sequence, or of an image.
    Class,
    /// The class of each step.
    StepClass,
    /// Numbers for a sequence.
    Numbers,
    /// The next steps of a series.
    Forecast,
    /// The next character of a text.
    #[serde(skip)]
    Character,
}

/// The description of a model besides its weights.
#[derive(Debug)]
pub(super) struct ModelConfig {
    pub(super) cell: CellKind,
    pub(super) input_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_layers: usize,
    pub(super) bidirectional: bool,
    pub(super) readout: Readout,
    pub(super) outputs: usize,
    pub(super) task: ModelTask,
}

/// The inputs and the targets of a model.
#[derive(Debug)]
pub(super) enum ModelTask {
    Images { view: ImageView },
    Sequences(Box<SequenceTask>),
    Text { vocabulary: Vec<char> },
}

/// The inputs and the targets of sequences.
#[derive(Debug)]
pub(super) struct SequenceTask {
    pub(super) target: TargetKind,
    pub(super) preprocessor: SequencePreprocessor,
    pub(super) outputs: Vec<String>,
    pub(super) target_scaler: Option<Columns>,
    pub(super) forecast: Option<ForecastWindow>,
}

/// The fields of the file that are needed.
#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    task: Option<String>,
    model: SizesInFile,
    training: TrainingInFile,
    vocabulary: Option<String>,
    target: Option<TargetKind>,
    preprocessor: Option<SequencePreprocessor>,
    #[serde(default)]
    outputs: Vec<String>,
    target_scaler: Option<Columns>,
    forecast: Option<ForecastInFile>,
}

#[derive(Deserialize)]
struct SizesInFile {
    cell: CellKind,
    hidden_size: usize,
    #[serde(default = "one")]
    num_layers: usize,
    #[serde(default)]
    bidirectional: bool,
    #[serde(default)]
    readout: ReadoutInFile,
    input_size: Option<usize>,
    #[serde(default)]
    seq_len: usize,
    num_classes: Option<usize>,
    vocabulary_size: Option<usize>,
    embedding_size: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReadoutInFile {
    #[default]
    Last,
    MeanMax,
    All,
}

#[derive(Deserialize)]
struct TrainingInFile {
    view: Option<ImageView>,
    window: Option<usize>,
}

#[derive(Deserialize)]
struct ForecastInFile {
    horizon: usize,
    season: usize,
}

fn one() -> usize {
    1
}

/// The objects of the file, by their names with dots between them; the first is the file.
const OBJECTS: [&str; 7] =
    ["", "model", "training", "preprocessor", "preprocessor.scaler", "target_scaler", "forecast"];

fn is_list(fields: &Value, path: &str) -> bool {
    let mut names = path.split('.').filter(|name| !name.is_empty());
    names.try_fold(fields, |value, name| value.get(name)).is_some_and(Value::is_array)
}

/// The largest size of any dimension, as in the program that trains.
const MAX_SIZE: usize = 1 << 20;
const MAX_LAYERS: usize = 64;

impl ModelConfig {
    pub(super) fn parse(json: &[u8]) -> Result<Self, ModelError> {
        let unlike = |error: &dyn std::fmt::Display| {
            ModelError::new(format!("config.json is not a run's configuration: {error}"))
        };
        let fields: Value = serde_json::from_slice(json).map_err(|error| unlike(&error))?;
        // serde takes a list of a structure's fields for an object, too.
        if let Some(path) = OBJECTS.iter().find(|path| is_list(&fields, path)) {
            let what = if path.is_empty() { "the file" } else { path };
            return Err(unlike(&format!("{what} must be an object, got a list")));
        }
        let file = ConfigFile::deserialize(fields).map_err(|error| unlike(&error))?;
        let wrong = |reason: &str| ModelError::new(format!("config.json: {reason}"));
        if file.model_type != "candle-rnn" {
            return Err(wrong(&format!("model_type is {}, not candle-rnn", file.model_type)));
        }
        let SizesInFile { cell, hidden_size, num_layers, bidirectional, seq_len, .. } = file.model;
        let (input_size, outputs) = match file.task.as_deref() {
            Some("text") => (file.model.embedding_size, file.model.vocabulary_size),
            _ => (file.model.input_size, file.model.num_classes),
        };
        let (Some(input_size), Some(outputs)) = (input_size, outputs) else {
            return Err(wrong("the sizes of the model are not complete"));
        };
        let sizes = [input_size, hidden_size, outputs];
        let are_sizes = sizes.iter().all(|size| (1..=MAX_SIZE).contains(size));
        if !are_sizes || !(1..=MAX_LAYERS).contains(&num_layers) || seq_len > MAX_SIZE {
            return Err(wrong(&format!(
                "sizes must be from 1 to {MAX_SIZE} and layers from 1 to {MAX_LAYERS}, got {sizes:?} and \
                 {num_layers}"
            )));
        }
        let readout = match file.model.readout {
            ReadoutInFile::Last => Readout::Last,
            ReadoutInFile::MeanMax => Readout::MeanMax,
            ReadoutInFile::All => Readout::All { seq_len },
        };
        let task = match file.task.as_deref() {
            None => match file.training.view {
                Some(view) if view.input_size() == input_size => ModelTask::Images { view },
                _ => return Err(wrong("training.view does not give inputs of the model's size")),
            },
            Some("text") => ModelTask::Text { vocabulary: vocabulary(file.vocabulary, outputs)? },
            Some("sequences") => {
                let (Some(target), Some(preprocessor)) = (file.target, file.preprocessor) else {
                    return Err(wrong("target or preprocessor is missing"));
                };
                let forecast = match (target, file.forecast, file.training.window) {
                    (TargetKind::Forecast, Some(of), Some(window)) => {
                        Some(ForecastWindow { horizon: of.horizon, season: of.season, window })
                    }
                    (TargetKind::Forecast, ..) => return Err(wrong("forecast is not complete")),
                    _ => None,
                };
                let (outputs, target_scaler) = (file.outputs, file.target_scaler);
                let of = SequenceTask { target, preprocessor, outputs, target_scaler, forecast };
                ModelTask::Sequences(Box::new(of))
            }
            Some(other) => {
                return Err(wrong(&format!(
                    "the task is {other}: images, sequences and text can be predicted"
                )))
            }
        };
        let config = Self {
            cell,
            input_size,
            hidden_size,
            num_layers,
            bidirectional,
            readout,
            outputs,
            task,
        };
        if !config.fits_together() {
            return Err(wrong("features, outputs and the sizes of the model do not fit together"));
        }
        Ok(config)
    }

    fn fits_together(&self) -> bool {
        match &self.task {
            ModelTask::Images { view } => match self.readout {
                Readout::All { seq_len } => seq_len == view.seq_len(),
                Readout::Last | Readout::MeanMax => true,
            },
            ModelTask::Text { .. } => !self.bidirectional && self.readout == Readout::Last,
            ModelTask::Sequences(sequences) => {
                let SequenceTask { target, preprocessor, outputs, target_scaler, forecast } =
                    &**sequences;
                let features = preprocessor.features.len();
                let forecasts =
                    forecast.map_or(self.outputs, |of| of.horizon.saturating_mul(features));
                let scaled = target_scaler.as_ref().map_or(self.outputs, Columns::width);
                let is_readable = match self.readout {
                    Readout::Last => true,
                    Readout::MeanMax => *target != TargetKind::StepClass,
                    Readout::All { .. } => false,
                };
                preprocessor.fits_together()
                    && target_scaler.as_ref().is_none_or(Columns::is_valid)
                    && is_readable
                    && self.input_size == preprocessor.input_size()
                    && [outputs.len(), forecasts, scaled] == [self.outputs; 3]
                    && forecast.is_none_or(|of| is_in_bounds(&of, features))
                    && (*target == TargetKind::Numbers) == target_scaler.is_some()
            }
        }
    }
}

/// Whether a season fits into the window, and both into memory: a stream keeps the values of a season.
fn is_in_bounds(of: &ForecastWindow, features: usize) -> bool {
    const MOST: usize = 1 << 24;
    let values = of.season.checked_mul(features);
    of.window <= MOST
        && (1..=of.window).contains(&of.season)
        && values.is_some_and(|values| values <= MOST)
}

/// The characters of a text, sorted.
fn vocabulary(text: Option<String>, size: usize) -> Result<Vec<char>, ModelError> {
    let characters: Vec<char> = text.unwrap_or_default().chars().collect();
    if characters.len() != size || !characters.is_sorted_by(|a, b| a < b) {
        return Err(ModelError::new(format!(
            "config.json: vocabulary must be {size} characters, sorted; got {}",
            characters.len()
        )));
    }
    Ok(characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_seasons_beyond_all_memory_are_out_of_bounds() {
        let is_in_bounds = |season, window, features| {
            is_in_bounds(&ForecastWindow { horizon: 1, season, window }, features)
        };
        assert!(is_in_bounds(12, 24, 3) && is_in_bounds(24, 24, 1));
        assert!(!is_in_bounds(0, 24, 1) && !is_in_bounds(25, 24, 1));
        assert!(!is_in_bounds(1 << 62, 1 << 62, 1) && !is_in_bounds(1, 1 << 62, 1));
        // Their product wraps to 0.
        assert!(!is_in_bounds(1 << 23, 1 << 24, 1 << 41));
    }
}
