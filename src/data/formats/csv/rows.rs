//! The rows of a table.

use std::path::PathBuf;

use super::dialect::Dialect;
use super::names::HeaderNames;
use super::records::{Records, Separator};
use crate::data::formats::source::{unreadable, DataSource};
use crate::{Error, Result};

/// The rows of a table behind its header, one after the other in the same memory.
pub(super) struct Rows {
    pub(super) path: PathBuf,
    separator: Separator,
    /// The names of the columns.
    pub(super) names: HeaderNames,
    records: Records<'static>,
    /// Whether a header is still to be passed.
    header: bool,
}

impl Rows {
    pub(super) fn new(source: DataSource, dialect: Dialect) -> Self {
        let (path, memory) = (source.path.clone(), source.memory);
        let records = Records::new(source.into_text(), dialect.separator, memory);
        let Dialect { separator, names, header, .. } = dialect;
        Self { path, separator, names, records, header }
    }

    /// Reads the next row; whether there is one.
    ///
    /// # Errors
    /// [`Error::DataFile`] when it is not as wide as all others, ends within quotes, or cannot be unpacked.
    pub(super) fn next(&mut self) -> Result<bool> {
        loop {
            let more = self.records.next();
            if !more.map_err(|error| unreadable(&self.path, error))? {
                return Ok(false);
            }
            if !std::mem::take(&mut self.header) {
                break;
            }
        }
        if self.records.is_unclosed() {
            return Err(self.at("a quote is never closed"));
        }
        let (width, expected) = (self.records.len(), self.names.len());
        if width != expected {
            let s = if width == 1 { "" } else { "s" };
            let reason = format!("has {width} cell{s}, expected {expected} as in the first line");
            return Err(self.at(reason));
        }
        Ok(true)
    }

    /// A cell of the row.
    pub(super) fn cell(&self, column: usize) -> &[u8] {
        self.records.cell(column)
    }

    /// Where a cell of the row is.
    pub(super) fn place(&self, column: usize) -> String {
        format!("line {}, column {}", self.records.line(), &self.names.get(column))
    }

    /// An error in the row.
    pub(super) fn at(&self, reason: impl AsRef<str>) -> Error {
        self.fail(format!("line {}: {}", self.records.line(), reason.as_ref()))
    }

    /// What is wrong with a cell that is no number.
    pub(super) fn complaint(&self, cell: &[u8]) -> String {
        self.separator.complaint(cell)
    }

    /// An error in a cell of the row.
    pub(super) fn at_cell(&self, column: usize, reason: impl AsRef<str>) -> Error {
        self.fail(format!("{}: {}", self.place(column), reason.as_ref()))
    }

    /// An error in the file.
    pub(super) fn fail(&self, reason: impl Into<String>) -> Error {
        Error::data_file(&self.path, reason)
    }
}
