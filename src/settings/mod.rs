//! Settings as people write them: flags, a TOML file with the same names, and named recipes.
//!
//! [`Settings`] holds what was named and nothing else; [`Settings::or`] puts one set on top of another, and
//! [`Settings::config`] fills in the rest. [`Recipe`] names those that are known to work. `file` reads and
//! writes TOML, `flags` and `text` read single values.

mod file;
#[cfg(feature = "cli")]
mod flags;
mod recipe;
mod text;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use recipe::Recipe;

use crate::data::batches::Batching;
use crate::data::mnist::{Dataset, Validation};
use crate::data::view::View;
use crate::model::Readout;
use crate::nn::Init;
use crate::optim::Clip;
use crate::recurrence::Cell;
use crate::recurrence::Truncation;
use crate::train::LossAt;
use crate::train::{Extensions, Precision, Schedule, TrainConfig};

/// More units than this are a slip of the finger: W_hh alone would take gigabytes.
const MAX_UNITS: usize = 1 << 14;

/// What `train` takes from its flags, and from a TOML file under the same names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct Settings {
    /// `sample` (2,500 digits inside this program) or a folder with the four IDX files, gzipped or
    /// not, itself or in MNIST/raw or raw below [default: what the run was trained on; else the user's cache folder, filled from the
    /// network if need be]
    #[cfg_attr(feature = "cli", arg(long, value_name = "DIR|sample"))]
    pub data: Option<PathBuf>,
    /// Which data set [default: mnist]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub dataset: Option<Dataset>,
    /// Which training images validate: the `first` of the file, or the same part of each class, drawn with the
    /// seed (`stratified`); 5,000 of them, or a fifth if that is less [default: first for MNIST and the sample,
    /// stratified for all other data]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "HOW", value_enum, hide_possible_values = true)
    )]
    pub validation: Option<Validation>,
    /// How an image is read, step by step [default: rows]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub view: Option<View>,
    /// The recurrent cell [default: tanh]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub cell: Option<Cell>,
    /// Recurrent units of a layer, in one direction [default: 150]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::units))]
    pub hidden: Option<usize>,
    /// Recurrent layers on top of each other [default: 1]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::layers))]
    pub layers: Option<usize>,
    /// Read the sequence in both directions, in each layer [default: false]
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true"))]
    pub bidirectional: Option<bool>,
    /// Probability that a number between two layers, or before the head, is left out in training
    /// [default: 0]
    #[cfg_attr(feature = "cli", arg(long, value_name = "P", value_parser = flags::part,
        allow_negative_numbers = true))]
    pub dropout: Option<f64>,
    /// What the head reads: the `last` output, the mean and the largest values of all, or `all` of them
    /// [default: last]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub readout: Option<Readout>,
    /// How initial weights are drawn [default: glorot]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub init: Option<Init>,
    /// Passes over the training images [default: 5]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::at_least_one))]
    pub epochs: Option<usize>,
    /// Images in a batch [default: 150]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::at_least_one))]
    pub batch_size: Option<usize>,
    /// How an epoch is cut into batches: with `exact` no batch exceeds --batch-size, and the last may be smaller;
    /// `split` makes sizes that differ by one at most and exceed --batch-size where it does not divide the
    /// images, as the tutorial does: 366 batches of 150 and 151 [default: split for MNIST, unless a batch would
    /// exceed --batch-size by more than 2 %; else exact]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "HOW", value_enum, hide_possible_values = true)
    )]
    pub batching: Option<Batching>,
    /// Add up the gradients of N batches of --batch-size for each optimizer step: large steps in the memory of
    /// small ones [default: 1]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::at_least_one))]
    pub accumulate: Option<usize>,
    /// Adam's step size [default: 0.001]
    #[cfg_attr(feature = "cli", arg(long, value_name = "F", value_parser = flags::positive,
        allow_negative_numbers = true))]
    pub lr: Option<f64>,
    /// How the step size changes over the run; --lr is its largest [default: constant]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub schedule: Option<Schedule>,
    /// The part of the run in which one-cycle (0.3) or cosine (0.05) let the step size rise
    #[cfg_attr(feature = "cli", arg(long, value_name = "PART", value_parser = flags::part,
        allow_negative_numbers = true))]
    pub warmup: Option<f64>,
    /// Make all gradients together shorter where their norm is larger [default: as they are]
    #[cfg_attr(feature = "cli", arg(long, value_name = "F", value_parser = flags::positive,
        conflicts_with = "clip_value", allow_negative_numbers = true))]
    pub clip_norm: Option<f64>,
    /// Hold each number of the gradients between -F and F [default: as they are]
    #[cfg_attr(feature = "cli", arg(long, value_name = "F", value_parser = flags::positive,
        allow_negative_numbers = true))]
    pub clip_value: Option<f64>,
    /// Weight decay of AdamW [default: 0]
    #[cfg_attr(feature = "cli", arg(long, value_name = "F", allow_negative_numbers = true))]
    pub weight_decay: Option<f64>,
    /// The part of each label that is spread over all classes [default: 0]
    #[cfg_attr(feature = "cli", arg(long, value_name = "PART", value_parser = flags::part,
        allow_negative_numbers = true))]
    pub label_smoothing: Option<f64>,
    /// Measure and keep an average of the weights over the steps, of this decay, such as 0.999
    /// [default: those of the last step]
    #[cfg_attr(feature = "cli", arg(long, value_name = "F", value_parser = flags::part,
        allow_negative_numbers = true))]
    pub ema: Option<f64>,
    /// Move each training image by up to N pixels in either direction, anew in each epoch [default: 0]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N"))]
    pub shift: Option<usize>,
    /// Turn each training image by up to F degrees in either direction, anew in each epoch [default: 0]
    #[cfg_attr(feature = "cli", arg(long, value_name = "F", allow_negative_numbers = true))]
    pub rotate: Option<f64>,
    /// Make each training image larger or smaller by up to this part, anew in each epoch [default: 0]
    #[cfg_attr(feature = "cli", arg(long, value_name = "PART", value_parser = flags::part,
        allow_negative_numbers = true))]
    pub zoom: Option<f64>,
    /// Exchange left and right of every second training image, by chance, anew in each epoch: for clothes, not
    /// for digits [default: false]
    #[cfg_attr(feature = "cli", arg(long, value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true"))]
    pub mirror: Option<bool>,
    /// Early stopping: end after N epochs without a lower validation loss, and keep the weights of the epoch
    /// with the best validation accuracy [default: all epochs, the last step's weights]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::at_least_one))]
    pub patience: Option<usize>,
    /// How far gradients flow back: `full`, segments of K steps, or windows that move by K1 steps
    /// and reach back K2 [default: full]
    #[cfg_attr(feature = "cli", arg(long, value_name = "K|K1:K2"))]
    #[serde(default, with = "text")]
    pub truncate: Option<Truncation>,
    /// Where the loss is read: at the `last` step, or at `every` step [default: last]
    #[cfg_attr(feature = "cli", arg(long, value_name = "last|every"))]
    pub loss_at: Option<LossAt>,
    /// Seed of all random numbers [default: 42]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N"))]
    #[serde(default, with = "text")]
    pub seed: Option<u64>,
    /// The float type [default: f32]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub dtype: Option<Precision>,
    /// Save a checkpoint every N optimizer steps [default: each epoch]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::steps))]
    pub save_every: Option<u64>,
    /// Keep the newest N checkpoints, besides the best [default: 2]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", value_parser = flags::at_least_one))]
    pub keep: Option<usize>,
    /// Save and end after F minutes, if the run is not finished by then; --resume goes on
    /// [default: no limit]
    #[cfg_attr(feature = "cli", arg(long, value_name = "F", value_parser = flags::positive,
        allow_negative_numbers = true))]
    pub max_minutes: Option<f64>,
    /// The restarts of the schedule of a run that was extended, such as `40/40`, after 40 of 40 epochs; the program
    /// writes them into `train.toml`.
    #[cfg_attr(feature = "cli", arg(skip))]
    #[serde(default, with = "text")]
    pub extensions: Option<Extensions>,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`; of the program a flag of all commands.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub device: Option<String>,
    /// Threads on the CPU; of the program a flag of all commands.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub threads: Option<u16>,
}

impl Settings {
    /// These settings and, of those that are not named here, `others`: but not another way to clip, nor a
    /// warm-up for a schedule that has none.
    pub fn or(self, others: Self) -> Self {
        // One of the two ways to clip takes the place of the other.
        let is_clipped = self.clip_norm.is_some() || self.clip_value.is_some();
        let others =
            if is_clipped { Self { clip_norm: None, clip_value: None, ..others } } else { others };
        // A step size that does not rise has no warm-up to take over.
        let others = match self.schedule {
            Some(schedule) if !schedule.rises() => Self { warmup: None, ..others },
            _ => others,
        };
        Self {
            data: self.data.or(others.data),
            dataset: self.dataset.or(others.dataset),
            validation: self.validation.or(others.validation),
            view: self.view.or(others.view),
            cell: self.cell.or(others.cell),
            hidden: self.hidden.or(others.hidden),
            layers: self.layers.or(others.layers),
            bidirectional: self.bidirectional.or(others.bidirectional),
            dropout: self.dropout.or(others.dropout),
            readout: self.readout.or(others.readout),
            init: self.init.or(others.init),
            epochs: self.epochs.or(others.epochs),
            batch_size: self.batch_size.or(others.batch_size),
            batching: self.batching.or(others.batching),
            accumulate: self.accumulate.or(others.accumulate),
            lr: self.lr.or(others.lr),
            schedule: self.schedule.or(others.schedule),
            warmup: self.warmup.or(others.warmup),
            clip_norm: self.clip_norm.or(others.clip_norm),
            clip_value: self.clip_value.or(others.clip_value),
            weight_decay: self.weight_decay.or(others.weight_decay),
            label_smoothing: self.label_smoothing.or(others.label_smoothing),
            ema: self.ema.or(others.ema),
            shift: self.shift.or(others.shift),
            rotate: self.rotate.or(others.rotate),
            zoom: self.zoom.or(others.zoom),
            mirror: self.mirror.or(others.mirror),
            patience: self.patience.or(others.patience),
            truncate: self.truncate.or(others.truncate),
            loss_at: self.loss_at.or(others.loss_at),
            seed: self.seed.or(others.seed),
            dtype: self.dtype.or(others.dtype),
            save_every: self.save_every.or(others.save_every),
            keep: self.keep.or(others.keep),
            max_minutes: self.max_minutes.or(others.max_minutes),
            extensions: self.extensions.or(others.extensions),
            device: self.device.or(others.device),
            threads: self.threads.or(others.threads),
        }
    }

    /// Settings that say all that `config` does.
    pub fn of(config: &TrainConfig) -> Self {
        let (clip_norm, clip_value) = match config.clip {
            Clip::None => (None, None),
            Clip::Norm(bound) => (Some(bound), None),
            Clip::Value(bound) => (None, Some(bound)),
        };
        Self {
            view: Some(config.view),
            cell: Some(config.cell),
            hidden: Some(config.hidden_size),
            layers: Some(config.num_layers),
            bidirectional: Some(config.bidirectional),
            dropout: Some(config.dropout),
            readout: Some(config.readout),
            init: Some(config.init),
            epochs: Some(config.epochs),
            batch_size: Some(config.batch_size),
            batching: config.batching,
            validation: config.validation,
            extensions: Some(config.extensions.clone()).filter(|restarts| !restarts.is_empty()),
            accumulate: Some(config.accumulate),
            lr: Some(config.learning_rate),
            schedule: Some(config.schedule),
            warmup: config.warmup,
            clip_norm,
            clip_value,
            weight_decay: Some(config.weight_decay),
            label_smoothing: Some(config.label_smoothing),
            ema: config.ema,
            shift: Some(config.shift),
            rotate: Some(config.rotate),
            zoom: Some(config.zoom),
            mirror: Some(config.mirror),
            patience: config.patience,
            truncate: Some(config.truncation),
            loss_at: Some(config.loss_at.clone()),
            seed: Some(config.seed),
            dtype: Some(config.dtype),
            ..Self::default()
        }
    }

    /// The settings of a training: these and, of those that are not named, `base`'s.
    pub fn config(&self, base: &TrainConfig) -> TrainConfig {
        let base = base.clone();
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
            batching: self.batching.or(base.batching),
            validation: self.validation.or(base.validation),
            extensions: self.extensions.clone().unwrap_or(base.extensions),
            accumulate: self.accumulate.unwrap_or(base.accumulate),
            learning_rate: self.lr.unwrap_or(base.learning_rate),
            seed: self.seed.unwrap_or(base.seed),
            dtype: self.dtype.unwrap_or(base.dtype),
            truncation: self.truncate.unwrap_or(base.truncation),
            loss_at: self.loss_at.clone().unwrap_or(base.loss_at),
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
            rotate: self.rotate.unwrap_or(base.rotate),
            zoom: self.zoom.unwrap_or(base.zoom),
            mirror: self.mirror.unwrap_or(base.mirror),
        }
    }
}

#[cfg(test)]
mod tests;
