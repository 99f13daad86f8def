//! The processes that train together: those that `mpirun` or `srun` has started.

use std::fs;
use std::process::Command;

use candle_rnn::distributed::Team;

use super::screen;

/// How many processes were started, as Open MPI and MPICH's kind say.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// The same where Slurm itself starts them, for MPI if there is a rank of PMIx.
const SLURM_SIZE: &str = "SLURM_STEP_NUM_TASKS";
const PMIX_RANK: &str = "PMIX_RANK";
/// Which of them this is.
const RANKS: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", PMIX_RANK];
/// How many of them are on this machine.
const LOCAL_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];
/// Which of those on this machine this is.
#[cfg(feature = "cuda")]
const LOCAL_RANKS: [&str; 3] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];
/// The number of threads, as rayon and Candle read it.
const THREADS: &str = "RAYON_NUM_THREADS";
/// How many seconds a process waits in a step for others that do not answer.
#[cfg(any(feature = "mpi", feature = "nccl"))]
const TIMEOUT: &str = "CANDLE_RNN_MPI_TIMEOUT";

/// The number that the first of these variables has that is set.
fn number(names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// Whether another process says what is wrong with the arguments, which all have.
pub(super) fn another_speaks() -> bool {
    number(&RANKS).is_some_and(|rank| rank > 0)
}

/// The team of this process: it is alone unless several were started. All but rank 0 say nothing from here on.
///
/// # Errors
/// Why they cannot train together.
pub(super) fn join() -> Result<Team, String> {
    let of_slurm = || number(&[PMIX_RANK]).and_then(|_| number(&[SLURM_SIZE]));
    let size = number(&SIZES).or_else(of_slurm).filter(|size| *size > 1);
    let Some(size) = size else { return Ok(Team::default()) };
    if another_speaks() {
        screen::silence();
    }
    if std::env::var_os(THREADS).is_none() {
        // Before the first of them is started, as `--threads` does.
        std::env::set_var(THREADS, threads(size).to_string());
    }
    start(size)
}

/// Has a program that this process starts train by itself, though this one may be one of several.
pub(super) fn by_itself(program: &mut Command) {
    SIZES.iter().chain(&RANKS).for_each(|name| {
        program.env_remove(name);
    });
}

/// How long a process waits in a step for others.
#[cfg(any(feature = "mpi", feature = "nccl"))]
fn patience() -> Result<std::time::Duration, String> {
    let seconds =
        match std::env::var(TIMEOUT) {
            Err(_) => 60.,
            Ok(text) => text.parse().ok().filter(|seconds| *seconds > 0.).ok_or_else(|| {
                format!("{TIMEOUT} must be a number of seconds above 0, got {text}")
            })?,
        };
    Ok(std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::MAX))
}

/// Says that others do not answer: who speaks for all may be the one that is lost.
#[cfg(any(feature = "mpi", feature = "nccl"))]
fn say_lost(text: &str) {
    use std::io::Write;

    let _ = writeln!(std::io::stderr(), "error: {text}");
}

#[cfg(feature = "mpi")]
fn start(_size: usize) -> Result<Team, String> {
    use candle_rnn::distributed::{Collective, Mpi};

    let patience = patience()?;
    let mpi = Mpi::start(say_lost).map_err(|error| error.to_string())?;
    if mpi.rank() > 0 {
        screen::silence();
    }
    Ok(Team::new(Box::new(mpi), patience))
}

/// Has the processes of a team send gradients from GPU to GPU, where they compute on GPUs.
///
/// # Errors
/// Why they cannot.
#[cfg(feature = "nccl")]
pub(super) fn connect_gpus(team: &Team, device: &candle_core::Device) -> anyhow::Result<()> {
    use candle_rnn::distributed::Nccl;

    if team.is_alone() || !device.is_cuda() {
        return Ok(());
    }
    let patience = patience().map_err(anyhow::Error::msg)?;
    let nccl = Nccl::start(team, device, patience, say_lost)?;
    Ok(team.exchange_gradients_through(Box::new(nccl))?)
}

#[cfg(not(feature = "mpi"))]
fn start(size: usize) -> Result<Team, String> {
    Err(format!(
        "{size} processes were started, and this build would train the same in each of them: build with --features mpi \
         (`just train-mpi`), or start one without mpirun"
    ))
}

/// Which of the processes on this machine this is, from 0.
#[cfg(feature = "cuda")]
pub(super) fn local_rank() -> usize {
    number(&LOCAL_RANKS).unwrap_or(0)
}

/// The number of threads of this process: its share of the cores that it may use with others on this machine.
fn threads(size: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let here = number(&LOCAL_SIZES).unwrap_or(size);
    // `mpirun` may have bound each process to cores of its own, or some to the same.
    let online = fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let allowed = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        list.and_then(cpus)
    });
    let sharing = match (allowed, online.as_deref().and_then(cpus)) {
        (Some(allowed), Some(online)) => here * allowed.min(online) / online,
        _ => here,
    };
    (cores / sharing.max(1)).max(1)
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
}
