//! `ClassIndices`: the numbers of many examples' classes.

use std::ops::Range;

/// Numbers of classes, one an example: a byte each as long as there are no more than 256 classes, else two or four.
#[derive(Clone, Debug)]
pub struct ClassIndices(Indices);

#[derive(Clone, Debug)]
enum Indices {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
}

impl Default for ClassIndices {
    fn default() -> Self {
        Self(Indices::U8(Vec::new()))
    }
}

/// Calls the same on the vector, however wide its numbers are.
macro_rules! of_all {
    ($of:expr, $vector:ident => $result:expr) => {
        match $of {
            Indices::U8($vector) => $result,
            Indices::U16($vector) => $result,
            Indices::U32($vector) => $result,
        }
    };
}

impl ClassIndices {
    /// Adds the class of the next example.
    pub fn push(&mut self, class: u32) {
        self.push_times(class, 1);
    }

    /// Adds the class of the next `count` examples.
    pub fn push_times(&mut self, class: u32, count: usize) {
        self.widen(class);
        match &mut self.0 {
            Indices::U8(all) => all.extend(std::iter::repeat_n(class as u8, count)),
            Indices::U16(all) => all.extend(std::iter::repeat_n(class as u16, count)),
            Indices::U32(all) => all.extend(std::iter::repeat_n(class, count)),
        }
    }

    /// Makes the numbers as wide as `class` needs them.
    fn widen(&mut self, class: u32) {
        let wider = match &self.0 {
            Indices::U8(all) if class > u32::from(u16::MAX) => {
                Indices::U32(all.iter().map(|class| u32::from(*class)).collect())
            }
            Indices::U8(all) if class > u32::from(u8::MAX) => {
                Indices::U16(all.iter().map(|class| u16::from(*class)).collect())
            }
            Indices::U16(all) if class > u32::from(u16::MAX) => {
                Indices::U32(all.iter().map(|class| u32::from(*class)).collect())
            }
            _ => return,
        };
        self.0 = wider;
    }

    /// Makes room for so many examples more.
    pub fn reserve(&mut self, count: usize) {
        of_all!(&mut self.0, all => all.reserve_exact(count));
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        of_all!(&self.0, all => all.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of an example.
    ///
    /// # Panics
    /// When there is no such example.
    pub fn get(&self, index: usize) -> u32 {
        match &self.0 {
            Indices::U8(all) => u32::from(all[index]),
            Indices::U16(all) => u32::from(all[index]),
            Indices::U32(all) => all[index],
        }
    }

    /// The class of the last example.
    pub fn last(&self) -> Option<u32> {
        self.len().checked_sub(1).map(|last| self.get(last))
    }

    /// The classes of these examples.
    pub fn range(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = u32> + '_ {
        range.map(|index| self.get(index))
    }

    /// The classes of all examples.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.range(0..self.len())
    }

    /// Gives each class the number that stands for it in `new`.
    ///
    /// # Panics
    /// When a class has no number there.
    pub fn renumber(&mut self, new: &[u32]) {
        self.widen(new.iter().copied().max().unwrap_or(0));
        match &mut self.0 {
            Indices::U8(all) => {
                all.iter_mut().for_each(|class| *class = new[*class as usize] as u8)
            }
            Indices::U16(all) => {
                all.iter_mut().for_each(|class| *class = new[*class as usize] as u16);
            }
            Indices::U32(all) => all.iter_mut().for_each(|class| *class = new[*class as usize]),
        }
    }
}

impl FromIterator<u32> for ClassIndices {
    fn from_iter<I: IntoIterator<Item = u32>>(classes: I) -> Self {
        let mut all = Self::default();
        classes.into_iter().for_each(|class| all.push(class));
        all
    }
}

/// Equal are those that hold the same numbers, however wide.
impl PartialEq for ClassIndices {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<const N: usize> PartialEq<[u32; N]> for ClassIndices {
    fn eq(&self, other: &[u32; N]) -> bool {
        self.iter().eq(other.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_however_wide_they_are() {
        let all = [0, 7, 255, 256, 3, 65_535, 65_536, u32::MAX, 1];
        for count in 0..=all.len() {
            let indices: ClassIndices = all[..count].iter().copied().collect();
            assert_eq!(indices.iter().collect::<Vec<_>>(), all[..count]);
            assert_eq!(indices.last(), all[..count].last().copied());
            let width = of_all!(&indices.0, all => size_of_val(&all[..]) / count.max(1));
            assert_eq!(width, [0, 1, 1, 1, 2, 2, 2, 4, 4, 4][count], "{count}");
        }
        let bytes: ClassIndices = [1, 255].into_iter().collect();
        assert_eq!(bytes.range(1..2).collect::<Vec<_>>(), [255]);
    }

    #[test]
    fn classes_are_renumbered_to_wider_numbers() {
        let mut indices = ClassIndices::default();
        indices.push_times(1, 3);
        indices.push(0);
        indices.renumber(&[70_000, 2]);
        assert_eq!(indices, [2, 2, 2, 70_000]);
    }
}
