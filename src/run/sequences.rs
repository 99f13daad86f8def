//! Tasks on sequences and texts of one's own as tasks of a run directory.

use candle_core::DType;
use serde_json::{json, Value};

use super::task::{RunTask, TaskConfig};
use crate::train::tasks::{SequenceConfig, SequenceTask, TextConfig, TextTask};
use crate::train::TrainerConfig;
use crate::{Error, Result};

impl TaskConfig for SequenceConfig {
    const TASK: Option<&'static str> = Some("sequences");

    fn trainer(&self) -> &TrainerConfig {
        &self.training.trainer
    }

    fn trainer_mut(&mut self) -> &mut TrainerConfig {
        &mut self.training.trainer
    }

    fn check(&self) -> Result<()> {
        self.training.check()?;
        self.spec.check()?;
        let (training, forecast) = (&self.training, self.spec.forecast);
        let of_training = training.is_forecast().then_some(training.horizon);
        let fits = forecast.map(|of| of.horizon) == of_training
            && forecast.is_none_or(|of| (1..=training.window).contains(&of.season));
        if fits {
            return Ok(());
        }
        Err(Error::Config(
            "it contradicts itself: forecast, window and horizon do not fit together".into(),
        ))
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.spec.model.parameters()
    }

    fn dtype(&self) -> DType {
        self.training.dtype.dtype()
    }

    fn identity(&self) -> Value {
        // Where the data lie makes no other model; what was fitted to them follows from the rest.
        let sha256 = [&self.data.sha256, &self.data.valid_sha256];
        json!({ "data": { "sha256": sha256 }, "target": self.spec.target, "training": self.training })
    }
}

impl RunTask for SequenceTask {
    type Config = SequenceConfig;

    fn config(&self) -> &SequenceConfig {
        Self::config(self)
    }
}

impl TaskConfig for TextConfig {
    const TASK: Option<&'static str> = Some("text");

    fn trainer(&self) -> &TrainerConfig {
        &self.training.trainer
    }

    fn trainer_mut(&mut self) -> &mut TrainerConfig {
        &mut self.training.trainer
    }

    fn check(&self) -> Result<()> {
        self.training.check()?;
        self.model.check()?;
        if self.model.vocabulary_size == self.vocabulary.len() {
            return Ok(());
        }
        let (size, found) = (self.model.vocabulary_size, self.vocabulary.len());
        Err(Error::Config(format!(
            "it contradicts itself: vocabulary_size is {size}, the vocabulary has {found} characters"
        )))
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.model.parameters()
    }

    fn dtype(&self) -> DType {
        self.training.dtype.dtype()
    }

    fn identity(&self) -> Value {
        json!({ "data": { "sha256": self.data.sha256 }, "training": self.training })
    }
}

impl RunTask for TextTask {
    type Config = TextConfig;

    fn config(&self) -> &TextConfig {
        Self::config(self)
    }
}
