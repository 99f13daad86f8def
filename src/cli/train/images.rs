//! `candle-rnn train` on images: the reference job, and its kind.

use std::process::ExitCode;

use anyhow::Context;
use candle_rnn::report;
use candle_rnn::run::{self, DataConfig, ImageConfig, RunConfig, Session};
use candle_rnn::settings::{RunSettings, Settings};
use candle_rnn::train::{Extensions, TrainConfig};

use super::args::TrainArgs;
use super::keep::{refuse_more_epochs, Keeping};
use crate::cli::source::ImageSource;
use crate::cli::{device, screen};

/// The settings of a training.
///
/// - `run`: those of the run that is resumed
pub(super) fn asked(
    args: &TrainArgs,
    settings: &Settings,
    run: Option<&TrainConfig>,
) -> anyhow::Result<TrainConfig> {
    let mut base = run.cloned().unwrap_or_default();
    // Where the run was extended is its own affair: it is not asked for again.
    base.trainer.extensions = Extensions::default();
    let asked: TrainConfig = args.make(settings, |settings| settings.config(&base))?;
    base.trainer.parts = args.parts(&asked.trainer, run.is_some());
    args.make(settings, |settings| {
        settings.config(&base).and_then(|config: TrainConfig| config.check().map(|()| config))
    })
}

pub(super) fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let resumed = args.resumed().map(run::read_config::<ImageConfig>).transpose()?;
    let settings = args.settings(resumed.is_some())?;
    let config = asked(args, &settings, resumed.as_ref().map(|run| &run.task.training))?;
    let named = settings.run();
    if let Some(run) = &resumed {
        refuse_more_epochs(args, &run.task.training.trainer, config.trainer.epochs)?;
    }
    let compute = args.compute(&settings)?;
    let device = compute.open()?;
    device::check_precision(&device, config.dtype)?;
    config.check_device(&device)?;
    // All files are read and checked before anything is written.
    let mut source = ImageSource { data: args.source.data.clone().or(named.source.clone()) };
    let mut dataset = named.dataset;
    if let Some(RunConfig { task, .. }) = &resumed {
        source = source.or(&task.data);
        dataset = dataset.or(task.data.dataset);
    }
    let quiet = args.quiet || !args.team.leads();
    let load = || source.load(dataset.unwrap_or_default(), quiet);
    let data = args.team.leader_first(load)?;
    let source = match &source.data {
        Some(folder) if folder.as_os_str() != "sample" => {
            Some(std::path::absolute(folder).context("cannot resolve --data")?)
        }
        other => other.clone(),
    };
    let data_config = DataConfig::new(&data, source.clone());
    let dataset = data_config.dataset.or(dataset);
    let keeping = args.keeping(&named);
    let run = args.out.as_deref().filter(|_| keeping.if_exists.continues());
    let task = run::image_task(run, ImageConfig::new(config, data_config), data, &device)?;
    let again = args.again(RunSettings { source, dataset, ..named }, &compute);
    Keeping {
        args,
        device: &device,
        settings: again,
        training: |config: &ImageConfig| Settings::of(&config.training),
        complete: report::complete,
        report: report::write,
        show: |session| {
            let mut lines = steps(session);
            lines.push(format!("saved; next: candle-rnn eval {}", screen::quoted(session.path())));
            Ok(lines)
        },
    }
    .run(task, keeping)
}

/// The accuracy after each step, where the loss is read at several.
fn steps(session: &Session) -> Vec<String> {
    let last = session.history().last().and_then(|metrics| metrics.valid_accuracy_by_step.as_ref());
    let Some(by_step) = last else { return Vec::new() };
    // Of 784 pixels as many as of 28 rows.
    let every = by_step.len().div_ceil(28);
    let mut lines = vec!["validation accuracy after each step".to_string()];
    for (index, accuracy) in by_step.iter().enumerate().filter(|(i, _)| (i + 1) % every == 0) {
        let bar = screen::bar(*accuracy, 40);
        lines.push(format!("  step {:>3}  {accuracy:.4}  {bar}", index + 1));
    }
    lines
}
