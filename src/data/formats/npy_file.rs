//! A file with a single array.

use std::io::Seek;

use super::arrays::{ArrayFile, OpenArray};
use super::npy;
use super::source::ReadSeek;

/// A `.npy` file: its array is `x`.
pub(super) struct NpyFile(pub(super) Box<dyn ReadSeek>);

impl ArrayFile for NpyFile {
    fn names(&self) -> Vec<String> {
        vec!["x".into()]
    }

    fn open(&mut self, _name: &str) -> Result<OpenArray<'_>, String> {
        self.0.rewind().map_err(|error| error.to_string())?;
        let info = npy::read_header(&mut self.0)?;
        Ok(OpenArray { info, stream: Box::new(&mut self.0) })
    }
}
