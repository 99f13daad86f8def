//! The objects of a JSON file, one after the other.

use super::jsonl_example::{Example, JsonLabel, JsonTypes};
use super::label_reader::LabelReader;
use super::labels::LabelColumn;
use super::sequence_sink::SequenceSink;
use super::text_numbers::quote;
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, Numbers, Target, TargetKind};
use crate::wording::counted;
use crate::{Error, Result};

/// A data set that objects make.
pub(super) struct Objects<'a, 'b> {
    sink: &'a mut SequenceSink<'b>,
    builder: Option<DatasetBuilder>,
    kind: Option<TargetKind>,
    target: JsonTarget,
    groups: LabelsBuilder,
    with_id: Option<bool>,
    with_group: Option<bool>,
    /// The types of all labels.
    types: JsonTypes,
}

impl<'a, 'b> Objects<'a, 'b> {
    /// No object yet.
    ///
    /// - `kind`: the kind of target that was asked for
    pub(super) fn new(kind: Option<TargetKind>, sink: &'a mut SequenceSink<'b>) -> Self {
        Self {
            builder: None,
            kind: sink.kind(kind),
            sink,
            target: JsonTarget::Unknown,
            groups: LabelsBuilder::new(),
            with_id: None,
            with_group: None,
            types: JsonTypes::default(),
        }
    }

    /// Takes what an object holds out of `example`.
    ///
    /// - `place`: where the object is, such as `line 3`
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(
        &mut self,
        example: &mut Example,
        place: impl Fn() -> String,
    ) -> std::result::Result<(), String> {
        let width = example.width.unwrap_or(1);
        if example.steps == 0 {
            return Err("the sequence has no steps: expected a list of them in x".into());
        }
        if width == 0 {
            return Err("the steps of x have no features".into());
        }
        let data = self.builder.get_or_insert_with(|| {
            let mut data = DatasetBuilder::unnamed(width);
            if self.sink.knows_ids() {
                data.let_ids_repeat();
            }
            data
        });
        if data.features().len() != width {
            let expected = data.features().len();
            return Err(format!(
                "has {}, the first sequence has {expected}",
                counted(width, "feature")
            ));
        }
        if let Some(at) = example.values.iter().position(|value| value.is_nan()) {
            let (step, feature) = (at / width + 1, at % width + 1);
            data.missing_at(|| format!("{}, feature {feature}, step {step}", place()));
        }
        data.reserve(example.values.len());
        let added = data.push_steps(&example.values, example.steps);
        added.map_err(|error| error.to_string())?;
        all_or_none(&mut self.with_id, example.id.is_some(), "id")?;
        all_or_none(&mut self.with_group, example.group.is_some(), "group")?;
        let ended = match example.id.take() {
            Some(id) => data.end_named(id),
            None => data.end_sequence(),
        };
        ended.map_err(|error| error.to_string())?;
        if let Some(group) = example.group.take() {
            self.groups.push(&group);
        }
        let types = example.y.as_ref().map(JsonLabel::types);
        self.types = self.types.and(types.unwrap_or_default());
        self.target.push(example.y.take(), example.steps, self.kind, place)
    }

    /// Hands on the objects so far, if they are many.
    ///
    /// # Errors
    /// As [`SequenceSink::ended`].
    pub(super) fn pass_on(&mut self) -> Result<()> {
        let Some(builder) = &mut self.builder else { return Ok(()) };
        self.sink.ended(builder, &mut self.target, &mut self.groups)
    }

    /// Bytes of memory that the values take so far.
    pub(super) fn bytes(&self) -> u64 {
        self.builder.as_ref().map_or(0, |data| data.bytes() as u64)
    }

    /// The data set, and what was assumed.
    ///
    /// - `example`: of which all objects were taken
    ///
    /// # Errors
    /// [`Error::DataFile`] when there are no objects, or labels that contradict each other.
    pub(super) fn finish(
        self,
        example: &Example,
        path: &std::path::Path,
        notes: &mut Vec<String>,
    ) -> Result<Option<Dataset>> {
        let Some(builder) = self.builder else {
            return Err(Error::data_file(path, "holds no objects"));
        };
        let groups = (self.with_group == Some(true)).then_some(self.groups);
        let others: Vec<&str> = example.others.iter().map(String::as_str).collect();
        if !others.is_empty() {
            let (s, are) = if others.len() == 1 { ("", "is") } else { ("s", "are") };
            let more = if others.len() == Example::MOST_OTHERS { ", ..." } else { "" };
            notes.push(format!("field{s} {}{more} {are} left out", others.join(", ")));
        }
        let data = self.sink.finish(builder, self.target, groups, path, notes)?;
        let is_told = notes.iter().any(|note| note.starts_with("y has texts and numbers"));
        if self.types.are_mixed() && self.kind.is_none() && !is_told {
            notes.push("y has texts and numbers: all of them are names of classes".into());
        }
        Ok(data)
    }
}

