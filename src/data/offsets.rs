//! `Offsets`: where consecutive pieces of different sizes begin and end.

use std::ops::Range;

/// The places of consecutive pieces, the first of which begins at 0, in as few bytes as their sizes allow.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Offsets {
    /// All have one size.
    Even { size: u64, count: usize },
    /// Where each ends, all below 2^32.
    Narrow(Vec<u32>),
    /// Where each ends.
    Wide(Vec<u64>),
}

impl Default for Offsets {
    fn default() -> Self {
        Self::Even { size: 0, count: 0 }
    }
}

impl Offsets {
    /// So many pieces of one size.
    pub(super) fn even(size: u64, count: usize) -> Self {
        Self::Even { size, count }
    }

    /// Adds a piece behind the last.
    pub(super) fn push(&mut self, size: u64) {
        if let Self::Even { size: all, count } = self {
            if *count == 0 || *all == size {
                (*all, *count) = (size, *count + 1);
                return;
            }
            self.become_uneven();
        }
        let end = self.total() + size;
        if let (Self::Narrow(ends), Err(_)) = (&*self, u32::try_from(end)) {
            *self = Self::Wide(ends.iter().map(|end| u64::from(*end)).collect());
        }
        match self {
            Self::Narrow(ends) => ends.push(end as u32),
            Self::Wide(ends) => ends.push(end),
            Self::Even { .. } => {}
        }
    }

    fn become_uneven(&mut self) {
        let Self::Even { size, count } = *self else { return };
        let ends = (1..=count as u64).map(|number| number * size);
        *self = match u32::try_from(self.total()) {
            Ok(_) => Self::Narrow(ends.map(|end| end as u32).collect()),
            Err(_) => Self::Wide(ends.collect()),
        };
    }

    /// How many pieces there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Even { count, .. } => *count,
            Self::Narrow(ends) => ends.len(),
            Self::Wide(ends) => ends.len(),
        }
    }

    /// Where the last ends.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::Even { size, count } => size * *count as u64,
            Self::Narrow(ends) => u64::from(ends.last().copied().unwrap_or(0)),
            Self::Wide(ends) => ends.last().copied().unwrap_or(0),
        }
    }

    /// Where a piece begins and ends.
    ///
    /// # Panics
    /// When there is no such piece.
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        let (start, end) = match self {
            Self::Even { size, count } => {
                assert!(index < *count, "piece {index} of {count}");
                (size * index as u64, size * (index as u64 + 1))
            }
            Self::Narrow(ends) => {
                let start = index.checked_sub(1).map_or(0, |before| ends[before]);
                (u64::from(start), u64::from(ends[index]))
            }
            Self::Wide(ends) => {
                (index.checked_sub(1).map_or(0, |before| ends[before]), ends[index])
            }
        };
        start as usize..end as usize
    }

    /// The sizes of all pieces.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|index| self.range(index).len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_where_their_sizes_put_them() {
        let sizes = [3u64, 3, 3, 0, 7, 1 << 31, 1 << 31, 5, 5];
        for count in 0..=sizes.len() {
            let mut offsets = Offsets::default();
            sizes[..count].iter().for_each(|size| offsets.push(*size));
            assert_eq!(offsets.len(), count);
            let mut start = 0;
            for (index, size) in sizes[..count].iter().enumerate() {
                assert_eq!(offsets.range(index), start..start + *size as usize, "{count} {index}");
                start += *size as usize;
            }
            assert_eq!(offsets.total(), start as u64);
            let kind = match offsets {
                Offsets::Even { .. } => 0,
                Offsets::Narrow(_) => 1,
                Offsets::Wide(_) => 2,
            };
            assert_eq!(kind, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2][count], "{count}");
        }
        assert_eq!(Offsets::even(4, 3).sizes().collect::<Vec<_>>(), [4, 4, 4]);
    }
}
