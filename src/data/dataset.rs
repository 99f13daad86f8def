//! `Dataset`: sequences of different lengths, with a target of one kind.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::store::{Missing, Store};
use super::target::{Numbers, Target};
use super::values::Values;
use crate::files::checksums::hex;
use crate::Result;

/// N sequences of T_n steps of I features, with a target.
///
/// The numbers are kept once, however many parts of the data set there are: a clone and a
/// [`select`](Self::select)ion share them.
///
/// ```
/// use candle_rnn::data::{Dataset, DatasetBuilder, LabelsBuilder, Target};
/// # fn main() -> candle_rnn::Result<()> {
/// let mut sequences = DatasetBuilder::new(["x", "y"]);
/// let mut labels = LabelsBuilder::new();
/// for (label, steps) in [("left", 3), ("right", 5)] {
///     for t in 0..steps {
///         sequences.push_step(&[t as f32, 1.])?;
///     }
///     sequences.end_sequence()?;
///     labels.push(label);
/// }
/// let data: Dataset = sequences.build(Target::Class(labels.build()))?;
/// assert_eq!((data.len(), data.seq_len(1), data.features().len()), (2, 5, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dataset {
    pub(super) store: Arc<Store>,
    /// The sequences of the store that are selected, in this order, with the part of each; `None` for all of them.
    parts: Option<Arc<[SequencePart]>>,
}

/// A sequence of the store, or consecutive steps of it.
#[derive(Clone, Copy, Debug)]
struct SequencePart {
    row: u32,
    /// The first step, from 0.
    first: u32,
    len: u32,
}

