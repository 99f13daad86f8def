//! `DatasetBuilder`: a data set put together step by step.

use std::sync::Arc;

use super::dataset::Dataset;
use super::names::Names;
use super::offsets::Offsets;
use super::seen_ids::SeenIds;
use super::store::{Missing, Store};
use super::target::{Labels, Target};
use super::values::{Segments, Values};
use crate::{Error, Result};

/// A data set that grows: step by step, sequence by sequence.
#[derive(Debug)]
pub struct DatasetBuilder {
    features: Vec<String>,
    values: Segments,
    ended: Offsets,
    /// Steps of the sequence that has not ended.
    steps: u64,
    ids: Names,
    seen: SeenIds,
    /// Whether an id may be that of several sequences.
    ids_repeat: bool,
    groups: Option<Labels>,
    missing: Missing,
    last_times: Names,
    /// The number of the first sequence, from 0, of all that there have been.
    first: u64,
    /// The names of those before it.
    earlier_ids: Names,
}

impl DatasetBuilder {
    /// A data set without sequences, whose steps have features of these names.
    pub fn new<S: Into<String>>(features: impl IntoIterator<Item = S>) -> Self {
        Self {
            features: features.into_iter().map(Into::into).collect(),
            values: Segments::default(),
            ended: Offsets::default(),
            steps: 0,
            ids: Names::default(),
            seen: SeenIds::default(),
            ids_repeat: false,
            groups: None,
            missing: Missing::default(),
            last_times: Names::default(),
            first: 0,
            earlier_ids: Names::default(),
        }
    }

    /// Takes out the sequences that have ended, which must be all; those that follow are numbered on, and may have
    /// none of their names.
    pub(super) fn take(&mut self) -> Self {
        use std::mem::take;
        let taken = Self {
            features: self.features.clone(),
            values: take(&mut self.values),
            ended: take(&mut self.ended),
            steps: self.steps,
            ids: take(&mut self.ids),
            seen: SeenIds::default(),
            ids_repeat: true,
            groups: self.groups.take(),
            missing: take(&mut self.missing),
            last_times: take(&mut self.last_times),
            first: self.first,
            earlier_ids: Names::default(),
        };
        self.first += taken.len() as u64;
        if !self.ids_repeat {
            taken.ids.iter().for_each(|id| self.earlier_ids.push(id));
        }
        taken
    }

    /// I features named `x1`, `x2`, ...; a single one is `x`.
    pub fn unnamed(features: usize) -> Self {
        if features == 1 {
            return Self::new(["x"]);
        }
        Self::new((1..=features).map(|number| format!("x{number}")))
    }

    /// The names of the features.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Adds a step to the sequence that has not ended.
    ///
    /// - `values`: `(I,)`; NaN is a missing value
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not a value for each feature.
    pub fn push_step(&mut self, values: &[f32]) -> Result<()> {
        self.push_steps(values, 1)
    }

    /// Adds steps to the sequence that has not ended.
    ///
    /// - `values`: `(count, I)`, step by step
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not a value for each feature at each step.
    pub fn push_steps(&mut self, values: &[f32], count: usize) -> Result<()> {
        if values.len() != count * self.features.len() {
            return Err(Error::Shape {
                op: "data set",
                tensor: "a step",
                expected: format!("({count}, {})", self.features.len()),
                actual: vec![values.len()],
            });
        }
        let missing = values.iter().filter(|value| value.is_nan()).count() as u64;
        if missing > 0 && self.missing.first.is_empty() {
            let at = values.iter().position(|value| value.is_nan()).unwrap_or_default();
            let width = self.features.len().max(1);
            let (step, feature) =
                (self.steps as usize + at / width + 1, &self.features[at % width]);
            let number = self.first + self.len() as u64 + 1;
            self.missing.first = format!("sequence {number}, step {step}, {feature}");
        }
        self.missing.count += missing;
        self.values.extend(values);
        self.steps += count as u64;
        Ok(())
    }

    /// Makes room for so many values more of the sequence that has not ended.
    pub(super) fn reserve(&mut self, values: usize) {
        self.values.reserve(values);
    }

    /// Says where the first missing value is in its file; only the first call counts.
    pub fn missing_at(&mut self, place: impl FnOnce() -> String) {
        if self.missing.first.is_empty() {
            self.missing.first = place();
        }
    }

