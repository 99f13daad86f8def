//! The order in which the pixels of an image are read.

use serde::Deserialize;

use super::permutation::PERMUTATION;

const ROWS: usize = 28;
const COLUMNS: usize = 28;
/// The number of pixels of an image.
pub(super) const PIXELS: usize = ROWS * COLUMNS;

/// How an image is read, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageView {
    /// 28 steps of 28 pixels: from the top row to the bottom row.
    Rows,
    /// 28 steps of 28 pixels: from the left column to the right column.
    Columns,
    /// 784 steps of one pixel: row by row, from left to right.
    Pixels,
    /// 784 steps of one pixel, in a random order that is always the same.
    Permuted,
}

impl ImageView {
    /// T, the number of steps.
    pub fn seq_len(self) -> usize {
        match self {
            Self::Rows => ROWS,
            Self::Columns => COLUMNS,
            Self::Pixels | Self::Permuted => PIXELS,
        }
    }

    /// I, the number of pixels that are the input of one step.
    pub fn input_size(self) -> usize {
        PIXELS / self.seq_len()
    }

    /// For each of the `T * I` inputs, in order, the index of its pixel.
    pub fn order(self) -> Vec<usize> {
        match self {
            Self::Rows | Self::Pixels => (0..PIXELS).collect(),
            Self::Columns => (0..PIXELS).map(|at| at % ROWS * COLUMNS + at / ROWS).collect(),
            Self::Permuted => PERMUTATION.iter().map(|at| usize::from(*at)).collect(),
        }
    }
}
