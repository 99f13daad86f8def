//! `candle-rnn info`: configuration, parameters and history of a run, or the table of a sweep.

use std::path::{Path, PathBuf};

use candle_rnn::files::tensors::{TensorInfo, WeightFile};
use candle_rnn::report::escaped;
use candle_rnn::sweep::SweepFolder;
use serde_json::json;

use super::saved::{flatten, history, parameters, Saved};
use super::{compare, screen, sweep};

/// Show a run's configuration, parameters and history, compare several runs, or show a sweep or several
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn info runs/0001
  candle-rnn info runs/*                          which of them is best, and how they differ
  candle-rnn info sweeps/first                    the table of a sweep, best trial first
  candle-rnn info sweeps/*                        how far each is, and the best trials side by side
  candle-rnn info runs/0001/model.safetensors --json")]
pub(super) struct InfoArgs {
    /// A run directory, the folder of a sweep or a safetensors file, or several run directories and sweeps to compare
    #[arg(required = true, value_name = "RUN|FILE")]
    paths: Vec<PathBuf>,
    /// Print one JSON object, or one per line for several runs and for the trials of a sweep
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: InfoArgs) -> anyhow::Result<()> {
    match args.paths.as_slice() {
        [path] if SweepFolder::is_sweep(path) => sweep::info(path, args.json),
        [path] if path.is_dir() => of_run(path, args.json),
        [path] => of_file(WeightFile::open(path)?.tensors().collect(), args.json),
        paths if paths.iter().any(|path| SweepFolder::is_sweep(path)) => {
            sweep::compare(paths, args.json)
        }
        paths => compare::run(paths, args.json),
    }
}

fn of_run(path: &Path, json: bool) -> anyhow::Result<()> {
    let Saved { config, epochs, tensors, .. } = Saved::read_whole(path)?;
    let history = history(path)?;
    if json {
        return screen::json(&json!({
            "config": config,
            "parameters": parameters(&tensors),
            "history": history,
        }));
    }
    screen::line("configuration")?;
    for (name, value) in flatten("", &config) {
        screen::line(&escaped(&format!("  {name:<26} {value}")))?;
    }
    screen::line("parameters")?;
    table(&tensors)?;
    screen::line("history")?;
    for metrics in &history {
        screen::line(&format!("  {}", screen::epoch_line(metrics, epochs)))?;
    }
    Ok(())
}

fn of_file(tensors: Vec<TensorInfo>, json: bool) -> anyhow::Result<()> {
    if json {
        return screen::json(&json!({ "parameters": parameters(&tensors) }));
    }
    table(&tensors)
}

fn table(tensors: &[TensorInfo]) -> anyhow::Result<()> {
    for TensorInfo { name, shape, dtype } in tensors {
        let (name, shape) = (escaped(name), format!("{shape:?}"));
        screen::line(&format!("  {name:<26} {shape:<14} {dtype}"))?;
    }
    let total: usize = tensors.iter().map(TensorInfo::elem_count).sum();
    screen::line(&format!("  {} values in all", screen::thousands(total)))
}
