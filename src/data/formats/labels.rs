//! Labels as they are read: classes or numbers, whichever they turn out to be.

use std::borrow::Cow;
use std::collections::HashMap;

use super::text_numbers::{complaint, is_missing, is_number, quote};
use crate::data::{LabelsBuilder, TargetKind};

mod target;

/// Distinct whole numbers up to which they are taken for classes, however few examples each has.
const FEW: usize = 20;
/// Distinct numbers from which they are certainly no classes.
const MANY: usize = 10_000;

/// The label of each sequence, or of each step.
#[derive(Debug)]
pub(super) struct LabelColumn {
    /// The name of the column or field; that of the number, if it is one.
    name: String,
    kind: Option<TargetKind>,
    read: ReadLabels,
    /// Whether a class must be one that was declared.
    declared: bool,
    /// Where the first label is missing, and how many are.
    missing: Option<String>,
    missing_count: usize,
    /// Whether the last label is missing.
    is_last_missing: bool,
    /// The classes of numbers that were pushed as such, by their bits.
    of_numbers: HashMap<u64, u32>,
    /// Whether one of the labels is no number.
    text: bool,
    /// The only label that is no number, as long as there is one.
    stray: Option<(String, String)>,
    /// Whether one of the labels is a number and not whole.
    fraction: bool,
    /// How many labels were forgotten, if that has been asked for.
    forgotten: Option<usize>,
    /// Whether the kind is what all labels of the file say it is.
    is_settled: bool,
}

#[derive(Debug)]
enum ReadLabels {
    Names(LabelsBuilder),
    Numbers(Vec<f32>),
}

impl LabelColumn {
    /// No label yet.
    ///
    /// - `kind`: the kind of target that was asked for
    pub(super) fn new(name: &str, kind: Option<TargetKind>) -> Self {
        let read = if kind == Some(TargetKind::Numbers) {
            ReadLabels::Numbers(Vec::new())
        } else {
            ReadLabels::Names(LabelsBuilder::new())
        };
        Self {
            name: name.into(),
            kind,
            read,
            declared: false,
            missing: None,
            missing_count: 0,
            is_last_missing: false,
            of_numbers: HashMap::new(),
            text: false,
            stray: None,
            fraction: false,
            forgotten: None,
            is_settled: false,
        }
    }

    /// As [`new`](Self::new), of classes that are declared beforehand.
    pub(super) fn declared(classes: &[String]) -> Self {
        let mut new = Self::new("label", Some(TargetKind::Class));
        let mut labels = LabelsBuilder::new();
        classes.iter().for_each(|name| labels.declare(&plain(name)));
        new.read = ReadLabels::Names(labels);
        new.declared = true;
        new
    }

    /// Forgets the labels, but for what they say about their kind and which classes there are.
    pub(super) fn forget(&mut self) {
        let all = self.len();
        match &mut self.read {
            ReadLabels::Names(labels) => labels.forget(),
            ReadLabels::Numbers(values) => values.clear(),
        }
        self.forgotten = Some(all - self.held());
    }

    /// Takes out the labels, whose kind is known; those that follow are of the same.
    pub(super) fn take(&mut self) -> Self {
        let mut fresh = Self::new(&self.name, self.kind);
        if let (true, ReadLabels::Names(labels)) = (self.declared, &self.read) {
            fresh.read = ReadLabels::Names(labels.emptied());
            fresh.declared = true;
        }
        let taken = std::mem::replace(self, fresh);
        Self { is_settled: true, ..taken }
    }

    /// How many labels there are, and were.
    pub(super) fn len(&self) -> usize {
        self.forgotten.unwrap_or(0) + self.held()
    }

    /// How many labels there are.
    fn held(&self) -> usize {
        match &self.read {
            ReadLabels::Names(labels) => labels.len(),
            ReadLabels::Numbers(values) => values.len(),
        }
    }

