//! `candle-rnn train`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use anyhow::Context;
use candle_rnn::bptt::{LossAt, Truncation};
use candle_rnn::checkpoint::run::{self, DataConfig, IfExists, RunConfig, RunDir};
use candle_rnn::data::mnist::Dataset;
use candle_rnn::data::view::View;
use candle_rnn::model::Readout;
use candle_rnn::nn::Init;
use candle_rnn::optim::Clip;
use candle_rnn::recurrence::Cell;
use candle_rnn::train::{Event, Outcome, Precision, Schedule, Session, Start, TrainConfig};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::device::{self, Compute};
use super::{screen, DataSource};

/// Train a model; with no flags, the reference job
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn train                                the reference job: 150 tanh units, 5 epochs
  candle-rnn train --data sample --epochs 20      a quick look, with no network
  candle-rnn train --truncate 5 --loss-at every   gradients within segments of 5 rows
  candle-rnn train --cell lstm --hidden 128 --layers 2 --bidirectional --dropout 0.2
  candle-rnn train --schedule one-cycle --lr 0.004 --clip-norm 1 --shift 1 --epochs 20
  candle-rnn train --out runs/relu --cell relu --init identity
  candle-rnn train --out runs/relu --resume       after an interruption")]
pub(super) struct TrainArgs {
    #[command(flatten)]
    source: DataSource,
    /// Which data set [default: mnist]
    #[arg(long, value_enum)]
    dataset: Option<Dataset>,
    /// How an image is read, step by step [default: rows]
    #[arg(long, value_enum)]
    view: Option<View>,
    /// The recurrent cell [default: tanh]
    #[arg(long, value_enum)]
    cell: Option<Cell>,
    /// Recurrent units of a layer, in one direction [default: 150]
    #[arg(long, value_name = "N", value_parser = units)]
    hidden: Option<usize>,
    /// Recurrent layers on top of each other [default: 1]
    #[arg(long, value_name = "N", value_parser = layers)]
    layers: Option<usize>,
    /// Read the sequence in both directions, in each layer [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    bidirectional: Option<bool>,
    /// Probability that a number between two layers, or before the head, is left out in training
    /// [default: 0]
    #[arg(long, value_name = "P", value_parser = probability, allow_negative_numbers = true)]
    dropout: Option<f64>,
    /// What the head reads: the `last` output, or the mean and the largest values of all [default: last]
    #[arg(long, value_enum)]
    readout: Option<Readout>,
    /// How initial weights are drawn [default: glorot]
    #[arg(long, value_enum)]
    init: Option<Init>,
    /// Passes over the training images [default: 5]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    epochs: Option<usize>,
    /// Images in a batch [default: 150]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    batch_size: Option<usize>,
    /// Adam's step size [default: 0.001]
    #[arg(long, value_name = "F", value_parser = positive, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// How the step size changes over the run; --lr is its largest [default: constant]
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// The part of the run in which one-cycle (0.3) or cosine (0.05) let the step size rise
    #[arg(long, value_name = "PART", value_parser = probability, allow_negative_numbers = true)]
    warmup: Option<f64>,
    /// Make all gradients together shorter where their norm is larger [default: as they are]
    #[arg(long, value_name = "F", value_parser = positive, conflicts_with = "clip_value",
          allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// Hold each number of the gradients between -F and F [default: as they are]
    #[arg(long, value_name = "F", value_parser = positive, allow_negative_numbers = true)]
    clip_value: Option<f64>,
    /// Weight decay of AdamW [default: 0]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// The part of each label that is spread over all classes [default: 0]
    #[arg(long, value_name = "PART", value_parser = probability, allow_negative_numbers = true)]
    label_smoothing: Option<f64>,
    /// Measure and keep an average of the weights over the steps, of this decay, such as 0.999
    /// [default: those of the last step]
    #[arg(long, value_name = "F", value_parser = probability, allow_negative_numbers = true)]
    ema: Option<f64>,
    /// Move each training image by up to N pixels in either direction, anew in each epoch [default: 0]
    #[arg(long, value_name = "N")]
    shift: Option<usize>,
    /// End after N epochs without a lower validation loss [default: never]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    patience: Option<usize>,
    /// How far gradients flow back: `full`, segments of K steps, or windows that move by K1 steps
    /// and reach back K2 [default: full]
    #[arg(long, value_name = "K|K1:K2")]
    truncate: Option<Truncation>,
    /// Where the loss is read: at the `last` step, or at `every` step [default: last]
    #[arg(long, value_name = "last|every")]
    loss_at: Option<LossAt>,
    /// Seed of all random numbers [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The float type [default: f32]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    compute: Compute,
    /// The run directory [default: the next free of runs/0001, runs/0002, ...]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run in --out
    #[arg(long, requires = "out", conflicts_with = "resume")]
    overwrite: bool,
    /// Continue the run in --out from its newest checkpoint, or begin it; settings that are not named
    /// are the run's
    #[arg(long, requires = "out")]
    resume: bool,
    /// Save a checkpoint every N optimizer steps [default: each epoch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    save_every: Option<u64>,
    /// Print the lines of metrics.jsonl, and nothing else, on stdout
    #[arg(long)]
    json: bool,
    /// No progress and no notes on stderr, no epochs on stdout
    #[arg(long)]
    quiet: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// More units than this are a slip of the finger: W_hh alone would take gigabytes.
const MAX_UNITS: usize = 1 << 14;

fn units(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        number if number > MAX_UNITS => Err(format!("must be at most {MAX_UNITS}")),
        number => Ok(number),
    }
}

