//! Runs that are trained on for more epochs than they were begun with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Position, Schedule, TrainConfig};
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

    /// The epochs, first and end, over which the schedule runs that epoch `epoch` (from 0) is in, of a run of
    /// `epochs`.
    pub(super) fn segment(&self, epoch: usize, epochs: usize) -> (usize, usize) {
        let first = self.0.iter().rev().find(|restart| restart.after <= epoch);
        let next = self.0.iter().find(|restart| restart.after > epoch);
        (first.map_or(0, |restart| restart.after), next.map_or(epochs, |restart| restart.epochs))
    }

    /// Whether the schedule restarts after this many epochs.
    pub(super) fn restarts_after(&self, epochs: usize) -> bool {
        self.0.iter().any(|restart| restart.after == epochs)
    }

    /// Checks that they are a history that a run of `epochs` with this schedule can have.
    ///
    /// # Errors
    /// [`Error::Config`] when they are not.
    pub(super) fn check(&self, schedule: Schedule, epochs: usize) -> Result<()> {
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

impl TrainConfig {
    /// The settings with which a run that has these goes on from `position` where `asked` is asked for, which
    /// differs in `epochs` and `patience` at most; else why it cannot.
    pub(crate) fn continued(
        &self,
        asked: &Self,
        position: &Position,
        extend: bool,
    ) -> std::result::Result<Self, String> {
        let (done, had, wanted) = (position.epoch, self.epochs, asked.epochs);
        let mut next = self.clone();
        match (self.patience, asked.patience) {
            (before, now) if before == now => {}
            (Some(before), Some(now)) if now > before => next.patience = Some(now),
            (before, now) => {
                let text = |patience: Option<usize>| {
                    patience.map_or("none".into(), |epochs| epochs.to_string())
                };
                return Err(format!(
                    "training.patience: the run has {}, this command {}; a run's patience can only be raised",
                    text(before),
                    text(now)
                ));
            }
        }
        if !asked.extensions.is_empty() && asked.extensions != self.extensions {
            return Err(format!(
                "training.extensions: the run has {}, this command {}",
                if self.extensions.is_empty() {
                    "none".into()
                } else {
                    self.extensions.to_string()
                },
                asked.extensions
            ));
        }
        // Right behind a restart the patience is new.
        let is_new = position.batch == 0 && self.extensions.restarts_after(done);
        let waited = if is_new { 0 } else { position.waited };
        let is_done = done >= had || next.patience.is_some_and(|patience| waited >= patience);
        let depends = self.schedule.depends_on_length();
        if is_done && wanted <= done {
            return Ok(next);
        }
        if extend && is_done && depends {
            next.extensions.0.push(Extension { after: done, epochs: had });
            next.epochs = wanted;
            return Ok(next);
        }
        if wanted == had {
            return Ok(next);
        }
        if wanted < done + usize::from(position.batch > 0) {
            return Err(format!("the run has done {done} epochs already, more than {wanted}"));
        }
        if !depends {
            next.epochs = wanted;
            return Ok(next);
        }
        let schedule = serde_json::json!(self.schedule);
        Err(format!(
            "training.epochs: the run has {had}, this command {wanted}, and the {} schedule depends on their number: \
             finish the run with its own, then extend it, which restarts the schedule over the added epochs",
            schedule.as_str().unwrap_or_default()
        ))
    }

    /// Whether a run with these settings that has come to `position` is the beginning of one with `run`'s, as far as
    /// `epochs`, `patience` and `extensions` go.
    pub(crate) fn is_continued_by(&self, run: &Self, position: &Position) -> bool {
        let is_patient = match (self.patience, run.patience) {
            (Some(before), Some(now)) => before <= now,
            (before, now) => before == now,
        };
        let (restarts, all) = (self.extensions.as_slice(), run.extensions.as_slice());
        let same_schedule = match all.get(restarts.len()) {
            _ if !self.schedule.depends_on_length() => true,
            _ if !all.starts_with(restarts) => false,
            None => self.epochs == run.epochs,
            Some(next) => next.epochs == self.epochs && position.epoch <= next.after,
        };
        is_patient && same_schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(schedule: Schedule, epochs: usize) -> TrainConfig {
        TrainConfig { schedule, epochs, ..TrainConfig::default() }
    }

    #[test]
    fn fewer_epochs_than_begun_are_refused() {
        let plain = TrainConfig { epochs: 40, ..TrainConfig::default() };
        let begun = Position { epoch: 20, batch: 5, ..Position::default() };
        for (position, epochs, is_taken) in [
            (&begun, 20, false),
            (&begun, 21, true),
            (&after(20), 20, true),
            (&after(20), 19, false),
        ] {
            let wanted = TrainConfig { epochs, ..plain.clone() };
            let found = plain.continued(&wanted, position, false);
            assert_eq!(found.is_ok(), is_taken, "{epochs} after {position:?}: {found:?}");
        }
    }

    fn after(epoch: usize) -> Position {
        Position { epoch, ..Position::default() }
    }

    #[test]
    fn a_schedule_that_does_not_know_its_end_goes_on() {
        for schedule in [Schedule::Constant, Schedule::Plateau] {
            let run = of(schedule, 40);
            for (asked, done, expected) in [(60, 40, 60), (60, 20, 60), (30, 20, 30), (30, 40, 40)]
            {
                let next = run.continued(&of(schedule, asked), &after(done), false).unwrap();
                assert_eq!((next.epochs, next.extensions.is_empty()), (expected, true));
            }
            assert!(run.continued(&of(schedule, 10), &after(20), false).is_err());
        }
    }

    #[test]
    fn a_schedule_that_knows_its_end_is_restarted_or_refused() {
        for schedule in [Schedule::OneCycle, Schedule::Cosine, Schedule::Step] {
            let (run, asked) = (of(schedule, 40), of(schedule, 60));
            let error = run.continued(&asked, &after(40), false).unwrap_err();
            assert!(error.contains("extend"), "{error}");
            assert!(run.continued(&asked, &after(30), true).is_err());
            let next = run.continued(&asked, &after(40), true).unwrap();
            assert_eq!((next.epochs, next.extensions.to_string()), (60, "40/40".into()));
            assert!(next.check().is_ok());
            // What was saved before is the beginning of it, and of no other.
            assert!(
                run.is_continued_by(&next, &after(35)) && run.is_continued_by(&next, &after(40))
            );
            assert!(!run.is_continued_by(&asked, &after(35)));
            assert!(next.is_continued_by(&next, &after(50)));
            assert!(!next.is_continued_by(&run, &after(35)));
            // Asked for again, it goes on as it is.
            assert_eq!(next.continued(&asked, &after(45), true), Ok(next.clone()));
            let again = next.continued(&of(schedule, 90), &after(60), true).unwrap();
            assert_eq!(again.extensions.to_string(), "40/40,60/60");
            let segments = [0, 39, 40, 59, 60, 89].map(|e| again.extensions.segment(e, 90));
            assert_eq!(segments, [(0, 40), (0, 40), (40, 60), (40, 60), (60, 90), (60, 90)]);
        }
    }

    #[test]
    fn a_run_that_ended_early_is_extended_once() {
        let with = |epochs, extensions: &str| TrainConfig {
            patience: Some(3),
            extensions: extensions.parse().unwrap_or_default(),
            ..of(Schedule::Cosine, epochs)
        };
        let position = Position { epoch: 10, waited: 3, ..Position::default() };
        let next = with(40, "").continued(&with(40, ""), &position, true).unwrap();
        assert_eq!(next, with(40, "10/40"));
        // Killed before it has saved anything, it is extended again in vain.
        assert_eq!(next.continued(&with(40, ""), &position, true), Ok(next.clone()));
    }

    #[test]
    fn restarts_come_back_from_their_text_and_wrong_ones_are_refused() {
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

    #[test]
    fn patience_can_be_raised_and_nothing_else() {
        let with = |patience| TrainConfig { patience, ..TrainConfig::default() };
        let next = |before, now| with(before).continued(&with(now), &after(1), false);
        assert_eq!(next(Some(3), Some(5)), Ok(with(Some(5))));
        for (before, now) in [(Some(3), Some(2)), (None, Some(2))] {
            assert!(next(before, now).unwrap_err().contains("raised"));
        }
    }
}
