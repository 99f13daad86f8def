//! Targets from an array `y` beside the sequences.

use super::arrays::ArrayFile;
use super::labels::LabelColumn;
use super::sequence_shape::SequenceShape;
use crate::data::{Labels, LabelsBuilder, Names, Numbers, Target, TargetKind};

/// Labels of these names.
pub(super) fn labels_of(names: &Names) -> Labels {
    let mut labels = LabelsBuilder::new();
    names.iter().for_each(|name| labels.push(name));
    labels.build()
}

/// The target that an array holds; none if there is no array.
///
/// # Errors
/// What is wrong with it.
pub(super) fn target_of(
    file: &mut dyn ArrayFile,
    name: Option<&str>,
    shape: &SequenceShape,
    kind: Option<TargetKind>,
    notes: &mut Vec<String>,
) -> Result<Target, String> {
    let Some(name) = name else { return Ok(Target::None) };
    let array = file.open(name)?;
    let fail = |reason: String| format!("array {name} {reason}");
    let info = array.info.clone();
    let steps = shape.steps.total();
    let count = shape.count;
    let by_step = by_step(&info.shape, info.dtype.is_float(), shape, kind);
    let width = match info.shape[..] {
        _ if by_step => 1,
        [rows] if rows == count => 1,
        [rows, width] if rows == count && width > 0 => width,
        _ => {
            let found = &info.shape;
            return Err(fail(format!(
                "has the shape {found:?}: expected ({count},), ({count}, K), or a label for each of the {steps} steps"
            )));
        }
    };
    let mut column =
        LabelColumn::new(name, if by_step { Some(TargetKind::StepClass) } else { kind });
    let real = |at: usize| match shape.padded {
        Some(padded) if by_step && info.shape.len() == 2 => {
            at % padded < shape.steps.range(at / padded).len()
        }
        _ => true,
    };
    let is_column = by_step || width == 1;
    if is_column {
        column.reserve(info.count);
    }
    let mut at = 0;
    if info.dtype.is_text() {
        let push = |text: &str| {
            at += 1;
            if !real(at - 1) {
                return Ok(());
            }
            let element = at - 1;
            column
                .push(text.as_bytes(), || format!("array {name}, element {element}"))
                .map_err(|reason| format!("has a wrong element {element}: {reason}"))
        };
        array.texts(push).map_err(fail)?;
        return finish(column, by_step, notes);
    }
    if is_column && !info.fortran {
        let mut push = |value: f64| {
            at += 1;
            if !real(at - 1) {
                return Ok(());
            }
            column.push_number(value, || format!("array {name}, element {}", at - 1))
        };
        array.numbers(|values| values.iter().try_for_each(|value| push(*value))).map_err(fail)?;
        return finish(column, by_step, notes);
    }
    let mut values = Vec::with_capacity(info.count);
    array
        .numbers(|piece| {
            values.extend_from_slice(piece);
            Ok(())
        })
        .map_err(fail)?;
    if info.fortran && info.shape.len() == 2 {
        let [rows, columns] = [info.shape[0], info.shape[1]];
        values =
            (0..rows * columns).map(|at| values[at / columns + rows * (at % columns)]).collect();
    }
    if !is_column {
        if matches!(kind, Some(TargetKind::Class | TargetKind::StepClass)) {
            let found = &info.shape;
            return Err(fail(format!(
                "has the shape {found:?}: expected a class for each sequence"
            )));
        }
        if let Some(value) = values.iter().find(|value| !(**value as f32).is_finite()) {
            return Err(fail(format!("holds {value:e}: expected finite numbers")));
        }
        if kind.is_none() {
            let is_one_hot = values.chunks_exact(width).all(|row| {
                let ones = row.iter().filter(|value| **value == 1.).count();
                ones == 1 && row.iter().filter(|value| **value == 0.).count() == width - 1
            });
            let hint = if is_one_hot {
                ", one-hot as they are: give the index of each class, and they are classes"
            } else {
                ""
            };
            notes.push(format!("array {name} holds {width} numbers for each sequence{hint}"));
        }
        let names = (1..=width).map(|number| format!("{name}{number}")).collect();
        let values = values.iter().map(|value| *value as f32).collect();
        return Ok(Target::Numbers(Numbers { names, values }));
    }
    for (at, value) in values.iter().enumerate().filter(|(at, _)| real(*at)) {
        column.push_number(*value, || format!("array {name}, element {at}")).map_err(fail)?;
    }
    finish(column, by_step, notes)
}

fn finish(column: LabelColumn, by_step: bool, notes: &mut Vec<String>) -> Result<Target, String> {
    if by_step {
        return column.finish_steps(notes);
    }
    column.finish(notes)
}

/// Whether there is a label for each step.
fn by_step(y: &[usize], is_float: bool, x: &SequenceShape, kind: Option<TargetKind>) -> bool {
    let wanted = match kind {
        None => !is_float,
        Some(kind) => kind == TargetKind::StepClass,
    };
    let fits = match (y, x.padded) {
        ([rows, steps], Some(padded)) => *rows == x.count && *steps == padded,
        ([steps], None) => *steps as u64 == x.steps.total() && *steps != x.count,
        _ => false,
    };
    wanted && fits
}
