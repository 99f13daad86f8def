//! The command line: arguments, device choice, screen. The only code that prints.
//!
//! One file per subcommand, [`halved`] for what `export` measures, [`compare`] for `info` of several runs and [`saved`] for what both read; [`device`]
//! chooses device and threads, [`source`] the data, for which [`fetch`] runs a script; [`screen`] writes, and
//! [`usage`] is what is wrong with arguments that clap takes; [`signals`] are what stops a training or a server;
//! [`processes`] are those that train together, and [`cores`] what each of them has of a machine. [`flags`] are the
//! settings of a training, [`choices`] and [`numbers`] what they can be.

mod choices;
mod compare;
mod cores;
mod data;
mod describe;
mod device;
mod eval;
mod export;
mod fetch;
mod flags;
mod generate;
mod halved;
mod info;
mod measures;
mod numbers;
mod output_file;
mod own_files;
mod own_predict;
mod predict;
mod predicted;
mod processes;
mod saved;
mod screen;
#[cfg(feature = "serve")]
mod serve;
mod signals;
mod source;
mod sweep;
mod train;
mod usage;

use std::process::ExitCode;

use candle_rnn::distributed::Team;
use candle_rnn::report::escaped;
use candle_rnn::Error;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Train recurrent networks (RNN, GRU, LSTM) on sequences, and use them.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "Example:
  candle-rnn train                      the reference job: 5 epochs, saved under runs/
  candle-rnn eval runs/0001
  candle-rnn predict runs/0001 digit.png
  candle-rnn train vowels_TRAIN.ts      sequences of your own: classes, numbers, forecasts, text
  candle-rnn eval runs/0002 vowels_TEST.ts")]
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
    Generate(generate::GenerateArgs),
    Export(export::ExportArgs),
    Info(info::InfoArgs),
    Sweep(sweep::SweepArgs),
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
}

/// Parses the arguments, runs the command, and says how it ended.
pub(crate) fn run() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let name = matches.subcommand_name().unwrap_or_default().to_string();
        Ok((name, Cli::from_arg_matches(&matches)?))
    });
    let (name, cli) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refused(&error),
    };
    // It ends after what is to be said is said: then the processes may be stopped.
    let mut team = Team::default();
    let result = match cli.command {
        Command::Data(args) => data::run(args).map(done),
        Command::Train(args) => match processes::join() {
            Ok(joined) => {
                team = joined;
                train::run(*args, &team)
            }
            Err(reason) => {
                screen::note(&format!("error: {reason}"));
                return ExitCode::from(2);
            }
        },
        Command::Eval(args) => eval::run(args).map(done),
        Command::Predict(args) => predict::run(args).map(done),
        Command::Generate(args) => generate::run(args).map(done),
        Command::Export(args) => export::run(args).map(done),
        Command::Info(args) => info::run(args).map(done),
        Command::Sweep(args) => sweep::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args).map(done),
    };
    let code = result.unwrap_or_else(|error| fail(&name, &error, &team));
    drop(team);
    code
}

/// Says what is wrong with the arguments, or what was asked for with `--help`. Of several processes that train together the
/// first says it for all, of whom another may have others.
fn refused(error: &clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    let trains = std::env::args_os().nth(1).is_some_and(|command| command == "train");
    if error.use_stderr() && trains {
        if let Some(team) = processes::join().ok().filter(|team| !team.is_alone()) {
            let text = error.render().to_string();
            let mut lines = text.trim_end().lines();
            let first = lines.next().unwrap_or_default();
            let reason = first.strip_prefix("error: ").unwrap_or(first).to_string();
            let told = processes::fail_together(&team, reason.clone());
            // How the command is used is said where it was used wrongly.
            let rest: Vec<&str> = lines.filter(|_| told.ends_with(&reason)).collect();
            screen::note(format!("error: {told}\n{}", rest.join("\n")).trim_end());
            return code;
        }
    }
    if !processes::another_speaks() {
        if let Some(reason) = not_in_build(error, cfg!(feature = "serve")) {
            screen::note(&format!("error: {reason}"));
            return code;
        }
        // Where the stream is closed there is nobody to tell.
        let _ = error.print();
    }
    code
}

