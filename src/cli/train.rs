//! `candle-rnn train`: trains a model or resumes a run.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use candle_rnn::report;
use candle_rnn::run::{
    self, DataConfig, IfExists, ImageConfig, Outcome, RunConfig, Session, SessionConfig, Start,
};
use candle_rnn::settings::{Recipe, RunSettings, Settings};
use candle_rnn::train::{Event, Extensions, TrainerConfig};
use candle_rnn::Error;
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::choices::{value_of, RECIPES};
use super::device::{self, Compute};
use super::flags::TrainFlags;
use super::screen;
use super::source::DataSource;
use super::usage::wrong_usage;

/// Train a model, or resume a run; without flags, the reference job
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn train                                the reference job: 150 tanh units, 5 epochs
  candle-rnn train --data sample --epochs 20      a first try, without a network
  candle-rnn train --recipe tanh                  99.4 % test accuracy with the same 150 units
  candle-rnn train --truncate 5 --loss-at every   truncated BPTT, segments of 5 rows
  candle-rnn train --cell lstm --hidden 128 --layers 2 --bidirectional --dropout 0.2
  candle-rnn train --schedule one-cycle --lr 0.004 --clip-norm 1 --shift 1 --epochs 20
  candle-rnn train --config mine.toml --seed 7    settings from a file; flags override it
  candle-rnn train --out runs/relu --cell relu --init identity
  candle-rnn train --out runs/relu --resume       continue after an interruption
  candle-rnn train --out runs/relu --resume --epochs 60            train a finished run further")]
pub(super) struct TrainArgs {
    /// Named settings that are known to work; flags and --config override them
    #[arg(long, value_parser = value_of::<Recipe>(&RECIPES))]
    recipe: Option<Recipe>,
    /// TOML file of settings, such as a run's train.toml; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    source: DataSource,
    #[command(flatten)]
    flags: TrainFlags,
    #[command(flatten)]
    compute: Compute,
    /// Run directory to write [default: the next free of runs/0001, runs/0002, ...]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run in --out, and start over
    #[arg(long, requires = "out", conflicts_with = "resume")]
    overwrite: bool,
    /// Resume the run in --out from its newest valid checkpoint, or start it if there is none;
    /// settings default to the run's. A larger --epochs or --patience trains a finished run
    /// further; if its schedule does not depend on the number of epochs (constant, plateau), the
    /// weights are bit-identical to a run that had so many from the start
    #[arg(long, requires = "out")]
    resume: bool,
    /// With --resume and a larger --epochs: train a finished run further although its schedule
    /// depends on the number of epochs (one-cycle, cosine, step). The schedule restarts over the
    /// added epochs, without warm-up: the learning rate falls from --lr again
    #[arg(long, requires = "resume", conflicts_with = "overwrite")]
    extend: bool,
    /// Print the lines of metrics.jsonl to stdout, and nothing else
    #[arg(long)]
    json: bool,
    /// Print no progress on stderr and no epochs on stdout
    #[arg(long)]
    quiet: bool,
}

impl TrainArgs {
    /// All that was named: by flags, else in the file, else by the recipe.
    fn settings(&self, is_resumed: bool) -> anyhow::Result<Settings> {
        let mut settings = Settings::of(&self.flags).map_err(wrong_usage)?;
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{}: cannot read the file", path.display()))?;
            let file = Settings::from_toml(&text).with_context(|| format!("{}", path.display()))?;
            settings = settings.or(file);
        }
        if let Some(recipe) = self.recipe {
            settings = settings.or(recipe.settings()?);
        }
        // How often a run is saved and what computes it is not in its configuration: it makes no other model.
        if let (true, Some(run)) = (is_resumed, &self.out) {
            match run::read_settings(run) {
                Ok(None) => {}
                Ok(Some(run)) => {
                    let run =
                        RunSettings { data: None, dataset: None, max_minutes: None, ..run.run() };
                    settings = settings.or(Settings::of(&run)?);
                }
                Err(error) => screen::note(&format!("skipped: {error}")),
            }
        }
        Ok(settings)
    }

    /// The configuration of the run that is to be resumed, if there is one.
    fn resumed(&self) -> anyhow::Result<Option<RunConfig>> {
        let out = self.out.as_deref().filter(|out| self.resume && out.join("config.json").exists());
        Ok(out.map(run::read_config).transpose()?)
    }

    fn if_exists(&self) -> IfExists {
        if self.overwrite {
            IfExists::Overwrite
        } else if self.extend {
            IfExists::Extend
        } else if self.resume {
            IfExists::Resume
        } else {
            IfExists::Refuse
        }
    }

    /// A line for people: on stdout, unless that is for JSON or nothing is to be said.
    fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.quiet {
            return Ok(());
        }
        if !self.json {
            return screen::line(text);
        }
        screen::note(text);
        Ok(())
    }
}

