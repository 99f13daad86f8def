//! The processes that train together: those that `mpirun` or `srun` has started.

use std::process::Command;

use candle_rnn::distributed::Team;
use candle_rnn::Error;

use super::{cores, screen};

/// How many processes were started, as Open MPI and MPICH's kind say.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// The same where Slurm itself starts them, for MPI if there is a rank of PMIx.
const SLURM_SIZE: &str = "SLURM_STEP_NUM_TASKS";
const PMIX_RANK: &str = "PMIX_RANK";
/// The variables that hold how many processes Slurm has started on each machine, and the number of this machine.
const SLURM_TASKS: [&str; 2] = ["SLURM_STEP_TASKS_PER_NODE", "SLURM_NODEID"];
/// The variable that holds the number of CPUs that Slurm gives each of them.
const SLURM_CPUS: &str = "SLURM_CPUS_PER_TASK";
/// The variables that hold the rank of this process.
const RANKS: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", PMIX_RANK];
/// Variables with a rank and the number of ranks: Open MPI's, those of MPICH and Slurm's PMI, and Slurm's own.
pub(super) const RANKS_OF: [(&str, &str); 3] =
    [(RANKS[0], SIZES[0]), (RANKS[1], SIZES[1]), ("SLURM_PROCID", SLURM_SIZE)];
/// How many of them are on this machine.
const LOCAL_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];
/// The variables that hold the rank of this process on its machine.
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

/// Says nothing from here on where another process says the same error: one of arguments and files that all of them have. What
/// a single machine's disk has may be this process's alone.
pub(super) fn leave_to_first(error: &anyhow::Error) {
    let is_of_all = match error.downcast_ref() {
        Some(Error::Config(_) | Error::RunExists { .. }) => true,
        Some(_) => false,
        None => !error.is::<std::io::Error>(),
    };
    let is_later = RANKS.iter().chain(&["SLURM_PROCID"]).any(|name| number(&[*name]) > Some(0));
    if is_of_all && is_later {
        screen::silence();
    }
}

/// How many processes were started to train together, or to share a sweep, with the variable that says so.
fn started() -> Option<(&'static str, usize)> {
    let of = |name: &&'static str| Some((*name, number(&[*name])?));
    let of_slurm = || number(&[PMIX_RANK]).and_then(|_| of(&SLURM_SIZE));
    SIZES.iter().find_map(of).or_else(of_slurm).filter(|(_, size)| *size > 1)
}

/// What an error of this process begins with: which of several it is, nothing where it is alone.
pub(super) fn name(team: &Team) -> String {
    let rank =
        if team.is_alone() { started().and_then(|_| number(&RANKS)) } else { Some(team.rank()) };
    rank.map_or(String::new(), |rank| format!("rank {rank}: "))
}

/// The number of threads of this process: its share of the cores that it may use.
///
/// - `size`: how many processes were started to work side by side, on this machine or on several
pub(super) fn threads(size: usize) -> usize {
    let [list, machine] = SLURM_TASKS;
    let of_slurm = || cores::tasks_of(&std::env::var(list).ok()?, number(&[machine])?);
    let here = number(&LOCAL_SIZES).or_else(of_slurm).unwrap_or(size).min(size);
    let is_one_of_them = |environment: &[u8]| {
        environment.split(|byte| *byte == 0).any(|variable| {
            let is = |name: &&str| {
                variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
            };
            RANKS.iter().any(is)
        })
    };
    let share = cores::share(here, is_one_of_them);
    share.min(number(&[SLURM_CPUS]).unwrap_or(share)).max(1)
}

/// The team of this process: it is alone unless several were started. All but rank 0 say nothing from here on.
///
/// # Errors
/// Why they cannot train together.
pub(super) fn join() -> Result<Team, String> {
    let Some(launched) = started() else { return Ok(Team::default()) };
    if another_speaks() {
        screen::silence();
    }
    if std::env::var_os(THREADS).is_none() {
        // Before the first of them is started, as `--threads` does.
        std::env::set_var(THREADS, threads(launched.1).to_string());
    }
    start(launched)
}

/// Has a program that this process starts train by itself, though this one may be one of several.
pub(super) fn by_itself(program: &mut Command) {
    SIZES.iter().chain(&RANKS).for_each(|name| {
        program.env_remove(name);
    });
}

/// Ends a team before it has begun, since this process cannot go on: the error of the first that cannot, with its rank.
pub(super) fn fail_together(team: &Team, reason: String) -> String {
    match team.end(Some(reason.clone())) {
        Err(sooner @ Error::Rank { .. }) => sooner.to_string(),
        _ => format!("{}{reason}", name(team)),
    }
}

/// How long a process waits in a step for others, unless [`TIMEOUT`] says otherwise.
#[cfg(any(feature = "mpi", feature = "nccl"))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// How long a process waits in a step for others.
#[cfg(any(feature = "mpi", feature = "nccl"))]
fn patience() -> Result<std::time::Duration, String> {
    let seconds =
        match std::env::var(TIMEOUT) {
            Err(_) => return Ok(PATIENCE),
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

/// Checks that MPI connects as many processes as were started: a library that does not know its launcher takes each of
/// them for the only one.
#[cfg(any(feature = "mpi", test))]
fn check_size((variable, started): (&str, usize), connected: usize) -> Result<(), String> {
    if connected == started {
        return Ok(());
    }
    Err(format!(
        "{variable} says that {started} processes were started, and MPI connects {connected}: start them with the mpirun of \
         the MPI library that this program was built with"
    ))
}

#[cfg(feature = "mpi")]
fn start(launched: (&str, usize)) -> Result<Team, String> {
    use candle_rnn::distributed::{Collective, Mpi};

    let mpi = Mpi::start(say_lost).map_err(|error| {
        let reason = format!("{}{error}", name(&Team::default()));
        // Without MPI nobody can say it for this one.
        if screen::is_silent() {
            say_lost(&reason);
        }
        reason
    })?;
    check_size(launched, mpi.size())?;
    if mpi.rank() > 0 {
        screen::silence();
    }
    let patience = patience();
    let team = Team::new(Box::new(mpi), *patience.as_ref().unwrap_or(&PATIENCE));
    match patience {
        Ok(_) => Ok(team),
        Err(reason) => Err(fail_together(&team, reason)),
    }
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
fn start((_, size): (&str, usize)) -> Result<Team, String> {
    Err(format!(
        "{size} processes were started, and this build would train the same in each of them: build with --features mpi \
         (`just train-mpi`), or start one without mpirun"
    ))
}

/// The rank of this process among those on its machine, from 0.
#[cfg(feature = "cuda")]
pub(super) fn local_rank() -> usize {
    number(&LOCAL_RANKS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_that_mpi_does_not_know_is_refused() {
        assert_eq!(check_size(("PMI_SIZE", 2), 2), Ok(()));
        let reason = check_size(("PMI_SIZE", 2), 1).unwrap_err();
        assert!(reason.starts_with("PMI_SIZE says that 2 processes were started"), "{reason}");
        assert!(reason.contains("MPI connects 1"), "{reason}");
    }
}
