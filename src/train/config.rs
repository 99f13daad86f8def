//! Configuration of a trainer, and of the classifier's training.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::{text, Extensions, Schedule};
use crate::data::augment::AugmentConfig;
use crate::data::batches::Batching;
use crate::data::mnist::{Mnist, Validation, CLASSES, COLUMNS};
use crate::data::view::View;
use crate::model::{ClassifierConfig, Readout};
use crate::nn::Init;
use crate::optim::Clip;
use crate::recurrence::Cell;
use crate::recurrence::Truncation;
use crate::train::LossAt;
use crate::{Error, Result};

/// What steers a [`Trainer`](super::Trainer), whatever it trains. The default is that of the reference
/// job.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerConfig {
    /// Passes over the training examples.
    pub epochs: usize,
    /// Examples in a batch.
    pub batch_size: usize,
    /// How an epoch is cut into batches where their size does not divide it.
    pub batching: Batching,
    /// Batches whose gradients are added up for an optimizer step.
    pub accumulate: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Seed of the order of examples, of dropout and of what an epoch does to its examples.
    pub seed: u64,
    /// How the learning rate changes over the run.
    pub schedule: Schedule,
    /// The part of the run in which it rises; [`Schedule::default_warmup`] if `None`.
    pub warmup: Option<f64>,
    /// Gradient clipping before each optimizer step.
    pub clip: Clip,
    /// AdamW's λ, of all parameters.
    pub weight_decay: f64,
    /// After how many epochs without a better validation loss the run ends; [`Trainer::best`](super::Trainer::best)
    /// then has the best epoch's weights.
    pub patience: Option<usize>,
    /// The decay of an average of the weights over the steps, which is then what is measured; `None` for
    /// none.
    pub ema: Option<f64>,
    /// Where the schedule was restarted for epochs that were added.
    pub extensions: Extensions,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        TrainConfig::default().trainer()
    }
}

impl TrainerConfig {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("accumulate", self.accumulate),
        ] {
            if value == 0 {
                return Err(Error::Config(format!("{name} must be at least 1, got 0")));
            }
        }
        if !(self.learning_rate > 0. && self.learning_rate.is_finite()) {
            let rate = self.learning_rate;
            return Err(Error::Config(format!("learning_rate must be above 0, got {rate}")));
        }
        self.clip.check()?;
        check_part("warmup", self.warmup.unwrap_or(0.))?;
        check_part("ema", self.ema.unwrap_or(0.))?;
        check_part("learning_rate times weight_decay", self.learning_rate * self.weight_decay)?;
        if self.warmup.is_some() && !self.schedule.rises() {
            return Err(Error::Config("warmup needs the schedule one-cycle or cosine".into()));
        }
        if self.patience == Some(0) {
            return Err(Error::Config("patience must be at least 1 epoch, got 0".into()));
        }
        self.extensions.check(self.schedule, self.epochs)
    }
}

/// Checks that a setting is at least 0 and less than 1.
pub(super) fn check_part(name: &str, value: f64) -> Result<()> {
    if (0. ..1.).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{name} must be at least 0 and less than 1, got {value}")))
}

/// The float type of weights and activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Double precision.
    F64,
}

impl Precision {
    /// Candle's name for it.
    pub fn dtype(self) -> candle_core::DType {
        match self {
            Self::F32 => candle_core::DType::F32,
            Self::F64 => candle_core::DType::F64,
        }
    }
}

