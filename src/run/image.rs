//! The image classifier as a task of a run directory.

use std::path::Path;

use candle_core::{DType, Device};
use serde_json::{json, Value};

use super::differences::agree;
use super::read::read_config;
use super::session::{Session, SessionConfig, Start};
use super::task::{RunTask, TaskConfig};
use crate::data::mnist::Mnist;
use crate::train::{fields, without, Classification, ImageConfig, TrainerConfig};
use crate::Result;

impl TaskConfig for ImageConfig {
    const TASK: Option<&'static str> = None;

    fn trainer(&self) -> &TrainerConfig {
        &self.training.trainer
    }

    fn trainer_mut(&mut self) -> &mut TrainerConfig {
        &mut self.training.trainer
    }

    fn check(&self) -> Result<()> {
        self.training.check()?;
        self.model.check()?;
        agree(&self.training.model(), &self.model)
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.model.parameters()
    }

    fn dtype(&self) -> DType {
        self.training.dtype.dtype()
    }

    fn identity(&self) -> Value {
        // What the data are called and where they lie makes no other model.
        let network = fields(&self.training.network);
        let training = without(&self.training, &network);
        json!({ "data": { "sha256": self.data.sha256 }, "model": network, "training": training })
    }
}

impl RunTask for Classification {
    type Config = ImageConfig;

    fn config(&self) -> &ImageConfig {
        Classification::config(self)
    }
}

impl Session {
    /// Opens `path` for a run of the image classifier, as [`open`](Self::open) does. Settings that depend on the data
    /// and are not named are those of the run that continues, or else chosen for the data.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`Classification::new`].
    pub fn images(
        path: &Path,
        config: ImageConfig,
        data: Mnist,
        device: &Device,
        session: SessionConfig,
    ) -> Result<(Self, Start)> {
        let run = session.if_exists.continues().then_some(path);
        Self::open(path, image_task(run, config, data, device)?, session)
    }
}

/// The image classifier as [`Session::images`] trains it, which continues `run` if there is one.
///
/// # Errors
/// As [`Classification::new`].
pub fn image_task(
    run: Option<&Path>,
    mut config: ImageConfig,
    data: Mnist,
    device: &Device,
) -> Result<Classification> {
    if let Some(run) = run.and_then(|path| read_config::<ImageConfig>(path).ok()) {
        let (own, run) = (&mut config.training, run.task.training);
        own.trainer.batching = own.trainer.batching.or(run.trainer.batching);
        own.validation = own.validation.or(run.validation);
    }
    Classification::from_config(config, data, device)
}
