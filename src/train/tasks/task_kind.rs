//! `TaskKind`: what a network is to predict.

use serde::{Deserialize, Serialize};

/// The kind of a network's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// The class of a sequence.
    Class,
    /// The class of each step.
    StepClass,
    /// Numbers for a sequence.
    Numbers,
    /// The next steps of a series.
    Forecast,
}

impl TaskKind {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "a class for each sequence",
            Self::StepClass => "a class at each step",
            Self::Numbers => "numbers for each sequence",
            Self::Forecast => "the next steps of a series",
        }
    }
}