/// All settings that decide which model comes out. The default is the reference job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// How an image is read as a sequence.
    pub view: View,
    /// The recurrent cell.
    pub cell: Cell,
    /// The number of units of a layer in one direction, H.
    pub hidden_size: usize,
    /// L, recurrent layers.
    #[serde(default = "one")]
    pub num_layers: usize,
    /// Whether each layer runs in both directions.
    #[serde(default)]
    pub bidirectional: bool,
    /// The dropout probability between layers and before the head, in training.
    #[serde(default)]
    pub dropout: f64,
    /// What the head reads of the outputs.
    #[serde(default)]
    pub readout: Readout,
    /// How initial weights are drawn.
    pub init: Init,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a batch, B.
    pub batch_size: usize,
    /// How an epoch is cut into batches where B does not divide it; [`Batching::default_for`] if `None`.
    #[serde(default = "split")]
    pub batching: Option<Batching>,
    /// Batches whose gradients are added up for an optimizer step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Seed of all random numbers.
    #[serde(with = "text")]
    pub seed: u64,
    /// The float type.
    pub dtype: Precision,
    /// How far gradients flow back.
    #[serde(default, with = "text")]
    pub truncation: Truncation,
    /// At which steps the model is to tell the label.
    #[serde(default)]
    pub loss_at: LossAt,
    /// How the learning rate changes over the run.
    #[serde(default)]
    pub schedule: Schedule,
    /// The part of the run in which it rises; [`Schedule::default_warmup`] if `None`.
    #[serde(default)]
    pub warmup: Option<f64>,
    /// Gradient clipping before each optimizer step.
    #[serde(default)]
    pub clip: Clip,
    /// AdamW's λ, of all parameters.
    #[serde(default)]
    pub weight_decay: f64,
    /// After how many epochs without a better validation loss the run ends; the best epoch's weights are then
    /// the run's model.
    #[serde(default)]
    pub patience: Option<usize>,
    /// The part of each label that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// The decay of an average of the weights over the steps, which is then what is measured, and the
    /// run's model; `None` for none.
    #[serde(default)]
    pub ema: Option<f64>,
    /// By how many pixels, at most, each image is moved in either direction before a step reads it.
    #[serde(default)]
    pub shift: usize,
    /// By how many degrees, at most, each is turned in either direction.
    #[serde(default)]
    pub rotate: f64,
    /// By which part, at most, each is made larger or smaller.
    #[serde(default)]
    pub zoom: f64,
    /// Whether images are flipped horizontally, each with probability 0.5.
    #[serde(default)]
    pub mirror: bool,
    /// Which training images validate; [`Mnist::default_validation`] if `None`.
    #[serde(default = "first")]
    pub validation: Option<Validation>,
    /// Where the schedule was restarted for epochs that were added.
    #[serde(default, with = "text", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

fn one() -> usize {
    1
}

/// What runs did that do not say.
fn split() -> Option<Batching> {
    Some(Batching::Split)
}

/// What runs did that do not say.
fn first() -> Option<Validation> {
    Some(Validation::First)
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            view: View::Rows,
            cell: Cell::Tanh,
            hidden_size: 150,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            readout: Readout::Last,
            init: Init::Glorot,
            epochs: 5,
            batch_size: 150,
            batching: None,
            accumulate: 1,
            learning_rate: 1e-3,
            seed: 42,
            dtype: Precision::F32,
            truncation: Truncation::FULL,
            loss_at: LossAt::LAST,
            schedule: Schedule::Constant,
            warmup: None,
            clip: Clip::None,
            weight_decay: 0.,
            patience: None,
            label_smoothing: 0.,
            ema: None,
            shift: 0,
            rotate: 0.,
            zoom: 0.,
            mirror: false,
            validation: None,
            extensions: Extensions::default(),
        }
    }
}

impl TrainConfig {
    /// The model that is trained.
    pub fn model(&self) -> ClassifierConfig {
        ClassifierConfig {
            cell: self.cell,
            input_size: self.view.input_size(),
            hidden_size: self.hidden_size,
            num_layers: self.num_layers,
            bidirectional: self.bidirectional,
            dropout: self.dropout,
            readout: self.readout,
            seq_len: if self.readout == Readout::All { self.view.seq_len() } else { 0 },
            num_classes: CLASSES,
        }
    }

    /// What is done to images before a step reads them.
    pub fn augmentation(&self) -> AugmentConfig {
        AugmentConfig {
            shift: self.shift,
            rotate: self.rotate,
            zoom: self.zoom,
            mirror: self.mirror,
        }
    }

