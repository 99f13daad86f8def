//! The numbers of a data set's steps: kept once, as floats or as bytes.

/// All values of all steps, one step after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats; NaN is a missing value.
    F32(Vec<f32>),
    /// Bytes; each stands for a 255th of itself.
    U8(Vec<u8>),
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

/// Floats that arrive one by one, and end up in one piece without ever being there twice.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    full: Vec<Vec<f32>>,
    last: Vec<f32>,
}

impl Chunks {
    /// Floats in a chunk: 4 MiB.
    const SIZE: usize = 1 << 20;

    pub(super) fn extend(&mut self, mut values: &[f32]) {
        while !values.is_empty() {
            if self.last.len() == Self::SIZE {
                self.full.push(std::mem::replace(&mut self.last, Vec::with_capacity(Self::SIZE)));
            }
            let (now, later) = values.split_at(values.len().min(Self::SIZE - self.last.len()));
            self.last.extend_from_slice(now);
            values = later;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.full.len() * Self::SIZE + self.last.len()
    }

    /// Each chunk is freed as soon as it is copied.
    pub(super) fn into_vec(self) -> Vec<f32> {
        if self.full.is_empty() {
            return self.last;
        }
        let mut values = Vec::with_capacity(self.len());
        for chunk in self.full {
            values.extend_from_slice(&chunk);
        }
        values.extend_from_slice(&self.last);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_end_up_in_one_piece() {
        let numbers: Vec<f32> = (0..3 * Chunks::SIZE as u32 / 2).map(|i| i as f32).collect();
        let mut chunks = Chunks::default();
        numbers.chunks(1000).for_each(|part| chunks.extend(part));
        assert_eq!(chunks.len(), numbers.len());
        assert!(chunks.into_vec() == numbers);
    }
}
