//! Rules of resuming: the settings that may change, and the checkpoints that belong to the run.

use crate::train::{Extension, Position, TrainerConfig};

/// The settings with which a run that has `run`'s goes on from `position` where `asked` is asked for, which
/// differs in `epochs` and `patience` at most; else why it cannot.
pub(super) fn continued(
    run: &TrainerConfig,
    asked: &TrainerConfig,
    position: &Position,
    extend: bool,
) -> std::result::Result<TrainerConfig, String> {
    let (done, had, wanted) = (position.epoch, run.epochs, asked.epochs);
    let mut next = run.clone();
    match (run.patience, asked.patience) {
        (before, now) if before == now => {}
        (Some(before), Some(now)) if now > before => next.patience = Some(now),
        (before, now) => {
            let text = |patience: Option<usize>| {
                patience.map_or("none".into(), |epochs| epochs.to_string())
            };
            return Err(format!(
                "patience: the run has {}, this command {}; a run's patience can only be raised",
                text(before),
                text(now)
            ));
        }
    }
    if !asked.extensions.is_empty() && asked.extensions != run.extensions {
        return Err(format!(
            "extensions: the run has {}, this command {}",
            if run.extensions.is_empty() { "none".into() } else { run.extensions.to_string() },
            asked.extensions
        ));
    }
    // Right behind a restart the patience is new.
    let is_new = position.batch == 0 && run.extensions.restarts_after(done);
    let waited = if is_new { 0 } else { position.waited };
    let is_done = done >= had || next.patience.is_some_and(|patience| waited >= patience);
    let depends = run.schedule.depends_on_length();
    if is_done && wanted <= done {
        return Ok(next);
    }
    if extend && is_done && depends {
        next.extensions.push(Extension { after: done, epochs: had });
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
    let schedule = serde_json::json!(run.schedule);
    Err(format!(
        "epochs: the run has {had}, this command {wanted}, and the {} schedule depends on their number: \
         finish the run with its own, then extend it, which restarts the schedule over the added epochs",
        schedule.as_str().unwrap_or_default()
    ))
}

/// Whether a run with the settings `saved` that has come to `position` is the beginning of one with `run`'s, as far as
/// `epochs`, `patience` and `extensions` go.
pub(super) fn is_continued_by(
    saved: &TrainerConfig,
    run: &TrainerConfig,
    position: &Position,
) -> bool {
    let is_patient = match (saved.patience, run.patience) {
        (Some(before), Some(now)) => before <= now,
        (before, now) => before == now,
    };
    let (restarts, all) = (saved.extensions.as_slice(), run.extensions.as_slice());
    let same_schedule = match all.get(restarts.len()) {
        _ if !saved.schedule.depends_on_length() => true,
        _ if !all.starts_with(restarts) => false,
        None => saved.epochs == run.epochs,
        Some(next) => next.epochs == saved.epochs && position.epoch <= next.after,
    };
    is_patient && same_schedule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Schedule;

    fn of(schedule: Schedule, epochs: usize) -> TrainerConfig {
        TrainerConfig { schedule, epochs, ..TrainerConfig::default() }
    }

    #[test]
    fn fewer_epochs_than_begun_are_refused() {
        let plain = TrainerConfig { epochs: 40, ..TrainerConfig::default() };
        let begun = Position { epoch: 20, batch: 5, ..Position::default() };
        for (position, epochs, is_taken) in [
            (&begun, 20, false),
            (&begun, 21, true),
            (&after(20), 20, true),
            (&after(20), 19, false),
        ] {
            let wanted = TrainerConfig { epochs, ..plain.clone() };
            let found = continued(&plain, &wanted, position, false);
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
                let next = continued(&run, &of(schedule, asked), &after(done), false).unwrap();
                assert_eq!((next.epochs, next.extensions.is_empty()), (expected, true));
            }
            assert!(continued(&run, &of(schedule, 10), &after(20), false).is_err());
        }
    }

    #[test]
    fn a_schedule_that_knows_its_end_is_restarted_or_refused() {
        for schedule in [Schedule::OneCycle, Schedule::Cosine, Schedule::Step] {
            let (run, asked) = (of(schedule, 40), of(schedule, 60));
            let error = continued(&run, &asked, &after(40), false).unwrap_err();
            assert!(error.contains("extend"), "{error}");
            assert!(continued(&run, &asked, &after(30), true).is_err());
            let next = continued(&run, &asked, &after(40), true).unwrap();
            assert_eq!((next.epochs, next.extensions.to_string()), (60, "40/40".into()));
            assert!(next.check().is_ok());
            // What was saved before is the beginning of it, and of no other.
            assert!(
                is_continued_by(&run, &next, &after(35))
                    && is_continued_by(&run, &next, &after(40))
            );
            assert!(!is_continued_by(&run, &asked, &after(35)));
            assert!(is_continued_by(&next, &next, &after(50)));
            assert!(!is_continued_by(&next, &run, &after(35)));
            // Asked for again, it goes on as it is.
            assert_eq!(continued(&next, &asked, &after(45), true), Ok(next.clone()));
            let again = continued(&next, &of(schedule, 90), &after(60), true).unwrap();
            assert_eq!(again.extensions.to_string(), "40/40,60/60");
            let segments = [0, 39, 40, 59, 60, 89].map(|e| again.extensions.segment(e, 90));
            assert_eq!(segments, [(0, 40), (0, 40), (40, 60), (40, 60), (60, 90), (60, 90)]);
        }
    }

    #[test]
    fn a_run_that_ended_early_is_extended_once() {
        let with = |epochs, extensions: &str| TrainerConfig {
            patience: Some(3),
            extensions: extensions.parse().unwrap_or_default(),
            ..of(Schedule::Cosine, epochs)
        };
        let position = Position { epoch: 10, waited: 3, ..Position::default() };
        let next = continued(&with(40, ""), &with(40, ""), &position, true).unwrap();
        assert_eq!(next, with(40, "10/40"));
        // Killed before it has saved anything, it is extended again in vain.
        assert_eq!(continued(&next, &with(40, ""), &position, true), Ok(next.clone()));
    }

    #[test]
    fn patience_can_be_raised_and_nothing_else() {
        let with = |patience| TrainerConfig { patience, ..TrainerConfig::default() };
        let next = |before, now| continued(&with(before), &with(now), &after(1), false);
        assert_eq!(next(Some(3), Some(5)), Ok(with(Some(5))));
        for (before, now) in [(Some(3), Some(2)), (None, Some(2))] {
            assert!(next(before, now).unwrap_err().contains("raised"));
        }
    }
}
