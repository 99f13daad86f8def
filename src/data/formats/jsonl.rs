//! JSON lines: an object a line, with a sequence and its target.

use std::io::BufReader;

use super::cells::quote;
use super::jsonl_example::{Example, JsonLabel};
use super::labels::LabelColumn;
use super::lines::Lines;
use super::memory;
use super::options::ReadOptions;
use super::source::DataSource;
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, Numbers, Target, TargetKind};
use crate::{Error, Result};

/// Reads such a file: `x` or `sequence` is a list of steps, each a number or a list of I numbers; `y`, `label` or
/// `target` a label, a label for each step or a list of numbers; `id` and `group` name a sequence and its group.
///
/// # Errors
/// [`Error::DataFile`] with line and column.
pub(super) fn read(
    source: DataSource,
    options: &ReadOptions,
    notes: &mut Vec<String>,
) -> Result<Dataset> {
    let path = source.path.clone();
    let memory = source.memory;
    let head = source.head_lines();
    let cells = head.iter().filter(|byte| **byte == b',').count() + 1;
    source.check_need(head.len().max(1), 4 * cells)?;
    let mut lines = Lines::new(BufReader::with_capacity(64 << 10, source.into_text()), &path);
    let mut example = Example::default();
    let mut builder: Option<DatasetBuilder> = None;
    let mut target = JsonTarget::Unknown;
    let mut groups = LabelsBuilder::new();
    let (mut with_id, mut with_group) = (None, None);
    while lines.next()? {
        if lines.line().trim_ascii().is_empty() {
            continue;
        }
        example.clear();
        let text = lines.text()?;
        let mut json = serde_json::Deserializer::from_str(text);
        let outcome = example.deserialize(&mut json).and_then(|()| json.end());
        outcome.map_err(|error| of_json(&lines, &error))?;
        let width = example.width.unwrap_or(1);
        if example.steps == 0 {
            return Err(lines.at("the sequence has no steps: expected a list of them in x"));
        }
        if width == 0 {
            return Err(lines.at("the steps of x have no features"));
        }
        let data = builder.get_or_insert_with(|| DatasetBuilder::unnamed(width));
        if data.features().len() != width {
            let expected = data.features().len();
            let reason = format!("has {width} features, the first sequence has {expected}");
            return Err(lines.at(reason));
        }
        if let Some(at) = example.values.iter().position(|value| value.is_nan()) {
            let (step, feature) = (at / width + 1, at % width + 1);
            data.missing_at(|| format!("line {}, feature {feature}, step {step}", lines.number()));
        }
        data.push_steps(&example.values, example.steps)?;
        all_or_none(&mut with_id, example.id.is_some(), "id").map_err(|reason| lines.at(reason))?;
        all_or_none(&mut with_group, example.group.is_some(), "group")
            .map_err(|reason| lines.at(reason))?;
        match example.id.take() {
            Some(id) => data.end_named(id)?,
            None => data.end_sequence()?,
        }
        if let Some(group) = example.group.take() {
            groups.push(&group);
        }
        target
            .push(example.y.take(), example.steps, options.target, || {
                format!("line {}", lines.number())
            })
            .map_err(|reason| lines.at(reason))?;
        memory::check(&path, data.bytes() as u64, memory)?;
    }
    let Some(mut builder) = builder else {
        return Err(Error::data_file(&path, "holds no objects"));
    };
    if with_group == Some(true) {
        builder.groups(groups.build());
    }
    let target = target.finish(notes).map_err(|reason| Error::data_file(&path, reason))?;
    builder.build(target)
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

fn of_json<R: std::io::BufRead>(lines: &Lines<R>, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(&text[..], |(reason, _)| reason);
    lines.fail(format!("line {}, column {}: {reason}", lines.number(), error.column()))
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
                Err(format!("y has {} labels, expected one for each of {steps} steps", names.len()))
            }
            (Self::Steps(_), Some(_)) => Err("y is one label, expected one for each step".into()),
            (Self::Several(numbers), Some(JsonLabel::List(found, true)))
                if found.len() == numbers.names.len() =>
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
                    JsonLabel::List(found, true) => format!("{} of them", found.len()),
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
            (Some(JsonLabel::List(names, numbers)), kind) => {
                let whole = |name: &String| name.parse::<f64>().is_ok_and(|v| v.fract() == 0.);
                let classes = !numbers || (names.len() == steps && names.iter().all(whole));
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

    fn finish(self, notes: &mut Vec<String>) -> std::result::Result<Target, String> {
        match self {
            Self::Unknown | Self::None => Ok(Target::None),
            Self::Single(labels) => labels.finish(notes),
            Self::Steps(labels) => labels.finish_steps(),
            Self::Several(numbers) => Ok(Target::Numbers(numbers)),
        }
    }
}