/// Every object has a field, or none has.
fn all_or_none(
    before: &mut Option<bool>,
    now: bool,
    field: &str,
) -> std::result::Result<(), String> {
    if *before.get_or_insert(now) == now {
        return Ok(());
    }
    Err(if now {
        format!("has a field {field}, which the objects before it lack")
    } else {
        format!("lacks the field {field}, which the objects before it have")
    })
}

/// The targets of all objects; the first says of which kind they are.
#[derive(Debug)]
enum JsonTarget {
    Unknown,
    None,
    Single(LabelColumn),
    Steps(LabelColumn),
    Several(Numbers),
}

impl JsonTarget {
    fn push(
        &mut self,
        y: Option<JsonLabel>,
        steps: usize,
        kind: Option<TargetKind>,
        place: impl FnOnce() -> String,
    ) -> std::result::Result<(), String> {
        if matches!(self, Self::Unknown) {
            *self = Self::of(&y, steps, kind);
        }
        match (self, y) {
            (Self::None, None) => Ok(()),
            (Self::None, Some(_)) if kind == Some(TargetKind::None) => Ok(()),
            (Self::None, Some(_)) => Err("has a field y, which the objects before it lack".into()),
            (_, None) => Err("lacks the field y, which the objects before it have".into()),
            (Self::Single(_), Some(JsonLabel::List(..))) => {
                Err("y is a list, expected one label as in the first object".into())
            }
            (Self::Single(labels), Some(JsonLabel::Missing)) => labels.push(b"", place),
            (Self::Single(labels), Some(label)) => {
                labels.push(label.name().unwrap_or_default().as_bytes(), place)
            }
            (Self::Steps(labels), Some(JsonLabel::List(names, _))) if names.len() == steps => {
                let place = place();
                names.iter().try_for_each(|name| labels.push(name.as_bytes(), || place.clone()))
            }
            (Self::Steps(_), Some(JsonLabel::List(names, _))) => {
                let labels = counted(names.len(), "label");
                Err(format!("y has {labels}, expected one for each of {}", counted(steps, "step")))
            }
            (Self::Steps(_), Some(_)) => Err("y is one label, expected one for each step".into()),
            (Self::Several(numbers), Some(JsonLabel::List(found, types)))
                if types.are_numbers() && found.len() == numbers.names.len() =>
            {
                let values = found.iter().map(|value| value.parse().unwrap_or(f32::NAN));
                let before = numbers.values.len();
                numbers.values.extend(values);
                let finite = numbers.values[before..].iter().all(|value| value.is_finite());
                finite.then_some(()).ok_or_else(|| "y must be of finite numbers".into())
            }
            (Self::Several(numbers), Some(label)) => {
                let expected = numbers.names.len();
                let shown = match label {
                    JsonLabel::List(found, types) if types.are_numbers() => {
                        format!("{} of them", found.len())
                    }
                    JsonLabel::List(..) => "texts".into(),
                    other => quote(&other.name().unwrap_or_default()),
                };
                Err(format!("y must be a list of {expected} numbers, got {shown}"))
            }
            (Self::Unknown, Some(_)) => Ok(()),
        }
    }

    fn of(y: &Option<JsonLabel>, steps: usize, kind: Option<TargetKind>) -> Self {
        match (y, kind) {
            (None, _) | (_, Some(TargetKind::None)) => Self::None,
            (Some(JsonLabel::List(names, types)), kind) => {
                let whole = |name: &str| name.parse::<f64>().is_ok_and(|v| v.fract() == 0.);
                let classes = types.texts || (names.len() == steps && names.iter().all(whole));
                if kind == Some(TargetKind::StepClass) || kind.is_none() && classes {
                    Self::Steps(LabelColumn::new("y", Some(TargetKind::StepClass)))
                } else {
                    let names = match names.len() {
                        1 => vec!["y".into()],
                        count => (1..=count).map(|number| format!("y{number}")).collect(),
                    };
                    Self::Several(Numbers { names, values: Vec::new() })
                }
            }
            (Some(_), Some(TargetKind::StepClass)) => {
                Self::Steps(LabelColumn::new("y", Some(TargetKind::StepClass)))
            }
            (Some(_), kind) => Self::Single(LabelColumn::new("y", kind)),
        }
    }
}

impl LabelReader for JsonTarget {
    fn forget(&mut self) {
        match self {
            Self::Unknown | Self::None => {}
            Self::Single(labels) | Self::Steps(labels) => labels.forget(),
            Self::Several(numbers) => numbers.values.clear(),
        }
    }

    fn take(&mut self) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::None => Self::None,
            Self::Single(labels) => Self::Single(labels.take()),
            Self::Steps(labels) => Self::Steps(labels.take()),
            Self::Several(Numbers { names, values }) => {
                Self::Several(Numbers { names: names.clone(), values: std::mem::take(values) })
            }
        }
    }

    fn finish(self, notes: &mut Vec<String>) -> std::result::Result<Target, String> {
        match self {
            Self::Unknown | Self::None => Ok(Target::None),
            Self::Single(labels) => labels.finish(notes),
            Self::Steps(labels) => labels.finish_steps(notes),
            Self::Several(numbers) => Ok(Target::Numbers(numbers)),
        }
    }
}
