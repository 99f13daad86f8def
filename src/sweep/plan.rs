//! The plan of a sweep: its trials and rounds, which follow from its file alone.

use std::collections::BTreeSet;

use super::file::{SweepFile, TrialData};
use super::halving::Round;
use super::ranking::Standing;
use super::record::TrialRecord;
use crate::settings::{in_line, Settings};
use crate::Result;

/// A training of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number, from 1: that of its run in the sweep's folder.
    pub number: usize,
    /// The settings that tell it from others with their values, in the order of the file.
    pub choices: Vec<(String, String)>,
    /// All settings that the file names.
    pub settings: Settings,
}

impl Trial {
    /// The number of epochs that the file gives it; `None` where that is its task's default.
    pub fn epochs(&self) -> Option<usize> {
        let epochs = self.settings.value("epochs").and_then(toml::Value::as_integer);
        epochs.and_then(|epochs| usize::try_from(epochs).ok())
    }

    /// Its settings as a text, which is the same for equal ones.
    pub(super) fn identity(&self) -> String {
        let text = self.settings.to_toml();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

/// The trials of a sweep and the rounds in which they are trained.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepPlan {
    data: TrialData,
    trials: Vec<Trial>,
    rounds: Vec<Round>,
    repeated: usize,
}

impl SweepPlan {
    /// Reads the TOML file of a sweep: `seeds`, and the tables `[data]`, `[settings]`, `[grid]` or `[random]`, and
    /// `[halving]`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the line for what is not TOML, for a name that no setting has, with the one that is most
    /// like it, for a value that its setting cannot have, and for tables that do not go together.
    pub fn from_toml(text: &str) -> Result<Self> {
        let SweepFile { data, fixed, trials, halving, numbers } = SweepFile::read(text)?;
        let drawn = trials.len();
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        for chosen in trials {
            let mut own = Settings::default();
            for (name, value) in &chosen {
                own = own.or(Settings::one(name, value.clone())?);
            }
            let settings = own.or(fixed.clone());
            let choices = chosen.iter().map(|(name, value)| (name.clone(), shown(value)));
            let trial = Trial { number: all.len() + 1, choices: choices.collect(), settings };
            // One of them is trained: the other would be the same run again.
            if seen.insert(trial.identity()) {
                all.push(trial);
            }
        }
        if let Some((numbers, start)) = numbers {
            let distinct: BTreeSet<&usize> = numbers.iter().filter(|number| **number > 0).collect();
            if (numbers.len(), distinct.len()) != (all.len(), all.len()) {
                let what = format!(
                    "numbers must name {} different ones, one for each trial, from 1",
                    all.len()
                );
                return Err(in_line(text, start, &what));
            }
            all.iter_mut().zip(numbers).for_each(|(trial, number)| trial.number = number);
        }
        let rounds = match halving {
            None => vec![Round::whole(all.len())],
            Some((halving, start)) => {
                let fail = |message: &str| in_line(text, start, message);
                let epochs = fixed.value("epochs").and_then(toml::Value::as_integer);
                let epochs = epochs.and_then(|epochs| usize::try_from(epochs).ok());
                let epochs = epochs.ok_or_else(|| {
                    fail("[halving] needs the setting epochs, the same for all trials")
                })?;
                halving
                    .rounds(all.len(), epochs)
                    .map_err(|error| fail(&format!("[halving] {error}")))?
            }
        };
        let repeated = drawn - all.len();
        Ok(Self { data, trials: all, rounds, repeated })
    }

    /// The data of all trials.
    pub fn data(&self) -> &TrialData {
        &self.data
    }

    /// The trials, in the order of the file.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    pub(super) fn trials_mut(&mut self) -> &mut [Trial] {
        &mut self.trials
    }

    /// How many trials were left out since others before them have the same settings.
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// The rounds; one without halving.
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// Where the sweep stands.
    ///
    /// - `records`: what is known of each trial, in their order
    pub fn standing(&self, records: &[TrialRecord]) -> Standing {
        Standing::of(&self.rounds, records)
    }
}

/// A value as a table shows it.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        // As 1e38, not with 38 zeros.
        toml::Value::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}
