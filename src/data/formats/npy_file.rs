//! A file with a single array.

use std::io::Seek;

use super::arrays::{ArrayFile, OpenArray};
use super::npy;
use super::source::ReadSeek;

/// A `.npy` file: its array is `x`.
pub(super) struct NpyFile {
    pub(super) file: Box<dyn ReadSeek>,
    /// Its bytes, header included.
    pub(super) size: u64,
}

impl ArrayFile for NpyFile {
    fn names(&self) -> Vec<String> {
        vec!["x".into()]
    }

    fn open(&mut self, _name: &str) -> Result<OpenArray<'_>, String> {
        let unreadable = |error: std::io::Error| error.to_string();
        self.file.rewind().map_err(unreadable)?;
        let info = npy::read_header(&mut self.file)?;
        let start = self.file.stream_position().map_err(unreadable)?;
        Ok(OpenArray {
            info,
            stream: Box::new(&mut self.file),
            held: self.size.saturating_sub(start),
        })
    }
}
