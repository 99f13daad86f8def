//! `ServedModel`: a trained run that is loaded to be served.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde_json::{json, Value};

use crate::data::known::Known;
use crate::data::mnist::ImageSet;
use crate::data::Scaling;
use crate::model::{NetworkConfig, Readout};
use crate::page::run_name;
use crate::predict::{Generator, Predictor, SequencePredictor};
use crate::run::{self, TaskName};
use crate::train::tasks::TaskKind;
use crate::Result;

/// A trained run that is loaded to be served, under the name of its folder.
#[derive(Clone, Debug)]
pub struct ServedModel {
    name: String,
    predictor: ServedPredictor,
}

/// What predicts.
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

    /// The name under which it is served: that of the folder, with `-` for what a path of a URL cannot hold as it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn predictor(&self) -> &ServedPredictor {
        &self.predictor
    }

    fn network(&self) -> &NetworkConfig {
        match &self.predictor {
            ServedPredictor::Images(predictor) => &predictor.config().task.model.network,
            ServedPredictor::Sequences(predictor) => &predictor.spec().model.network,
            ServedPredictor::Texts(generator) => &generator.config().task.model.network,
        }
    }

    /// Whether there is a prediction after each step: a forecast is made from a whole window.
    pub(super) fn has_steps(&self) -> bool {
        match &self.predictor {
            ServedPredictor::Images(_) => true,
            ServedPredictor::Sequences(predictor) => predictor.spec().target != TaskKind::Forecast,
            ServedPredictor::Texts(_) => false,
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
        self.has_hidden() && !scales_whole
    }

    /// The number of values of a step.
    pub(super) fn step_size(&self) -> usize {
        match &self.predictor {
            ServedPredictor::Images(predictor) => {
                predictor.config().task.training.view.input_size()
            }
            ServedPredictor::Sequences(_) => self.features().len(),
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

    /// Whether it reads each step once, and has a state after each.
    pub(super) fn has_hidden(&self) -> bool {
        let network = self.network();
        !network.bidirectional && network.readout == Readout::Last && self.has_steps()
    }

    /// The number of features of the output after a step, P.
    pub(super) fn hidden_size(&self) -> usize {
        match &self.predictor {
            ServedPredictor::Images(predictor) => {
                predictor.config().task.model.rnn().output_features()
            }
            ServedPredictor::Sequences(predictor) => predictor.spec().model.rnn().output_features(),
            ServedPredictor::Texts(_) => self.network().hidden_size,
        }
    }

    /// Whether the images are digits.
    pub(super) fn is_of_digits(&self) -> bool {
        let ServedPredictor::Images(predictor) = &self.predictor else { return false };
        let known = Known::of(&predictor.config().task.data.sha256);
        known.is_none_or(|known| known.dataset() == ImageSet::Mnist)
    }

    /// The names of the classes, or of the numbers that are predicted.
    pub(super) fn outputs(&self) -> Vec<String> {
        match &self.predictor {
            ServedPredictor::Images(predictor) => {
                let classes = predictor.config().task.model.num_classes;
                (0..classes).map(|class| class.to_string()).collect()
            }
            ServedPredictor::Sequences(predictor) => predictor.spec().outputs.clone(),
            ServedPredictor::Texts(generator) => {
                let vocabulary = &generator.config().task.vocabulary;
                (0..vocabulary.len())
                    .filter_map(|id| vocabulary.decode(id))
                    .map(String::from)
                    .collect()
            }
        }
    }

    /// The names of the features of a step; empty for images.
    pub(super) fn features(&self) -> &[String] {
        match &self.predictor {
            ServedPredictor::Images(_) | ServedPredictor::Texts(_) => &[],
            ServedPredictor::Sequences(predictor) => &predictor.spec().preprocessor.features,
        }
    }

    /// What it is, for people and the page.
    pub(super) fn description(&self) -> Value {
        let (kind, target, view) = match &self.predictor {
            ServedPredictor::Images(predictor) => {
                ("images", json!(TaskKind::Class), json!(predictor.config().task.training.view))
            }
            ServedPredictor::Sequences(predictor) => {
                ("sequences", json!(predictor.spec().target), Value::Null)
            }
            ServedPredictor::Texts(_) => ("texts", json!("character"), Value::Null),
        };
        let network = self.network();
        json!({
            "name": self.name,
            "kind": kind,
            "target": target,
            "view": view,
            "digits": self.is_of_digits(),
            "steps": self.has_steps(),
            "hidden": self.has_hidden(),
            "stream": self.reads_step_by_step(),
            "features": self.features(),
            "outputs": self.outputs(),
            "cell": network.cell,
            "hidden_size": network.hidden_size,
            "num_layers": network.num_layers,
            "bidirectional": network.bidirectional,
        })
    }
}
