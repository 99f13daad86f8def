//! `AboutRun`: what the page says of a run.

use std::path::Path;

use serde_json::{json, Value};

use crate::data::known::Known;
use crate::data::mnist::ImageSet;
use crate::data::view::View;
use crate::model::{ClassifierConfig, NetworkConfig, Readout};
use crate::train::tasks::{SequenceConfig, TaskKind, TextConfig};
use crate::train::ImageConfig;

/// The most steps of a sequence.
const MAX_STEPS: usize = 4_096;
/// The most steps for a network that reads each beginning of the sequence by itself.
const MAX_BEGINNINGS: usize = 256;

/// A run as the page describes it: of images, of sequences, or of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AboutRun<'a> {
    /// Images of 28 x 28 pixels.
    Images(&'a ImageConfig),
    /// Sequences of data of one's own.
    Sequences(&'a SequenceConfig),
    /// A text, which it continues.
    Text(&'a TextConfig),
}

impl<'a> AboutRun<'a> {
    /// The recurrent layers.
    pub(crate) fn network(self) -> &'a NetworkConfig {
        match self {
            Self::Images(config) => &config.model.network,
            Self::Sequences(config) => &config.spec.model.network,
            Self::Text(config) => &config.model.network,
        }
    }

    /// The layers with their head; `None` for a language model.
    pub(crate) fn classifier(self) -> Option<&'a ClassifierConfig> {
        match self {
            Self::Images(config) => Some(&config.model),
            Self::Sequences(config) => Some(&config.spec.model),
            Self::Text(_) => None,
        }
    }

    /// The kind of its predictions; `None` for the next character of a text.
    pub(crate) fn target(self) -> Option<TaskKind> {
        match self {
            Self::Images(_) => Some(TaskKind::Class),
            Self::Sequences(config) => Some(config.spec.target),
            Self::Text(_) => None,
        }
    }

    /// How images are read.
    pub(crate) fn view(self) -> Option<View> {
        match self {
            Self::Images(config) => Some(config.training.view),
            Self::Sequences(_) | Self::Text(_) => None,
        }
    }

    /// Whether there is a prediction after each step: a forecast is made from a whole window.
    pub(crate) fn has_steps(self) -> bool {
        self.target().is_some_and(|target| target != TaskKind::Forecast)
    }

    /// Whether it reads each step once, and has a state after each.
    pub(crate) fn has_hidden(self) -> bool {
        let network = self.network();
        !network.bidirectional && network.readout == Readout::Last && self.has_steps()
    }

    /// The most steps that are shown: fewer where each beginning of a sequence is read by itself.
    pub(crate) fn max_steps(self) -> usize {
        if self.has_hidden() {
            MAX_STEPS
        } else {
            MAX_BEGINNINGS
        }
    }

    /// Whether the images are digits.
    pub(crate) fn is_of_digits(self) -> bool {
        let Self::Images(config) = self else { return false };
        let known = Known::of(&config.data.sha256);
        known.is_none_or(|known| known.dataset() == ImageSet::Mnist)
    }

    /// The names of the classes, or of the numbers that are predicted; the characters of a text.
    pub(crate) fn outputs(self) -> Vec<String> {
        match self {
            Self::Images(config) => {
                (0..config.model.num_classes).map(|class| class.to_string()).collect()
            }
            Self::Sequences(config) => config.spec.outputs.clone(),
            Self::Text(config) => {
                let ids = 0..config.vocabulary.len();
                ids.filter_map(|id| config.vocabulary.decode(id)).map(String::from).collect()
            }
        }
    }

    /// The names of the features of a step; empty for images and texts.
    pub(crate) fn features(self) -> &'a [String] {
        match self {
            Self::Images(_) | Self::Text(_) => &[],
            Self::Sequences(config) => &config.spec.preprocessor.features,
        }
    }

    /// The forecast of a series, and the sizes of its features; `null` for other runs.
    fn forecast(self) -> Value {
        let Self::Sequences(config) = self else { return Value::Null };
        let Some(forecast) = &config.spec.forecast else { return Value::Null };
        let preprocessor = &config.spec.preprocessor;
        json!({
            "window": config.training.window,
            "horizon": forecast.horizon,
            "season": forecast.season,
            "means": preprocessor.means,
            "scales": preprocessor.scaler.scale,
        })
    }

    /// All of it under a name, as the page reads it.
    pub(crate) fn json(self, name: &str) -> Value {
        let kind = match self {
            Self::Images(_) => "images",
            Self::Sequences(_) => "sequences",
            Self::Text(_) => "texts",
        };
        let target = self.target().map_or(json!("character"), |target| json!(target));
        let network = self.network();
        json!({
            "name": name,
            "kind": kind,
            "target": target,
            "view": self.view(),
            "digits": self.is_of_digits(),
            "steps": self.has_steps(),
            "hidden": self.has_hidden(),
            "forecast": self.forecast(),
            "features": self.features(),
            "outputs": self.outputs(),
            "cell": network.cell,
            "hidden_size": network.hidden_size,
            "num_layers": network.num_layers,
            "bidirectional": network.bidirectional,
        })
    }
}

/// The name of a run's folder, as a path of a URL can hold it: with `-` for what such a path cannot hold as it is.
pub(crate) fn run_name(run: &Path) -> String {
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
            assert_eq!(run_name(Path::new(path)), name, "{path}");
        }
    }
}
