//! `AboutRun`: what the page says of a run.

use std::path::Path;

use serde_json::{json, Value};

use crate::data::known::Known;
use crate::data::mnist::ImageSet;
use crate::data::view::View;
use crate::model::{ClassifierConfig, Readout};
use crate::train::tasks::{SequenceSpec, TaskKind};
use crate::train::ImageConfig;

/// The most steps for a network that reads each beginning of the sequence by itself.
pub(crate) const MAX_BEGINNINGS: usize = 256;

/// What the page says of a run: of images, or of sequences.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AboutRun<'a> {
    /// Images of 28 x 28 pixels.
    Images(&'a ImageConfig),
    /// Sequences of data of one's own.
    Sequences(&'a SequenceSpec),
}

impl<'a> AboutRun<'a> {
    pub(crate) fn network(self) -> &'a ClassifierConfig {
        match self {
            Self::Images(config) => &config.model,
            Self::Sequences(spec) => &spec.model,
        }
    }

    pub(crate) fn target(self) -> TaskKind {
        match self {
            Self::Images(_) => TaskKind::Class,
            Self::Sequences(spec) => spec.target,
        }
    }

    /// How images are read.
    pub(crate) fn view(self) -> Option<View> {
        match self {
            Self::Images(config) => Some(config.training.view),
            Self::Sequences(_) => None,
        }
    }

    /// Whether there is a prediction after each step: a forecast is made from a whole window.
    pub(crate) fn has_steps(self) -> bool {
        self.target() != TaskKind::Forecast
    }

    /// Whether it reads each step once, and has a state after each.
    pub(crate) fn has_hidden(self) -> bool {
        let network = &self.network().network;
        !network.bidirectional && network.readout == Readout::Last && self.has_steps()
    }

    /// Whether the images are digits.
    pub(crate) fn is_of_digits(self) -> bool {
        let Self::Images(config) = self else { return false };
        let known = Known::of(&config.data.sha256);
        known.is_none_or(|known| known.dataset() == ImageSet::Mnist)
    }

    /// The names of the classes, or of the numbers that are predicted.
    pub(crate) fn outputs(self) -> Vec<String> {
        match self {
            Self::Images(config) => {
                (0..config.model.num_classes).map(|class| class.to_string()).collect()
            }
            Self::Sequences(spec) => spec.outputs.clone(),
        }
    }

    /// The names of the features of a step; empty for images.
    pub(crate) fn features(self) -> &'a [String] {
        match self {
            Self::Images(_) => &[],
            Self::Sequences(spec) => &spec.preprocessor.features,
        }
    }

    /// All of it under a name, as the page reads it.
    pub(crate) fn json(self, name: &str) -> Value {
        let kind = match self {
            Self::Images(_) => "images",
            Self::Sequences(_) => "sequences",
        };
        let network = &self.network().network;
        json!({
            "name": name,
            "kind": kind,
            "target": self.target(),
            "view": self.view(),
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
