//! `ServedModel`: a trained run that is loaded to be served.

use std::path::Path;

use candle_core::Device;
use serde_json::{json, Value};

use crate::data::known::Known;
use crate::data::mnist::ImageSet;
use crate::model::{ClassifierConfig, Readout};
use crate::predict::{Predictor, SequencePredictor};
use crate::run::{self, TaskName};
use crate::train::tasks::TaskKind;
use crate::{Error, Result};

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
    Images(Box<Predictor>),
    /// Sequences of data of one's own.
    Sequences(Box<SequencePredictor>),
}

impl ServedModel {
    /// Loads a run directory, or a checkpoint of it, on a device.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run; [`Error::Config`] for a
    /// language model, which predicts no sequences.
    pub fn load(run: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = run.as_ref();
        let predictor = match run::read_task(run)? {
            TaskName::Sequences => {
                ServedPredictor::Sequences(Box::new(SequencePredictor::load_on(run, device)?))
            }
            TaskName::Text => {
                return Err(Error::Config(format!(
                    "{}: language models are not served: serve runs of images or of sequences",
                    run.display()
                )))
            }
            TaskName::Images | TaskName::Other(_) => {
                ServedPredictor::Images(Box::new(Predictor::load_on(run, device)?))
            }
        };
        Ok(Self { name: name_of(run), predictor })
    }

    /// The name under which it is served: that of the folder, with `-` for what a path of a URL cannot hold as it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn predictor(&self) -> &ServedPredictor {
        &self.predictor
    }

    fn network(&self) -> &ClassifierConfig {
        match &self.predictor {
            ServedPredictor::Images(predictor) => &predictor.config().task.model,
            ServedPredictor::Sequences(predictor) => &predictor.spec().model,
        }
    }

    /// Whether there is a prediction after each step: a forecast is made from a whole window.
    pub(super) fn has_steps(&self) -> bool {
        match &self.predictor {
            ServedPredictor::Images(_) => true,
            ServedPredictor::Sequences(predictor) => predictor.spec().target != TaskKind::Forecast,
        }
    }

    /// Whether it reads each step once, and has a state after each.
    pub(super) fn has_hidden(&self) -> bool {
        let network = &self.network().network;
        !network.bidirectional && network.readout == Readout::Last && self.has_steps()
    }

    /// The number of features of the output after a step, P.
    pub(super) fn hidden_size(&self) -> usize {
        self.network().rnn().output_features()
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
            ServedPredictor::Images(_) => {
                (0..self.network().num_classes).map(|class| class.to_string()).collect()
            }
            ServedPredictor::Sequences(predictor) => predictor.spec().outputs.clone(),
        }
    }

    /// The names of the features of a step; empty for images.
    pub(super) fn features(&self) -> &[String] {
        match &self.predictor {
            ServedPredictor::Images(_) => &[],
            ServedPredictor::Sequences(predictor) => &predictor.spec().preprocessor.features,
        }
    }

    /// What it is, for people and the page.
    pub(super) fn description(&self) -> Value {
        let (kind, target, view) = match &self.predictor {
            ServedPredictor::Images(predictor) => {
                ("images", TaskKind::Class, json!(predictor.config().task.training.view))
            }
            ServedPredictor::Sequences(predictor) => {
                ("sequences", predictor.spec().target, Value::Null)
            }
        };
        let network = &self.network().network;
        json!({
            "name": self.name,
            "kind": kind,
            "target": target,
            "view": view,
            "digits": self.is_of_digits(),
            "steps": self.has_steps(),
            "hidden": self.has_hidden(),
            "features": self.features(),
            "outputs": self.outputs(),
            "cell": network.cell,
            "hidden_size": network.hidden_size,
            "num_layers": network.num_layers,
            "bidirectional": network.bidirectional,
        })
    }
}

/// The name of a run's folder, as a path of a URL can hold it.
fn name_of(run: &Path) -> String {
    let whole = run.canonicalize().unwrap_or_else(|_| run.to_path_buf());
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(safe).collect();
    // A path made of dots alone means something else to clients.
    if name.chars().all(|c| c == '.') {
        "model".into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_as_paths_of_urls_can_hold() {
        for (path, name) in [
            ("runs/0001", "0001"),
            ("runs/my run/", "my-run"),
            ("a/b?c#d", "b-c-d"),
            ("/", "model"),
            ("größe.v2", "gr--e.v2"),
        ] {
            assert_eq!(name_of(Path::new(path)), name, "{path}");
        }
    }
}
