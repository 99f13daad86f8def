//! The flags of `train` that are settings.
//!
//! They have no values of their own: what is not named comes from `--config`, `--recipe`, the run or
//! [`TrainConfig`](candle_rnn::train::TrainConfig). Each is a setting under its name or one that it had.

use std::str::FromStr;

use candle_rnn::recurrence::Truncation;
use candle_rnn::train::LossAt;
use serde::Serialize;

use super::choices::{self, name_of};
use super::numbers;

#[derive(clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TrainFlags {
    /// Which data set [default: mnist]
    #[arg(long, value_parser = name_of(&choices::DATASETS))]
    dataset: Option<String>,
    /// Which training images validate: the `first` of the file, or the same part of each class, drawn with the
    /// seed (`stratified`); 5,000 of them, or a fifth if that is less [default: first for MNIST and the sample,
    /// stratified for all other data]
    #[arg(long, value_name = "HOW", hide_possible_values = true, value_parser = name_of(&choices::VALIDATIONS))]
    validation: Option<String>,
    /// How an image is read, step by step [default: rows]
    #[arg(long, value_parser = name_of(&choices::VIEWS))]
    view: Option<String>,
    /// The recurrent cell [default: tanh]
    #[arg(long, value_parser = name_of(&choices::CELLS))]
    cell: Option<String>,
    /// Recurrent units of a layer, in one direction [default: 150]
    #[arg(long, value_name = "N", value_parser = numbers::units)]
    hidden: Option<usize>,
    /// Recurrent layers on top of each other [default: 1]
    #[arg(long, value_name = "N", value_parser = numbers::layers)]
    layers: Option<usize>,
    /// Read the sequence in both directions, in each layer [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bidirectional: Option<bool>,
    /// Probability that a number between two layers, or before the head, is left out in training
    /// [default: 0]
    #[arg(long, value_name = "P", value_parser = numbers::part, allow_negative_numbers = true)]
    dropout: Option<f64>,
    /// What the head reads: the `last` output, the mean and the largest values of all, or `all` of them
    /// [default: last]
    #[arg(long, value_parser = name_of(&choices::READOUTS))]
    readout: Option<String>,
    /// How initial weights are drawn [default: glorot]
    #[arg(long, value_parser = name_of(&choices::INITS))]
    init: Option<String>,
    /// Passes over the training images [default: 5]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    epochs: Option<usize>,
    /// Images in a batch [default: 150]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    batch_size: Option<usize>,
    /// How an epoch is cut into batches: with `exact` no batch exceeds --batch-size, and the last may be smaller;
    /// `split` makes sizes that differ by one at most and exceed --batch-size where it does not divide the
    /// images, as the tutorial does: 366 batches of 150 and 151 [default: split for MNIST, unless a batch would
    /// exceed --batch-size by more than 2 %; else exact]
    #[arg(long, value_name = "HOW", hide_possible_values = true, value_parser = name_of(&choices::BATCHINGS))]
    batching: Option<String>,
    /// Add up the gradients of N batches of --batch-size for each optimizer step: large steps in the memory of
    /// small ones [default: 1]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    accumulate: Option<usize>,
    /// Adam's step size [default: 0.001]
    #[arg(long, value_name = "F", value_parser = numbers::positive, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// How the step size changes over the run; --lr is its largest [default: constant]
    #[arg(long, value_parser = name_of(&choices::SCHEDULES))]
    schedule: Option<String>,
    /// The part of the run in which one-cycle (0.3) or cosine (0.05) let the step size rise
    #[arg(long, value_name = "PART", value_parser = numbers::part, allow_negative_numbers = true)]
    warmup: Option<f64>,
    /// Make all gradients together shorter where their norm is larger [default: as they are]
    #[arg(long, value_name = "F", value_parser = numbers::positive, conflicts_with = "clip_value", allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// Hold each number of the gradients between -F and F [default: as they are]
    #[arg(long, value_name = "F", value_parser = numbers::positive, allow_negative_numbers = true)]
    clip_value: Option<f64>,
    /// Weight decay of AdamW [default: 0]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// The part of each label that is spread over all classes [default: 0]
    #[arg(long, value_name = "PART", value_parser = numbers::part, allow_negative_numbers = true)]
    label_smoothing: Option<f64>,
    /// Measure and keep an average of the weights over the steps, of this decay, such as 0.999
    /// [default: those of the last step]
    #[arg(long, value_name = "F", value_parser = numbers::part, allow_negative_numbers = true)]
    ema: Option<f64>,
    /// Move each training image by up to N pixels in either direction, anew in each epoch [default: 0]
    #[arg(long, value_name = "N")]
    shift: Option<usize>,
    /// Turn each training image by up to F degrees in either direction, anew in each epoch [default: 0]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    rotate: Option<f64>,
    /// Make each training image larger or smaller by up to this part, anew in each epoch [default: 0]
    #[arg(long, value_name = "PART", value_parser = numbers::part, allow_negative_numbers = true)]
    zoom: Option<f64>,
    /// Exchange left and right of every second training image, by chance, anew in each epoch: for clothes, not
    /// for digits [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mirror: Option<bool>,
    /// Early stopping: end after N epochs without a lower validation loss, and keep the weights of the epoch
    /// with the best validation accuracy [default: all epochs, the last step's weights]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    patience: Option<usize>,
    /// How far gradients flow back: `full`, segments of K steps, or windows that move by K1 steps
    /// and reach back K2 [default: full]
    #[arg(long, value_name = "K|K1:K2", value_parser = as_written::<Truncation>)]
    truncate: Option<String>,
    /// Where the loss is read: at the `last` step, or at `every` step [default: last]
    #[arg(long, value_name = "last|every", value_parser = as_written::<LossAt>)]
    loss_at: Option<String>,
    /// Seed of all random numbers [default: 42]
    #[arg(long, value_name = "N", value_parser = as_written::<u64>)]
    seed: Option<String>,
    /// The float type [default: f32]
    #[arg(long, value_parser = name_of(&choices::DTYPES))]
    dtype: Option<String>,
    /// Save a checkpoint every N optimizer steps [default: each epoch]
    #[arg(long, value_name = "N", value_parser = numbers::steps)]
    save_every: Option<u64>,
    /// Keep the newest N checkpoints, besides the best [default: 2]
    #[arg(long, value_name = "N", value_parser = numbers::at_least_one)]
    keep: Option<usize>,
    /// Save and end after F minutes, if the run is not finished by then; --resume goes on
    /// [default: no limit]
    #[arg(long, value_name = "F", value_parser = numbers::positive, allow_negative_numbers = true)]
    max_minutes: Option<f64>,
}

/// A value as it was written, if it is a `T`.
fn as_written<T: FromStr>(text: &str) -> Result<String, T::Err> {
    text.parse::<T>().map(|_| text.to_string())
}
