//! Plain text.

use std::io::Read;

use super::memory;
use super::source::{unreadable, DataSource};
use crate::{Error, Result};

/// Bytes of memory that a byte of text takes: itself, and the number of its character.
const PER_BYTE: u64 = 3;

/// Reads a text.
///
/// # Errors
/// [`Error::DataFile`] when it is not UTF-8, says the line, or does not fit into memory.
pub(super) fn read(source: DataSource) -> Result<String> {
    source.check_need(1, PER_BYTE as usize)?;
    let (path, size, memory) = (source.path.clone(), source.size, source.memory);
    let mut bytes = Vec::new();
    if !source.gzipped {
        bytes.reserve_exact(usize::try_from(size).unwrap_or_default().min(isize::MAX as usize) + 1);
    }
    let mut text = source.into_text().take(memory / PER_BYTE + 1);
    text.read_to_end(&mut bytes).map_err(|error| unreadable(&path, error))?;
    memory::check(&path, (bytes.len() as u64).saturating_mul(PER_BYTE), memory)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte =
            valid - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
        Error::data_file(
            &path,
            format!("line {line}, byte {byte}: is not UTF-8 text: save the file as UTF-8"),
        )
    })
}
