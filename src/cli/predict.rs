//! `candle-rnn predict`: classes of pictures and of test images, and whatever a run predicts of files of one's own.

use std::path::{Path, PathBuf};

use candle_rnn::data::known::Known;
use candle_rnn::data::mnist::{ImageSet, Mnist, Split};
use candle_rnn::data::picture::{self, Doubt};
use candle_rnn::predict::{Prediction, Predictor};
use candle_rnn::run::{self, TaskName};
use serde_json::json;

use super::device::Compute;
use super::own_files::OwnFiles;
use super::source::ImageSource;
use super::usage::wrong_usage;
use super::{own_predict, screen};

/// Predict: the digits in PNG or JPEG files, or the sequences of a file of your own
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn predict runs/0001 digit.png photo.jpg
  candle-rnn predict runs/0001 test:17 --steps      an image of the test set, row by row
  candle-rnn predict runs/0002 vowels_TEST.ts --output predictions.csv
  candle-rnn predict runs/0003 sensors.csv --id recording    the run's columns, but for this one")]
pub(super) struct PredictArgs {
    /// Run directory, or a checkpoint of it
    run: PathBuf,
    /// PNG or JPEG files of any size, or `test:N` for image N of the test split, from 0; files of
    /// sequences for a run on data of your own
    #[arg(required = true, value_name = "FILE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    own: OwnFiles,
    /// Write the predictions of sequences to this CSV file: a row a sequence, or a step; without it,
    /// lines, in which semicolons separate the steps of a forecast and commas its features
    #[arg(long, value_name = "FILE.csv", conflicts_with = "json")]
    output: Option<PathBuf>,
    /// With --output: say nothing at the end
    #[arg(long, requires = "output")]
    quiet: bool,
    /// Also print the prediction after each step of an image
    #[arg(long)]
    steps: bool,
    #[command(flatten)]
    source: ImageSource,
    #[command(flatten)]
    compute: Compute,
    /// Print one JSON object per image or sequence
    #[arg(long)]
    json: bool,
}

const BIDIRECTIONAL_STEPS: &str =
    "--steps asks what the model thinks after each row, and a bidirectional one has read all rows then";

/// An image to be told.
struct Input {
    name: String,
    pixels: Vec<u8>,
    /// Its label, if it is known.
    truth: Option<u8>,
    /// Why it may not show one digit.
    doubt: Option<Doubt>,
}

pub(super) fn run(args: PredictArgs) -> anyhow::Result<()> {
    let device = args.compute.open()?;
    match run::read_task(&args.run)? {
        TaskName::Sequences if args.steps => {
            return Err(wrong_usage("--steps is for images: this run was trained on sequences"));
        }
        TaskName::Sequences => {
            args.source.refuse()?;
            let output = args.output.as_deref();
            let written = own_predict::predict(
                &args.run,
                &args.images,
                &args.own,
                output,
                &device,
                args.json,
            )?;
            if let Some(output) = output.filter(|_| !args.quiet) {
                let count = screen::thousands(written);
                let plural = if written == 1 { "" } else { "s" };
                screen::note(&format!("{}: {count} sequence{plural} predicted", output.display()));
            }
            return Ok(());
        }
        TaskName::Text => anyhow::bail!(
            "{}: a language model continues texts: candle-rnn generate",
            args.run.display()
        ),
        TaskName::Images | TaskName::Other(_) => args.own.refuse()?,
    }
    if args.output.is_some() {
        return Err(wrong_usage("--output is for runs on data of your own"));
    }
    let predictor = Predictor::load_on(&args.run, &device)?;
    if args.steps && predictor.config().task.model.network.bidirectional {
        return Err(wrong_usage(BIDIRECTIONAL_STEPS));
    }
    // All images are read before the first is told: one bad file leaves no half of an output.
    let inputs = read_inputs(&args, &predictor)?;
    let pixels: Vec<&[u8]> = inputs.iter().map(|input| input.pixels.as_slice()).collect();
    let predictions = predictor.predict(&pixels)?;
    let mut steps = if args.steps {
        predictor.predict_steps(&pixels)?.into_iter().map(Some).collect()
    } else {
        vec![None; pixels.len()]
    };
    for input in &inputs {
        if let Some(doubt) = input.doubt {
            screen::note(&format!("warning: {}: {doubt}", input.name));
        }
    }
    for ((input, prediction), steps) in inputs.iter().zip(&predictions).zip(&mut steps) {
        if args.json {
            screen::json(&as_json(input, prediction, steps.as_deref()))?;
        } else {
            screen::line(&as_text(input, prediction, steps.as_deref()))?;
        }
    }
    Ok(())
}

