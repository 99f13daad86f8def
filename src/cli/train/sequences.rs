//! `candle-rnn train FILE` on sequences of one's own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use candle_core::Device;
use candle_rnn::data::{DataSplits, Dataset, Target};
use candle_rnn::report::{self, escaped};
use candle_rnn::run::{self, Session};
use candle_rnn::settings::{RunSettings, Settings};
use candle_rnn::train::tasks::{
    SequenceConfig, SequenceSource, SequenceTask, SequenceTraining, TaskKind,
};
use candle_rnn::train::Extensions;

use super::args::TrainArgs;
use super::keep::{refuse_more_epochs, Keeping};
use super::unused;
use crate::cli::own_files::OwnFiles;
use crate::cli::usage::wrong_usage;
use crate::cli::{device, measures, screen};

/// The files of a training.
///
/// - `known`: how they are read and, of a run that is resumed, the other files
pub(super) fn source(
    args: &TrainArgs,
    file: &Path,
    known: SequenceSource,
) -> anyhow::Result<SequenceSource> {
    let absolute = |file: &Path| std::path::absolute(file).context("cannot resolve the file");
    let others = &args.others;
    Ok(SequenceSource {
        file: Some(absolute(file)?),
        valid: others.valid.as_deref().map(absolute).transpose()?.or(known.valid),
        test: others.test.as_deref().map(absolute).transpose()?.or(known.test),
        read: known.read,
    })
}

/// Goes on with a run whose file was not named again.
pub(super) fn resume(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let run = args.resumed().map(run::read_config::<SequenceConfig>).transpose()?;
    let source = run.map(|run| run.task.data.source).unwrap_or_default();
    let Some(file) = source.file.clone() else {
        anyhow::bail!("this run does not say which file it was trained on: name it")
    };
    let data = OwnFiles::sequences(&file, &source.read)?;
    train(args, source, data, &[])
}

/// The settings of a training on data, and what was assumed where nothing was asked for.
///
/// - `run`: the run that is resumed
pub(super) fn asked(
    args: &TrainArgs,
    settings: &Settings,
    run: Option<&SequenceConfig>,
    source: &SequenceSource,
    data: &Dataset,
) -> anyhow::Result<(SequenceTraining, Option<String>)> {
    let mut assumed = None;
    let mut base = match run {
        Some(run) => run.training.clone(),
        None => {
            let mut asked: SequenceTraining =
                args.make(settings, |settings| settings.config(&SequenceTraining::default()))?;
            if holds_none_out(args, settings, source, data)? {
                asked.split.valid_fraction = 0.;
                assumed = Some(format!(
                    "assumed: {} too few to hold some out beside the test file: all are trained on \
                     (else --valid-fraction 0.1)",
                    if data.len() == 1 {
                        "1 sequence is".into()
                    } else {
                        format!("{} sequences are", data.len())
                    }
                ));
            }
            start(data, &asked)
        }
    };
    base.trainer.extensions = Extensions::default();
    let asked: SequenceTraining = args.make(settings, |settings| settings.config(&base))?;
    base.trainer.parts = args.parts(&asked.trainer, run.is_some());
    let training: SequenceTraining = args.make(settings, |settings| {
        settings
            .config(&base)
            .and_then(|training: SequenceTraining| training.check().map(|()| training))
    })?;
    args.refuse_images(settings)?;
    if training.is_forecast() && (source.valid.is_some() || source.test.is_some()) {
        return Err(wrong_usage(
            "a forecast is validated and tested on the last steps of its series: leave out --valid and --test",
        ));
    }
    if let Some(kind) = task_kind(&training, data) {
        args.make(settings, |settings| {
            settings
                .config(&base)
                .and_then(|training: SequenceTraining| training.check_target(kind))
        })?;
        unused::refuse(args, kind, &training, source)?;
    }
    Ok((training, assumed))
}

/// Trains on the data of a file.
///
/// - `found`: what is said of them
pub(super) fn train(
    args: &TrainArgs,
    source: SequenceSource,
    data: Dataset,
    found: &[String],
) -> anyhow::Result<ExitCode> {
    let resumed = args.resumed().map(run::read_config::<SequenceConfig>).transpose()?;
    let settings = args.settings(resumed.is_some())?;
    let run = resumed.as_ref().map(|run| &run.task);
    if let Some(run) = run {
        // Before the run's other files are held against this one.
        let file = &run.data.source.file;
        if *file != source.file && run.spec.preprocessor.features != data.features() {
            return Err(other_data(file, &source.file));
        }
    }
    let (training, assumed) = asked(args, &settings, run, &source, &data)?;
    let named = settings.run();
    if let Some(run) = &resumed {
        refuse_more_epochs(args, &run.task.training.trainer, training.trainer.epochs)?;
    }
    let compute = args.compute(&settings)?;
    let device = compute.open()?;
    device::check_precision(&device, training.dtype)?;
    found.iter().chain(&assumed).try_for_each(|line| args.say(&escaped(line)))?;
    let task = task(&training, source, data, &device)?;
    for line in measures::splits(&task) {
        args.say(&line)?;
    }
    if let Some(run) = &resumed {
        refuse_changed(&run.task, task.config())?;
    }
    let keeping = args.keeping(&named);
    let again = args.again(RunSettings { source: None, dataset: None, ..named }, &compute);
    Keeping {
        args,
        device: &device,
        settings: again,
        training: |config: &SequenceConfig| Settings::of(&config.training),
        complete: |session| {
            if report::is_complete(session) {
                return Ok(());
            }
            report::write_sequences(session)
        },
        report: report::write_sequences,
        show: |session: &Session<SequenceTask>| {
            let mut lines = Vec::new();
            let splits = session.trainer().task().splits();
            for (name, split) in [("valid", Some(&splits.valid)), ("test", splits.test.as_ref())] {
                if let Some(split) = split {
                    let report = session.measured(|task| task.report(split))?;
                    lines.extend(measures::lines(name, &report));
                }
            }
            let run = screen::quoted(session.path());
            lines.push(format!("saved; next: candle-rnn predict {run} FILE"));
            Ok(lines)
        },
    }
    .run(task, keeping)
}

