//! Rows that a thread works on, in tiles that the registers hold; the thread may hand half of them over.

use std::ops::Range;

use crate::gemm::layout::{split, Panel};
use crate::simd::vector::Vector;
use crate::threads::Crew;

/// Rows that a thread should have together, so that a tile is full and weights are read seldom.
pub(crate) const MIN_ROWS: usize = 5;

/// Neighbouring rows, counted within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRange {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl RowRange {
    /// The number of each row.
    pub(crate) fn iter(self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// The tiles that these rows are cut into beside a panel: first row and height.
    pub(crate) fn tiles<V: Vector>(self, panel: &Panel) -> impl Iterator<Item = (usize, usize)> {
        let tiles = self.count.div_ceil(V::mr(panel.registers));
        (0..tiles).map(move |tile| {
            let (first, height) = split(self.count, tiles, tile);
            (self.first + first, height)
        })
    }

    /// Two halves if there are enough rows and a thread is idle: it was claimed for one of them.
    pub(crate) fn halves(self, crew: &Crew) -> Option<[Self; 2]> {
        if self.count < 2 * MIN_ROWS || !crew.claims_idle() {
            return None;
        }
        Some([0, 1].map(|half| {
            let (first, count) = split(self.count, 2, half);
            Self { first: self.first + first, count }
        }))
    }
}
