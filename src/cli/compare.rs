//! `candle-rnn info` of several runs: a comparison, side by side, of those on the same data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_rnn::files::tensors::TensorInfo;
use candle_rnn::report::escaped;
use candle_rnn::run;
use candle_rnn::train::EpochMetrics;
use serde_json::json;

use super::saved::{flatten, history, parameters, Saved};
use super::screen;

/// A run that is compared.
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

    /// The data and the target of a run: only runs that share both are compared.
    fn kind(&self) -> (String, String) {
        let of = |name: &str| self.saved.config[name].as_str().unwrap_or_default();
        (self.saved.data.clone(), format!("{} {}", of("task"), of("target")))
    }

    /// The columns of its line, with their names.
    fn columns(&self) -> Vec<(String, String)> {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        let (best, last) = (self.best(), self.history.last());
        let seconds = self.history.iter().map(|m| m.seconds).fold(0., |sum, seconds| sum + seconds);
        let values: usize = self.saved.tensors.iter().map(TensorInfo::elem_count).sum();
        let mut columns = vec![
            ("run".to_string(), self.name.clone()),
            ("dataset".into(), self.saved.data.clone()),
            ("epochs".into(), format!("{}/{}", self.history.len(), self.saved.epochs)),
            ("parameters".into(), screen::thousands(values)),
        ];
        let accuracy = |metrics: Option<&EpochMetrics>| metrics.and_then(|m| m.valid_accuracy);
        let loss = |metrics: Option<&EpochMetrics>| metrics.map(|m| m.valid_loss);
        let has_accuracy = accuracy(best).is_some();
        if has_accuracy {
            columns.push(("best acc_valid".into(), number(accuracy(best))));
        } else {
            columns.push(("best loss_valid".into(), number(loss(best))));
        }
        for (name, value) in best.into_iter().flat_map(|best| &best.metrics) {
            let name = name.strip_prefix("valid_").map(|name| format!("{name}_valid"));
            columns.extend(name.map(|name| (name, number(Some(*value)))));
        }
        columns.push(("at epoch".into(), best.map_or("-".into(), |m| m.epoch.to_string())));
        if has_accuracy {
            columns.push(("last acc_valid".into(), number(accuracy(last))));
        }
        columns.push(("last loss_valid".into(), number(loss(last))));
        columns.push(("seconds".into(), format!("{seconds:.1}")));
        columns
    }
}

/// Shows `paths`: for all runs on the same data a table, the best first, and in which settings they differ.
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
    let mut groups: Vec<Vec<Run>> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|group| group[0].kind() == run.kind()) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    for (index, group) in groups.iter_mut().enumerate() {
        if index > 0 {
            screen::line("")?;
        }
        show_group(group)?;
    }
    Ok(())
}

/// Shows runs on the same data, the best first.
fn show_group(runs: &mut [Run]) -> anyhow::Result<()> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    runs.sort_by(|a, b| match (a.best(), b.best()) {
        (Some(a), Some(b)) if a.is_better_than(b) => Less,
        (Some(a), Some(b)) if b.is_better_than(a) => Greater,
        (Some(_), None) => Less,
        (None, Some(_)) => Greater,
        _ => Equal,
    });
    let columns: Vec<Vec<(String, String)>> = runs.iter().map(Run::columns).collect();
    // A run without an epoch lacks some.
    let longest = columns.iter().max_by_key(|columns| columns.len());
    let names: Vec<String> = longest.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let line = |columns: &Vec<(String, String)>| {
        let value = |name: &String| {
            let found = columns.iter().find(|(column, _)| column == name);
            found.map_or("-".into(), |(_, value)| value.clone())
        };
        names.iter().map(value).collect()
    };
    let mut table = vec![names.clone()];
    table.extend(columns.iter().map(line));
    show(&table)?;
    let differing = differing(runs)?;
    if differing.len() > 1 {
        screen::line("\nsettings in which they differ")?;
        show(&differing)?;
    }
    Ok(())
}

/// Settings of a training that `config.json` has in other places than `training`.
const ELSEWHERE: [(&str, &[&str]); 3] = [
    (
        "model",
        &[
            "cell",
            "hidden_size",
            "num_layers",
            "bidirectional",
            "dropout",
            "readout",
            "embedding_size",
        ],
    ),
    ("preprocessor", &["scaling", "missing", "missing_mask"]),
    ("forecast", &["horizon"]),
];

/// A table of the settings that are not the same in all runs, a line a run.
fn differing(runs: &[Run]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut settings: Vec<BTreeMap<String, String>> = Vec::new();
    for run in runs {
        let mut of: BTreeMap<_, _> =
            flatten("", &run.saved.config["training"]).into_iter().collect();
        for (part, names) in ELSEWHERE {
            let settings = flatten("", &run.saved.config[part]);
            of.extend(settings.into_iter().filter(|(name, _)| names.contains(&name.as_str())));
        }
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
pub(super) fn show(table: &[Vec<String>]) -> anyhow::Result<()> {
    let shown = |line: &Vec<String>| line.iter().map(|cell| escaped(cell).into_owned()).collect();
    let table: Vec<Vec<String>> = table.iter().map(shown).collect();
    let count = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    for line in &table {
        let mut text = format!("{:<1$}", line[0], widths[0]);
        for (value, width) in line.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {value:>width$}"));
        }
        screen::line(text.trim_end())?;
    }
    Ok(())
}
