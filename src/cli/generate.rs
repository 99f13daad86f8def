//! `candle-rnn generate`: continues a text.

use std::io::Write as _;
use std::path::PathBuf;

use candle_rnn::predict::{GenerateConfig, Generator};
use candle_rnn::run::{self, TaskName};
use candle_rnn::Error;
use serde_json::json;

use super::device::Compute;
use super::numbers;
use super::screen;
use super::usage::wrong_usage;

/// Continue a text with a language model that was trained on one
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn generate runs/0001 --prompt \"Once upon a time\" --length 300
  candle-rnn generate runs/0001 --prompt \"The \" --temperature 0.5 --top-k 10 --seed 7")]
pub(super) struct GenerateArgs {
    /// Run directory, or a checkpoint of it
    run: PathBuf,
    /// Text to continue; all its characters must occur in the training text
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Number of characters to add
    #[arg(long, value_name = "N", default_value_t = 500)]
    length: usize,
    /// Temperature: below 1 likely characters come more often, 0 always takes the most likely one
    #[arg(long, value_name = "F", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from the K most likely characters alone [default: from all]
    #[arg(long, value_name = "K", value_parser = numbers::at_least_one)]
    top_k: Option<usize>,
    /// Seed of the random draws
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    compute: Compute,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let GenerateArgs { length, temperature, top_k, seed, .. } = args;
    let config = GenerateConfig { length, temperature, top_k, seed };
    config.check().map_err(wrong_usage)?;
    if !matches!(run::read_task(&args.run)?, TaskName::Text) {
        anyhow::bail!(
            "{}: generate needs a run that was trained on a text: use predict for this one",
            args.run.display()
        );
    }
    let device = args.compute.open()?;
    let model = Generator::load_on(&args.run, &device)?;
    // A prompt that cannot be read is not repeated.
    model.check(&args.prompt).map_err(|error| of_prompt(&args.prompt, error))?;
    if args.json {
        let text = model.generate(&args.prompt, &config)?;
        return screen::json(&json!({ "prompt": args.prompt, "text": text }));
    }
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", args.prompt)?;
    let mut failed = None;
    let drawn = model.generate_with(&args.prompt, &config, |character| {
        let written = write!(stdout, "{character}").and_then(|()| stdout.flush());
        written.map_err(|error| {
            let text = candle_rnn::Error::Config(format!("cannot write to stdout: {error}"));
            failed = Some(error);
            text
        })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    drawn?;
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

/// An error in a prompt, which has lines only if it has several.
fn of_prompt(prompt: &str, error: Error) -> anyhow::Error {
    let text = error.to_string();
    let text = match text.strip_prefix("line 1: ") {
        Some(rest) if prompt.lines().count() < 2 => rest,
        _ => &text,
    };
    anyhow::anyhow!("prompt: {text}")
}
