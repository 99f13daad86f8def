//! What is checked before the first trial is trained: data, and the settings of all trials that are to be trained.

use std::path::Path;

use candle_rnn::sweep::{SweepFolder, SweepPlan};

use super::child::data_args;
use crate::cli::processes;
use crate::cli::train::TrialCheck;

/// Checks the trials of a plan that have not ended: one error names the first trial that could not be trained, and why.
///
/// - `file`: that of the plan
/// - `out`: the folder of the sweep, which need not be there
/// - `retry`: whether those that have failed are trained again
pub(super) fn check(
    plan: &SweepPlan,
    (file, out): (&Path, &Path),
    retry: bool,
    quiet: bool,
) -> anyhow::Result<()> {
    let folder = SweepFolder::is_sweep(out).then(|| SweepFolder::read(out)).transpose()?;
    let mut check = None;
    for trial in plan.trials() {
        if let Some(folder) = &folder {
            let record = folder.record(trial.number)?;
            if record.is_finished || (record.error.is_some() && !retry) {
                continue;
            }
        }
        let check = match &mut check {
            Some(check) => check,
            None => check.insert(TrialCheck::new(data_args(plan.data()), quiet)?),
        };
        check.check(&trial.settings).inspect_err(processes::leave_to_first).map_err(|error| {
            let choices = trial.choices.iter().map(|(name, value)| format!("{name} {value}"));
            let choices = choices.collect::<Vec<_>>().join(", ");
            anyhow::anyhow!("{}: trial {:04} ({choices}): {error:#}", file.display(), trial.number)
        })?;
    }
    Ok(())
}