/// What is wrong where a command is asked for that this build lacks.
fn not_in_build(error: &clap::Error, has_server: bool) -> Option<&'static str> {
    let ContextValue::String(command) = error.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    (command == "serve" && !has_server).then_some(
        "serve is not in this build: install it with `cargo install --locked --path . --features serve`",
    )
}

/// Says why a command failed.
fn fail(name: &str, error: &anyhow::Error, team: &Team) -> ExitCode {
    let is_of_another = matches!(error.downcast_ref(), Some(Error::Rank { .. }));
    let rank = if is_of_another { String::new() } else { processes::name(team) };
    if let Some(wrong) = error.downcast_ref::<usage::WrongUsage>() {
        // As clap does: exit code 2, and how the command is used.
        let mut cli = Cli::command();
        cli.build();
        let kind = clap::error::ErrorKind::ValueValidation;
        let text = format!("{rank}{wrong}");
        let error = match cli.find_subcommand_mut(name) {
            Some(command) => command.error(kind, text),
            None => cli.error(kind, text),
        };
        if !screen::is_silent() {
            // Where stderr is closed there is nobody to tell.
            let _ = error.print();
        }
        return ExitCode::from(2);
    }
    // One line, whatever a library put into its text.
    let text = format!("{error:#}");
    let line = text.lines().next().unwrap_or_default();
    if !screen::is_closed_pipe(error) {
        screen::note(&escaped(&format!("error: {rank}{line}{}", hint(error))));
    }
    ExitCode::FAILURE
}

/// The remedy for an error of the library, in flags, which the library does not know.
fn hint(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref() {
        // A run whose first epoch has not ended has no weights yet.
        Some(Error::Checkpoint { path, .. })
            if path.ends_with("model.safetensors")
                && !path.exists()
                && path.with_file_name("config.json").exists() =>
        {
            "; continue it with train --resume"
        }
        Some(Error::DataFile { reason, .. } | Error::Config(reason)) => flags(reason),
        Some(Error::Fetch(_)) => "; put the four IDX files into a folder and name it with --data",
        _ => "",
    }
}

/// The flags that do what the library says in its own words.
fn flags(reason: &str) -> &'static str {
    const FLAGS: [(&str, &str); 11] = [
        ("say how missing values are filled in", "; train with --missing"),
        (", or replace it", " with --overwrite"),
        (
            "windows of ",
            "; see --window, --horizon, --test-steps, --test-fraction and --valid-fraction",
        ),
        ("name the column that says which sequence", ", with --id"),
        ("or name the label's column", " with --label"),
        ("none is left to train on", "; see --valid-fraction, --test-fraction and --split-by"),
        ("no groups to be split by", "; name their column with --group"),
        ("valid_fraction is 0", "; name a file with --valid"),
        ("take another port, or 0", ", with --port"),
        ("and this is a language model", ": `candle-rnn serve` has a page for it"),
        ("take a longer text", "; see --seq-len, --batch-size and --valid-fraction"),
    ];
    FLAGS.iter().find(|(text, _)| reason.contains(text)).map_or("", |(_, flags)| *flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_its_server_says_how_to_get_it() {
        let program = || clap::Command::new("candle-rnn").subcommand(clap::Command::new("sweep"));
        for args in [&["serve", "run", "--port", "0"][..], &["serve"], &["help", "serve"]] {
            let error = program().no_binary_name(true).try_get_matches_from(args).unwrap_err();
            let reason = not_in_build(&error, false).unwrap_or_else(|| panic!("{args:?}: {error}"));
            assert!(reason.contains("--features serve"), "{reason}");
            assert_eq!(not_in_build(&error, true), None);
        }
        let error = program().no_binary_name(true).try_get_matches_from(["servo"]).unwrap_err();
        assert_eq!(not_in_build(&error, false), None);
    }
}
