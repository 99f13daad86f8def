//! `candle-rnn train FILE` on a text.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use candle_rnn::data::formats::{Content, ReadOptions};
use candle_rnn::report;
use candle_rnn::run::{self, Session};
use candle_rnn::settings::{RunSettings, Settings};
use candle_rnn::train::tasks::{TextConfig, TextTask, TextTraining};
use candle_rnn::train::Extensions;

use super::args::TrainArgs;
use super::keep::{refuse_more_epochs, Keeping};
use crate::cli::own_files::OwnFiles;
use crate::cli::usage::wrong_usage;
use crate::cli::{device, screen};

/// Goes on with a run whose file was not named again.
pub(super) fn resume(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let config = args.resumed().map(run::read_config::<TextConfig>).transpose()?;
    let Some(file) = config.and_then(|run| run.task.data.source) else {
        anyhow::bail!("this run does not say which file it was trained on: name it")
    };
    match OwnFiles::read(&file, &ReadOptions::default())?.content {
        Content::Text(text) => run(args, &file, &text),
        Content::Sequences(_) => anyhow::bail!("{}: no plain text any more", file.display()),
    }
}

/// The settings of a training.
///
/// - `run`: those of the run that is resumed
pub(super) fn asked(
    args: &TrainArgs,
    settings: &Settings,
    run: Option<&TextTraining>,
) -> anyhow::Result<TextTraining> {
    let mut base = run.cloned().unwrap_or_default();
    base.trainer.extensions = Extensions::default();
    let training = args.make(settings, |settings| {
        settings
            .config(&base)
            .and_then(|training: TextTraining| training.check().map(|()| training))
    })?;
    args.refuse_images(settings)?;
    Ok(training)
}

/// Trains on a text.
pub(super) fn run(args: &TrainArgs, file: &Path, text: &str) -> anyhow::Result<ExitCode> {
    if !args.team.is_alone() {
        return Err(wrong_usage(
            "a text is trained by one process: its state is carried from batch to batch; start it without mpirun",
        ));
    }
    let resumed = args.resumed().map(run::read_config::<TextConfig>).transpose()?;
    let settings = args.settings(resumed.is_some())?;
    let training = asked(args, &settings, resumed.as_ref().map(|run| &run.task.training))?;
    let named = settings.run();
    if let Some(run) = &resumed {
        refuse_more_epochs(args, &run.task.training.trainer, training.trainer.epochs)?;
    }
    let compute = args.compute(&settings)?;
    let device = compute.open()?;
    device::check_precision(&device, training.dtype)?;
    let source = std::path::absolute(file).context("cannot resolve the file")?;
    let task = TextTask::new(&training, text, Some(source), &device)?;
    if let Some(run) = resumed.as_ref().filter(|run| !run.task.data.is_of(text)) {
        anyhow::ensure!(
            run.task.data.source != task.config().data.source,
            "{}: has changed since the run began, which cannot be resumed on other data: restore the file, or train \
             anew with another --out",
            file.display()
        );
    }
    let config = task.config();
    args.say(&format!(
        "{}: text, {} characters, {} different ones; the last {:.0} % validate",
        file.display(),
        screen::thousands(config.data.characters),
        config.vocabulary.len(),
        100. * training.valid_fraction,
    ))?;
    let keeping = args.keeping(&named);
    let again = args.again(RunSettings { source: None, dataset: None, ..named }, &compute);
    Keeping {
        args,
        device: &device,
        settings: again,
        training: |config: &TextConfig| Settings::of(&config.training),
        complete: |session| {
            if report::is_complete(session) {
                return Ok(());
            }
            report::write_text(session)
        },
        report: report::write_text,
        show: |session: &Session<TextTask>| {
            let run = screen::quoted(session.path());
            Ok(vec![format!("saved; next: candle-rnn generate {run} --prompt TEXT")])
        },
    }
    .run(task, keeping)
}
