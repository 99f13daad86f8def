//! Configuration of the classifier's training.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::trainer_config::check_part;
use super::{text, LossAt, TrainerConfig};
use crate::data::augment::AugmentConfig;
use crate::data::batches::Batching;
use crate::data::mnist::{Mnist, Validation, CLASSES};
use crate::data::view::View;
use crate::model::{ClassifierConfig, NetworkConfig, Readout};
use crate::nn::Init;
use crate::recurrence::Truncation;
use crate::{Error, Result};

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

/// The classifier's objective: truncation, steps of the loss, label smoothing. The default is the reference job's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// How far gradients flow back.
    #[serde(default, with = "text")]
    pub truncation: Truncation,
    /// At which steps the model is to tell the label.
    #[serde(default)]
    pub loss_at: LossAt,
    /// The part of each label that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
}

/// All settings that decide which model comes out. The default is the reference job.
///
/// Files have the settings of all parts side by side: `hidden_size`, not `network.hidden_size`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// How an image is read as a sequence.
    pub view: View,
    /// The choice of validation images; [`Mnist::default_validation`] if `None`.
    #[serde(default = "first")]
    pub validation: Option<Validation>,
    /// How initial weights are drawn.
    pub init: Init,
    /// The float type.
    pub dtype: Precision,
    /// The recurrent layers, and what the head reads of them.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// The objective.
    #[serde(flatten)]
    pub objective: ObjectiveConfig,
    /// The augmentation of training images.
    #[serde(flatten)]
    pub augment: AugmentConfig,
    /// The trainer's settings; [`Batching::default_for`] the data if its `batching` is `None`.
    #[serde(flatten)]
    pub trainer: TrainerConfig,
}

/// The choice of runs that name none.
fn first() -> Option<Validation> {
    Some(Validation::First)
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            view: View::Rows,
            validation: None,
            init: Init::Glorot,
            dtype: Precision::F32,
            network: NetworkConfig::default(),
            objective: ObjectiveConfig::default(),
            augment: AugmentConfig::default(),
            trainer: TrainerConfig::default(),
        }
    }
}

impl TrainConfig {
    /// The model that is trained: the network with the sizes that the view gives it.
    pub fn model(&self) -> ClassifierConfig {
        let reads_all = self.network.readout == Readout::All;
        ClassifierConfig {
            network: self.network.clone(),
            input_size: self.view.input_size(),
            seq_len: if reads_all { self.view.seq_len() } else { 0 },
            num_classes: CLASSES,
        }
    }

    /// The settings with those filled in that depend on the data: `batching` and `validation`.
    pub fn resolved(&self, data: &Mnist) -> Self {
        let mut config = self.clone();
        let TrainerConfig { batching, batch_size, accumulate, .. } = &mut config.trainer;
        batching.get_or_insert_with(|| {
            Batching::default_for(data.is_mnist(), data.train.len(), *batch_size, *accumulate)
        });
        config.validation.get_or_insert_with(|| data.default_validation());
        config
    }

    /// The data as this training splits them: with the validation images that `validation` and `seed` choose.
    pub fn split(&self, data: Mnist) -> Mnist {
        let validation = self.validation.unwrap_or_else(|| data.default_validation());
        data.with_validation(validation, self.trainer.seed)
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    pub fn check(&self) -> Result<()> {
        self.model().check()?;
        self.trainer.check()?;
        self.augment.check()?;
        check_part("label_smoothing", self.objective.label_smoothing)?;
        let NetworkConfig { num_layers, bidirectional, readout, .. } = self.network;
        let ObjectiveConfig { truncation, loss_at, .. } = &self.objective;
        if bidirectional && *truncation != Truncation::FULL {
            return Err(Error::Config(
                "truncation and bidirectional exclude each other: gradients cannot be truncated \
                 in both directions of time"
                    .into(),
            ));
        }
        if num_layers > 1 && truncation.overlaps() {
            return Err(Error::Config(
                "truncation to overlapping windows needs a single layer: truncate to segments, or \
                 set num_layers to 1"
                    .into(),
            ));
        }
        if readout != Readout::Last && !loss_at.is_last() {
            return Err(Error::Config(
                "the readouts mean-max and all exclude losses at several steps: they read the \
                 whole image"
                    .into(),
            ));
        }
        if bidirectional && !loss_at.is_last() {
            return Err(Error::Config(
                "bidirectional excludes losses at several steps: a bidirectional layer reads the \
                 whole image at every step"
                    .into(),
            ));
        }
        loss_at.weights(self.view.seq_len()).map(|_| ())
    }

    /// Checks that such a model can be trained on `device`.
    ///
    /// # Errors
    /// [`Error::Config`] for another `gpu_precision` than `f32` on a CPU, for truncation elsewhere than on the CPU, other than to segments with the
    /// device's own kernels, and when the environment variable `CANDLE_RNN_ISA` names an instruction
    /// set that is not there.
    pub fn check_device(&self, device: &Device) -> Result<()> {
        self.trainer.check_gpu_precision(self.network.cell, self.dtype.dtype(), device)?;
        if device.is_cpu() {
            return crate::recurrence::check_cpu();
        }
        let has_kernels = self.dtype == Precision::F32
            && crate::recurrence::has_gpu_kernels(self.network.cell, false);
        match self.objective.truncation.segment_len() {
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