/// Refuses to go on where the data are not those that the run began with, though settings and columns are.
fn refuse_changed(run: &SequenceConfig, now: &SequenceConfig) -> anyhow::Result<()> {
    let (before, after) = (&run.data, &now.data);
    let (a, b) = (&run.training, &now.training);
    let is_asked_alike = before.source.read == after.source.read
        && (&a.split, a.preprocess, a.window, a.horizon, a.trainer.seed)
            == (&b.split, b.preprocess, b.window, b.horizon, b.trainer.seed);
    let is_alike = before.sha256 == after.sha256 && before.valid_sha256 == after.valid_sha256;
    if is_alike || !is_asked_alike {
        return Ok(());
    }
    if before.source.file == after.source.file {
        anyhow::bail!(
            "{}: has changed since the run began, which cannot be resumed on other data: restore the file, or train \
             anew with another --out",
            shown(&after.source.file)
        );
    }
    Err(other_data(&before.source.file, &after.source.file))
}

/// Says that a run that is resumed began with another file.
fn other_data(began_with: &Option<PathBuf>, file: &Option<PathBuf>) -> anyhow::Error {
    anyhow::anyhow!(
        "{}: holds other data than {}, which the run began with: name that file, or train anew with another --out",
        shown(file),
        shown(began_with)
    )
}

fn shown(file: &Option<PathBuf>) -> std::path::Display<'_> {
    file.as_deref().unwrap_or(Path::new("")).display()
}

/// The kind of task that the data ask for; `None` for data without a target.
fn task_kind(training: &SequenceTraining, data: &Dataset) -> Option<TaskKind> {
    match data.target() {
        _ if training.is_forecast() => Some(TaskKind::Forecast),
        Target::None => None,
        Target::Class(_) => Some(TaskKind::Class),
        Target::StepClass(_) => Some(TaskKind::StepClass),
        Target::Numbers(_) => Some(TaskKind::Numbers),
    }
}

/// Below so many sequences a tenth of them is too few to choose an epoch by: where a file of its own tests, all are
/// trained on.
const LEAST_TO_VALIDATE: usize = 50;

/// Whether data are so few that none are held out where nobody asked for it.
fn holds_none_out(
    args: &TrainArgs,
    settings: &Settings,
    source: &SequenceSource,
    data: &Dataset,
) -> anyhow::Result<bool> {
    if source.test.is_none() || source.valid.is_some() || data.len() >= LEAST_TO_VALIDATE {
        return Ok(false);
    }
    // A fraction that is named is the same over any other.
    let over = |fraction: f64| {
        let mut training = SequenceTraining::default();
        training.split.valid_fraction = fraction;
        args.make(settings, |settings| {
            settings.config(&training).map(|training| training.split.valid_fraction)
        })
    };
    Ok(over(0.)? != over(0.1)?)
}

/// Settings for a start, for what was asked for.
fn start(data: &Dataset, asked: &SequenceTraining) -> SequenceTraining {
    let base = if asked.horizon > 0 {
        SequenceTraining::for_forecast(data, asked.horizon)
    } else {
        SequenceTraining::for_data(data)
    };
    if asked.split.valid_fraction == 0. {
        base.without_validation()
    } else {
        base
    }
}

/// The task, with its data split.
pub(super) fn task(
    training: &SequenceTraining,
    source: SequenceSource,
    data: Dataset,
    device: &Device,
) -> anyhow::Result<SequenceTask> {
    if training.is_forecast() {
        return Ok(SequenceTask::forecast(training, &data, source, device)?);
    }
    let path = source.file.as_deref().unwrap_or(Path::new("")).display().to_string();
    if matches!(data.target(), Target::None) {
        anyhow::bail!(
            "{path}: holds no target to learn: in a table name its column with --label, or read a sequence from each row \
             with --layout wide; among arrays store one called y; or forecast the next N steps with --horizon N"
        );
    }
    let is_cut =
        matches!(data.target(), Target::StepClass(_)) || training.split.valid_fraction == 0.;
    if data.len() == 1 && source.valid.is_none() && !is_cut {
        anyhow::bail!(
            "{path}: holds a single sequence, which cannot both train and validate: name the column that \
             says which sequence a row belongs to with --id, or a file to validate with, with --valid"
        );
    }
    let options = source.read.for_other_files();
    let read = |file: &Option<std::path::PathBuf>| {
        file.as_ref().map(|file| OwnFiles::sequences(file, &options)).transpose()
    };
    let (valid, test) = (read(&source.valid)?, read(&source.test)?);
    let splits = DataSplits::sequences(data, valid, test, &training.split, training.trainer.seed);
    let splits = splits.context(path)?;
    Ok(SequenceTask::new(training, splits, source, device)?)
}
