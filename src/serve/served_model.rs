//! `ServedModel`: a trained run that is loaded to be served.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde_json::{json, Value};

use crate::data::Scaling;
use crate::page::{run_name, AboutRun};
use crate::predict::{Generator, Predictor, SequencePredictor};
use crate::run::{self, TaskName};
use crate::{Error, Result};

/// The most bytes of a name.
const LONGEST_NAME: usize = 200;

/// A trained run that is loaded to be served, under the name of its folder.
#[derive(Clone, Debug)]
pub struct ServedModel {
    name: String,
    predictor: ServedPredictor,
}

/// The predictor of a served model.
#[derive(Clone, Debug)]
pub(super) enum ServedPredictor {
    /// Images of 28 x 28 pixels.
    Images(Arc<Predictor>),
    /// Sequences of data of one's own.
    Sequences(Arc<SequencePredictor>),
    /// Texts, which it continues.
    Texts(Arc<Generator>),
}

impl ServedModel {
    /// Loads a run directory, or a checkpoint of it, on a device.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) and [`Error::Io`](crate::Error::Io) when the directory is not
    /// that of a whole run.
    pub fn load(run: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = run.as_ref();
        let predictor = match run::read_task(run)? {
            TaskName::Sequences => {
                ServedPredictor::Sequences(Arc::new(SequencePredictor::load_on(run, device)?))
            }
            TaskName::Text => ServedPredictor::Texts(Arc::new(Generator::load_on(run, device)?)),
            TaskName::Images | TaskName::Other(_) => {
                ServedPredictor::Images(Arc::new(Predictor::load_on(run, device)?))
            }
        };
        Ok(Self { name: run_name(run), predictor })
    }

    /// The same under another name, such as where two runs have folders of the same name.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is empty, longer than 200 bytes or made of dots alone, or has a slash, a backslash
    /// or a control character.
    pub fn named(self, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let is_wrong = |c: char| c.is_control() || ['/', '\\'].contains(&c);
        let reason = if name.chars().all(|c| c == '.') || name.len() > LONGEST_NAME {
            format!("must have 1 to {LONGEST_NAME} bytes, and more than dots")
        } else if name.contains(is_wrong) {
            "must have no slash, backslash or control character".into()
        } else {
            return Ok(Self { name, ..self });
        };
        Err(Error::Config(format!("the name of a model {reason}, got {name:?}")))
    }

    /// The name under which it is served: the one that it was given, or that of the folder, with `-` for what a path of a
    /// URL cannot hold as it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn predictor(&self) -> &ServedPredictor {
        &self.predictor
    }

    /// Its inputs and predictions.
    pub(super) fn about(&self) -> AboutRun<'_> {
        match &self.predictor {
            ServedPredictor::Images(predictor) => AboutRun::Images(&predictor.config().task),
            ServedPredictor::Sequences(predictor) => AboutRun::Sequences(&predictor.config().task),
            ServedPredictor::Texts(generator) => AboutRun::Text(&generator.config().task),
        }
    }

    /// Whether it reads sequences whose steps arrive one by one.
    pub(super) fn reads_step_by_step(&self) -> bool {
        let scales_whole = match &self.predictor {
            ServedPredictor::Sequences(predictor) => {
                predictor.spec().preprocessor.config.scaling == Scaling::PerSequence
            }
            ServedPredictor::Images(_) | ServedPredictor::Texts(_) => false,
        };
        self.about().has_hidden() && !scales_whole
    }

    /// The number of values of a step.
    pub(super) fn step_size(&self) -> usize {
        match &self.predictor {
            ServedPredictor::Images(predictor) => {
                predictor.config().task.training.view.input_size()
            }
            ServedPredictor::Sequences(_) => self.about().features().len(),
            ServedPredictor::Texts(_) => 0,
        }
    }

    /// The most steps of what it reads.
    pub(super) fn max_steps(&self) -> usize {
        match &self.predictor {
            ServedPredictor::Images(predictor) => predictor.config().task.training.view.seq_len(),
            ServedPredictor::Sequences(_) | ServedPredictor::Texts(_) => usize::MAX,
        }
    }

    /// The number of features of the output after a step, P.
    pub(super) fn hidden_size(&self) -> usize {
        let about = self.about();
        let of_head = about.classifier().map(|model| model.rnn().output_features());
        of_head.unwrap_or(about.network().hidden_size)
    }

    /// Its description for people and the page.
    pub(super) fn description(&self) -> Value {
        let mut description = self.about().json(&self.name);
        description["stream"] = json!(self.reads_step_by_step());
        description
    }
}
