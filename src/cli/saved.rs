//! Readers of a run for `info`: its weights and its metrics.

use std::path::Path;

use candle_rnn::data::known::Known;
use candle_rnn::files::tensors::{TensorInfo, WeightFile};
use candle_rnn::run::{self, TaskConfig, TaskName};
use candle_rnn::train::tasks::{SequenceConfig, TextConfig};
use candle_rnn::train::{EpochMetrics, ImageConfig};
use serde_json::{json, Value};

use super::screen;

/// A run of any of the program's tasks.
pub(super) struct Saved {
    /// `config.json`.
    pub(super) config: Value,
    /// The name of the data: that of a data set that is known by its SHA-256, else of their file or folder.
    pub(super) data: String,
    /// Epochs that it is to be trained for.
    pub(super) epochs: usize,
    /// The tensors of its weights; none before its first save.
    pub(super) tensors: Vec<TensorInfo>,
}

impl Saved {
    /// Reads a run whose weights, if there are some, must be its model's.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Self::with(path, path.join(MODEL).exists())
    }

    /// Reads a run whose weights must be there.
    pub(super) fn read_whole(path: &Path) -> anyhow::Result<Self> {
        Self::with(path, true)
    }

    fn with(path: &Path, weights: bool) -> anyhow::Result<Self> {
        match run::read_task(path)? {
            TaskName::Images => Self::of(path, weights, |config: &ImageConfig| {
                match Known::of(&config.data.sha256) {
                    Some(Known::Whole(dataset)) => dataset.name().into(),
                    Some(Known::Sample) => "mnist-sample".into(),
                    None => file_name(config.data.source.as_deref()),
                }
            }),
            TaskName::Sequences => Self::of(path, weights, |config: &SequenceConfig| {
                file_name(config.data.source.file.as_deref())
            }),
            TaskName::Text => Self::of(path, weights, |config: &TextConfig| {
                file_name(config.data.source.as_deref())
            }),
            TaskName::Other(name) => {
                anyhow::bail!("{}: a run of another program's task, {name}", path.display())
            }
        }
    }

    fn of<C: TaskConfig>(
        path: &Path,
        weights: bool,
        data: impl Fn(&C) -> String,
    ) -> anyhow::Result<Self> {
        let config = run::read_config::<C>(path)?;
        let tensors = if weights {
            run::read_weights(path, &config)?;
            WeightFile::open(&path.join(MODEL))?.tensors().collect()
        } else {
            Vec::new()
        };
        let (data, epochs) = (data(&config.task), config.task.trainer().epochs);
        Ok(Self { config: serde_json::to_value(&config)?, data, epochs, tensors })
    }
}

const MODEL: &str = "model.safetensors";

fn file_name(path: Option<&Path>) -> String {
    let name = path.and_then(Path::file_name);
    name.map_or("-".into(), |name| name.to_string_lossy().into_owned())
}

/// The metrics of a run's epochs; that its last line is not whole, a note says.
pub(super) fn history(run: &Path) -> anyhow::Result<Vec<EpochMetrics>> {
    let (history, cut) = run::read_metrics_and_cut(run)?;
    if let Some(cut) = cut {
        screen::note(&format!("skipped: {cut}"));
    }
    Ok(history)
}

/// Tensors as JSON.
pub(super) fn parameters(tensors: &[TensorInfo]) -> Vec<Value> {
    let parameter = |TensorInfo { name, shape, dtype }: &TensorInfo| json!({ "name": name, "shape": shape, "dtype": dtype });
    tensors.iter().map(parameter).collect()
}

/// The leaves of a JSON object, with dots between the names.
pub(super) fn flatten(prefix: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let name =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value)
            })
            .collect(),
        Value::String(text) => vec![(prefix.to_string(), text.clone())],
        other => vec![(prefix.to_string(), other.to_string())],
    }
}
