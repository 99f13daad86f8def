//! The flags of `train` that are settings.
//!
//! They have no values of their own: what is not named comes from `--config`, `--recipe`, the run or
//! [`TrainConfig`](candle_rnn::train::TrainConfig). Each is a setting under its name or one that it had.

use std::str::FromStr;

use candle_rnn::recurrence::Truncation;
use candle_rnn::settings::current_name;
use candle_rnn::train::LossAt;
use serde::Serialize;

use super::choices::{self, name_of};
use super::numbers;

/// The heading of the flags for data of one's own.
pub(super) const OWN: &str = "Data of your own";
/// The heading of the flags for the classification of images.
pub(super) const IMAGES: &str = "MNIST and its like only, not data of your own";

#[derive(clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TrainFlags {
    /// Data set [default: mnist]
    #[arg(long, help_heading = IMAGES, value_parser = name_of(&choices::DATASETS))]
    pub(super) dataset: Option<String>,
    /// Validation split: the `first` training images of the file, or as many of each class drawn
    /// with the seed (`stratified`); 5,000 images, or a fifth of them if that is less [default:
    /// first for MNIST and the sample, stratified for all other data]
    #[arg(long, help_heading = IMAGES, value_name = "HOW", hide_possible_values = true, value_parser = name_of(&choices::VALIDATIONS))]
    validation: Option<String>,
    /// Sequence that an image is read as [default: rows]
    #[arg(long, help_heading = IMAGES, value_parser = name_of(&choices::VIEWS))]
    view: Option<String>,
    /// Recurrent cell [default: tanh]
    #[arg(long, value_parser = name_of(&choices::CELLS))]
    cell: Option<String>,
    /// Hidden size: the number of units of a layer in one direction [default: 150]
    #[arg(long, value_name = "N", value_parser = numbers::units)]
    hidden: Option<usize>,
    /// Number of stacked recurrent layers [default: 1]
    #[arg(long, value_name = "N", value_parser = numbers::layers)]
    layers: Option<usize>,
    /// Bidirectional layers: each reads the sequence in both directions [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bidirectional: Option<bool>,
    /// Dropout probability between layers and before the head [default: 0]
    #[arg(long, value_name = "P", value_parser = numbers::part, allow_negative_numbers = true)]
    dropout: Option<f64>,
    /// Readout: the outputs that the head (the dense layer) reads [default: last]
    #[arg(long, value_parser = name_of(&choices::READOUTS))]
    pub(super) readout: Option<String>,
    /// Initialisation of the weights [default: glorot]
    #[arg(long, value_parser = name_of(&choices::INITS))]
    init: Option<String>,
    /// Number of epochs, passes over the training images [default: 5]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    epochs: Option<usize>,
    /// Batch size, in images or sequences; for a text, the number of streams [default: 150]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    batch_size: Option<usize>,
    /// Batching of an epoch: `exact` makes batches of --batch-size, the last one smaller; `split`
    /// makes sizes that differ by at most one and may exceed --batch-size, as in the tutorial: 366
    /// batches of 150 and 151 images [default: split for MNIST, unless a batch would exceed
    /// --batch-size by more than 2 %; else exact]
    #[arg(long, value_name = "HOW", hide_possible_values = true, value_parser = name_of(&choices::BATCHINGS))]
    batching: Option<String>,
    /// Gradient accumulation: sum the gradients of N batches for one optimizer step. Each batch is
    /// weighted by what its loss counts (examples, labelled steps or class weights), so that the step
    /// is that of one large batch, up to roundings and dropout masks, in the memory of a small one
    /// [default: 1]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    accumulate: Option<usize>,
    /// Cut each batch into N parts, whose gradients are summed in their order: N processes can share
    /// them out, and any number of processes makes the same bits [default: the number of processes, or 1 if
    /// --accumulate is at least that]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    parts: Option<usize>,
    /// Learning rate of Adam (the peak, with a schedule) [default: 0.001]
    #[arg(long, value_name = "F", value_parser = numbers::positive, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Learning-rate schedule; its largest rate is --lr [default: constant]
    #[arg(long, value_parser = name_of(&choices::SCHEDULES))]
    schedule: Option<String>,
    /// Warm-up fraction of the run [default: one-cycle 0.3, cosine 0.05]
    #[arg(long, value_name = "PART", value_parser = numbers::part, allow_negative_numbers = true)]
    warmup: Option<f64>,
    /// Clip gradients to this global L2 norm [default: no clipping]
    #[arg(long, value_name = "F", value_parser = numbers::positive, conflicts_with = "clip_value", allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// Clip each element of the gradients to -F..F [default: no clipping]
    #[arg(long, value_name = "F", value_parser = numbers::positive, allow_negative_numbers = true)]
    clip_value: Option<f64>,
    /// Weight decay (AdamW, decoupled) [default: 0]
    #[arg(long, value_name = "F", value_parser = numbers::any, allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// Label smoothing factor [default: 0; 0.1 for classes of your own data]
    #[arg(long, value_name = "PART", value_parser = numbers::part, allow_negative_numbers = true)]
    label_smoothing: Option<f64>,
    /// Decay of an exponential moving average (EMA) of the weights, such as 0.999, which is
    /// evaluated and saved instead of them [default: no average]
    #[arg(long, value_name = "F", value_parser = numbers::part, allow_negative_numbers = true)]
    ema: Option<f64>,
    /// Random shift of training images, up to N pixels in each direction [default: 0]
    #[arg(long, help_heading = IMAGES, value_name = "N", value_parser = numbers::count, allow_negative_numbers = true)]
    shift: Option<usize>,
    /// Random rotation of training images, up to F degrees to either side [default: 0]
    #[arg(long, help_heading = IMAGES, value_name = "F", value_parser = numbers::any, allow_negative_numbers = true)]
    rotate: Option<f64>,
    /// Random zoom of training images, in or out by up to this fraction [default: 0]
    #[arg(long, help_heading = IMAGES, value_name = "PART", value_parser = numbers::part, allow_negative_numbers = true)]
    zoom: Option<f64>,
    /// Random horizontal flip of training images with probability 0.5: for clothes, not for digits
    /// [default: false]
    #[arg(long, help_heading = IMAGES, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mirror: Option<bool>,
    /// Early stopping: stop after N epochs without a lower validation loss, and keep the weights of
    /// the epoch with the best validation accuracy [default: no early stopping]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    patience: Option<usize>,
    /// Truncated backpropagation through time: `full` (none), segments of K steps, or windows that
    /// move by K1 steps and reach back K2 [default: full]
    #[arg(long, help_heading = IMAGES, value_name = "K|K1:K2", value_parser = as_written::<Truncation>)]
    truncate: Option<String>,
    /// Steps at which the loss is computed: the `last` one, or `every` one [default: last]
    #[arg(long, help_heading = IMAGES, value_name = "last|every", value_parser = as_written::<LossAt>)]
    loss_at: Option<String>,
    /// Seed of all random numbers [default: 42]
    #[arg(long, value_name = "N", value_parser = numbers::seed, allow_negative_numbers = true)]
    seed: Option<String>,
    /// Floating-point type of weights and inputs [default: f32]
    #[arg(long, value_parser = name_of(&choices::DTYPES))]
    dtype: Option<String>,
    /// Precision of the recurrent products of training steps on an NVIDIA GPU: tf32 and bf16 use tensor
    /// cores where several blocks share a layer's weights; on a CPU only f32 [default: f32]
    #[arg(long, value_parser = name_of(&choices::GPU_PRECISIONS))]
    gpu_precision: Option<String>,
    /// Record an optimizer step on images as a CUDA graph and run that again, with the same bits, on an NVIDIA GPU;
    /// without dropout, gradient clipping, averages and accumulation. Not yet run on a GPU [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    gpu_graph: Option<bool>,
    /// Scaling of the features of data of your own [default: standard]
    #[arg(long, help_heading = OWN, value_parser = name_of(&choices::SCALINGS))]
    scaling: Option<String>,
    /// Replacement of missing values [default: refuse]
    #[arg(long, help_heading = OWN, value_parser = name_of(&choices::MISSING))]
    missing: Option<String>,
    /// Give each feature a second one that is 1 where its value is missing [default: false]
    #[arg(long, help_heading = OWN, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    missing_mask: Option<bool>,
    /// Fraction of the data that validates: of the sequences, of a series' steps, of a text's end
    /// [default: 0.1 of sequences, but 0 of fewer than 50 beside a --test file; 0.15 of a series, 0.05 of a text]
    #[arg(long, help_heading = OWN, value_name = "PART", value_parser = numbers::part, conflicts_with = "valid", allow_negative_numbers = true)]
    pub(super) valid_fraction: Option<f64>,
    /// Fraction of the data that is kept for a test [default: 0]
    #[arg(long, help_heading = OWN, value_name = "PART", value_parser = numbers::part, conflicts_with_all = ["test", "test_steps"], allow_negative_numbers = true)]
    pub(super) test_fraction: Option<f64>,
    /// Choice of the sequences that validate and test [default: random]
    #[arg(long, help_heading = OWN, value_parser = name_of(&choices::SPLITS))]
    pub(super) split_by: Option<String>,
    /// Weights of the classes in the loss [default: none]
    #[arg(long, help_heading = OWN, value_parser = name_of(&choices::CLASS_WEIGHTS))]
    class_weights: Option<String>,
    /// Loss of numbers and forecasts [default: mse]
    #[arg(long, help_heading = OWN, value_parser = name_of(&choices::LOSSES))]
    pub(super) loss: Option<String>,
    /// Length bucketing: batches of sequences of about the same length [default: true]
    #[arg(long, help_heading = OWN, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bucketing: Option<bool>,
    /// Forecast the next N steps of a series
    #[arg(long, help_heading = OWN, value_name = "N", value_parser = numbers::at_least_one)]
    horizon: Option<usize>,
    /// Number of known steps that a forecast is made from [default: two seasons, or twice --horizon]
    #[arg(long, help_heading = OWN, value_name = "N", value_parser = numbers::at_least_one)]
    window: Option<usize>,
    /// Number of last steps of a series that are kept for a test [default: 0]
    #[arg(long, help_heading = OWN, value_name = "N", value_parser = numbers::at_least_one)]
    test_steps: Option<usize>,
    /// Number of features of a character's embedding, for texts [default: 64]
    #[arg(long, help_heading = OWN, value_name = "N", value_parser = numbers::units)]
    embedding_size: Option<usize>,
    /// Number of characters of a text that gradients flow back [default: 64]
    #[arg(long, help_heading = OWN, value_name = "N", value_parser = numbers::at_least_one)]
    seq_len: Option<usize>,
    /// Save a checkpoint every N optimizer steps [default: every epoch]
    #[arg(long, value_name = "N", value_parser = numbers::steps)]
    save_every: Option<u64>,
    /// Number of newest checkpoints to keep, besides the best one [default: 2]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    keep: Option<usize>,
    /// Time limit in minutes: save and stop when it is reached; --resume continues [default: no
    /// limit]
    #[arg(long, value_name = "F", value_parser = numbers::positive, allow_negative_numbers = true)]
    max_minutes: Option<f64>,
}

