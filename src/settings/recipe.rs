//! Recipes: named settings that are known to work.

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::Result;

/// A named set of settings, chosen on validation accuracy; docs/recipes.md has what each reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// The reference job: rows of digits, 150 tanh units, 5 epochs.
    Tutorial,
    /// The most accurate that 150 tanh units get in 5 epochs.
    Fast,
    /// The most accurate that 150 tanh units get in some minutes (60 epochs).
    Tanh,
    /// The most accurate recipe: two bidirectional GRU layers.
    Best,
    /// Digits read pixel by pixel, 784 steps.
    Pixels,
    /// Digits read pixel by pixel in a fixed random order.
    Permuted,
}

impl Recipe {
    /// All recipes.
    pub const ALL: [Self; 6] =
        [Self::Tutorial, Self::Fast, Self::Tanh, Self::Best, Self::Pixels, Self::Permuted];

    /// The TOML file that it is.
    pub fn toml(self) -> &'static str {
        match self {
            Self::Tutorial => include_str!("recipes/tutorial.toml"),
            Self::Fast => include_str!("recipes/fast.toml"),
            Self::Tanh => include_str!("recipes/tanh.toml"),
            Self::Best => include_str!("recipes/best.toml"),
            Self::Pixels => include_str!("recipes/pixels.toml"),
            Self::Permuted => include_str!("recipes/permuted.toml"),
        }
    }

    /// Its settings.
    ///
    /// # Errors
    /// None: each is tested.
    pub fn settings(self) -> Result<Settings> {
        Settings::from_toml(self.toml())
    }
}
