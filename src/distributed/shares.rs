//! `Shares`, which rank has which part.

use std::ops::Range;

/// How `count` things are shared out over ranks: neighbours to one rank, the first ranks with one more where the ranks do
/// not divide them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The number of things.
    pub count: usize,
    /// The number of ranks, at least 1.
    pub ranks: usize,
}

impl Shares {
    /// The share of a rank.
    pub fn of(self, rank: usize) -> Range<usize> {
        let ranks = self.ranks.max(1);
        let (each, more) = (self.count / ranks, self.count % ranks);
        let start = |rank: usize| rank * each + rank.min(more);
        start(rank)..start(rank + 1)
    }

    /// The shares of all ranks, in their order.
    pub fn all(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.ranks.max(1)).map(move |rank| self.of(rank))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_one_ranks() {
        for (count, ranks) in [(0, 3), (1, 3), (4, 4), (7, 3), (5, 1), (3, 5)] {
            let all: Vec<usize> = Shares { count, ranks }.all().flatten().collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            let sizes: Vec<usize> =
                Shares { count, ranks }.all().map(|share| share.len()).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
        }
    }
}
