//! The command line: arguments, device choice, screen. The only code that prints.
//!
//! One file per subcommand, [`compare`] for `info` of several runs; [`device`] chooses device and threads,
//! [`fetch`] runs the script that fetches data sets, [`screen`] writes.

mod compare;
mod data;
mod device;
mod eval;
mod fetch;
mod info;
mod predict;
mod screen;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use candle_rnn::data::mnist::{Dataset, Mnist, Source};
use candle_rnn::Error;
use clap::{Args, Parser, Subcommand};

/// Train recurrent networks on MNIST digits read row by row, and use them.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "Example:
  candle-rnn train                      the reference job: 5 epochs, saved under runs/
  candle-rnn eval runs/0001
  candle-rnn predict runs/0001 digit.png")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Data(data::DataArgs),
    Train(Box<train::TrainArgs>),
    Eval(eval::EvalArgs),
    Predict(predict::PredictArgs),
    Info(info::InfoArgs),
}

/// Where the images come from.
#[derive(Args, Clone)]
struct DataSource {
    /// `sample` (2,500 digits inside this program) or a folder with the four IDX files, gzipped or
    /// not, itself or in MNIST/raw or raw below [default: what the run was trained on; else the user's cache folder, filled from the
    /// network if need be]
    #[arg(long, value_name = "DIR|sample")]
    data: Option<PathBuf>,
}

impl DataSource {
    fn load(&self, dataset: Dataset, quiet: bool) -> anyhow::Result<Mnist> {
        let mut progress = screen::FetchProgress::new(dataset, quiet);
        let mut show = |event| progress.show(event);
        let source = match &self.data {
            Some(data) => Source::from_arg(data),
            None => Source::Folder(fetch::ensure_cached(dataset, &mut show)?),
        };
        Ok(Mnist::load(dataset, &source, &mut show)?)
    }

    /// This source or, where none was named, the one that a run was trained on.
    fn or(self, config: &candle_rnn::run::DataConfig) -> Self {
        Self { data: self.data.or_else(|| config.source.clone()) }
    }
}

/// Parses the arguments, runs the command, and says how it ended.
pub(crate) fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Data(args) => data::run(args),
        Command::Train(args) => return train::run(*args).unwrap_or_else(|error| fail(&error)),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Info(args) => info::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // One line, whatever a library put into its text.
    let text = format!("{error:#}");
    let line = text.lines().next().unwrap_or_default();
    if !screen::is_closed_pipe(error) {
        screen::note(&format!("error: {line}{}", hint(error)));
    }
    ExitCode::FAILURE
}

/// What the command line can do about an error of the library's, which knows no flags.
fn hint(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref() {
        // A run whose first epoch has not ended has no weights yet.
        Some(Error::Checkpoint { path, .. })
            if path.ends_with("model.safetensors")
                && !path.exists()
                && path.with_file_name("config.json").exists() =>
        {
            ": continue it with train --resume"
        }
        Some(Error::Fetch(_)) => "; put the four IDX files into a folder and name it with --data",
        _ => "",
    }
}

/// Ends the program as clap does for wrong usage: exit code 2.
fn wrong_usage(message: impl std::fmt::Display) -> ! {
    use clap::CommandFactory;
    Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit()
}