pub(super) fn run(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let resumed = args.resumed()?;
    let settings = args.settings(resumed.is_some())?;
    // Where the run was extended is its own affair: it is not asked for again.
    let mut base = resumed.as_ref().map(|run| run.task.training.clone()).unwrap_or_default();
    base.trainer.extensions = Extensions::default();
    let config = settings.config(&base)?;
    let named = settings.run();
    config.check().map_err(wrong_usage)?;
    if let Some(run) = resumed.as_ref().filter(|_| !args.extend) {
        refuse_more_epochs(&args, &run.task.training.trainer, config.trainer.epochs)?;
    }
    let compute = args.compute.clone().or(named.device.as_deref(), named.threads);
    let compute = compute.map_err(wrong_usage)?;
    let device = compute.open()?;
    device::check_precision(&device, config.dtype)?;
    config.check_device(&device)?;
    // All files are read and checked before anything is written.
    let mut source = DataSource { data: args.source.data.clone().or(named.data) };
    let mut dataset = named.dataset;
    if let Some(run) = &resumed {
        source = source.or(&run.task.data);
        dataset = dataset.or(run.task.data.dataset);
    }
    let data = source.load(dataset.unwrap_or_default(), args.quiet)?;
    let source = match &source.data {
        Some(folder) if folder.as_os_str() != "sample" => {
            Some(std::path::absolute(folder).context("cannot resolve --data")?)
        }
        other => other.clone(),
    };
    let data_config = DataConfig::new(&data, source.clone());
    let dataset = data_config.dataset.or(dataset);
    let out = match &args.out {
        Some(out) => out.clone(),
        None => run::next_free(Path::new("runs")).map_err(|error| match error {
            Error::Checkpoint { .. } => anyhow::anyhow!("{error}: give --out"),
            error => error.into(),
        })?,
    };
    let run = ImageConfig::new(config, data_config);
    let keeping = SessionConfig {
        if_exists: args.if_exists(),
        save_every: named.save_every,
        keep: named.keep.unwrap_or(SessionConfig::default().keep),
        // So many minutes that no duration holds them are no limit.
        time_limit: named
            .max_minutes
            .and_then(|minutes| Duration::try_from_secs_f64(60. * minutes).ok()),
    };
    let opened = Session::images(&out, run, data, &device, keeping);
    let (mut session, start) = opened.map_err(|error| match error {
        Error::RunExists { .. } if args.resume => {
            anyhow::anyhow!("{error}; --overwrite starts over")
        }
        Error::RunExists { .. } => {
            anyhow::anyhow!("{error}: name another folder, or pass --resume or --overwrite")
        }
        error => error.into(),
    })?;
    args.say(&format!("run {}", out.display()))?;
    match start {
        Start::Finished => {
            report::complete(&session)?;
            args.say(&finished(&session))?;
            return Ok(ExitCode::SUCCESS);
        }
        Start::Resumed { step, damaged, begun_with } => {
            damaged.iter().for_each(|error| screen::note(&format!("skipped: {error}")));
            if let Some(before) = begun_with.filter(|_| !args.quiet) {
                let now = candle_rnn::recurrence::instruction_set(&device)?;
                screen::note(&format!(
                    "note: this run was started with {before}, this machine computes with {now}: \
                     the last bits may differ from an uninterrupted run"
                ));
            }
            args.say(&format!("resuming after step {step}"))?;
        }
        Start::New { damaged } => {
            damaged.iter().for_each(|error| screen::note(&format!("skipped: {error}")));
            if args.resume {
                args.say("nothing to resume: starting the run")?;
            }
        }
    }
    let effective = Settings::of(&RunSettings {
        data: source,
        dataset,
        // A limit of this process, not of the training.
        max_minutes: None,
        device: compute.device_name(),
        threads: compute.threads(),
        ..named
    })?;
    let effective = effective.or(Settings::of(&session.run_dir().config().task.training)?);
    session.run_dir().write_settings(&effective.to_toml())?;
    // On one of the threads that compute: from another, every call into them would wait for two of
    // them to wake up.
    rayon::scope(|_| train(&args, &mut session, device::name(&device)))
}

/// Refuses more epochs where the run's schedule depends on their number.
fn refuse_more_epochs(args: &TrainArgs, run: &TrainerConfig, epochs: usize) -> anyhow::Result<()> {
    if epochs <= run.epochs || !run.schedule.depends_on_length() {
        return Ok(());
    }
    let schedule = serde_json::json!(run.schedule);
    anyhow::bail!(
        "{}: cannot train to {epochs} epochs: its {} schedule is set for {}; finish the run, then \
         --resume --extend --epochs {epochs} restarts the schedule over the added epochs",
        args.out.as_deref().unwrap_or(Path::new("")).display(),
        schedule.as_str().unwrap_or_default(),
        run.epochs
    );
}

/// What is said of a run that was finished before: how it can be trained on.
fn finished(session: &Session) -> String {
    let TrainerConfig { epochs, schedule, .. } = *session.trainer().config();
    let done = session.history().len();
    let how = if done < epochs {
        format!("early stopping ended it after epoch {done}, and a larger --patience")
    } else if schedule.depends_on_length() {
        format!("{done} epochs are done, and --extend with a larger --epochs")
    } else {
        format!("{done} epochs are done, and a larger --epochs")
    };
    format!("this run is finished: {how} trains it on")
}

