//! `candle-rnn info`.

use std::path::{Path, PathBuf};

use candle_rnn::files::tensors::{TensorInfo, WeightFile};
use candle_rnn::run::{self, RunConfig};
use candle_rnn::train::EpochMetrics;
use serde_json::{json, Value};

use super::{compare, screen};

/// Show what a run or a safetensors file holds, or several runs side by side
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn info runs/0001
  candle-rnn info runs/*                          which of them is best, and how they differ
  candle-rnn info runs/0001/model.safetensors --json")]
pub(super) struct InfoArgs {
    /// A run directory or a safetensors file; or several run directories
    #[arg(required = true, value_name = "RUN|FILE")]
    paths: Vec<PathBuf>,
    /// Print one JSON object, of several runs one a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: InfoArgs) -> anyhow::Result<()> {
    match args.paths.as_slice() {
        [path] if path.is_dir() => of_run(path, args.json),
        [path] => of_file(WeightFile::open(path)?.tensors().collect(), args.json),
        paths => compare::run(paths, args.json),
    }
}

fn of_run(path: &Path, json: bool) -> anyhow::Result<()> {
    let config = run::read_config(path)?;
    let tensors = weights_of(path, &config)?;
    let history = history(path)?;
    if json {
        return screen::json(&json!({
            "config": config,
            "parameters": parameters(&tensors),
            "history": history,
        }));
    }
    screen::line("configuration")?;
    for (name, value) in flatten("", &serde_json::to_value(&config)?) {
        screen::line(&format!("  {name:<26} {value}"))?;
    }
    screen::line("parameters")?;
    table(&tensors)?;
    screen::line("history")?;
    for metrics in &history {
        screen::line(&format!("  {}", screen::epoch_line(metrics, config.training.epochs)))?;
    }
    Ok(())
}

/// The tensors in the file of a run's weights, which must be a model's.
pub(super) fn weights_of(run: &Path, config: &RunConfig) -> anyhow::Result<Vec<TensorInfo>> {
    run::read_weights(run, config)?;
    Ok(WeightFile::open(&run.join("model.safetensors"))?.tensors().collect())
}

/// The metrics of a run's epochs; that its last line is not whole, a note says.
pub(super) fn history(run: &Path) -> anyhow::Result<Vec<EpochMetrics>> {
    let (history, cut) = run::read_metrics_and_cut(run)?;
    if let Some(cut) = cut {
        screen::note(&format!("passed over: {cut}"));
    }
    Ok(history)
}

fn of_file(tensors: Vec<TensorInfo>, json: bool) -> anyhow::Result<()> {
    if json {
        return screen::json(&json!({ "parameters": parameters(&tensors) }));
    }
    table(&tensors)
}

pub(super) fn parameters(tensors: &[TensorInfo]) -> Vec<Value> {
    let parameter = |TensorInfo { name, shape, dtype }: &TensorInfo| json!({ "name": name, "shape": shape, "dtype": dtype });
    tensors.iter().map(parameter).collect()
}

fn table(tensors: &[TensorInfo]) -> anyhow::Result<()> {
    for TensorInfo { name, shape, dtype } in tensors {
        let shape = format!("{shape:?}");
        screen::line(&format!("  {name:<26} {shape:<14} {dtype}"))?;
    }
    let total: usize = tensors.iter().map(TensorInfo::elem_count).sum();
    screen::line(&format!("  {} values in all", screen::thousands(total)))
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
