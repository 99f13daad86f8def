//! The target of a data set's sequences: a class, a class at each step, or numbers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::class_indices::ClassIndices;

/// The kind of a data set's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// None: sequences to predict, or whose target is their own next steps.
    None,
    /// A class for each sequence.
    Class,
    /// A class at each step.
    StepClass,
    /// One number or several for each sequence.
    Numbers,
}

impl TargetKind {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no target",
            Self::Class => "a class for each sequence",
            Self::StepClass => "a class at each step",
            Self::Numbers => "numbers for each sequence",
        }
    }
}

/// The targets of all sequences of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Target {
    /// None: sequences to predict, or whose target is their own next steps.
    #[default]
    None,
    /// The class of each sequence: N labels.
    Class(Labels),
    /// The class of each step: as many labels as the data set has steps.
    StepClass(Labels),
    /// The numbers of each sequence.
    Numbers(Numbers),
}

impl Target {
    /// The kind.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::None => TargetKind::None,
            Self::Class(_) => TargetKind::Class,
            Self::StepClass(_) => TargetKind::StepClass,
            Self::Numbers(_) => TargetKind::Numbers,
        }
    }
}

/// Classes with their names, and the class of each example.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// The names of all C classes: sorted, as numbers if all of them are numbers.
    pub names: Vec<String>,
    /// The class of each example, below C.
    pub indices: ClassIndices,
}

impl Labels {
    /// How many examples each class has: C numbers.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        self.indices.iter().for_each(|index| counts[index as usize] += 1);
        counts
    }

    /// The same examples with their classes numbered as in `names`; the first name that is not among them
    /// if there is one.
    ///
    /// # Errors
    /// The name of a class that an example has and `names` lacks.
    pub fn renamed(mut self, names: &[String]) -> Result<Self, String> {
        let place: HashMap<&str, u32> =
            (0u32..).zip(names).map(|(index, name)| (name.as_str(), index)).collect();
        let counts = self.counts();
        let mut new = Vec::with_capacity(self.names.len());
        for (name, count) in self.names.iter().zip(counts) {
            match place.get(name.as_str()) {
                Some(index) => new.push(*index),
                None if count == 0 => new.push(0),
                None => return Err(name.clone()),
            }
        }
        self.indices.renumber(&new);
        Ok(Self { names: names.to_vec(), indices: self.indices })
    }
}

/// K numbers for each example.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// The names of the K numbers.
    pub names: Vec<String>,
    /// `(N, K)`, row by row; NaN is a missing value.
    pub values: Vec<f32>,
}

/// Labels as they are read: names in the order in which they come.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    place: HashMap<String, u32>,
    indices: ClassIndices,
}

impl LabelsBuilder {
    /// No label yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the label of the next example.
    pub fn push(&mut self, name: &str) {
        let index = match self.place.get(name) {
            Some(index) => *index,
            None => {
                let index = self.place.len() as u32;
                self.place.insert(name.to_string(), index);
                index
            }
        };
        self.indices.push(index);
    }

    /// Makes room for so many examples more.
    pub fn reserve(&mut self, count: usize) {
        self.indices.reserve(count);
    }

    /// Adds a class that there may be no example of.
    pub fn declare(&mut self, name: &str) {
        let index = self.place.len() as u32;
        self.place.entry(name.to_string()).or_insert(index);
    }

    /// Adds the last label once more; nothing if there is none.
    pub(super) fn push_again(&mut self) {
        if let Some(last) = self.indices.last() {
            self.indices.push(last);
        }
    }

    /// Adds an example of a class that there is.
    ///
    /// - `class`: its number, as [`last`](Self::last) said it
    pub(super) fn push_class(&mut self, class: u32) {
        self.indices.push(class);
    }

    /// The number of the last label's class.
    pub(super) fn last(&self) -> Option<u32> {
        self.indices.last()
    }

    /// Forgets the labels: one of each class that there was is left.
    pub(super) fn forget(&mut self) {
        let mut counts = vec![false; self.place.len()];
        self.indices.iter().for_each(|class| counts[class as usize] = true);
        let had = (0u32..).zip(counts).filter(|(_, had)| *had);
        self.indices = had.map(|(class, _)| class).collect();
    }

    /// No label yet, of the same classes.
    pub(super) fn emptied(&self) -> Self {
        Self { place: self.place.clone(), indices: ClassIndices::default() }
    }

    /// Each label as many times as `counts` says.
    pub(super) fn repeated(mut self, counts: impl Iterator<Item = usize>) -> Self {
        let mut repeated = ClassIndices::default();
        for (label, count) in self.indices.iter().zip(counts) {
            repeated.push_times(label, count);
        }
        self.indices = repeated;
        self
    }

    /// The names of the classes in the order in which they came, and the labels.
    pub(super) fn into_parts(self) -> (Vec<String>, ClassIndices) {
        let mut names: Vec<(String, u32)> = self.place.into_iter().collect();
        names.sort_by_key(|(_, index)| *index);
        (names.into_iter().map(|(name, _)| name).collect(), self.indices)
    }

    /// Whether there is such a class.
    pub(super) fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// How many names there are.
    pub fn classes(&self) -> usize {
        self.place.len()
    }

    /// The labels, their classes sorted by name: as numbers if all names are numbers.
    pub fn build(self) -> Labels {
        let number = |name: &str| name.trim().parse::<f64>().ok().filter(|value| !value.is_nan());
        let mut names: Vec<(String, u32)> = self.place.into_iter().collect();
        if names.iter().all(|(name, _)| number(name).is_some()) {
            names.sort_by(|(a, _), (b, _)| {
                let order = number(a).partial_cmp(&number(b));
                order.unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.cmp(b))
            });
        } else {
            names.sort();
        }
        let mut new = vec![0; names.len()];
        for (place, (_, old)) in (0u32..).zip(&names) {
            new[*old as usize] = place;
        }
        let mut indices = self.indices;
        indices.renumber(&new);
        Labels { names: names.into_iter().map(|(name, _)| name).collect(), indices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Labels {
        let mut builder = LabelsBuilder::new();
        names.iter().for_each(|name| builder.push(name));
        builder.build()
    }

    #[test]
    fn classes_are_sorted_as_numbers_or_as_texts() {
        let numbers = labels(&["10", "9", "-1", "9"]);
        assert_eq!(numbers.names, ["-1", "9", "10"]);
        assert_eq!(numbers.indices, [2, 1, 0, 1]);
        assert_eq!(numbers.counts(), [1, 2, 1]);
        assert_eq!(labels(&["b", "10", "a"]).names, ["10", "a", "b"]);
    }

    #[test]
    fn labels_take_the_numbers_of_other_names() {
        let train = ["a".to_string(), "b".into(), "c".into()];
        assert_eq!(labels(&["c", "a"]).renamed(&train).unwrap().indices, [2, 0]);
        assert_eq!(labels(&["c", "d"]).renamed(&train), Err("d".into()));
        let mut declared = LabelsBuilder::new();
        declared.declare("z");
        declared.push("b");
        assert_eq!(declared.emptied().build().renamed(&train).unwrap().indices.len(), 0);
        assert_eq!(declared.build().renamed(&train).unwrap().indices, [1]);
        let mut forgotten = LabelsBuilder::new();
        ["b", "d", "b"].iter().for_each(|name| forgotten.push(name));
        forgotten.forget();
        assert_eq!((forgotten.len(), forgotten.classes()), (2, 2));
        assert_eq!(forgotten.build().renamed(&train), Err("d".into()));
    }
}
