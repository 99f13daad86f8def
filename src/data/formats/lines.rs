//! The lines of a text file, one after the other in the same memory.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::source::unreadable;
use crate::{Error, Result};

/// The lines of a file.
pub(super) struct Lines<R> {
    reader: R,
    path: PathBuf,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.to_path_buf(), line: Vec::new(), number: 0 }
    }

    /// Reads the next line; whether there is one.
    ///
    /// # Errors
    /// As [`unreadable`] says.
    pub(super) fn next(&mut self) -> Result<bool> {
        self.line.clear();
        let read = self.reader.read_until(b'\n', &mut self.line);
        self.number += 1;
        Ok(read.map_err(|error| unreadable(&self.path, error))? > 0)
    }

    /// The line, with its end.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// The line as a text without blanks at its ends.
    ///
    /// # Errors
    /// [`Error::DataFile`] when it is not UTF-8.
    pub(super) fn text(&self) -> Result<&str> {
        let text = std::str::from_utf8(&self.line);
        text.map(str::trim).map_err(|_| self.at("is not UTF-8 text: save the file as UTF-8"))
    }

    /// The number of the line, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What is wrong with the line.
    pub(super) fn at(&self, reason: impl AsRef<str>) -> Error {
        Error::data_file(&self.path, format!("line {}: {}", self.number, reason.as_ref()))
    }

    /// What is wrong with the file.
    pub(super) fn fail(&self, reason: impl Into<String>) -> Error {
        Error::data_file(&self.path, reason)
    }
}
