//! The file names in a run directory.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) const CONFIG: &str = "config.json";
pub(super) const MODEL: &str = "model.safetensors";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const LOCK: &str = ".lock";
/// The settings that train the run again.
pub(crate) const SETTINGS: &str = "train.toml";
/// The files that are made from a run's metrics and weights, and removed with them.
pub(crate) const CURVES: &str = "curves.svg";
pub(crate) const CONFUSION: &str = "confusion.svg";
pub(crate) const FORECAST: &str = "forecast.svg";
pub(crate) const CARD: &str = "README.md";
pub(crate) const EVENTS: &str = "events.out.tfevents.";

/// The run that a folder is a checkpoint of, if it is one: it has weights and no settings of its own. A link to a
/// checkpoint is one.
pub(super) fn run_of_checkpoint(folder: &Path) -> Option<PathBuf> {
    if folder.join(CONFIG).exists() || !folder.join(MODEL).exists() {
        return None;
    }
    let run_of = |folder: &Path| {
        let checkpoints = folder.parent().filter(|parent| parent.ends_with(CHECKPOINTS))?;
        checkpoints.parent().map(Path::to_path_buf)
    };
    // As it is called: a checkpoint may lie elsewhere, with a link in its place.
    run_of(folder).or_else(|| run_of(&fs::canonicalize(folder).ok()?))
}