fn read_inputs(args: &PredictArgs, predictor: &Predictor) -> anyhow::Result<Vec<Input>> {
    let config = &predictor.config().task.data;
    // Of clothes a picture shows no digit.
    let is_of_digits =
        Known::of(&config.sha256).is_none_or(|known| known.dataset() == ImageSet::Mnist);
    let mut data: Option<Mnist> = None;
    let mut read = |image: &Path| -> anyhow::Result<Input> {
        let name = image.display().to_string();
        let Some(index) = name.strip_prefix("test:").filter(|_| !image.exists()) else {
            let digit = picture::read_digit(image)?;
            let doubt = digit.doubt.filter(|_| is_of_digits);
            return Ok(Input { name, pixels: digit.pixels, truth: None, doubt });
        };
        let Ok(index) = index.parse::<usize>() else {
            let reason =
                format!("{name}: test: must be followed by the number of an image, from 0");
            return Err(wrong_usage(reason));
        };
        let data = match &mut data {
            Some(data) => data,
            none => {
                let source = args.source.clone().or(config);
                none.insert(source.load(config.dataset.unwrap_or_default(), args.json)?)
            }
        };
        test_image(&data.test, index, name)
    };
    args.images.iter().map(|image| read(image)).collect()
}

fn test_image(test: &Split, index: usize, name: String) -> anyhow::Result<Input> {
    anyhow::ensure!(
        index < test.len(),
        "{name}: the test set has images test:0 to test:{}",
        test.len() - 1
    );
    Ok(Input {
        name,
        pixels: test.image(index).to_vec(),
        truth: Some(test.labels()[index]),
        doubt: None,
    })
}

fn as_json(
    input: &Input,
    prediction: &Prediction,
    steps: Option<&[Prediction]>,
) -> serde_json::Value {
    let mut object = json!({
        "input": input.name,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
    });
    if let Some(steps) = steps {
        object["steps"] = steps.iter().map(|step| json!(step.probabilities)).collect();
    }
    if let Some(doubt) = input.doubt {
        object["warning"] = doubt.to_string().into();
    }
    object
}

fn as_text(input: &Input, prediction: &Prediction, steps: Option<&[Prediction]>) -> String {
    let mut order: Vec<usize> = (0..prediction.probabilities.len()).collect();
    order.sort_by(|a, b| prediction.probabilities[*b].total_cmp(&prediction.probabilities[*a]));
    let percent =
        |class: usize| format!("{class} ({:.1} %)", 100. * prediction.probabilities[class]);
    let mut text = format!("{}: {}", input.name, percent(order[0]));
    for class in order.iter().skip(1).take(2) {
        text.push_str(&format!(", {}", percent(*class)));
    }
    if let Some(truth) = input.truth {
        text.push_str(&format!("; its label is {truth}"));
    }
    for (index, step) in steps.unwrap_or_default().iter().enumerate() {
        let probability = step.probabilities[step.label];
        text.push_str(&format!(
            "\n  step {:>3}  {}  {:>5.1} %  {}",
            index + 1,
            step.label,
            100. * probability,
            screen::bar(probability, 40)
        ));
    }
    text
}
