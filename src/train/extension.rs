//! Extensions: runs trained for more epochs than they were started with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::{Error, Result};

/// A restart of the schedule for epochs that were added to a finished run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The number of epochs after which the schedule was restarted.
    pub after: usize,
    /// The number of epochs that the run was to have before.
    pub epochs: usize,
}

/// The restarts of a run's schedule, oldest first; none in a run that was not extended.
///
/// From each restart on, the schedule runs over the epochs that remain, without a warm-up: the learning rate
/// begins again at its peak. The text form is `40/40,50/60`, a restart after 40 of 40 epochs and one after 50 of 60.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions(Vec<Extension>);

impl Extensions {
    /// Whether the run was never extended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The restarts, oldest first.
    pub fn as_slice(&self) -> &[Extension] {
        &self.0
    }

    /// Adds a restart behind the others.
    pub(crate) fn push(&mut self, restart: Extension) {
        self.0.push(restart);
    }

    /// The epochs, first and end, over which the schedule runs that epoch `epoch` (from 0) is in, of a run of
    /// `epochs`.
    pub(crate) fn segment(&self, epoch: usize, epochs: usize) -> (usize, usize) {
        let first = self.0.iter().rev().find(|restart| restart.after <= epoch);
        let next = self.0.iter().find(|restart| restart.after > epoch);
        (first.map_or(0, |restart| restart.after), next.map_or(epochs, |restart| restart.epochs))
    }

    /// Whether the schedule restarts after this many epochs.
    pub(crate) fn restarts_after(&self, epochs: usize) -> bool {
        self.0.iter().any(|restart| restart.after == epochs)
    }

    /// Checks that they are a history that a run of `epochs` with this schedule can have.
    ///
    /// # Errors
    /// [`Error::Config`] when they are not.
    pub(crate) fn check(&self, schedule: Schedule, epochs: usize) -> Result<()> {
        let Some(last) = self.0.last() else { return Ok(()) };
        let is_in_order = self.0.windows(2).all(|pair| pair[0].after < pair[1].after);
        let is_possible = |restart: &Extension| (1..=restart.epochs).contains(&restart.after);
        if !schedule.depends_on_length()
            || !is_in_order
            || !self.0.iter().all(is_possible)
            || last.after >= epochs
        {
            return Err(Error::Config(format!(
                "extensions must be restarts of a one-cycle, cosine or step schedule, in order and before the \
                 last of {epochs} epochs, got {self}"
            )));
        }
        Ok(())
    }
}

impl fmt::Display for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Extension { after, epochs }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{after}/{epochs}")?;
        }
        Ok(())
    }
}

impl FromStr for Extensions {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let restart = |text: &str| {
            let (after, epochs) = text.split_once('/')?;
            Some(Extension { after: after.parse().ok()?, epochs: epochs.parse().ok()? })
        };
        let restarts = text.split(',').map(restart).collect::<Option<Vec<_>>>();
        restarts.map(Self).ok_or_else(|| format!("expected restarts such as 40/40, got {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_come_back_from_text_and_wrong_ones_are_refused() {
        let restarts: Extensions = "10/40,60/60".parse().unwrap();
        assert_eq!(restarts.to_string(), "10/40,60/60");
        assert!(restarts.check(Schedule::Cosine, 90).is_ok());
        assert!(restarts.check(Schedule::Constant, 90).is_err());
        assert!(restarts.check(Schedule::Cosine, 60).is_err());
        for wrong in ["60/60,10/40", "0/40", "50/40"] {
            let restarts: Extensions = wrong.parse().unwrap();
            assert!(restarts.check(Schedule::Cosine, 90).is_err(), "{wrong}");
        }
        for wrong in ["", "40", "a/b", "40/40,"] {
            assert!(wrong.parse::<Extensions>().is_err(), "{wrong}");
        }
    }
}