    /// Ends the sequence to which steps were added.
    ///
    /// # Errors
    /// [`Error::Config`] when it has no step.
    pub fn end_sequence(&mut self) -> Result<()> {
        if self.steps == 0 {
            let number = self.first + self.len() as u64 + 1;
            return Err(Error::Config(format!("sequence {number} has no steps")));
        }
        self.ended.push(self.steps);
        self.values.end_sequence();
        self.steps = 0;
        Ok(())
    }

    /// Ends it and gives it a name.
    ///
    /// # Errors
    /// As [`end_sequence`](Self::end_sequence); [`Error::Config`] for a name that a sequence before it has.
    pub fn end_named(&mut self, id: impl AsRef<str>) -> Result<()> {
        let id = id.as_ref();
        if self.has_id(id) {
            return Err(Error::Config(format!(
                "the id {id:?} is that of a sequence before: give each sequence an id of its own"
            )));
        }
        self.end_sequence()?;
        if !self.ids_repeat {
            self.seen.add(id);
        }
        self.ids.push(id);
        Ok(())
    }

    /// Whether a sequence that has ended has this name, which no other one may have.
    pub(super) fn has_id(&mut self, id: &str) -> bool {
        !self.ids_repeat && self.seen.has(id, [&self.earlier_ids, &self.ids])
    }

    /// Lets several sequences have one name, as the examples of one person in a table have.
    pub(super) fn let_ids_repeat(&mut self) {
        self.ids_repeat = true;
    }

    /// Says of which time the last step of the sequence is that ended last.
    pub(super) fn last_time(&mut self, time: &str) {
        self.last_times.push(time);
    }

    /// The number of sequences that have ended.
    pub fn len(&self) -> usize {
        self.ended.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Steps of the sequence that has not ended.
    pub fn open_steps(&self) -> usize {
        self.steps as usize
    }

    /// The numbers of steps of all sequences that have ended.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.ended.sizes()
    }

    /// Bytes of memory that the values take so far.
    pub fn bytes(&self) -> usize {
        4 * self.values.len()
    }

    /// Puts each sequence in a group, such as the person who was recorded: groups are split whole.
    pub fn groups(&mut self, groups: Labels) {
        self.groups = Some(groups);
    }

    /// The data set.
    ///
    /// # Errors
    /// [`Error::Config`] when there are no sequences, no features, or not as many targets, names or groups as
    /// sequences or steps.
    pub fn build(self, target: Target) -> Result<Dataset> {
        let values = Values::F32(self.values);
        let Self { features, ended, ids, groups, missing, steps, last_times, first, .. } = self;
        if steps > 0 {
            return Err(Error::Config("the last sequence has not ended".into()));
        }
        build(Store {
            features,
            values,
            steps: ended,
            target,
            ids: (!ids.is_empty()).then_some(ids),
            groups,
            missing,
            last_times: (!last_times.is_empty()).then_some(last_times),
            first,
        })
    }
}

/// A data set of bytes, whose values are 255ths: all sequences have T steps of I features.
///
/// - `bytes`: `(N, T, I)`; an `Arc` is shared
///
/// # Errors
/// As [`DatasetBuilder::build`]; [`Error::Shape`] when there are not T times I bytes for each sequence.
pub fn dataset_of_bytes(
    features: Vec<String>,
    bytes: impl Into<Arc<Vec<u8>>>,
    seq_len: usize,
    target: Target,
) -> Result<Dataset> {
    let bytes = bytes.into();
    let size = seq_len * features.len();
    if size == 0 || !bytes.len().is_multiple_of(size) {
        return Err(Error::Shape {
            op: "data set",
            tensor: "bytes",
            expected: format!("(N, {seq_len}, {})", features.len()),
            actual: vec![bytes.len()],
        });
    }
    build(Store {
        steps: Offsets::even(seq_len as u64, bytes.len() / size),
        values: Values::U8(bytes),
        ids: None,
        groups: None,
        missing: Missing::default(),
        last_times: None,
        first: 0,
        features,
        target,
    })
}