/// As many as a model may have.
const MAX_LAYERS: usize = 64;

fn layers(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        number if number > MAX_LAYERS => Err(format!("must be at most {MAX_LAYERS}")),
        number => Ok(number),
    }
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0. ..1.).contains(&number) => Ok(number),
        Ok(_) => Err("must be at least 0 and less than 1".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0. && number.is_finite() => Ok(number),
        Ok(_) => Err("must be a number above 0".into()),
        Err(error) => Err(error.to_string()),
    }
}

impl TrainArgs {
    /// The settings that were named; the others as in `base`.
    fn config(&self, base: &TrainConfig) -> TrainConfig {
        TrainConfig {
            view: self.view.unwrap_or(base.view),
            cell: self.cell.unwrap_or(base.cell),
            hidden_size: self.hidden.unwrap_or(base.hidden_size),
            num_layers: self.layers.unwrap_or(base.num_layers),
            bidirectional: self.bidirectional.unwrap_or(base.bidirectional),
            dropout: self.dropout.unwrap_or(base.dropout),
            readout: self.readout.unwrap_or(base.readout),
            init: self.init.unwrap_or(base.init),
            epochs: self.epochs.unwrap_or(base.epochs),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            learning_rate: self.lr.unwrap_or(base.learning_rate),
            seed: self.seed.unwrap_or(base.seed),
            dtype: self.dtype.unwrap_or(base.dtype),
            truncation: self.truncate.unwrap_or(base.truncation),
            loss_at: self.loss_at.clone().unwrap_or_else(|| base.loss_at.clone()),
            schedule: self.schedule.unwrap_or(base.schedule),
            warmup: self.warmup.or(base.warmup),
            clip: match (self.clip_norm, self.clip_value) {
                (Some(bound), _) => Clip::Norm(bound),
                (_, Some(bound)) => Clip::Value(bound),
                _ => base.clip,
            },
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            patience: self.patience.or(base.patience),
            label_smoothing: self.label_smoothing.unwrap_or(base.label_smoothing),
            ema: self.ema.or(base.ema),
            shift: self.shift.unwrap_or(base.shift),
        }
    }

    /// The configuration of the run that is to be resumed, if there is one that can be read: one
    /// that cannot is refused when the run is opened.
    fn resumed(&self) -> Option<RunConfig> {
        self.out.as_deref().filter(|_| self.resume).and_then(|out| run::read_config(out).ok())
    }

    fn if_exists(&self) -> IfExists {
        match (self.overwrite, self.resume) {
            (true, _) => IfExists::Overwrite,
            (_, true) => IfExists::Resume,
            _ => IfExists::Refuse,
        }
    }

    /// A line for people: on stdout, unless that is for JSON or nothing is to be said.
    fn say(&self, text: &str) -> anyhow::Result<()> {
        match (self.quiet, self.json) {
            (true, _) => Ok(()),
            (false, true) => {
                screen::note(text);
                Ok(())
            }
            (false, false) => screen::line(text),
        }
    }
}

