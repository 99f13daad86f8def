//! `candle-rnn eval`: accuracy and loss of a run on a split.

use std::path::PathBuf;

use candle_rnn::predict::Predictor;
use serde_json::json;

use super::device::Compute;
use super::screen;
use super::source::DataSource;

/// Measure a run's accuracy and loss on the test or validation split
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn eval runs/0001
  candle-rnn eval runs/0001 --split valid --json")]
pub(super) struct EvalArgs {
    /// Run directory, or a checkpoint of it
    run: PathBuf,
    /// Split to measure on
    #[arg(long, value_enum, default_value_t = SplitName::Test)]
    split: SplitName,
    #[command(flatten)]
    source: DataSource,
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

pub(super) fn run(args: EvalArgs) -> anyhow::Result<()> {
    let device = args.compute.open()?;
    let predictor = Predictor::load_on(&args.run, &device)?;
    let config = &predictor.config().task;
    let dataset = config.data.dataset.unwrap_or_default();
    let data = args.source.or(&config.data).load(dataset, args.json)?;
    // The images that this run validated on, not those of another seed: they are among its training images.
    let data = config.training.split(data);
    let (name, split) = match args.split {
        SplitName::Valid => ("valid", &data.valid),
        SplitName::Test => ("test", &data.test),
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
