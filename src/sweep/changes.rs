//! A sweep whose file has changed: trials that both files have keep their numbers, and with them their runs.

use std::collections::{BTreeMap, BTreeSet};

use super::file::TrialData;
use super::plan::{SweepPlan, Trial};
use crate::{Error, Result};

/// The number of a trial that has none yet.
const UNKNOWN: usize = 0;

/// What a folder holds under the number of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TrialFiles {
    /// Nothing.
    Nothing,
    /// A log, settings, or a run that has not ended.
    Begun,
    /// A run that was trained to its end.
    Finished,
}

impl SweepPlan {
    /// This plan with the numbers that its trials have in the folder of an earlier one, and free numbers for the others.
    ///
    /// - `before`: the earlier plan
    /// - `changed`: a data file whose content is not the earlier plan's
    /// - `files`: what the folder holds under a number
    ///
    /// # Errors
    /// [`Error::Config`] saying what has changed though trials have been trained that must be as they were.
    pub(super) fn numbered_like(
        mut self,
        before: &Self,
        changed: Option<&str>,
        files: impl Fn(usize) -> TrialFiles,
    ) -> Result<Self> {
        let has_other_data =
            changed.is_some() || seen_by_trials(self.data()) != seen_by_trials(before.data());
        self.trials_mut().iter_mut().for_each(|trial| trial.number = UNKNOWN);
        if !has_other_data {
            // On other data the same settings are another trial.
            self.take_numbers(before, |trial| trial.identity());
            self.take_numbers(before, |trial| without_effect(trial).identity());
        }
        let taken: BTreeSet<usize> = self.trials().iter().map(|trial| trial.number).collect();
        let has_halving = self.rounds().len() > 1 || before.rounds().len() > 1;
        let is_alike = self.rounds() == before.rounds()
            && self.trials().len() == before.trials().len()
            && !taken.contains(&UNKNOWN);
        for trial in before.trials() {
            let reason = match files(trial.number) {
                TrialFiles::Nothing => continue,
                _ if has_halving && changed.is_some() => "has begun",
                _ if has_halving && is_alike => continue,
                _ if has_halving => {
                    "has begun, and with halving every trial is compared with all others"
                }
                TrialFiles::Begun => continue,
                TrialFiles::Finished if has_other_data => "is finished, and the data are others",
                TrialFiles::Finished if taken.contains(&trial.number) => continue,
                TrialFiles::Finished => "is finished, and no trial has its settings any more",
            };
            let choices = trial.choices.iter().map(|(name, value)| format!("{name} {value}"));
            let choices = choices.collect::<Vec<_>>().join(", ");
            let content = changed.map_or(String::new(), |file| {
                format!(", and {file} has another content than when the sweep began")
            });
            let reason = format!("trial {:04} ({choices}) {reason}{content}", trial.number);
            return Err(Error::Config(reason));
        }
        let is_free =
            |number: &usize| !taken.contains(number) && files(*number) == TrialFiles::Nothing;
        let mut free = (1..).filter(is_free);
        for trial in self.trials_mut().iter_mut().filter(|trial| trial.number == UNKNOWN) {
            trial.number = free.next().unwrap_or(usize::MAX);
        }
        Ok(self)
    }

    /// Gives trials without a number those of the trials of an earlier plan that are the same by a measure.
    fn take_numbers(&mut self, before: &Self, same: impl Fn(&Trial) -> String) {
        let taken: BTreeSet<usize> = self.trials().iter().map(|trial| trial.number).collect();
        let mut known = BTreeMap::new();
        for trial in before.trials().iter().filter(|trial| !taken.contains(&trial.number)) {
            known.entry(same(trial)).or_insert(trial.number);
        }
        for trial in self.trials_mut().iter_mut().filter(|trial| trial.number == UNKNOWN) {
            trial.number = known.remove(&same(trial)).unwrap_or(UNKNOWN);
        }
    }
}

/// A trial without the settings that change neither the model nor its measures.
fn without_effect(trial: &Trial) -> Trial {
    let names = ["save_every", "keep", "device"];
    let settings =
        names.iter().fold(trial.settings.clone(), |settings, name| settings.without(name));
    Trial { settings, ..trial.clone() }
}

/// The data without those that no trial sees.
fn seen_by_trials(data: &TrialData) -> TrialData {
    TrialData { test: None, ..data.clone() }
}
