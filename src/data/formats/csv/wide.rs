//! Tables with a row a sequence.

use super::columns::Columns;
use super::long::join;
use super::rows::Rows;
use crate::data::formats::label_reader::LabelReader;
use crate::data::formats::labels::LabelColumn;
use crate::data::formats::memory;
use crate::data::formats::sequence_sink::SequenceSink;
use crate::data::formats::text_numbers::{complaint, parse, quote, CellValue};
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, Target, TargetKind};
use crate::Result;

/// Steps that are handed on at once, so that a long row is not there twice.
const BLOCK: usize = 4_096;

/// Reads such a table. Missing values at the end of a row mean that its sequence is shorter.
///
/// # Errors
/// [`DataFile`](crate::Error::DataFile) with line and column.
pub(super) fn read(
    mut rows: Rows,
    columns: &Columns,
    kind: Option<TargetKind>,
    memory: u64,
    sink: &mut SequenceSink,
    notes: &mut Vec<String>,
) -> Result<Option<Dataset>> {
    if kind == Some(TargetKind::StepClass) {
        return Err(rows.fail("each row is a sequence, and has no label for each of its steps"));
    }
    let several = columns.labels.len() > 1;
    let kind = if several { Some(TargetKind::Numbers) } else { kind };
    let new = |column: &usize| LabelColumn::new(&rows.names.get(*column), kind);
    let mut labels = WideLabels(columns.labels.iter().map(new).collect());
    let mut groups = LabelsBuilder::new();
    let mut builder = DatasetBuilder::unnamed(1);
    if sink.knows_ids() {
        builder.let_ids_repeat();
    }
    let mut steps = Vec::with_capacity(BLOCK.min(columns.features.len()));
    let (mut shortest, mut longest) = (usize::MAX, 0);
    while rows.next()? {
        memory::check(&rows.path, (builder.bytes() + 4 * columns.features.len()) as u64, memory)?;
        builder.reserve(columns.features.len());
        // Values that are missing, up to the last known one; those behind it end the sequence.
        let (mut length, mut missing, mut first_missing) = (0, 0, None);
        for column in &columns.features {
            let column = *column as usize;
            let cell = rows.cell(column);
            match parse(cell) {
                CellValue::Number(value) => {
                    if let Some(column) = first_missing.take() {
                        builder.missing_at(|| rows.place(column));
                    }
                    steps.extend(std::iter::repeat_n(f32::NAN, missing));
                    steps.push(value);
                    length += std::mem::take(&mut missing) + 1;
                    if steps.len() >= BLOCK {
                        builder.push_steps(&steps, steps.len())?;
                        steps.clear();
                    }
                }
                CellValue::Missing => {
                    first_missing.get_or_insert(column);
                    missing += 1;
                }
                CellValue::Other => return Err(rows.at_cell(column, rows.complaint(cell))),
            }
        }
        builder.push_steps(&steps, steps.len())?;
        steps.clear();
        if length == 0 {
            return Err(rows.at("the sequence has no steps: all its cells are empty"));
        }
        (shortest, longest) = (shortest.min(length), longest.max(length));
        let text = |column: usize| {
            let cell = rows.cell(column);
            std::str::from_utf8(cell)
                .map(str::trim)
                .map_err(|_| rows.at_cell(column, complaint(cell)))
        };
        if let Some(id) = columns.id {
            let name = text(id)?;
            if name.is_empty() {
                return Err(rows.at_cell(id, "the id is missing"));
            }
            if builder.has_id(name) {
                let name = quote(name);
                let reason = format!(
                    "the id {name} is that of a row before: give each sequence an id of its own"
                );
                return Err(rows.at_cell(id, reason));
            }
            builder.end_named(name)?;
        } else {
            builder.end_sequence()?;
        }
        if let Some(group) = columns.group {
            groups.push(text(group)?);
        }
        for (labels, column) in labels.0.iter_mut().zip(&columns.labels) {
            labels
                .push(rows.cell(*column), || rows.place(*column))
                .map_err(|reason| rows.at_cell(*column, reason))?;
        }
        sink.ended(&mut builder, &mut labels, &mut groups)?;
    }
    if longest > shortest {
        notes.push("missing values at the end of a row end its sequence".into());
    }
    let groups = columns.group.is_some().then_some(groups);
    sink.finish(builder, labels, groups, &rows.path, notes)
}

/// The columns of labels.
struct WideLabels(Vec<LabelColumn>);

impl LabelReader for WideLabels {
    fn forget(&mut self) {
        self.0.iter_mut().for_each(LabelColumn::forget);
    }

    fn take(&mut self) -> Self {
        Self(self.0.iter_mut().map(LabelColumn::take).collect())
    }

    fn finish(self, notes: &mut Vec<String>) -> std::result::Result<Target, String> {
        let mut targets = Vec::new();
        for labels in self.0 {
            targets.push(labels.finish(notes)?);
        }
        match targets.pop() {
            None => Ok(Target::None),
            Some(only) if targets.is_empty() => Ok(only),
            Some(last) => {
                targets.push(last);
                join(targets)
            }
        }
    }
}