fn build(store: Store) -> Result<Dataset> {
    store.check()?;
    Ok(Dataset::of(store))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::SequenceValues;
    use crate::data::target::{LabelsBuilder, Numbers};

    fn ragged() -> Dataset {
        let mut builder = DatasetBuilder::unnamed(2);
        let mut labels = LabelsBuilder::new();
        for (id, len) in [("a", 2), ("b", 1), ("c", 3)] {
            for t in 0..len {
                builder.push_step(&[t as f32, if id == "c" { f32::NAN } else { 1. }]).unwrap();
            }
            builder.end_named(id).unwrap();
            labels.push(if id == "b" { "odd" } else { "even" });
        }
        builder.build(Target::Class(labels.build())).unwrap()
    }

    #[test]
    fn sequences_come_back_as_they_went_in() {
        let data = ragged();
        assert_eq!((data.len(), data.lengths(), data.total_steps()), (3, vec![2, 1, 3], 6));
        assert_eq!(data.sequence(0), SequenceValues::F32(&[0., 1., 1., 1.]));
        assert_eq!(data.features(), ["x1", "x2"]);
        assert_eq!((data.label(1), data.class_names()[1].as_str()), (Some(1), "odd"));
        assert_eq!(data.missing().count, 3);
        assert_eq!(data.missing().first, "sequence 3, step 1, x2");
        let part = data.select(&[2, 0]);
        assert_eq!((part.id(0), part.id(1), part.len()), ("c".into(), "a".into(), 2));
        assert_eq!(part.class_counts(), [2, 0]);
        assert_ne!(part.fingerprint(), data.fingerprint());
        assert_eq!(data.select(&[0, 1, 2]).fingerprint(), data.fingerprint());
    }

    #[test]
    fn windows_end_where_what_follows_begins() {
        let mut builder = DatasetBuilder::unnamed(1);
        (0..10).for_each(|t| builder.push_step(&[t as f32]).unwrap());
        builder.end_sequence().unwrap();
        let data = builder.build(Target::None).unwrap();
        let train = data.windows(3, 2, |_| 0..6);
        // What follows lies within the first six steps: 3 4, and 4 5.
        assert_eq!(train.len(), 2);
        assert_eq!(train.sequence(1), SequenceValues::F32(&[1., 2., 3.]));
        assert_eq!(train.following(1, 2), SequenceValues::F32(&[4., 5.]));
        let test = data.windows(3, 2, |len| 6..len);
        assert_eq!((test.len(), test.sequence(0)), (3, SequenceValues::F32(&[3., 4., 5.])));
        assert_eq!(test.following(2, 2), SequenceValues::F32(&[8., 9.]));
        assert_eq!(data.windows(9, 2, |len| 0..len).len(), 0);
        let cut = data.parts(|len| 0..len - 4);
        assert_eq!(
            (cut.lengths(), cut.following(0, 9)),
            (vec![6], data.parts(|len| 6..len).sequence(0))
        );
    }

    #[test]
    fn bytes_stay_bytes() {
        let data = dataset_of_bytes(vec!["x".into()], vec![0, 255, 3, 4], 2, Target::None).unwrap();
        assert_eq!((data.len(), data.seq_len(1), data.bytes()), (2, 2, 4));
        assert_eq!(data.sequence(1), SequenceValues::U8(&[3, 4]));
        assert!(dataset_of_bytes(vec!["x".into()], vec![0, 1, 2], 2, Target::None).is_err());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let mut builder = DatasetBuilder::unnamed(2);
        assert!(builder.push_step(&[1.]).is_err());
        let error = builder.end_sequence().unwrap_err().to_string();
        assert!(error.contains("sequence 1 has no steps"), "{error}");
        builder.push_step(&[1., 2.]).unwrap();
        builder.end_sequence().unwrap();
        for is_taken in [false, true] {
            let mut named = DatasetBuilder::unnamed(1);
            for (id, is_new) in [("b", true), ("a", true), ("b", false)] {
                named.push_step(&[1.]).unwrap();
                assert_eq!(named.end_named(id).is_ok(), is_new, "{id}");
                if is_taken && is_new {
                    let taken = named.take().build(Target::None).unwrap();
                    assert_eq!((taken.len(), taken.id(0)), (1, id.into()));
                }
            }
        }
        let numbers = Numbers { names: vec!["y".into()], values: vec![1., 2.] };
        let error = builder.build(Target::Numbers(numbers)).unwrap_err().to_string();
        assert!(error.contains("1 numbers, got 2"), "{error}");
        let error = DatasetBuilder::unnamed(1).build(Target::None).unwrap_err().to_string();
        assert!(error.contains("no sequences"), "{error}");
    }
}
