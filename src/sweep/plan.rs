//! The plan of a sweep: its trials and rounds, which follow from its file alone.

use super::file::{SweepFile, TrialData};
use super::halving::Round;
use super::record::TrialRecord;
use super::standing::Standing;
use crate::settings::{in_line, Settings};
use crate::{Error, Result};

/// A training of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number, from 1.
    pub number: usize,
    /// What tells it from others: settings and their values, in the order of the file.
    pub choices: Vec<(String, String)>,
    /// All settings that the file names.
    pub settings: Settings,
}

/// The trials of a sweep and the rounds in which they are trained.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepPlan {
    data: TrialData,
    trials: Vec<Trial>,
    rounds: Vec<Round>,
}

impl SweepPlan {
    /// Reads the TOML file of a sweep: `seeds`, and the tables `[data]`, `[settings]`, `[grid]` or `[random]`, and
    /// `[halving]`.
    ///
    /// # Errors
    /// [`Error::Config`] with the line for what is not TOML, for a name that no setting has, with the one that is most
    /// like it, for a value that its setting cannot have, and for tables that do not go together.
    pub fn from_toml(text: &str) -> Result<Self> {
        let SweepFile { data, fixed, trials, halving } = SweepFile::read(text)?;
        let rounds = match halving {
            None => vec![Round::whole(trials.len())],
            Some((halving, start)) => {
                let fail = |message: &str| in_line(text, start, message);
                let epochs = fixed.value("epochs").and_then(toml::Value::as_integer);
                let epochs = epochs.and_then(|epochs| usize::try_from(epochs).ok());
                let epochs = epochs.ok_or_else(|| {
                    fail("[halving] needs the setting epochs, the same for all trials")
                })?;
                halving
                    .rounds(trials.len(), epochs)
                    .map_err(|error| fail(&format!("[halving] {error}")))?
            }
        };
        let trials = trials.into_iter().enumerate().map(|(index, chosen)| {
            let mut own = Settings::default();
            for (name, value) in &chosen {
                own = own.or(Settings::one(name, value.clone())?);
            }
            let choices = chosen.iter().map(|(name, value)| (name.clone(), shown(value))).collect();
            Ok(Trial { number: index + 1, choices, settings: own.or(fixed.clone()) })
        });
        Ok(Self { data, trials: trials.collect::<Result<_>>()?, rounds })
    }

    /// The data of all trials.
    pub fn data(&self) -> &TrialData {
        &self.data
    }

    /// The trials, in the order of their numbers.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The rounds; one without halving.
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// Where the sweep stands.
    ///
    /// - `records`: what is known of each trial, in the order of their numbers
    pub fn standing(&self, records: &[TrialRecord]) -> Standing {
        Standing::of(&self.rounds, records)
    }

    /// Checks that this plan is `before` with nothing but more trials behind those that it had.
    ///
    /// # Errors
    /// [`Error::Config`] saying what else has changed.
    pub fn check_grown_from(&self, before: &Self) -> Result<()> {
        if self == before {
            return Ok(());
        }
        let changed = |what: String| Err(Error::Config(what));
        if self.data != before.data {
            return changed("the data are others".into());
        }
        let has_halving = |plan: &Self| plan.rounds.len() > 1;
        if has_halving(self) || has_halving(before) {
            return changed("with halving every trial is compared with all others".into());
        }
        let others = self.trials.iter().zip(&before.trials).find(|(now, before)| now != before);
        if let Some((now, _)) = others {
            return changed(format!("trial {} has other settings", now.number));
        }
        if self.trials.len() < before.trials.len() {
            return changed(format!(
                "it has {} trials where there were {}",
                self.trials.len(),
                before.trials.len()
            ));
        }
        Ok(())
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
