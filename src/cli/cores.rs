//! The CPU cores of this process: its share of those that it may use with other processes on this machine.

use std::fs;

/// Beyond so many parents a launcher is not looked for.
const MOST_PARENTS: usize = 16;

/// The number of threads that a process should have where `here` processes on this machine, itself among them, work side
/// by side.
///
/// - `is_one_of_them`: whether a process with such an environment, as Linux keeps it, was started as one of them
pub(super) fn share(here: usize, is_one_of_them: impl Fn(&[u8]) -> bool) -> usize {
    let limit = std::thread::available_parallelism().map_or(1, usize::from);
    let own = allowed("self").unwrap_or(limit);
    let launcher = launcher(is_one_of_them).unwrap_or(own);
    share_of(limit, own, launcher, here)
}

/// The same, of these numbers of CPUs.
///
/// - `limit`: how many the system grants, which a control group's share of time may make fewer than `own`
/// - `own`: those that this process may run on
/// - `launcher`: those that whoever started the processes may run on
fn share_of(limit: usize, own: usize, launcher: usize, here: usize) -> usize {
    let here = here.max(1);
    // Where each was bound to a part of the launcher's CPUs, so many have the same part.
    let sharing = (here * own).div_ceil(launcher.max(own)).clamp(1, here);
    // A limit of time is one for all of them.
    let granted = if limit < own { limit / here } else { own };
    (own / sharing).min(granted).max(1)
}

/// How many CPUs whoever started the processes may run on: the nearest parent of this one that is none of them.
fn launcher(is_one_of_them: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut process = "self".to_string();
    for _ in 0..MOST_PARENTS {
        process = status(&process, "PPid:")?;
        // What another user has started cannot be read, and is none of them.
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        if !is_one_of_them(&environment) {
            return allowed(&process);
        }
    }
    None
}

/// How many CPUs a process may run on: its binding, and its cpuset.
fn allowed(process: &str) -> Option<usize> {
    cpus(&status(process, "Cpus_allowed_list:")?)
}

/// A line of what Linux tells of a process.
fn status(process: &str, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_string())
}

/// How many CPUs a list as Linux writes it names, such as `0-3,8`.
fn cpus(list: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last + 1).checked_sub(first)
    };
    list.trim().split(',').map(count).sum::<Option<usize>>().filter(|count| *count > 0)
}

/// How many tasks a machine has, of a list as Slurm writes it for all machines of a step, such as `4(x2),3`.
pub(super) fn tasks_of(list: &str, machine: usize) -> Option<usize> {
    let mut before = 0;
    for group in list.split(',') {
        let (tasks, times) = group.split_once("(x").unwrap_or((group, "1)"));
        before += times.strip_suffix(')')?.parse::<usize>().ok()?;
        if machine < before {
            return tasks.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(cpus("0-3,8\n"), Some(5));
        assert_eq!(cpus("5"), Some(1));
        for wrong in ["", "a", "3-1", "1,,2"] {
            assert_eq!(cpus(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn processes_share_the_cores_that_they_may_use() {
        for (what, limit, own, launcher, here, expected) in [
            ("unbound: each takes its part", 64, 64, 64, 4, 16),
            ("more processes than cores", 2, 2, 2, 4, 1),
            ("bound to a core each", 1, 1, 64, 4, 1),
            ("bound to 16 cores each", 16, 16, 64, 4, 16),
            ("two on each of two sockets", 32, 32, 64, 4, 16),
            ("three on two sockets: one has two", 32, 32, 64, 3, 16),
            ("unbound in a cpuset of 2 of 64 cores", 2, 2, 2, 2, 1),
            ("bound in a cpuset", 4, 4, 8, 2, 4),
            ("time for 8 of 64 cores", 8, 64, 64, 2, 4),
            ("bound, and time for 8 of 64 cores", 8, 32, 64, 2, 4),
            ("bound to less than there is time for", 16, 16, 64, 4, 16),
            ("a launcher with less than its processes", 8, 8, 1, 2, 4),
            ("nobody else", 8, 8, 64, 1, 8),
        ] {
            assert_eq!(share_of(limit, own, launcher, here), expected, "{what}");
        }
    }

    #[test]
    fn slurms_lists_of_tasks_are_read() {
        for (machine, tasks) in [(0, Some(4)), (1, Some(4)), (2, Some(3)), (3, None)] {
            assert_eq!(tasks_of("4(x2),3", machine), tasks);
        }
        assert_eq!(tasks_of("2", 0), Some(2));
        assert_eq!(tasks_of("two", 0), None);
    }
}
