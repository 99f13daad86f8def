//! `candle-rnn eval`: accuracy and loss of a run on a split.

use std::path::PathBuf;

use candle_rnn::predict::Predictor;
use candle_rnn::run::{self, TaskName};
use serde_json::json;

use super::device::Compute;
use super::own_files::OwnFiles;
use super::source::ImageSource;
use super::usage::wrong_usage;
use super::{own_predict, screen};

/// Measure a run on the test or validation split, or on a file of your own
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn eval runs/0001
  candle-rnn eval runs/0001 --split valid --json
  candle-rnn eval runs/0002 vowels_TEST.ts        a run on data of your own, on another file")]
pub(super) struct EvalArgs {
    /// Run directory, or a checkpoint of it
    run: PathBuf,
    /// A file to measure on, of the kind that the run was trained on
    file: Option<PathBuf>,
    #[command(flatten)]
    own: OwnFiles,
    /// Split to measure on
    #[arg(long, value_enum, default_value_t = SplitName::Test, conflicts_with = "file")]
    split: SplitName,
    #[command(flatten)]
    source: ImageSource,
    #[command(flatten)]
    compute: Compute,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SplitName {
    Valid,
    Test,
}

impl SplitName {
    fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

pub(super) fn run(args: EvalArgs) -> anyhow::Result<()> {
    let device = args.compute.open()?;
    let (file, split) = (args.file.as_deref(), args.split.name());
    let task = run::read_task(&args.run)?;
    if matches!(task, TaskName::Sequences | TaskName::Text) {
        args.source.refuse()?;
    }
    match task {
        TaskName::Sequences => {
            if file.is_none() {
                args.own.refuse_without_file()?;
            }
            return own_predict::eval(&args.run, file, split, &args.own, &device, args.json);
        }
        TaskName::Text => {
            args.own.refuse()?;
            return own_predict::eval_text(&args.run, file, split, &device, args.json);
        }
        TaskName::Images | TaskName::Other(_) => args.own.refuse()?,
    }
    if let Some(file) = file {
        let file = file.display();
        return Err(wrong_usage(format!(
            "{file}: this run classifies images: name their folder with --data"
        )));
    }
    let predictor = Predictor::load_on(&args.run, &device)?;
    let config = &predictor.config().task;
    let dataset = config.data.dataset.unwrap_or_default();
    let data = args.source.or(&config.data).load(dataset, args.json)?;
    // The images that this run validated on, not those of another seed: they are among its training images.
    let data = config.training.split(data);
    let name = args.split.name();
    let split = match args.split {
        SplitName::Valid => &data.valid,
        SplitName::Test => &data.test,
    };
    let found = predictor.evaluate(split)?;
    if args.json {
        return screen::json(&json!({
            "split": name,
            "accuracy": found.accuracy,
            "loss": found.loss,
            "examples": found.examples,
        }));
    }
    screen::line(&format!(
        "{name}  accuracy {:.4}  loss {:.4}  {} examples",
        found.accuracy,
        found.loss,
        screen::thousands(found.examples)
    ))
}
