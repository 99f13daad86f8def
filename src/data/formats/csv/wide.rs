//! Tables with a row a sequence.

use super::columns::Columns;
use super::long::join;
use super::rows::Rows;
use crate::data::formats::cells::{complaint, parse, CellValue};
use crate::data::formats::labels::LabelColumn;
use crate::data::formats::memory;
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, Target, TargetKind};
use crate::Result;

/// Reads such a table. Missing values at the end of a row mean that its sequence is shorter.
///
/// # Errors
/// [`DataFile`](crate::Error::DataFile) with line and column.
pub(super) fn read(
    mut rows: Rows,
    columns: &Columns,
    kind: Option<TargetKind>,
    memory: u64,
    notes: &mut Vec<String>,
) -> Result<Dataset> {
    if kind == Some(TargetKind::StepClass) {
        return Err(rows.fail("each row is a sequence, and has no label for each of its steps"));
    }
    let several = columns.labels.len() > 1;
    let kind = if several { Some(TargetKind::Numbers) } else { kind };
    let new = |column: &usize| LabelColumn::new(&rows.names[*column], kind);
    let mut labels: Vec<LabelColumn> = columns.labels.iter().map(new).collect();
    let mut groups = LabelsBuilder::new();
    let mut builder = DatasetBuilder::unnamed(1);
    let mut steps = Vec::with_capacity(columns.features.len());
    let (mut shortest, mut longest) = (usize::MAX, 0);
    while rows.next()? {
        steps.clear();
        let (mut length, mut first_missing) = (0, None);
        for column in &columns.features {
            let cell = rows.cell(*column);
            match parse(cell) {
                CellValue::Number(value) => {
                    steps.push(value);
                    length = steps.len();
                }
                CellValue::Missing => {
                    first_missing.get_or_insert((steps.len(), *column));
                    steps.push(f32::NAN);
                }
                CellValue::Other => return Err(rows.at_cell(*column, complaint(cell))),
            }
        }
        if length == 0 {
            return Err(rows.at("the sequence has no steps: all its cells are empty"));
        }
        if let Some((_, column)) = first_missing.filter(|(step, _)| *step < length) {
            builder.missing_at(|| rows.place(column));
        }
        (shortest, longest) = (shortest.min(length), longest.max(length));
        builder.push_steps(&steps[..length], length)?;
        let text = |column: usize| {
            let cell = rows.cell(column);
            std::str::from_utf8(cell)
                .map(str::trim)
                .map_err(|_| rows.at_cell(column, complaint(cell)))
        };
        if let Some(id) = columns.id {
            builder.end_named(text(id)?)?;
        } else {
            builder.end_sequence()?;
        }
        if let Some(group) = columns.group {
            groups.push(text(group)?);
        }
        for (labels, column) in labels.iter_mut().zip(&columns.labels) {
            labels
                .push(rows.cell(*column), || rows.place(*column))
                .map_err(|reason| rows.at_cell(*column, reason))?;
        }
        memory::check(&rows.path, builder.bytes() as u64, memory)?;
    }
    if longest > shortest {
        notes.push("missing values at the end of a row end its sequence".into());
    }
    if columns.group.is_some() {
        builder.groups(groups.build());
    }
    let mut targets = Vec::new();
    for labels in labels {
        targets.push(labels.finish(notes).map_err(|reason| rows.fail(reason))?);
    }
    let target = match targets.pop() {
        None => Target::None,
        Some(only) if targets.is_empty() => only,
        Some(last) => {
            targets.push(last);
            join(targets).map_err(|reason| rows.fail(reason))?
        }
    };
    builder.build(target)
}
