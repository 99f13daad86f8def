//! `candle-rnn train`: trains a model or resumes a run.
//!
//! [`args`] are the arguments; [`images`], [`sequences`] and [`text`] make a session of a kind of data, which [`keep`]
//! trains, shows and records until a signal stops it; [`unused`] are flags without a use; [`trial`] checks a sweep's.

mod args;
mod images;
mod keep;
mod sequences;
mod text;
mod trial;
mod unused;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_rnn::data::formats::{Content, Format, Layout, Loaded, ReadOptions};
use candle_rnn::data::Target;
use candle_rnn::distributed::Team;
use candle_rnn::run::{self, TaskName};
use candle_rnn::train::tasks::{SequenceConfig, SequenceSource, SequenceTraining};

pub(super) use args::TrainArgs;
pub(super) use trial::TrialCheck;

use super::own_files::OwnFiles;
use super::usage::{wrong_usage, WrongUsage};

/// Trains, with the other processes if there are some: an error on one of them is an error on all.
pub(super) fn run(mut args: TrainArgs, team: &Team) -> anyhow::Result<ExitCode> {
    args.team = team.clone();
    let mut is_wrong_usage = false;
    let trained =
        team.guard(|| train(args).inspect_err(|error| is_wrong_usage = error.is::<WrongUsage>()));
    // It is mostly the same on all, and so must be their exit code: mpirun returns that of the first to end.
    trained.map_err(|error| {
        if is_wrong_usage && !error.is::<WrongUsage>() {
            wrong_usage(error)
        } else {
            error
        }
    })
}

fn train(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let resumed = args.resumed().map(run::read_task).transpose()?;
    let Some(file) = file(&args)? else {
        args.others.refuse()?;
        if resumed.is_some() {
            args.files.refuse_without_file()?;
        }
        return match resumed {
            Some(TaskName::Sequences) => sequences::resume(&args),
            Some(TaskName::Text) => text::resume(&args),
            Some(TaskName::Other(name)) => {
                anyhow::bail!(
                    "a library's own task, {name}, can only be resumed by its own program"
                )
            }
            Some(TaskName::Images) | None => {
                args.files.refuse()?;
                images::run(&args)
            }
        };
    };
    if args.recipe.is_some() {
        return Err(wrong_usage(
            "--recipe applies to MNIST only: a FILE has settings that suit its data",
        ));
    }
    // All files are read and checked before anything is written.
    let run = match (&resumed, args.resumed()) {
        (Some(TaskName::Sequences), Some(run)) => {
            Some(run::read_config::<SequenceConfig>(run)?.task.data.source)
        }
        _ => None,
    };
    let run = run.unwrap_or_default();
    let training = args.settings(false)?.config(&SequenceTraining::default());
    let is_forecast = training.is_ok_and(|training| training.is_forecast());
    let (Loaded { content, format, notes, .. }, options) = read(&args, &file, &run, is_forecast)?;
    match content {
        Content::Sequences(data) => {
            let found = super::describe::summary(&file, format, &data, &notes);
            let source = sequences::source(&args, &file, SequenceSource { read: options, ..run })?;
            sequences::train(&args, source, data, &found)
        }
        Content::Text(content) => {
            args.files.refuse()?;
            args.others.refuse()?;
            text::run(&args, &file, &content)
        }
    }
}

/// Reads a file to train on; also how it is read from here on.
///
/// - `run`: the files of a run that is resumed
fn read(
    args: &TrainArgs,
    file: &Path,
    run: &SequenceSource,
    is_forecast: bool,
) -> anyhow::Result<(Loaded, ReadOptions)> {
    let mut options = args.files.or(&run.read);
    options.is_series |= is_forecast;
    let loaded = OwnFiles::read(file, &options)?;
    // What is predicted later may lack the labels by which such a table is told.
    let layout = loaded.layout.filter(|layout| *layout == Layout::Tabular);
    options.layout = options.layout.or(layout);
    options.columns = options.columns.or(loaded.columns);
    if let (Format::Idx, Content::Sequences(data)) = (loaded.format, &loaded.content) {
        if matches!(data.target(), Target::None) && !options.is_series {
            anyhow::bail!(
                "{}: holds images without labels, so that there is nothing to learn: put the file of labels beside it, \
                 called as the images are but with labels for images and idx1 for idx3",
                file.display()
            );
        }
    }
    Ok((loaded, options))
}

/// The file with data of one's own, if there is one.
fn file(args: &TrainArgs) -> anyhow::Result<Option<PathBuf>> {
    let data = args.source.data.as_ref().filter(|data| data.is_file());
    match (&args.file, &args.source.data) {
        (Some(file), None) => Ok(Some(file.clone())),
        (Some(_), Some(_)) => Err(wrong_usage("give the data once: as FILE, or with --data")),
        (None, _) if data.is_some() => Ok(data.cloned()),
        (None, _) => Ok(None),
    }
}