    /// Adds the label of the next sequence or step.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn push(
        &mut self,
        label: &[u8],
        place: impl FnOnce() -> String,
    ) -> Result<(), String> {
        let text = std::str::from_utf8(label).map_err(|_| complaint(label))?.trim();
        let missing = is_missing(text);
        self.is_last_missing = missing;
        let mut place = Some(place);
        let mut place = || place.take().map_or_else(String::new, |place| place());
        if missing {
            self.missing_count += 1;
            if self.missing.is_none() {
                self.missing = Some(place());
            }
        }
        match &mut self.read {
            ReadLabels::Numbers(values) => {
                let value = if missing {
                    f32::NAN
                } else {
                    // As a name that becomes a number: -0.0 is 0.
                    let value = plain(text).parse::<f32>().ok().filter(|value| value.is_finite());
                    value.ok_or_else(|| complaint(label))?
                };
                values.push(value);
                return Ok(());
            }
            ReadLabels::Names(labels) => {
                let name = plain(text);
                if self.declared && !missing && !labels.has(&name) {
                    return Err(format!("{} is not among the declared classes", quote(text)));
                }
                if missing {
                    // Refused in the end unless all are missing.
                    labels.push("?");
                    return Ok(());
                }
                labels.push(&name);
                if !is_number(&name) {
                    let is_other = self.stray.as_ref().is_some_and(|(stray, _)| *stray != name);
                    if !self.text {
                        self.stray = Some((name.into_owned(), place()));
                    } else if is_other {
                        self.stray = None;
                    }
                    self.text = true;
                } else if name.contains(['.', 'e', 'E']) {
                    self.fraction = true;
                }
            }
        }
        self.settle_early();
        Ok(())
    }

    /// Adds a label that is a number, NaN if it is missing.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) fn push_number(
        &mut self,
        value: f64,
        place: impl FnOnce() -> String,
    ) -> Result<(), String> {
        if let (ReadLabels::Names(labels), Some(class)) =
            (&mut self.read, self.of_numbers.get(&value.to_bits()))
        {
            self.is_last_missing = false;
            labels.push_class(*class);
            return Ok(());
        }
        if value.is_nan() {
            return self.push(b"", place);
        }
        self.push(value.to_string().as_bytes(), place)?;
        match &self.read {
            ReadLabels::Names(labels) => {
                self.of_numbers.extend(labels.last().map(|class| (value.to_bits(), class)));
            }
            ReadLabels::Numbers(_) => self.of_numbers = HashMap::new(),
        }
        Ok(())
    }

    /// Makes room for so many labels more.
    pub(super) fn reserve(&mut self, count: usize) {
        match &mut self.read {
            ReadLabels::Names(labels) => labels.reserve(count),
            ReadLabels::Numbers(values) => values.reserve_exact(count),
        }
    }

    /// Adds the last label once more.
    pub(super) fn push_again(&mut self) {
        self.missing_count += usize::from(self.is_last_missing);
        match &mut self.read {
            ReadLabels::Names(labels) => labels.push_again(),
            ReadLabels::Numbers(values) => values.extend(values.last().copied()),
        }
    }

    /// The name of the column or field.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Each label as many times as `counts` says: labels of sequences become those of steps.
    pub(super) fn repeated(mut self, counts: impl Iterator<Item = usize>) -> Self {
        if self.forgotten.is_some() {
            return self;
        }
        if let ReadLabels::Names(labels) = self.read {
            self.read = ReadLabels::Names(labels.repeated(counts));
        }
        self
    }

    /// Names of numbers that cannot be classes any more are not kept.
    fn settle_early(&mut self) {
        let ReadLabels::Names(labels) = &self.read else { return };
        let open = self.kind.is_none() && !self.text;
        if open && (self.fraction && labels.classes() > FEW || labels.classes() > MANY) {
            self.become_numbers();
        }
    }

    fn become_numbers(&mut self) {
        if let ReadLabels::Names(labels) = &mut self.read {
            let (names, indices) = std::mem::take(labels).into_parts();
            let values: Vec<f32> =
                names.iter().map(|name| name.parse().unwrap_or(f32::NAN)).collect();
            let numbers = indices.iter().map(|index| values[index as usize]);
            self.read = ReadLabels::Numbers(numbers.collect());
            self.of_numbers = HashMap::new();
        }
    }
}

/// A whole number without its fraction: `1.0` and `1.0000e+00` are the class `1`.
fn plain(name: &str) -> Cow<'_, str> {
    if name.contains(['.', 'e', 'E']) && is_number(name) {
        if let Some(value) = name.parse::<f64>().ok().filter(|v| v.fract() == 0. && v.abs() < 1e15)
        {
            return format!("{}", value as i64).into();
        }
    }
    name.into()
}

/// Whether two labels, or two groups, are one: both missing, or the same number or name.
pub(super) fn are_same(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let [Ok(one), Ok(other)] = [one, other].map(std::str::from_utf8) else { return false };
    let (one, other) = (one.trim(), other.trim());
    is_missing(one) && is_missing(other) || plain(one) == plain(other)
}
