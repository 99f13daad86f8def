//! Safetensors files of sequences.

use std::collections::BTreeMap;
use std::io::{Read, SeekFrom};

use serde::Deserialize;

use super::arrays::{ArrayDtype, ArrayFile, ArrayInfo, OpenArray};
use super::source::ReadSeek;
use crate::files::object::Object;

/// Such a file, of which the header has been read.
pub(super) struct SafetensorsFile {
    file: Box<dyn ReadSeek>,
    /// Where the numbers begin, and how many bytes of them there are.
    start: u64,
    bytes: u64,
    header: BTreeMap<String, Object<HeaderEntry>>,
}

/// An entry of the header: a tensor's type, shape and place.
#[derive(Debug, Deserialize)]
struct HeaderEntry {
    #[serde(default)]
    dtype: String,
    #[serde(default)]
    shape: Vec<usize>,
    #[serde(default)]
    data_offsets: (u64, u64),
}

/// Bytes of the longest header: a few tensors need a few hundred.
const LONGEST: u64 = 4 << 20;

impl SafetensorsFile {
    /// Reads the header of a file of `size` bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(mut file: Box<dyn ReadSeek>, size: u64) -> Result<Self, String> {
        let damaged =
            |error: &dyn std::fmt::Display| format!("is a damaged safetensors file: {error}");
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|error| damaged(&error))?;
        let length = u64::from_le_bytes(length);
        let start = length.checked_add(8).filter(|start| length <= LONGEST && *start <= size);
        let start = start.ok_or_else(|| damaged(&format!("its header has {length} bytes")))?;
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(|error| damaged(&error))?;
        let header: BTreeMap<String, Object<HeaderEntry>> =
            serde_json::from_slice(&header).map_err(|error| damaged(&error))?;
        Ok(Self { file, start, bytes: size - start, header })
    }
}

impl ArrayFile for SafetensorsFile {
    fn names(&self) -> Vec<String> {
        self.header.keys().filter(|name| *name != "__metadata__").cloned().collect()
    }

    fn open(&mut self, name: &str) -> Result<OpenArray<'_>, String> {
        let fail = |reason: String| format!("array {name} {reason}");
        let entry = self.header.get(name).ok_or_else(|| fail("is not there".into()))?;
        let dtype = match &entry.dtype[..] {
            "BOOL" => ArrayDtype::Bool,
            "U8" => ArrayDtype::U8,
            "U16" => ArrayDtype::U16,
            "U32" => ArrayDtype::U32,
            "U64" => ArrayDtype::U64,
            "I8" => ArrayDtype::I8,
            "I16" => ArrayDtype::I16,
            "I32" => ArrayDtype::I32,
            "I64" => ArrayDtype::I64,
            "F16" => ArrayDtype::F16,
            "BF16" => ArrayDtype::Bf16,
            "F32" => ArrayDtype::F32,
            "F64" => ArrayDtype::F64,
            other => {
                let other = super::text_numbers::quote(other);
                return Err(fail(format!("is of the type {other}: expected floats or integers")));
            }
        };
        let info = ArrayInfo::new(entry.shape.clone(), dtype, false, false).map_err(fail)?;
        let (from, to) = entry.data_offsets;
        let (shape, bytes) = (&info.shape, self.bytes);
        if to > bytes && from <= to {
            return Err(fail(format!(
                "ends behind the file, which is truncated: bytes {from} to {to} of its {bytes}"
            )));
        }
        if from > to || to - from != info.bytes() {
            return Err(fail(format!(
                "has the shape {shape:?}, but bytes {from} to {to} of the file's {bytes}"
            )));
        }
        let place = SeekFrom::Start(self.start + from);
        self.file.seek(place).map_err(|error| fail(format!("cannot be read: {error}")))?;
        Ok(OpenArray { info, stream: Box::new((&mut self.file).take(to - from)), held: to - from })
    }
}
