//! What the ranks of a team do that have no run directory.

use super::session::Outcome;
use super::task::{check_weights, identity, RunTask, TaskConfig};
use crate::distributed::Team;
use crate::train::{Event, Trainer};
use crate::Result;

/// Trains a task on a rank other than 0, whose [`Session`](super::Session) has the run directory and takes the team in with
/// [`share`](super::Session::share).
///
/// - `is_told_to_stop`: asked after every step; where it says so, rank 0 saves and all stop
///
/// # Errors
/// As [`Trainer::join`] and [`Trainer::next_event`].
pub fn follow<T: RunTask>(
    task: T,
    team: &Team,
    is_told_to_stop: &mut dyn FnMut() -> bool,
) -> Result<Outcome> {
    task.config().check()?;
    check_weights(&task)?;
    let (config, identity) = (task.config().trainer().clone(), identity(&task));
    let mut trainer = Trainer::new(task, config)?;
    trainer.join(team, &identity)?;
    loop {
        if trainer.next_event()? == Event::Done {
            return Ok(Outcome::Finished);
        }
        match team.stops(is_told_to_stop(), false) {
            (false, false) => {}
            _ if trainer.is_done() => return Ok(Outcome::Finished),
            (true, _) => return Ok(Outcome::Interrupted),
            (false, true) => return Ok(Outcome::OutOfTime),
        }
    }
}
