//! The numbers of a data set's steps: kept once, as floats or as bytes.

use std::ops::Range;
use std::sync::Arc;

/// All values of all steps, one step after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats; NaN is a missing value.
    F32(Segments),
    /// Bytes; each stands for a 255th of itself. Others may share them.
    U8(Arc<Vec<u8>>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => 4 * values.len(),
            Self::U8(values) => values.len(),
        }
    }
}

/// Floats in pieces of memory, none of which a sequence crosses: so they are never copied while they arrive, and never
/// there twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segments {
    segments: Vec<Vec<f32>>,
    /// The place of the first value of each, in all.
    firsts: Vec<usize>,
    /// Where the sequence begins, in the last segment, that has not ended.
    open: usize,
}

impl Segments {
    /// Floats in a segment, unless a single sequence has more: 4 MiB.
    const SIZE: usize = 1 << 20;
    /// Floats in the first one, which grows as it must: most data are small.
    const FIRST: usize = 1 << 15;

    /// Adds values to the sequence that has not ended.
    pub(super) fn extend(&mut self, values: &[f32]) {
        let size = if self.segments.len() == 1 { Self::FIRST } else { Self::SIZE };
        let is_full = |last: &Vec<f32>| last.len() + values.len() > size.max(last.capacity());
        if self.segments.last().is_none_or(is_full) {
            let open = self.segments.last().map_or(0, Vec::len) - self.open;
            let room = Self::SIZE.max(2 * (open + values.len()));
            // The first one grows as it must.
            self.begin_segment(if self.segments.is_empty() { 0 } else { room });
        }
        if let Some(last) = self.segments.last_mut() {
            last.extend_from_slice(values);
        }
    }

    /// Makes room for so many values more of the sequence that has not ended: neither more nor less if they are many.
    pub(super) fn reserve(&mut self, more: usize) {
        let room = self.segments.last().map_or(0, |last| last.capacity() - last.len());
        if more > room && more > Self::FIRST {
            let open = self.segments.last().map_or(0, Vec::len) - self.open;
            let least = if self.segments.is_empty() { 0 } else { Self::SIZE };
            self.begin_segment((open + more).max(least));
        }
    }

    /// Moves the sequence that has not ended into a segment of its own, with room for so many values in all.
    fn begin_segment(&mut self, room: usize) {
        let open =
            self.segments.last_mut().map(|last| last.split_off(self.open)).unwrap_or_default();
        let first = self.len();
        let mut segment = Vec::new();
        segment.reserve_exact(room);
        segment.extend_from_slice(&open);
        if self.segments.last().is_some_and(Vec::is_empty) {
            self.segments.pop();
            self.firsts.pop();
        }
        self.segments.push(segment);
        self.firsts.push(first);
        self.open = 0;
    }

    /// Ends the sequence.
    pub(super) fn end_sequence(&mut self) {
        self.open = self.segments.last().map_or(0, Vec::len);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let last = self.segments.last().map_or(0, Vec::len);
        self.firsts.last().map_or(0, |first| first + last)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values at these places, which must all be of one sequence.
    ///
    /// # Panics
    /// When they are not, or there are not so many.
    pub fn get(&self, places: Range<usize>) -> &[f32] {
        let at = self.firsts.partition_point(|first| *first <= places.start).saturating_sub(1);
        let first = self.firsts.get(at).copied().unwrap_or(0);
        match self.segments.get(at) {
            Some(segment) => &segment[places.start - first..places.end - first],
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_found_in_the_segments() {
        let mut segments = Segments::default();
        let mut ranges = Vec::new();
        // Sequences of different lengths, one longer than a segment, pushed in pieces.
        for (number, len) in
            [3, 700_000, 1, 500_000, 2_500_000, 40, 1_048_570, 9].into_iter().enumerate()
        {
            let start = segments.len();
            let values = vec![number as f32; len];
            if number % 2 == 1 {
                segments.reserve(len);
            }
            values.chunks(1_000).for_each(|part| segments.extend(part));
            segments.end_sequence();
            ranges.push(start..start + len);
        }
        for (number, range) in ranges.iter().enumerate() {
            let found = segments.get(range.clone());
            assert_eq!(found.len(), range.len());
            assert!(found.iter().all(|value| *value == number as f32), "{number}");
            assert!(segments.get(range.end..range.end).is_empty());
        }
        assert_eq!(segments.len(), ranges[7].end);
        assert!(segments.segments.len() >= 3);
        assert!(Segments::default().get(0..0).is_empty());
    }
}
