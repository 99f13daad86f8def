//! Tables with a row a step; in the tabular layout, each step is a sequence.

use super::columns::Columns;
use super::rows::Rows;
use super::times::{self, DateOrder, TimeFault, TimeKey};
use crate::data::formats::label_reader::LabelReader;
use crate::data::formats::labels::{are_same, LabelColumn};
use crate::data::formats::memory;
use crate::data::formats::options::Layout;
use crate::data::formats::sequence_sink::SequenceSink;
use crate::data::formats::text_numbers::{complaint, parse, quote, CellValue};
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, Numbers, Target, TargetKind};
use crate::{Error, Result};

/// Steps between two looks at the memory that is taken.
const LOOK: usize = 1 << 16;

/// Reads such a table.
///
/// # Errors
/// [`DataFile`](crate::Error::DataFile) with line and column.
pub(super) fn read(
    rows: Rows,
    columns: &Columns,
    kind: Option<TargetKind>,
    memory: u64,
    sink: &mut SequenceSink,
    notes: &mut Vec<String>,
) -> Result<Option<Dataset>> {
    let features: Vec<String> = columns
        .features
        .iter()
        .map(|column| rows.names.get(*column as usize).into_owned())
        .collect();
    let labels = LongLabels::new(&rows, columns, kind);
    let mut table = LongTable {
        builder: DatasetBuilder::new(features),
        sequence: Sequence::default(),
        groups: LabelsBuilder::new(),
        labels,
        date_order: DateOrder::new(),
        columns,
        rows,
        sink,
    };
    if columns.layout == Layout::Tabular || table.sink.knows_ids() {
        table.builder.let_ids_repeat();
    }
    let mut step = vec![0.; columns.features.len()];
    let mut until_look = LOOK;
    while table.rows.next()? {
        table.turn_to_sequence()?;
        table.check_time()?;
        table.read_label()?;
        for (value, column) in step.iter_mut().zip(&columns.features) {
            let column = *column as usize;
            let cell = table.rows.cell(column);
            *value = match parse(cell) {
                CellValue::Number(value) => value,
                CellValue::Missing => {
                    table.builder.missing_at(|| table.rows.place(column));
                    f32::NAN
                }
                CellValue::Other => {
                    return Err(table.rows.at_cell(column, table.rows.complaint(cell)))
                }
            };
        }
        table.builder.push_step(&step)?;
        until_look -= 1;
        if until_look == 0 {
            until_look = LOOK;
            memory::check(&table.rows.path, table.builder.bytes() as u64, memory)?;
        }
    }
    table.finish(notes)
}

/// The sequence that is being read.
#[derive(Debug, Default)]
struct Sequence {
    id: String,
    group: Vec<u8>,
    time: Option<TimeKey>,
    /// The time as it is written.
    time_text: Vec<u8>,
}

struct LongTable<'a, 'b> {
    rows: Rows,
    columns: &'a Columns,
    sink: &'a mut SequenceSink<'b>,
    builder: DatasetBuilder,
    sequence: Sequence,
    groups: LabelsBuilder,
    labels: LongLabels,
    date_order: DateOrder<Error>,
}

impl LongTable<'_, '_> {
    /// Ends the sequence before if the row belongs to another.
    fn turn_to_sequence(&mut self) -> Result<()> {
        let is_first = self.builder.is_empty() && self.builder.open_steps() == 0;
        let is_tabular = self.columns.layout == Layout::Tabular;
        let is_new = match self.columns.id {
            _ if is_tabular => true,
            Some(column) => {
                is_first || self.rows.cell(column).trim_ascii() != self.sequence.id.as_bytes()
            }
            None => is_first,
        };
        if is_new {
            if !is_first {
                self.end_sequence()?;
            }
            if let Some(column) = self.columns.id {
                let id = self.rows.cell(column).trim_ascii();
                let Ok(text) = std::str::from_utf8(id) else {
                    return Err(self.rows.at_cell(column, complaint(id)));
                };
                if text.trim().is_empty() {
                    return Err(self.rows.at_cell(column, "the id is missing"));
                }
                if !is_tabular && self.builder.has_id(text) {
                    let id = quote(text);
                    let reason = format!(
                        "the sequence {id} comes back after another: the rows of a sequence must follow each other"
                    );
                    return Err(self.rows.at_cell(column, reason));
                }
                self.sequence.id.clear();
                self.sequence.id.push_str(text);
            }
            self.sequence.time = None;
        }
        let Some(column) = self.columns.group else { return Ok(()) };
        let group = self.rows.cell(column);
        if is_new {
            let Ok(text) = std::str::from_utf8(group) else {
                return Err(self.rows.at_cell(column, complaint(group)));
            };
            self.groups.push(text.trim());
            self.sequence.group.clear();
            self.sequence.group.extend_from_slice(group);
        } else if !are_same(group, &self.sequence.group) {
            let [new, old] =
                [group, &self.sequence.group].map(|g| quote(&String::from_utf8_lossy(g)));
            let reason = format!("the group changes from {old} to {new} within a sequence");
            return Err(self.rows.at_cell(column, reason));
        }
        Ok(())
    }

