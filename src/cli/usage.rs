//! Arguments that clap takes and that have no meaning together, or for this device: exit code 2.

use candle_rnn::settings::NOT_OF_TASK;
use candle_rnn::train::tasks::{SequenceTraining, TextTraining};
use candle_rnn::train::TrainConfig;
use candle_rnn::Error;

/// What is wrong with them.
#[derive(Debug)]
pub(super) struct WrongUsage(String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// An error that ends the program as wrong usage.
pub(super) fn wrong_usage(message: impl std::fmt::Display) -> anyhow::Error {
    WrongUsage(message.to_string()).into()
}

/// A setting that a training does not have, in the words of the command line: what it is for.
pub(super) fn wrong_setting(error: Error) -> anyhow::Error {
    let text = error.to_string();
    let Some(name) = text.strip_suffix(NOT_OF_TASK) else { return wrong_usage(text) };
    let has = |defaults: serde_json::Result<serde_json::Value>| {
        defaults.is_ok_and(|defaults| defaults.get(name).is_some())
    };
    let of_images = has(serde_json::to_value(TrainConfig::default()));
    let of_sequences = has(serde_json::to_value(SequenceTraining::default()));
    let of_text = has(serde_json::to_value(TextTraining::default()));
    let what = match (of_images, of_sequences, of_text) {
        (true, true, _) => "images and sequences only, not to texts",
        (true, ..) => "MNIST only",
        (_, true, true) => "data of your own only: name the FILE",
        (_, true, _) => "a FILE of sequences only",
        _ => "a FILE of text only",
    };
    let flag = match name {
        "hidden_size" => "hidden",
        "num_layers" => "layers",
        "learning_rate" => "lr",
        "truncation" => "truncate",
        name => name,
    };
    wrong_usage(format!("--{} applies to {what}", flag.replace('_', "-")))
}
