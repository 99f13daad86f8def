//! `Names`: many short texts in one piece of memory.

use super::offsets::Offsets;

/// Texts, one after the other: a byte for each of theirs and at most four or eight for where each ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    text: String,
    places: Offsets,
}

impl Names {
    /// Adds a text.
    pub fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.places.push(name.len() as u64);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A text.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn get(&self, index: usize) -> &str {
        &self.text[self.places.range(index)]
    }

    /// The last text.
    pub fn last(&self) -> Option<&str> {
        self.len().checked_sub(1).map(|last| self.get(last))
    }

    /// All texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl std::ops::Index<usize> for Names {
    type Output = str;

    fn index(&self, index: usize) -> &str {
        self.get(index)
    }
}

impl<S: AsRef<str>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let mut names = Self::default();
        texts.into_iter().for_each(|text| names.push(text.as_ref()));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went_in() {
        let mut names = Names::default();
        let all = ["a", "", "größer", "b"];
        all.iter().for_each(|name| names.push(name));
        assert_eq!(names.iter().collect::<Vec<_>>(), all);
        assert_eq!((names.len(), names.get(2), Names::default().is_empty()), (4, "größer", true));
    }
}