/// The values of one sequence, step by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SequenceValues<'a> {
    /// Floats; NaN is a missing value.
    F32(&'a [f32]),
    /// Bytes; each stands for a 255th of itself.
    U8(&'a [u8]),
}

/// Whether one of the values is missing.
fn has_nan(values: SequenceValues) -> bool {
    matches!(values, SequenceValues::F32(values) if values.iter().any(|value| value.is_nan()))
}

impl Dataset {
    pub(super) fn of(store: Store) -> Self {
        Self { store: Arc::new(store), parts: None }
    }

    fn of_parts(&self, parts: Arc<[SequencePart]>) -> Self {
        Self { store: self.store.clone(), parts: Some(parts) }
    }

    fn part(&self, index: usize) -> SequencePart {
        match &self.parts {
            Some(parts) => parts[index],
            None => {
                let len = self.store.steps.range(index).len() as u32;
                SequencePart { row: index as u32, first: 0, len }
            }
        }
    }

    /// The number in the store of a sequence, or of the one that it is a part of.
    fn row(&self, index: usize) -> usize {
        self.part(index).row as usize
    }

    /// N, the number of sequences.
    pub fn len(&self) -> usize {
        self.parts.as_ref().map_or(self.store.steps.len(), |parts| parts.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the I features.
    pub fn features(&self) -> &[String] {
        &self.store.features
    }

    /// The number of steps of a sequence, T_n.
    ///
    /// # Panics
    /// When `index` is not below N; so do all methods that take one.
    pub fn seq_len(&self, index: usize) -> usize {
        self.part(index).len as usize
    }

    /// The numbers of steps of all sequences.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|index| self.seq_len(index)).collect()
    }

    /// The number of steps of all sequences together.
    pub fn total_steps(&self) -> usize {
        (0..self.len()).map(|index| self.seq_len(index)).sum()
    }

    /// Where the steps of a sequence lie in the store.
    fn steps(&self, index: usize) -> Range<usize> {
        let SequencePart { row, first, len } = self.part(index);
        let start = self.store.steps.range(row as usize).start + first as usize;
        start..start + len as usize
    }

    /// The values of a sequence: T_n times I.
    pub fn sequence(&self, index: usize) -> SequenceValues<'_> {
        self.values(self.steps(index))
    }

    /// The values of the `horizon` steps behind a part of a sequence, or of as many as there are.
    pub fn following(&self, index: usize, horizon: usize) -> SequenceValues<'_> {
        let Range { end, .. } = self.steps(index);
        let last = self.store.steps.range(self.row(index)).end;
        self.values(end..last.min(end.saturating_add(horizon)))
    }

    fn values(&self, steps: Range<usize>) -> SequenceValues<'_> {
        let width = self.store.features.len();
        let range = steps.start * width..steps.end * width;
        match &self.store.values {
            Values::F32(values) => SequenceValues::F32(values.get(range)),
            Values::U8(values) => SequenceValues::U8(&values[range]),
        }
    }

    /// The targets of all sequences that share this store, selected or not.
    pub fn target(&self) -> &Target {
        &self.store.target
    }

    /// The class of a sequence, below C; `None` unless the target is a class.
    pub fn label(&self, index: usize) -> Option<u32> {
        match &self.store.target {
            Target::Class(labels) => Some(labels.indices.get(self.row(index))),
            _ => None,
        }
    }

    /// The classes of a sequence's steps: T_n numbers below C; `None` unless the target is a class at each step.
    pub fn step_labels(&self, index: usize) -> Option<impl ExactSizeIterator<Item = u32> + '_> {
        match &self.store.target {
            Target::StepClass(labels) => Some(labels.indices.range(self.steps(index))),
            _ => None,
        }
    }

    /// The target numbers of a sequence: K of them; `None` unless the target is numbers.
    pub fn numbers(&self, index: usize) -> Option<&[f32]> {
        match &self.store.target {
            Target::Numbers(Numbers { names, values }) => {
                Some(&values[self.row(index) * names.len()..][..names.len()])
            }
            _ => None,
        }
    }

    /// The names of the classes, in the order of their numbers; empty if the target is no class.
    pub fn class_names(&self) -> &[String] {
        match &self.store.target {
            Target::Class(labels) | Target::StepClass(labels) => &labels.names,
            Target::None | Target::Numbers(_) => &[],
        }
    }

    /// How many of the selected sequences, or of their steps, each class has.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_names().len()];
        for index in 0..self.len() {
            if let Some(label) = self.label(index) {
                counts[label as usize] += 1;
            }
            for label in self.step_labels(index).into_iter().flatten() {
                counts[label as usize] += 1;
            }
        }
        counts
    }

    /// The name of a sequence: its own, or else its number in the file, from 0.
    pub fn id(&self, index: usize) -> String {
        let row = self.row(index);
        let number = || (self.store.first + row as u64).to_string();
        self.store.ids.as_ref().map_or_else(number, |ids| ids.get(row).to_string())
    }

    /// Whether sequences have names of their own.
    pub fn has_ids(&self) -> bool {
        self.store.ids.is_some()
    }

    /// The time of the last step, as it stands in the file; `None` if the file was not read as series, has no times, or
    /// the sequence is a part that ends before.
    pub fn last_time(&self, index: usize) -> Option<&str> {
        let SequencePart { row, first, len } = self.part(index);
        let row = row as usize;
        let is_end = (first + len) as usize == self.store.steps.range(row).len();
        self.store.last_times.as_ref().filter(|_| is_end).map(|times| times.get(row))
    }

    /// The group of a sequence, such as the person who was recorded: a number for each; `None` if there are no groups.
    pub fn group(&self, index: usize) -> Option<u32> {
        self.store.groups.as_ref().map(|groups| groups.indices.get(self.row(index)))
    }

    /// The missing values of all sequences that share this store.
    pub fn missing(&self) -> &Missing {
        &self.store.missing
    }

    /// The sequences with these numbers, in this order. They share the numbers of this data set.
    ///
    /// # Panics
    /// When a number is not below N.
    pub fn select(&self, indices: &[u32]) -> Self {
        self.of_parts(indices.iter().map(|index| self.part(*index as usize)).collect())
    }

    /// A part of each sequence: the steps that `range` says for a sequence of so many steps. A sequence of whose
    /// steps none is left is left out.
    pub fn parts(&self, range: impl Fn(usize) -> Range<usize>) -> Self {
        let of = |index| {
            let part = self.part(index);
            let len = part.len as usize;
            let Range { start, end } = range(len);
            let (start, end) = (start.min(len), end.min(len));
            let first = part.first + start as u32;
            (start < end).then(|| SequencePart { first, len: (end - start) as u32, ..part })
        };
        self.of_parts((0..self.len()).filter_map(of).collect())
    }

    /// All parts of `window` steps behind which `horizon` more steps follow, of which all lie in the steps that
    /// `range` says for a sequence of so many steps: what is known before, and what is to be forecast. The window
    /// itself may begin before that range. Where values are missing, windows are left out of which a feature is not
    /// known at all, or the steps that follow are not all known.
    pub fn windows(
        &self,
        window: usize,
        horizon: usize,
        range: impl Fn(usize) -> Range<usize>,
    ) -> Self {
        let mut parts = Vec::new();
        for index in 0..self.len() {
            let part = self.part(index);
            let len = part.len as usize;
            let Range { start, end } = range(len);
            let ends = start.max(window)..(end.min(len) + 1).saturating_sub(horizon);
            parts.extend(ends.map(|end| SequencePart {
                first: part.first + (end - window) as u32,
                len: window as u32,
                ..part
            }));
        }
        let mut windows = self.of_parts(parts.into());
        if self.store.missing.count > 0 {
            let known = |index: &u32| {
                let index = *index as usize;
                windows.knows_each_feature(index) && !has_nan(windows.following(index, horizon))
            };
            let known: Vec<u32> = (0..windows.len() as u32).filter(known).collect();
            windows = windows.select(&known);
        }
        windows
    }

    /// Whether each feature of a sequence is known at one step at least.
    pub fn knows_each_feature(&self, index: usize) -> bool {
        let SequenceValues::F32(values) = self.sequence(index) else { return true };
        let width = self.features().len();
        let is_known =
            |feature: usize| values.iter().skip(feature).step_by(width).any(|x| !x.is_nan());
        (0..width).all(is_known)
    }

    /// The same sequences with another target.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when it has not a target for each sequence, or for each step, of all
    /// that share the numbers of this data set.
    pub fn with_target(self, target: Target) -> Result<Self> {
        let mut store = Arc::unwrap_or_clone(self.store);
        store.target = target;
        store.check()?;
        Ok(Self { store: Arc::new(store), parts: self.parts })
    }

    /// Bytes of memory that the values take, whatever part of them is selected.
    pub fn bytes(&self) -> usize {
        self.store.values.bytes()
    }

    /// SHA-256 over features, lengths, values and targets of the selected sequences, in hexadecimal digits. Names of
    /// sequences and of files are left out.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let number = |hash: &mut Sha256, value: usize| hash.update((value as u64).to_le_bytes());
        let text = |hash: &mut Sha256, text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        number(&mut hash, self.features().len());
        self.features().iter().for_each(|name| text(&mut hash, name));
        number(&mut hash, self.class_names().len());
        self.class_names().iter().for_each(|name| text(&mut hash, name));
        number(&mut hash, self.len());
        for index in 0..self.len() {
            number(&mut hash, self.seq_len(index));
            match self.sequence(index) {
                SequenceValues::F32(values) => hash.update(bytemuck::cast_slice::<f32, u8>(values)),
                SequenceValues::U8(values) => hash.update(values),
            }
            hash.update(self.label(index).unwrap_or(u32::MAX).to_le_bytes());
            for label in self.step_labels(index).into_iter().flatten() {
                hash.update(label.to_le_bytes());
            }
            hash.update(bytemuck::cast_slice::<f32, u8>(self.numbers(index).unwrap_or_default()));
        }
        hex(&hash.finalize())
    }
}
