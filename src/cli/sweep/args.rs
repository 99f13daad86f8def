//! The arguments of `candle-rnn sweep`.

use std::path::PathBuf;

use super::share::Share;
use crate::cli::{numbers, processes};

/// Train many runs that differ in their settings, by grid or random search, and find the best
#[derive(clap::Args)]
#[command(after_help = "Example, the file first.toml:
  seeds = [1, 2, 3]
  [settings]
  source = \"sample\"
  epochs = 8
  [grid]
  learning_rate = [0.001, 0.003]
  hidden_size = [32, 64]

  candle-rnn sweep first.toml --dry-run           the 12 trials
  candle-rnn sweep first.toml                     trains them; after an interruption, the rest
  candle-rnn sweep first.toml --table --csv       the table so far
  sbatch --array=1-12 job.sh                      a trial a task, with this command in job.sh

docs/sweeps.md has the other tables: [data], [random] and [halving].")]
pub(crate) struct SweepArgs {
    /// TOML file with the trials: seeds, and the tables [data], [settings], [grid] or [random], and [halving]
    pub(super) file: PathBuf,
    /// Folder of the sweep [default: sweeps/NAME, for a file NAME.toml]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number of trials that train at once [default: one per core that this process may use; 1 for a task of an array and
    /// under mpirun]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    jobs: Option<usize>,
    /// Number of CPU threads of each trial [default: the cores that this process may use divided by --jobs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Train the share of task I of --array-tasks, from 1, and leave the rest to the others [default: as SLURM or
    /// mpirun say in the environment, else all]
    #[arg(long, value_name = "I", requires = "array_tasks", value_parser = numbers::at_least_one)]
    pub(super) array_task: Option<usize>,
    /// Number of tasks of the array
    #[arg(long, value_name = "N", requires = "array_task", value_parser = numbers::at_least_one)]
    pub(super) array_tasks: Option<usize>,
    /// Try failed trials again
    #[arg(long)]
    pub(super) retry: bool,
    /// When all trials have ended, measure the best one on the test data, which no trial is chosen by; of an array the task
    /// that ends last does
    #[arg(long, conflicts_with = "csv")]
    pub(super) test: bool,
    /// List the trials and train none
    #[arg(long, conflicts_with_all = ["retry", "test"])]
    pub(super) dry_run: bool,
    /// Print the table of the trials so far and train nothing
    #[arg(long, conflicts_with_all = ["dry_run", "retry", "test"])]
    pub(super) table: bool,
    /// Print the table as JSON, one object per trial
    #[arg(long)]
    pub(super) json: bool,
    /// Print the table as CSV
    #[arg(long, conflicts_with = "json")]
    pub(super) csv: bool,
    /// Print no progress on stderr
    #[arg(long)]
    pub(super) quiet: bool,
}

impl SweepArgs {
    /// The folder of the sweep.
    pub(super) fn folder(&self) -> PathBuf {
        let named = || PathBuf::from("sweeps").join(self.file.file_stem().unwrap_or_default());
        self.out.clone().unwrap_or_else(named)
    }

    /// How many trials train at once, and with how many threads each.
    pub(super) fn jobs(&self, share: &Share, trials: usize) -> (usize, u16) {
        let cores = processes::threads(share.ranks());
        let jobs = self.jobs.unwrap_or(if share.is_whole() { cores } else { 1 });
        let jobs = jobs.min(trials).max(1);
        let threads = u16::try_from((cores / jobs).max(1)).unwrap_or(u16::MAX);
        (jobs, self.threads.unwrap_or(threads))
    }
}