pub(super) fn run(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let resumed = args.resumed();
    let config = args
        .config(&resumed.as_ref().map_or_else(TrainConfig::default, |run| run.training.clone()));
    if let Err(error) = config.check() {
        super::wrong_usage(error);
    }
    let device = args.compute.open()?;
    device::check_precision(&device, config.dtype);
    config.check_device(&device)?;
    // All files are read and checked before anything is written.
    let (mut source, mut dataset) = (args.source.clone(), args.dataset);
    if let Some(run) = &resumed {
        source = source.or(&run.data);
        dataset = dataset.or(Some(run.data.dataset));
    }
    let dataset = dataset.unwrap_or_default();
    let data = source.load(dataset, args.quiet)?;
    let source = match &source.data {
        Some(folder) if folder.as_os_str() != "sample" => {
            Some(std::path::absolute(folder).context("cannot resolve --data")?)
        }
        other => other.clone(),
    };
    let data_config = DataConfig { dataset, source, sha256: data.fingerprint() };
    let out = match &args.out {
        Some(out) => out.clone(),
        None => RunDir::next_free(Path::new("runs"))?,
    };
    let epochs = config.epochs;
    let run = RunConfig::new(config, data_config);
    let (mut session, start) =
        Session::open(&out, run, data, &device, args.if_exists(), args.save_every)?;
    args.say(&format!("run {}", out.display()))?;
    match start {
        Start::Finished => {
            args.say("this run is finished: there is nothing to resume")?;
            return Ok(ExitCode::SUCCESS);
        }
        Start::Resumed { step, damaged, begun_with } => {
            damaged.iter().for_each(|error| screen::note(&format!("passed over: {error}")));
            if let Some(before) = begun_with.filter(|_| !args.quiet) {
                let now = candle_rnn::recurrence::instruction_set(&device)?;
                screen::note(&format!(
                    "note: this run was begun with {before}, this machine computes with {now}: the \
                     last bits may differ from an uninterrupted run"
                ));
            }
            args.say(&format!("resuming after step {step}"))?;
        }
        Start::New { damaged } => {
            damaged.iter().for_each(|error| screen::note(&format!("passed over: {error}")));
        }
    }
    // On one of the threads that compute: from another, every call into them would wait for two of
    // them to wake up.
    rayon::scope(|_| train(&args, &mut session, epochs, device::name(&device)))
}

fn train(
    args: &TrainArgs,
    session: &mut Session,
    epochs: usize,
    device: &str,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::register().context("cannot listen to signals")?;
    let batches = session.trainer().batches();
    args.say(&format!("training on {device}: epochs {epochs}, batches {batches} each"))?;
    let done = session.trainer().step_count() as usize;
    let mut progress = screen::TrainProgress::new(epochs, batches, done, args.quiet);
    let mut closed = None;
    let outcome = session.run(&mut |event| {
        let shown = match event {
            Event::Step { epoch, batch, batches, examples, loss } => {
                progress.step(*epoch, *batch, *batches, *examples, *loss);
                Ok(())
            }
            Event::Epoch(metrics) => progress.pause(|| {
                if args.json {
                    screen::json(metrics)
                } else {
                    args.say(&screen::epoch_line(metrics, epochs))
                }
            }),
            Event::Done => Ok(()),
        };
        match shown {
            Ok(()) if signals.pending().is_none() => ControlFlow::Continue(()),
            Ok(()) => ControlFlow::Break(()),
            Err(error) => {
                closed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    progress.finish();
    let run = session.path().display();
    if let Some(error) = closed {
        screen::note(&format!("stopped and saved: continue with --resume --out {run}"));
        return Err(error.context("cannot write to stdout"));
    }
    match (outcome?, signals.pending()) {
        (Outcome::Interrupted, Some(signal)) => {
            screen::note(&format!("interrupted and saved: continue with --resume --out {run}"));
            Ok(ExitCode::from(128 + signal))
        }
        _ => {
            show_steps(args, session)?;
            let ended = session.history().len();
            if ended < epochs {
                args.say(&format!(
                    "ended after epoch {ended}: the validation loss fell no further"
                ))?;
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

/// SIGINT and SIGTERM: the first is remembered, the second ends the program at once.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn register() -> std::io::Result<Self> {
        let (first, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in [SIGINT, SIGTERM] {
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
