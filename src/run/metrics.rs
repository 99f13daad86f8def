//! `metrics.jsonl`: one line per epoch.

use std::fs;
use std::path::Path;

use super::layout::{run_of_checkpoint, METRICS};
use crate::files::{checksums, durable};
use crate::train::EpochMetrics;
use crate::{Error, Result};

/// The best epoch of a history: of equals the first.
pub fn best_of(history: &[EpochMetrics]) -> Option<&EpochMetrics> {
    history.iter().reduce(|best, metrics| if metrics.is_better_than(best) { metrics } else { best })
}

/// Replaces the file in the folder `run`.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub(super) fn write(run: &Path, history: &[EpochMetrics]) -> Result<()> {
    let path = run.join(METRICS);
    let mut lines = Vec::new();
    for metrics in history {
        serde_json::to_writer(&mut lines, metrics)
            .map_err(|error| Error::checkpoint(&path, error.to_string()))?;
        lines.push(b'\n');
    }
    durable::write(&path, &lines)
}

/// Reads the metrics of a run's epochs; of one of its checkpoints, and of a folder that an export has written, which have
/// none of their own: nothing.
///
/// Blank lines are left out, and so is a last line that was not written to its end: see
/// [`read_metrics_and_cut`].
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is damaged.
pub fn read_metrics(run: &Path) -> Result<Vec<EpochMetrics>> {
    Ok(read_metrics_and_cut(run)?.0)
}

/// As [`read_metrics`]; and the error that says which line was left out because the file ends in it.
///
/// # Errors
/// As [`read_metrics`].
pub fn read_metrics_and_cut(run: &Path) -> Result<(Vec<EpochMetrics>, Option<Error>)> {
    let path = run.join(METRICS);
    // An export puts checksums beside weights and configuration, a run has them in its checkpoints alone.
    let is_export = !path.exists() && run.join(checksums::NAME).exists();
    if is_export || run_of_checkpoint(run).is_some() {
        return Ok((Vec::new(), None));
    }
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "read the file"))?;
    let (mut history, mut cut) = (Vec::new(), None);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(metrics) => history.push(metrics),
            Err(error) if error.is_eof() && !line.ends_with('\n') => {
                let reason = format!("line {} is incomplete: the file ends in it", index + 1);
                cut = Some(Error::checkpoint(&path, reason));
            }
            Err(error) => {
                return Err(Error::checkpoint(&path, format!("line {}: {error}", index + 1)))
            }
        }
    }
    Ok((history, cut))
}
