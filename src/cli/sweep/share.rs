//! The share of a sweep that a process trains: all of it, that of a task of an array, or that of a rank of `mpirun`.

use candle_rnn::sweep::Standing;

use crate::cli::processes::RANKS_OF;

/// The share of a round's trials that this process trains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// From 0.
    index: usize,
    count: usize,
    kind: ShareKind,
}

/// Who has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShareKind {
    /// Nobody.
    Whole,
    /// Tasks that may run before or after this one: none waits for another.
    Array,
    /// Ranks that run at the same time: who is done helps the others.
    Ranks,
}

impl Share {
    /// The share of task `task` of `tasks`, from 1, or what the environment says.
    pub(super) fn find(
        task: Option<(usize, usize)>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        if let Some((task, tasks)) = task {
            if task > tasks {
                return Err(format!("--array-task must be 1 to {tasks}, got {task}"));
            }
            return Ok(Self { index: task - 1, count: tasks, kind: ShareKind::Array });
        }
        let number = |name: &str| match variable(name) {
            None => Ok(None),
            Some(text) => match text.parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("{name} must be a whole number, got {text}")),
            },
        };
        if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let count = number("SLURM_ARRAY_TASK_COUNT")?.unwrap_or(1);
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(id);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            if let Some(last) = number("SLURM_ARRAY_TASK_MAX")? {
                let without_gaps = last.checked_sub(first).map(|numbers| numbers / step + 1);
                if without_gaps != Some(count) {
                    return Err(format!(
                        "the array has {count} tasks numbered from {first} to {last} with gaps, so that no task knows its \
                         share: submit --array=1-{count}, or say which share each has with --array-task and --array-tasks"
                    ));
                }
            }
            let index = id.checked_sub(first).filter(|from| from % step == 0);
            let index = index.map(|from| from / step).filter(|index| *index < count);
            return index
                .map(|index| Self { index, count, kind: ShareKind::Array })
                .ok_or_else(|| {
                    format!(
                        "SLURM_ARRAY_TASK_ID {id} is none of {count} tasks numbered from {first} by {step}: say which \
                         share it has with --array-task and --array-tasks"
                    )
                });
        }
        for (rank, size) in RANKS_OF {
            if let (Some(index), Some(count)) = (number(rank)?, number(size)?) {
                if index >= count {
                    return Err(format!("{rank} must be below {size}, got {index} of {count}"));
                }
                return Ok(match count {
                    1 => Self::whole(),
                    _ => Self { index, count, kind: ShareKind::Ranks },
                });
            }
        }
        Ok(Self::whole())
    }

    fn whole() -> Self {
        Self { index: 0, count: 1, kind: ShareKind::Whole }
    }

    /// Whether all trials are this process's.
    pub(super) fn is_whole(&self) -> bool {
        self.kind == ShareKind::Whole
    }

    /// How many processes have a share and run at the same time.
    pub(super) fn ranks(&self) -> usize {
        if self.kind == ShareKind::Ranks {
            self.count
        } else {
            1
        }
    }

    /// Whether this process stays until the others are done.
    pub(super) fn waits(&self) -> bool {
        self.kind != ShareKind::Array
    }

    /// Whether this process shows the table.
    pub(super) fn shows(&self) -> bool {
        self.kind != ShareKind::Ranks || self.index == 0
    }

    /// The trials that are open and that this process is to train, as indices, its own first.
    pub(super) fn of(&self, standing: &Standing) -> Vec<usize> {
        // By their places among all that take part in the round, which are in order: the same for every process.
        let is_own = |trial: &usize| {
            let place = standing.entrants.binary_search(trial);
            place.is_ok_and(|place| place % self.count == self.index)
        };
        let (own, others): (Vec<usize>, Vec<usize>) =
            standing.open.iter().partition(|trial| is_own(trial));
        match self.kind {
            ShareKind::Array => own,
            ShareKind::Whole | ShareKind::Ranks => [own, others].concat(),
        }
    }

    /// Its name; `None` for the whole.
    pub(super) fn name(&self) -> Option<String> {
        let what = match self.kind {
            ShareKind::Whole => return None,
            ShareKind::Array => "task",
            ShareKind::Ranks => "rank",
        };
        Some(format!("{what} {} of {}", self.index + 1, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Share, String> {
        let find = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.to_string())
        };
        Share::find(None, find)
    }

    fn standing(trials: usize) -> Standing {
        let all: Vec<usize> = (0..trials).collect();
        Standing { round: 0, entrants: all.clone(), open: all, states: Vec::new() }
    }

    #[test]
    fn the_shares_of_all_tasks_are_all_trials_once() {
        for tasks in 1..9 {
            let shares = (1..=tasks).map(|task| Share::find(Some((task, tasks)), |_| None));
            let mut all: Vec<usize> =
                shares.flat_map(|share| share.unwrap().of(&standing(7))).collect();
            all.sort_unstable();
            assert_eq!(all, (0..7).collect::<Vec<_>>());
        }
        assert!(Share::find(Some((4, 3)), |_| None).is_err());
    }

    #[test]
    fn a_trial_that_ended_moves_no_other_to_another_task() {
        let share = Share::find(Some((2, 2)), |_| None).unwrap();
        let mut standing = standing(6);
        assert_eq!(share.of(&standing), [1, 3, 5]);
        standing.open.retain(|trial| *trial > 1);
        assert_eq!(share.of(&standing), [3, 5]);
    }

    #[test]
    fn slurm_and_mpirun_say_which_share_it_is() {
        let slurm = |id, min, step, count| {
            of(&[
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_STEP", step),
                ("SLURM_ARRAY_TASK_COUNT", count),
            ])
        };
        assert_eq!(slurm("7", "3", "2", "4").unwrap().name().unwrap(), "task 3 of 4");
        assert_eq!(slurm("0", "0", "1", "4").unwrap().name().unwrap(), "task 1 of 4");
        for (id, min, step, count) in
            [("7", "1", "1", "3"), ("8", "3", "2", "4"), ("x", "1", "1", "3")]
        {
            assert!(slurm(id, min, step, count).unwrap_err().contains("SLURM_ARRAY_TASK_ID"));
        }
        // As `--array=1,3,7` has them: the second share would be nobody's.
        for id in ["1", "3", "7"] {
            let array = [("MIN", "1"), ("MAX", "7"), ("STEP", "1"), ("COUNT", "3"), ("ID", id)];
            let names = array.map(|(name, _)| format!("SLURM_ARRAY_TASK_{name}"));
            let variables: Vec<(&str, &str)> =
                names.iter().zip(array).map(|(name, (_, value))| (name.as_str(), value)).collect();
            assert!(of(&variables).unwrap_err().contains("from 1 to 7 with gaps"), "{id}");
        }
        let steps = [("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_MIN", "1")];
        let steps = [&steps[..], &[("SLURM_ARRAY_TASK_MAX", "7"), ("SLURM_ARRAY_TASK_STEP", "3")]];
        let steps = [&steps.concat()[..], &[("SLURM_ARRAY_TASK_COUNT", "3")]].concat();
        assert_eq!(of(&steps).unwrap().name().unwrap(), "task 3 of 3");
        for (rank, size) in RANKS_OF {
            let share = of(&[(rank, "2"), (size, "4")]).unwrap();
            assert_eq!((share.name().unwrap().as_str(), share.shows()), ("rank 3 of 4", false));
            // Its own first; then it helps.
            assert_eq!(share.of(&standing(6)), [2, 0, 1, 3, 4, 5]);
            assert!(of(&[(rank, "0"), (size, "1")]).unwrap().is_whole());
            assert!(of(&[(rank, "4"), (size, "4")]).is_err());
        }
        assert!(of(&[]).unwrap().is_whole());
    }
}
