//! Arguments that clap takes and that have no meaning together, or for this device: exit code 2.

use candle_rnn::settings::NOT_OF_TASK;
use candle_rnn::train::tasks::{SequenceTraining, TextTraining};
use candle_rnn::train::TrainConfig;

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

/// What is wrong with the settings of a training, in the words of the command line.
pub(super) fn wrong_setting(error: impl std::fmt::Display) -> anyhow::Error {
    let text = error.to_string();
    let Some(name) = text.strip_suffix(NOT_OF_TASK) else { return wrong_usage(text) };
    let flag = match name {
        "hidden_size" => "hidden",
        "num_layers" => "layers",
        "learning_rate" => "lr",
        "truncation" => "truncate",
        name => name,
    };
    wrong_usage(format!("--{} applies to {}", flag.replace('_', "-"), what_has(name)))
}

/// The same in the words of a file.
pub(super) fn wrong_in_file(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    match text.strip_suffix(NOT_OF_TASK) {
        Some(name) => format!("{name} applies to {}", what_has(name)),
        None => text,
    }
}

/// The trainings that have a setting.
fn what_has(name: &str) -> &'static str {
    let has = |defaults: serde_json::Result<serde_json::Value>| {
        defaults.is_ok_and(|defaults| defaults.get(name).is_some())
    };
    let of_images = has(serde_json::to_value(TrainConfig::default()));
    let of_sequences = has(serde_json::to_value(SequenceTraining::default()));
    let of_text = has(serde_json::to_value(TextTraining::default()));
    if of_images && of_sequences {
        "images and sequences only, not to texts"
    } else if of_images {
        "MNIST only"
    } else if of_sequences && of_text {
        "data of your own only: name the FILE"
    } else if of_sequences {
        "a FILE of sequences only"
    } else {
        "a FILE of text only"
    }
}
