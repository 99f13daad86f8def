//! Readers of a run for `info`: its weights and its metrics.

use std::path::Path;

use candle_rnn::files::tensors::{TensorInfo, WeightFile};
use candle_rnn::run::{self, RunConfig};
use candle_rnn::train::EpochMetrics;
use serde_json::{json, Value};

use super::screen;

/// The tensors in the file of a run's weights, which must be a model's.
pub(super) fn weights_of(run: &Path, config: &RunConfig) -> anyhow::Result<Vec<TensorInfo>> {
    run::read_weights(run, config)?;
    Ok(WeightFile::open(&run.join("model.safetensors"))?.tensors().collect())
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