    fn end_sequence(&mut self) -> Result<()> {
        if self.columns.id.is_some() {
            self.builder.end_named(&self.sequence.id)?;
        } else {
            self.builder.end_sequence()?;
        }
        if self.columns.is_series && self.columns.time.is_some() {
            self.builder.last_time(String::from_utf8_lossy(&self.sequence.time_text).trim());
        }
        self.sink.ended(&mut self.builder, &mut self.labels, &mut self.groups)
    }

    /// Times increase.
    fn check_time(&mut self) -> Result<()> {
        let Some(column) = self.columns.time else { return Ok(()) };
        let cell = self.rows.cell(column);
        let sequence = &mut self.sequence;
        let Some(time) = times::parse(cell) else {
            let cell = quote(&String::from_utf8_lossy(cell));
            return Err(self
                .rows
                .at_cell(column, format!("expected a number or a date, got {cell}")));
        };
        let text = |time: &[u8]| quote(&String::from_utf8_lossy(time));
        let is_after = match sequence.time {
            Some(before) => time.is_after(before).ok_or_else(|| {
                let [now, before] = [cell, &sequence.time_text].map(text);
                let reason = format!(
                    "the time {now} follows {before}: expected either numbers or dates, not both"
                );
                self.rows.at_cell(column, reason)
            })?,
            None => [true; 2],
        };
        let has_id = self.columns.id.is_some();
        self.date_order.check(time, is_after, |fault| {
            let [now, before] = [cell, &sequence.time_text].map(text);
            let within = if has_id {
                "times must increase within a sequence"
            } else {
                "times must increase within a sequence: name the column that says which sequence a row belongs to, \
                 if the file holds several"
            };
            let reason = match fault {
                TimeFault::Order if now == before => {
                    format!("the time {now} is there twice: {within}")
                }
                TimeFault::Order => format!("the time {now} follows {before}: {within}"),
                TimeFault::Mixed => format!(
                    "the date {now} has its day and its month the other way round than the dates before it: write \
                     dates as 2020-03-28"
                ),
            };
            self.rows.at_cell(column, reason)
        })?;
        sequence.time = Some(time);
        sequence.time_text.clear();
        sequence.time_text.extend_from_slice(cell);
        Ok(())
    }

    fn read_label(&mut self) -> Result<()> {
        self.labels.read(&self.rows, &self.columns.labels, &self.builder)
    }

    fn finish(mut self, notes: &mut Vec<String>) -> Result<Option<Dataset>> {
        if self.builder.open_steps() > 0 {
            self.end_sequence()?;
        }
        let groups = self.columns.group.is_some().then_some(self.groups);
        self.sink.finish(self.builder, self.labels, groups, &self.rows.path, notes)
    }
}

/// The labels of a table: of sequences as long as each sequence has one label, of steps from then on.
struct LongLabels {
    kind: Option<TargetKind>,
    by_step: bool,
    /// Whether each row is a sequence.
    is_tabular: bool,
    columns: Vec<LabelColumn>,
    /// The labels of the row before.
    last: Vec<Vec<u8>>,
    /// Whether several columns are numbers together.
    numbers: bool,
    /// Whether one of the labels changed within a sequence.
    changes: bool,
}

