//! Arguments that clap takes and that have no meaning together, or for this device: exit code 2.

use candle_rnn::settings::NOT_OF_TASK;
use candle_rnn::train::tasks::{SequenceTraining, TextTraining};
use candle_rnn::train::TrainConfig;

/// The error of arguments that have no meaning together.
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

/// The setting that a task does not have, and which tasks have it, if that is the error.
pub(super) fn of_other_task(error: &str) -> Option<(&str, String)> {
    let name = error.strip_suffix(NOT_OF_TASK)?;
    Some((name, format!("{name} applies to {}", what_has(name))))
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
