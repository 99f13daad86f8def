//! The training loop of ranks that have no run directory.

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
        let (is_told_to_stop, is_out_of_time) = team.stops(is_told_to_stop(), false);
        if is_told_to_stop || is_out_of_time {
            return Ok(Outcome::of_stop(trainer.is_done(), is_told_to_stop));
        }
    }
}
