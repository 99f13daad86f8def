//! Tasks on sequences and texts of one's own as tasks of a run directory.

use candle_core::DType;
use serde_json::{json, Value};

use super::differences::agree;
use super::task::{RunTask, TaskConfig};
use crate::train::tasks::{SequenceConfig, SequenceTask, TextConfig, TextTask};
use crate::train::{fields, without, TrainerConfig};
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
        agree(&training.network, &self.spec.model.network)?;
        agree(&training.preprocess, &self.spec.preprocessor.config)?;
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
        let network = fields(&self.training.network);
        let training = without(&self.training, &network);
        json!({
            "data": { "sha256": sha256 },
            "target": self.spec.target,
            "model": network,
            "training": training,
        })
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
        agree(&self.training.network, &self.model.network)?;
        let sizes = [self.training.embedding_size, self.model.embedding_size];
        agree(&json!({ "embedding_size": sizes[0] }), &json!({ "embedding_size": sizes[1] }))?;
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
        let network = fields(&self.training.network);
        let training = without(&self.training, &network);
        json!({ "data": { "sha256": self.data.sha256 }, "model": network, "training": training })
    }
}

impl RunTask for TextTask {
    type Config = TextConfig;

    fn config(&self) -> &TextConfig {
        Self::config(self)
    }
}