impl TrainFlags {
    /// The flag that a setting was named by, such as `--lr` for `learning_rate`; `None` if none was.
    pub(super) fn name_of(&self, setting: &str) -> Option<String> {
        let Ok(serde_json::Value::Object(flags)) = serde_json::to_value(self) else { return None };
        let is_named = |(flag, value): &(&String, &serde_json::Value)| {
            !value.is_null() && current_name(flag) == setting
        };
        flags.iter().find(is_named).map(|(flag, _)| format!("--{flag}"))
    }
}

/// A value as it was written, if it is a `T`.
fn as_written<T: FromStr>(text: &str) -> Result<String, T::Err> {
    text.parse::<T>().map(|_| text.to_string())
}

#[cfg(test)]
mod tests {
    use candle_rnn::settings::Settings;
    use candle_rnn::train::tasks::{SequenceTraining, TextTraining};
    use candle_rnn::train::TrainConfig;
    use clap::{Args, FromArgMatches};
    use serde_json::{json, Value};

    use super::*;
    use crate::cli::train::TrainArgs;

    /// All settings of images, sequences and texts, and of how they are run; null where they are not named.
    fn all(settings: &Settings) -> Value {
        let mut found = serde_json::to_value(settings.run()).unwrap();
        let name = settings.names().next().unwrap().to_string();
        let configs = [
            settings.config(&TrainConfig::default()).map(|config| json!(config)),
            settings.config(&SequenceTraining::default()).map(|config| json!(config)),
            settings.config(&TextTraining::default()).map(|config| json!(config)),
        ];
        for config in configs.into_iter().flatten() {
            if !config[&name].is_null() {
                found[&name] = config[&name].clone();
            }
        }
        found
    }