impl LongLabels {
    fn new(rows: &Rows, columns: &Columns, kind: Option<TargetKind>) -> Self {
        let numbers = columns.labels.len() > 1;
        let kind = if numbers { Some(TargetKind::Numbers) } else { kind };
        let new = |column: &usize| LabelColumn::new(&rows.names.get(*column), kind);
        Self {
            kind,
            // The label of a single sequence would be a class without another: it is that of its steps.
            by_step: kind == Some(TargetKind::StepClass)
                || kind.is_none() && columns.id.is_none() && columns.layout == Layout::Long,
            is_tabular: columns.layout == Layout::Tabular,
            columns: columns.labels.iter().map(new).collect(),
            last: vec![Vec::new(); columns.labels.len()],
            numbers,
            changes: false,
        }
    }

    /// Reads the labels of a row.
    ///
    /// - `before`: the steps before it
    fn read(&mut self, rows: &Rows, columns: &[usize], before: &DatasetBuilder) -> Result<()> {
        let open = before.open_steps();
        for (place, column) in columns.iter().enumerate() {
            let cell = rows.cell(*column);
            if open > 0 && are_same(cell, &self.last[place]) {
                if self.by_step {
                    self.columns[place].push_again();
                }
                continue;
            }
            self.changes |= open > 0;
            if open > 0 && !self.by_step {
                self.become_steps(rows, *column, cell, before)?;
            }
            self.columns[place]
                .push(cell, || rows.place(*column))
                .map_err(|reason| rows.at_cell(*column, reason))?;
            self.last[place].clear();
            self.last[place].extend_from_slice(cell);
        }
        Ok(())
    }

    /// A label changes within a sequence: labels are those of steps.
    fn become_steps(
        &mut self,
        rows: &Rows,
        column: usize,
        cell: &[u8],
        before: &DatasetBuilder,
    ) -> Result<()> {
        if matches!(self.kind, Some(TargetKind::Class | TargetKind::Numbers)) {
            let [new, old] = [cell, &self.last[0]].map(|l| quote(&String::from_utf8_lossy(l)));
            let what = if self.numbers { "several numbers are" } else { "the label is" };
            let reason = format!("the label changes from {old} to {new} within a sequence, of which {what} asked for once");
            return Err(rows.at_cell(column, reason));
        }
        self.by_step = true;
        let all = before.lengths().chain([before.open_steps()]);
        let labels = self.columns.pop();
        self.columns.extend(labels.map(|labels| labels.repeated(all)));
        Ok(())
    }
}

impl LabelReader for LongLabels {
    fn forget(&mut self) {
        self.columns.iter_mut().for_each(LabelColumn::forget);
    }

    fn take(&mut self) -> Self {
        let columns = self.columns.iter_mut().map(LabelColumn::take).collect();
        Self { columns, last: Vec::new(), ..*self }
    }

    fn finish(mut self, notes: &mut Vec<String>) -> std::result::Result<Target, String> {
        if self.numbers {
            let mut targets = Vec::new();
            for column in self.columns {
                targets.push(column.finish(notes)?);
            }
            return join(targets);
        }
        let Some(labels) = self.columns.pop() else { return Ok(Target::None) };
        let name = labels.name().to_string();
        if self.by_step {
            if self.kind.is_none() {
                let what = if self.changes {
                    "changes within sequences"
                } else {
                    "has a label at each step"
                };
                notes.push(format!("column {name} {what}: a class for each step"));
            }
            return labels.finish_steps(notes);
        }
        let target = labels.finish(notes)?;
        if self.kind.is_none() && target.kind() != TargetKind::None && !self.is_tabular {
            notes.push(format!(
                "column {name} is constant within each sequence: one for each sequence"
            ));
        }
        Ok(target)
    }
}

/// The numbers of several columns, side by side.
pub(super) fn join(targets: Vec<Target>) -> std::result::Result<Target, String> {
    let mut columns = Vec::new();
    for target in targets {
        match target {
            Target::Numbers(numbers) => columns.push(numbers),
            Target::None => return Err("one of the columns of numbers is empty".into()),
            Target::Class(_) | Target::StepClass(_) => {
                return Err("several columns of labels must hold numbers".into())
            }
        }
    }
    let count = columns.first().map_or(0, |numbers| numbers.values.len());
    let values = (0..count).flat_map(|row| columns.iter().map(move |numbers| numbers.values[row]));
    let values = values.collect();
    let names = columns.iter().flat_map(|numbers| numbers.names.clone()).collect();
    Ok(Target::Numbers(Numbers { names, values }))
}