/// Which epoch's weights a run with patience keeps, and why.
fn kept(session: &Session) -> Option<String> {
    let training = session.trainer().config();
    let (kept, patience) = session.kept().zip(training.patience)?;
    let history = session.history();
    let accuracy = kept
        .valid_accuracy
        .map_or(String::new(), |value| format!(", validation accuracy {value:.4}"));
    let best = run::best_of(history).filter(|best| best.is_better_than(kept));
    let note = best.map_or(String::new(), |metrics| {
        format!("; the weights of epoch {}, the best, cannot be read", metrics.epoch)
    });
    let ended = if history.len() < training.epochs {
        format!("patience {patience} ran out at epoch {}", history.len())
    } else {
        format!("patience {patience} did not run out")
    };
    let best = if best.is_none() { "the best" } else { "the best available" };
    Some(format!("kept epoch {}, {best}{accuracy}: {ended}{note}", kept.epoch))
}

/// Trains, shows and records.
fn train(args: &TrainArgs, session: &mut Session, device: &str) -> anyhow::Result<ExitCode> {
    let signals = Signals::register().context("cannot listen to signals")?;
    let (epochs, batches) = (session.trainer().config().epochs, session.trainer().batches());
    args.say(&format!("training on {device}: epochs {epochs}, batches {batches} each"))?;
    let done = session.trainer().step_count();
    let mut progress = screen::TrainProgress::new(epochs, batches, done as usize, args.quiet);
    let ends_epoch = session.trainer().position().batch == batches;
    let mut events = report::EventFile::create(session.path(), done, ends_epoch)?;
    let mut failed = None;
    let outcome = session.run(&mut |event| {
        let shown = match event {
            Event::Step { epoch, batch, batches, examples, loss } => {
                progress.step(*epoch, *batch, *batches, *examples, *loss);
                Ok(())
            }
            Event::Epoch(metrics) => progress.pause(|| {
                let shown = if args.json {
                    screen::json(metrics)
                } else {
                    args.say(&screen::epoch_line(metrics, epochs))
                };
                shown.context("cannot write to stdout")
            }),
            Event::Done => Ok(()),
        };
        match shown.and_then(|()| Ok(events.record(event)?)) {
            Ok(()) if signals.pending().is_none() => ControlFlow::Continue(()),
            Ok(()) => ControlFlow::Break(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    progress.finish();
    let run = session.path().display();
    if let Some(error) = failed {
        outcome?;
        screen::note(&format!("stopped and saved: continue with --resume --out {run}"));
        return Err(error);
    }
    let outcome = outcome?;
    // What was recorded of an epoch that has not ended.
    events.record(&Event::Done)?;
    match (outcome, signals.pending()) {
        (Outcome::Interrupted, Some(signal)) => {
            screen::note(&format!("interrupted and saved: continue with --resume --out {run}"));
            Ok(ExitCode::from(128 + signal))
        }
        (Outcome::OutOfTime, _) => {
            let step = session.trainer().step_count();
            screen::note(&format!(
                "time is up after step {step}; saved: continue with --resume --out {run}"
            ));
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            report::write(session)?;
            show_steps(args, session)?;
            let ended = session.history().len();
            if ended < epochs {
                args.say(&format!(
                    "ended after epoch {ended}: the validation loss fell no further"
                ))?;
            }
            if let Some(kept) = kept(session) {
                args.say(&kept)?;
            }
            args.say(&format!("saved; next: candle-rnn eval {run}"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The accuracy after each step, where the loss is read at several.
fn show_steps(args: &TrainArgs, session: &Session) -> anyhow::Result<()> {
    let last = session.history().last().and_then(|metrics| metrics.valid_accuracy_by_step.as_ref());
    let Some(by_step) = last else { return Ok(()) };
    // Of 784 pixels as many as of 28 rows.
    let every = by_step.len().div_ceil(28);
    args.say("validation accuracy after each step")?;
    for (index, accuracy) in by_step.iter().enumerate().filter(|(i, _)| (i + 1) % every == 0) {
        let bar = screen::bar(*accuracy, 40);
        args.say(&format!("  step {:>3}  {accuracy:.4}  {bar}", index + 1))?;
    }
    Ok(())
}

/// SIGINT, SIGTERM and SIGHUP: the first is remembered, the second ends the program at once.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn register() -> std::io::Result<Self> {
        let (first, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut signals = vec![SIGINT, SIGTERM];
        #[cfg(unix)]
        if !ignores_hangup() {
            signals.push(SIGHUP);
        }
        for signal in signals {
            // In this order: the first signal finds the flag still down.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, first.clone())?;
            signal_hook::flag::register(signal, first.clone())?;
            signal_hook::flag::register_usize(signal, received.clone(), signal as usize)?;
        }
        Ok(Self(received))
    }

    fn pending(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }
}

/// Whether this process was started to outlive its terminal, as `nohup` does: only Linux says so.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}
