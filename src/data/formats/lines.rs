//! The lines of a text file, one after the other in the same memory.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::memory;
use super::source::unreadable;
use crate::{Error, Result};

/// The lines of a file.
pub(super) struct Lines<R> {
    reader: R,
    path: PathBuf,
    line: Vec<u8>,
    number: u64,
    memory: u64,
}

/// How many times the bytes of a line the line and what is read of it take at most.
const TIMES: u64 = 4;

impl<R: BufRead> Lines<R> {
    /// The lines of a text.
    ///
    /// - `memory`: bytes of memory that the data may take
    pub(super) fn new(reader: R, path: &Path, memory: u64) -> Self {
        Self { reader, path: path.to_path_buf(), line: Vec::new(), number: 0, memory }
    }

    /// Reads the next line; whether there is one.
    ///
    /// # Errors
    /// As [`unreadable`] says; [`Error::DataFile`] when a line is too long for the memory.
    pub(super) fn next(&mut self) -> Result<bool> {
        self.line.clear();
        let longest = self.memory / TIMES;
        let read =
            (&mut self.reader).take(longest.saturating_add(1)).read_until(b'\n', &mut self.line);
        self.number += 1;
        let read = read.map_err(|error| unreadable(&self.path, error))?;
        if read as u64 > longest {
            return Err(self.at(memory::too_long(self.memory)));
        }
        Ok(read > 0)
    }

    /// Gives up the memory of a long line, of which nothing more is needed.
    pub(super) fn forget(&mut self) {
        const LONG: usize = 1 << 20;
        if self.line.capacity() > LONG {
            self.line = Vec::new();
        }
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

    /// An error in the line.
    pub(super) fn at(&self, reason: impl AsRef<str>) -> Error {
        Error::data_file(&self.path, format!("line {}: {}", self.number, reason.as_ref()))
    }

    /// An error in the file.
    pub(super) fn fail(&self, reason: impl Into<String>) -> Error {
        Error::data_file(&self.path, reason)
    }
}
