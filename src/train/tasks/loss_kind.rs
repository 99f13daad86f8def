//! The choice of a loss.

use serde::{Deserialize, Serialize};

use crate::data::Dataset;

/// The loss of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumbersLoss {
    /// Mean squared error.
    #[default]
    Mse,
    /// Mean absolute error.
    Mae,
    /// Huber's: squared up to a deviation of 1 (in scaled units), absolute beyond.
    Huber,
}

/// How much each class counts in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// All examples alike.
    #[default]
    None,
    /// Inversely to the number of its examples in the training split, so that all classes together count alike.
    Balanced,
}

impl ClassWeights {
    /// The weights of the C classes of `train`; `None` where all examples count alike.
    ///
    /// N / (C · N_c), as scikit-learn's `balanced`; C counts the classes that have examples, and one that has none
    /// weighs nothing.
    pub fn of(self, train: &Dataset) -> Option<Vec<f64>> {
        if self == Self::None {
            return None;
        }
        let counts = train.class_counts();
        let total: usize = counts.iter().sum();
        let classes = counts.iter().filter(|count| **count > 0).count();
        let weight = |count: &usize| match count {
            0 => 0.,
            count => total as f64 / (classes * count) as f64,
        };
        Some(counts.iter().map(weight).collect())
    }
}
