//! Configuration of a trainer, whatever it trains.

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use super::{text, Extensions, Schedule};
use crate::data::batches::Batching;
use crate::optim::Clip;
use crate::recurrence::{check_recurrent_dtype, Cell, RecurrentDType};
use crate::{Error, Result};

/// The settings of a [`Trainer`](super::Trainer), whatever it trains. The default is that of the reference
/// job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// Passes over the training examples.
    pub epochs: usize,
    /// Examples in a batch.
    pub batch_size: usize,
    /// How an epoch is cut into batches where their size does not divide it; [`Batching::Exact`] if `None`.
    #[serde(default = "split")]
    pub batching: Option<Batching>,
    /// Batches whose gradients are added up for an optimizer step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Parts of about the same size that each batch is cut into, whose gradients are added up in their order. As many
    /// processes can share them out as there are parts in a step; the weights have the same bits on any number of them.
    #[serde(default = "one")]
    pub parts: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Seed of the order of examples, of dropout, of what an epoch does to its examples and, in the program, of all
    /// else.
    #[serde(with = "text::seed")]
    pub seed: u64,
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
    /// After how many epochs without a better validation loss the run ends; [`Trainer::best`](super::Trainer::best)
    /// then has the best epoch's weights.
    #[serde(default)]
    pub patience: Option<usize>,
    /// The decay of an average of the weights over the steps, which is then what is measured; `None` for
    /// none.
    #[serde(default)]
    pub ema: Option<f64>,
    /// What recurrent products of training steps are made in on a GPU; on a CPU it must be
    /// [`RecurrentDType::F32`]. What is measured and predicted is computed in `dtype`.
    #[serde(default)]
    pub gpu_precision: RecurrentDType,
    /// Whether an NVIDIA GPU records an optimizer step as a CUDA graph, once for each size of a batch, and runs that again,
    /// with the same bits. Losses are read every 16 steps. No GPU has run it yet.
    #[serde(default)]
    pub gpu_graph: bool,
    /// Where the schedule was restarted for epochs that were added.
    #[serde(default, with = "text", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

fn one() -> usize {
    1
}

/// The choice of runs that name none.
fn split() -> Option<Batching> {
    Some(Batching::Split)
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: 5,
            batch_size: 150,
            batching: None,
            accumulate: 1,
            parts: 1,
            learning_rate: 1e-3,
            seed: 42,
            schedule: Schedule::Constant,
            warmup: None,
            clip: Clip::None,
            weight_decay: 0.,
            patience: None,
            ema: None,
            gpu_precision: RecurrentDType::F32,
            gpu_graph: false,
            extensions: Extensions::default(),
        }
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
            ("parts", self.parts),
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
        self.check_gpu_graph()?;
        self.extensions.check(self.schedule, self.epochs)
    }

    /// Checks that steps do nothing that cannot be recorded.
    fn check_gpu_graph(&self) -> Result<()> {
        let others = [
            ("accumulate above 1", self.accumulate > 1),
            ("parts above 1", self.parts > 1),
            ("clip", self.clip != Clip::None),
            ("ema", self.ema.is_some()),
        ];
        match others.into_iter().find(|(_, is_set)| self.gpu_graph && *is_set) {
            None => Ok(()),
            Some((name, _)) => Err(Error::Config(format!(
                "gpu_graph: steps with {name} are not recorded: set one of the two alone"
            ))),
        }
    }

    /// Checks that a device can train layers of a cell with `gpu_precision`.
    ///
    /// # Errors
    /// [`Error::Config`] when it cannot, as a CPU; [`Error::Device`] when the device does not answer.
    pub fn check_gpu_precision(&self, cell: Cell, dtype: DType, device: &Device) -> Result<()> {
        check_recurrent_dtype(cell, dtype, device, self.gpu_precision).map_err(
            |error| match error {
                Error::Config(text) => Error::Config(format!("gpu_precision: {text}")),
                error => error,
            },
        )
    }
}

/// Checks that a setting is at least 0 and less than 1.
pub(super) fn check_part(name: &str, value: f64) -> Result<()> {
    if (0. ..1.).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{name} must be at least 0 and less than 1, got {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_makes_recurrent_products_in_f32_alone() {
        let check = |gpu_precision| {
            let config = TrainerConfig { gpu_precision, ..TrainerConfig::default() };
            config.check_gpu_precision(Cell::Lstm, DType::F32, &Device::Cpu)
        };
        assert!(check(RecurrentDType::F32).is_ok());
        for (precision, name) in [(RecurrentDType::Tf32, "tf32"), (RecurrentDType::Bf16, "bf16")] {
            let text = check(precision).unwrap_err().to_string();
            assert!(text.starts_with("gpu_precision: ") && text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_gpu_precision_has_the_same_word_in_every_file() {
        let names = [
            (RecurrentDType::F32, "f32"),
            (RecurrentDType::Tf32, "tf32"),
            (RecurrentDType::Bf16, "bf16"),
        ];
        for (gpu_precision, name) in names {
            assert_eq!(gpu_precision.name(), name);
            let config = TrainerConfig { gpu_precision, ..TrainerConfig::default() };
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(json["gpu_precision"], name);
            assert_eq!(serde_json::from_value::<TrainerConfig>(json).unwrap(), config);
        }
        // Runs from before it were computed in f32.
        let mut json = serde_json::to_value(TrainerConfig::default()).unwrap();
        json.as_object_mut().unwrap().remove("gpu_precision");
        assert_eq!(
            serde_json::from_value::<TrainerConfig>(json).unwrap(),
            TrainerConfig::default()
        );
    }
}
