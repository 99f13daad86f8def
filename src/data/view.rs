//! Views of an image as a sequence: the pixels that are the input of each step.

use serde::{Deserialize, Serialize};

use super::image_set::{COLUMNS, PIXELS, ROWS};
use crate::rng::{Purpose, SeededRng};

/// How an image is read, step by step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// 28 steps of 28 pixels: from the top row to the bottom row.
    #[default]
    Rows,
    /// 28 steps of 28 pixels: from the left column to the right column.
    Columns,
    /// 784 steps of one pixel: row by row, from left to right.
    Pixels,
    /// 784 steps of one pixel, in a random order that is always the same.
    Permuted,
}

impl View {
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
            Self::Columns => (0..PIXELS).map(|i| i % ROWS * COLUMNS + i / ROWS).collect(),
            Self::Permuted => SeededRng::new(PERMUTATION_SEED, Purpose::Permutation)
                .permutation(PIXELS as u32)
                .into_iter()
                .map(|i| i as usize)
                .collect(),
        }
    }
}

/// Part of what `permuted` means: never changed.
const PERMUTATION_SEED: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_rows_of_the_transposed_image() {
        let order = View::Columns.order();
        for step in 0..28 {
            for input in 0..28 {
                assert_eq!(order[step * 28 + input], input * 28 + step);
            }
        }
    }

    #[test]
    fn every_view_reads_every_pixel_once() {
        for view in [View::Rows, View::Columns, View::Pixels, View::Permuted] {
            assert_eq!(view.seq_len() * view.input_size(), PIXELS);
            let mut order = view.order();
            order.sort_unstable();
            assert_eq!(order, (0..PIXELS).collect::<Vec<_>>());
        }
        assert_ne!(View::Permuted.order(), View::Pixels.order());
    }
}
