//! `candle-rnn info`.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_rnn::checkpoint::{run, weights};
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
        [path] => of_file(weights::read(path)?.into_iter().collect(), args.json),
        paths => compare::run(paths, args.json),
    }
}

fn of_run(path: &Path, json: bool) -> anyhow::Result<()> {
    let config = run::read_config(path)?;
    let tensors: Vec<(String, Tensor)> = run::read_weights(path, &config)?.into_iter().collect();
    let history = run::read_metrics(path)?;
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

fn of_file(tensors: Vec<(String, Tensor)>, json: bool) -> anyhow::Result<()> {
    if json {
        return screen::json(&json!({ "parameters": parameters(&tensors) }));
    }
    table(&tensors)
}

pub(super) fn parameters(tensors: &[(String, Tensor)]) -> Vec<Value> {
    let parameter = |(name, tensor): &(String, Tensor)| json!({ "name": name, "shape": tensor.dims(), "dtype": tensor.dtype().as_str() });
    tensors.iter().map(parameter).collect()
}

fn table(tensors: &[(String, Tensor)]) -> anyhow::Result<()> {
    for (name, tensor) in tensors {
        let shape = format!("{:?}", tensor.dims());
        screen::line(&format!("  {name:<26} {shape:<14} {}", tensor.dtype().as_str()))?;
    }
    let total: usize = tensors.iter().map(|(_, tensor)| tensor.elem_count()).sum();
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
