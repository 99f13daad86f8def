//! CSV and TSV files: tables whose rows are steps or sequences.

mod columns;
mod dialect;
mod long;
mod names;
mod records;
mod rows;
mod tabular;
mod times;
mod wide;
mod wide_columns;

use columns::Columns;
use dialect::Dialect;
use rows::Rows;

use super::options::{Layout, ReadOptions};
use super::sequence_sink::SequenceSink;
use super::source::DataSource;
use crate::data::Dataset;
use crate::{Error, Result};

/// A table that was read.
pub(super) struct Table {
    /// `None` if not all of it was kept.
    pub(super) data: Option<Dataset>,
    pub(super) layout: Layout,
    /// The number of columns, if rows are sequences and one of the columns is a label.
    pub(super) columns: Option<usize>,
}

/// Reads a table, and says what its rows are.
///
/// # Errors
/// [`Error::DataFile`] with line and column.
pub(super) fn read(
    mut source: DataSource,
    options: &ReadOptions,
    sink: &mut SequenceSink,
    notes: &mut Vec<String>,
) -> Result<Table> {
    let path = source.path.clone();
    source.lengthen_head()?;
    let fail = |reason: String| Error::data_file(&path, reason);
    let dialect = Dialect::of(&source, notes).map_err(fail)?;
    let columns = Columns::of(&dialect, options, notes).map_err(fail)?;
    let kind = if columns.lacks_labels { None } else { sink.kind(options.target) };
    sink.check_need(&source, dialect.bytes, 4 * columns.features.len() * dialect.rows)?;
    let memory = source.memory;
    let has_label = columns.layout == Layout::Wide && !columns.labels.is_empty();
    let width = has_label.then_some(dialect.names.len());
    let rows = Rows::new(source, dialect);
    let data = match columns.layout {
        Layout::Long | Layout::Tabular => long::read(rows, &columns, kind, memory, sink, notes),
        Layout::Wide => wide::read(rows, &columns, kind, memory, sink, notes),
    };
    Ok(Table { data: data?, layout: columns.layout, columns: width })
}