    /// Values of a flag: all that it has a choice of, or some.
    fn values(flag: &clap::Arg) -> Vec<String> {
        let choices = flag.get_possible_values();
        if !choices.is_empty() {
            return choices.iter().map(|choice| choice.get_name().to_string()).collect();
        }
        let values: &[&str] = match flag.get_id().as_str() {
            "truncate" => &["full", "5", "3:7"],
            "loss_at" => &["last", "every"],
            "seed" => &["7", "18446744073709551615"],
            "lr" | "warmup" | "dropout" | "clip_norm" | "clip_value" | "weight_decay" | "ema" => {
                &["0.25"]
            }
            "label_smoothing" | "rotate" | "zoom" | "valid_fraction" | "test_fraction" => &["0.5"],
            "max_minutes" => &["2.5"],
            _ => &["3"],
        };
        values.iter().map(|value| value.to_string()).collect()
    }

    #[test]
    fn a_setting_has_the_same_words_in_flags_files_and_runs() {
        // Some of them exclude arguments that are no settings.
        let command = TrainArgs::augment_args(clap::Command::new("train"));
        let settings = TrainFlags::augment_args(clap::Command::new("settings"));
        let mut count = 0;
        for flag in settings.get_arguments() {
            let name = flag.get_long().unwrap();
            for value in values(flag) {
                let arg = format!("--{name}={value}");
                let matches = command.clone().try_get_matches_from(["train", &arg]);
                let flags = TrainFlags::from_arg_matches(&matches.unwrap()).unwrap();
                let by_flag = Settings::of(&flags).unwrap();
                let is_word =
                    value.parse::<f64>().is_err() && !["true", "false"].contains(&&*value);
                let is_text = is_word || value.parse::<u64>().is_ok_and(|n| n > i64::MAX as u64);
                let written = if is_text { format!("\"{value}\"") } else { value.clone() };
                let setting = current_name(name);
                assert_eq!(by_flag.names().collect::<Vec<_>>(), [&setting]);
                assert_eq!(flags.name_of(&setting), Some(format!("--{name}")));
                let mut names = vec![name.to_string(), name.replace('-', "_")];
                if setting != "clip" {
                    names.push(setting.clone());
                }
                for name in names {
                    let by_file = Settings::from_toml(&format!("{name} = {written}")).unwrap();
                    assert_eq!(all(&by_file), all(&by_flag), "{name} {value}");
                }
                // As config.json has it.
                let saved = &all(&by_flag)[&setting];
                if is_word {
                    assert_eq!(*saved, value, "{setting}");
                }
                assert!(!saved.is_null(), "{setting}");
                count += 1;
            }
            // What a file may have, the flag may have.
            let refused = Settings::from_toml(&format!("{name} = \"?\"")).unwrap_err().to_string();
            if let Some((_, words)) = refused.split_once("unknown variant `?`, expected ") {
                let mut words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
                words.retain(|word| name != "loss-at" || *word != "weighted");
                let mut known = values(flag);
                known.sort();
                words.sort_unstable();
                assert_eq!(known, words, "{name}");
            }
        }
        assert!(count > 80, "{count}");
    }
}