    /// What steers the training of that model.
    pub fn trainer(&self) -> TrainerConfig {
        TrainerConfig {
            epochs: self.epochs,
            batch_size: self.batch_size,
            batching: self.batching.unwrap_or_default(),
            accumulate: self.accumulate,
            learning_rate: self.learning_rate,
            seed: self.seed,
            schedule: self.schedule,
            warmup: self.warmup,
            clip: self.clip,
            weight_decay: self.weight_decay,
            patience: self.patience,
            ema: self.ema,
            extensions: self.extensions.clone(),
        }
    }

    /// These settings with those filled in that depend on the data: `batching` and `validation`.
    pub fn resolved(&self, data: &Mnist) -> Self {
        let batching = || {
            let count = data.train.len();
            Batching::default_for(data.is_mnist(), count, self.batch_size, self.accumulate)
        };
        Self {
            batching: Some(self.batching.unwrap_or_else(batching)),
            validation: Some(self.validation.unwrap_or_else(|| data.default_validation())),
            ..self.clone()
        }
    }

    /// The data as this training splits them: with the validation images that `validation` and `seed` choose.
    pub fn split(&self, data: Mnist) -> Mnist {
        let validation = self.validation.unwrap_or_else(|| data.default_validation());
        data.with_validation(validation, self.seed)
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    pub fn check(&self) -> Result<()> {
        self.model().check()?;
        self.trainer().check()?;
        check_part("label_smoothing", self.label_smoothing)?;
        if self.shift >= COLUMNS {
            let shift = self.shift;
            return Err(Error::Config(format!(
                "shift must be less than {COLUMNS} pixels, got {shift}"
            )));
        }
        check_part("zoom", self.zoom)?;
        if !(0. ..=180.).contains(&self.rotate) {
            let rotate = self.rotate;
            return Err(Error::Config(format!(
                "rotate must be from 0 to 180 degrees, got {rotate}"
            )));
        }
        if self.bidirectional && self.truncation != Truncation::FULL {
            return Err(Error::Config(
                "truncation and bidirectional exclude each other: gradients cannot be truncated \
                 in both directions of time"
                    .into(),
            ));
        }
        if self.num_layers > 1 && self.truncation.overlaps() {
            return Err(Error::Config(
                "overlapping windows of truncation need a single layer: truncate to segments, or \
                 use one layer"
                    .into(),
            ));
        }
        if self.readout != Readout::Last && !self.loss_at.is_last() {
            return Err(Error::Config(
                "the readouts mean-max and all exclude losses at several steps: they read the \
                 whole image"
                    .into(),
            ));
        }
        if self.bidirectional && !self.loss_at.is_last() {
            return Err(Error::Config(
                "bidirectional excludes losses at several steps: a bidirectional layer reads the \
                 whole image at every step"
                    .into(),
            ));
        }
        self.loss_at.weights(self.view.seq_len()).map(|_| ())
    }

    /// Checks that such a model can be trained on `device`.
    ///
    /// # Errors
    /// [`Error::Config`] for truncation elsewhere than on the CPU, other than to segments with the
    /// device's own kernels, and when the environment variable `CANDLE_RNN_ISA` names an instruction
    /// set that is not there.
    pub fn check_device(&self, device: &Device) -> Result<()> {
        if device.is_cpu() {
            return crate::recurrence::check_cpu();
        }
        let has_kernels =
            self.dtype == Precision::F32 && crate::recurrence::has_gpu_kernels(self.cell, false);
        match self.truncation.segment_len() {
            Some(0) => Ok(()),
            Some(_) if has_kernels => Ok(()),
            Some(_) => Err(Error::Config(
                "truncation in f64, and of cells without GPU kernels, needs the CPU".into(),
            )),
            None => Err(Error::Config(
                "windows of truncation need the CPU: a GPU truncates to segments only".into(),
            )),
        }
    }
}
