//! `candle-rnn info` of several runs: a comparison, side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_rnn::files::tensors::TensorInfo;
use candle_rnn::run;
use candle_rnn::train::EpochMetrics;
use serde_json::json;

use super::saved::{flatten, history, parameters, Saved};
use super::screen;

/// What is known of a run.
struct Run {
    name: String,
    saved: Saved,
    history: Vec<EpochMetrics>,
}

impl Run {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let (saved, history) = (Saved::read(path)?, history(path)?);
        Ok(Self { name: path.display().to_string(), saved, history })
    }

    fn best(&self) -> Option<&EpochMetrics> {
        run::best_of(&self.history)
    }

    /// The columns of its line, as [`COLUMNS`] names them.
    fn columns(&self) -> [String; COLUMNS.len()] {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        let (best, last) = (self.best(), self.history.last());
        let seconds = self.history.iter().map(|m| m.seconds).fold(0., |sum, seconds| sum + seconds);
        let values: usize = self.saved.tensors.iter().map(TensorInfo::elem_count).sum();
        [
            self.name.clone(),
            self.saved.data.clone(),
            format!("{}/{}", self.history.len(), self.saved.epochs),
            screen::thousands(values),
            number(best.and_then(|m| m.valid_accuracy)),
            best.map_or("-".into(), |m| m.epoch.to_string()),
            number(last.and_then(|m| m.valid_accuracy)),
            number(last.map(|m| m.valid_loss)),
            format!("{seconds:.1}"),
        ]
    }
}

const COLUMNS: [&str; 9] = [
    "run",
    "dataset",
    "epochs",
    "parameters",
    "best acc_valid",
    "at epoch",
    "last acc_valid",
    "last loss_valid",
    "seconds",
];

/// Shows `paths`, the run with the best validation accuracy first, and in which settings they differ.
pub(super) fn run(paths: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for path in paths {
        match Run::read(path) {
            Ok(run) => runs.push(run),
            Err(error) => screen::note(&format!("skipped: {error:#}")),
        }
    }
    anyhow::ensure!(!runs.is_empty(), "none of these folders is a run");
    if json {
        return runs.iter().try_for_each(|run| {
            screen::json(&json!({
                "run": run.name,
                "config": run.saved.config,
                "parameters": parameters(&run.saved.tensors),
                "history": run.history,
            }))
        });
    }
    let accuracy = |run: &Run| run.best().and_then(|m| m.valid_accuracy).unwrap_or(-1.);
    runs.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    let mut table = vec![COLUMNS.map(String::from).to_vec()];
    table.extend(runs.iter().map(|run| run.columns().to_vec()));
    show(&table)?;
    let differing = differing(&runs)?;
    if differing.len() > 1 {
        screen::line("\nsettings in which they differ")?;
        show(&differing)?;
    }
    Ok(())
}

/// A table of the settings that are not the same in all runs, a line a run.
fn differing(runs: &[Run]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut settings: Vec<BTreeMap<String, String>> = Vec::new();
    for run in runs {
        let mut of: BTreeMap<_, _> =
            flatten("", &run.saved.config["training"]).into_iter().collect();
        of.insert("dataset".into(), run.saved.data.clone());
        // As long as commits are written: data that differ are to be seen.
        let sha256 = run.saved.config["data"]["sha256"].as_str().unwrap_or_default();
        of.insert("data_sha256".into(), sha256.chars().take(8).collect());
        settings.push(of);
    }
    let names: std::collections::BTreeSet<&String> =
        settings.iter().flat_map(|s| s.keys()).collect();
    let differing: Vec<&String> = names
        .into_iter()
        .filter(|name| settings.iter().any(|s| s.get(*name) != settings[0].get(*name)))
        .collect();
    if differing.is_empty() {
        return Ok(Vec::new());
    }
    let mut table = vec![vec!["run".to_string()]];
    table[0].extend(differing.iter().map(|name| (*name).clone()));
    for (run, settings) in runs.iter().zip(&settings) {
        let value = |name: &&String| settings.get(*name).cloned().unwrap_or("-".into());
        let mut line = vec![run.name.clone()];
        line.extend(differing.iter().map(value));
        table.push(line);
    }
    Ok(table)
}

/// Prints lines of columns: the first to the left, the others to the right.
fn show(table: &[Vec<String>]) -> anyhow::Result<()> {
    let count = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    for line in table {
        let mut text = format!("{:<1$}", line[0], widths[0]);
        for (value, width) in line.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {value:>width$}"));
        }
        screen::line(text.trim_end())?;
    }
    Ok(())
}
