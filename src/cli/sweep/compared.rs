//! Several sweeps side by side, for `info`.

use std::path::{Path, PathBuf};

use candle_rnn::sweep::{SweepFolder, TrialState};
use serde_json::json;

use super::table::SweepTable;
use crate::cli::{compare as runs, screen};

/// Shows, of each sweep, how far it is, and compares the runs of the best trials, as `info` does of any runs.
///
/// - `paths`: folders of sweeps, and run directories
pub(crate) fn compare(paths: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let mut lines =
        vec![["sweep", "trials", "finished", "failed", "best"].map(String::from).to_vec()];
    let mut best = Vec::new();
    for path in paths {
        if !SweepFolder::is_sweep(path) {
            best.push(path.clone());
            continue;
        }
        let table = read(path)?;
        let count = |state: TrialState| table.count(|found| found == state);
        let (finished, failed) = (count(TrialState::Finished), count(TrialState::Failed));
        let (trials, leading) = (table.count(|_| true), table.leading());
        if json {
            screen::json(&json!({
                "sweep": path,
                "trials": trials,
                "finished": finished,
                "failed": failed,
                "best": leading.map(|trial| table.object(trial)).transpose()?,
            }))?;
            continue;
        }
        let number = leading.map(|trial| table.number(trial));
        let shown = number.map_or("-".into(), |number| format!("{number:04}"));
        let counts = [trials, finished, failed].map(|count| count.to_string());
        lines.push([vec![path.display().to_string()], counts.to_vec(), vec![shown]].concat());
        best.extend(number.map(|number| table.run(number)));
    }
    if json {
        return if best.is_empty() { Ok(()) } else { runs::run(&best, json) };
    }
    runs::show(&lines)?;
    if best.is_empty() {
        return Ok(());
    }
    screen::line("")?;
    runs::run(&best, json)
}

fn read(path: &Path) -> anyhow::Result<SweepTable> {
    let folder = SweepFolder::read(path)?;
    let plan = folder.plan()?;
    SweepTable::read(&folder, plan)
}
