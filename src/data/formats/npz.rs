//! `.npz` archives of NumPy arrays. Nothing is ever unpickled.

use std::io::{BufReader, Read};

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::arrays::{ArrayFile, OpenArray};
use super::npy;
use super::source::ReadSeek;

/// Such an archive.
pub(super) struct NpzFile(ZipArchive<Box<dyn ReadSeek>>);

impl NpzFile {
    /// Reads the list of its members.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(file: Box<dyn ReadSeek>) -> Result<Self, String> {
        let archive =
            ZipArchive::new(file).map_err(|error| format!("is a damaged zip archive: {error}"))?;
        if !archive.file_names_raw().any(|name| name.ends_with(b".npy")) {
            return Err(
                "is a zip archive without arrays: expected members such as x.npy and y.npy".into(),
            );
        }
        Ok(Self(archive))
    }
}

impl ArrayFile for NpzFile {
    fn names(&self) -> Vec<String> {
        let names = self.0.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok());
        names.filter_map(|name| Some(name.strip_suffix(".npy")?.into())).collect()
    }

    fn open(&mut self, name: &str) -> Result<OpenArray<'_>, String> {
        let damaged =
            |error: &dyn std::fmt::Display| format!("array {name} cannot be read: {error}");
        let index = self.0.index_for_name(&format!("{name}.npy"));
        let index = index.ok_or_else(|| format!("has no array {name}"))?;
        let (method, size, crc) = {
            let member = self.0.by_index_raw(index).map_err(|error| damaged(&error))?;
            if member.encrypted() {
                return Err(damaged(&"it is encrypted"));
            }
            (member.compression(), member.size(), member.crc32())
        };
        // Only the raw bytes: that the archive's own crate unpacks them is a feature of its that is not built here.
        let raw = self.0.by_index_raw(index).map_err(|error| damaged(&error))?;
        let unpacked: Box<dyn Read> = match method {
            CompressionMethod::Stored => Box::new(raw),
            method if method == CompressionMethod::DEFLATE => {
                Box::new(DeflateDecoder::new(BufReader::new(raw)))
            }
            method => {
                return Err(damaged(&format!("it is compressed with {method}, expected deflate")))
            }
        };
        let mut checked = Checked { unpacked, left: size, crc: flate2::Crc::new(), expected: crc };
        let info =
            npy::read_header(&mut checked).map_err(|reason| format!("array {name} {reason}"))?;
        let held = checked.left;
        Ok(OpenArray { info, stream: Box::new(checked), held })
    }
}

/// A member's bytes, whose checksum is compared when all are read.
struct Checked<R> {
    unpacked: R,
    left: u64,
    crc: flate2::Crc,
    expected: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.unpacked.read(&mut buffer[..most])?;
        self.crc.update(&buffer[..read]);
        self.left -= read as u64;
        if self.left == 0 && read > 0 && self.crc.sum() != self.expected {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "its checksum is wrong, the file is damaged",
            ));
        }
        Ok(read)
    }
}
