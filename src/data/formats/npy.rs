//! `.npy` arrays of NumPy: a header in Python's notation, then numbers.

use std::io::Read;

use super::arrays::{ArrayDtype, ArrayInfo};

/// Bytes of the longest header.
const LONGEST: usize = 1 << 16;

/// Reads an array's header, up to its numbers.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_header(stream: &mut dyn Read) -> Result<ArrayInfo, String> {
    let mut start = [0; 8];
    let short = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "is truncated: it ends within its header".to_string(),
        _ => error.to_string(),
    };
    stream.read_exact(&mut start).map_err(short)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("is no array of NumPy: expected the bytes \\x93NUMPY first".into());
    }
    let length = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            stream.read_exact(&mut bytes).map_err(short)?;
            usize::from(u16::from_le_bytes(bytes))
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).map_err(short)?;
            u32::from_le_bytes(bytes) as usize
        }
        other => return Err(format!("has the unknown npy version {other}")),
    };
    if length > LONGEST {
        return Err(format!("has a header of {length} bytes, expected at most {LONGEST}"));
    }
    let mut header = vec![0; length];
    stream.read_exact(&mut header).map_err(short)?;
    let header = std::str::from_utf8(&header).map_err(|_| "has a header that is no text")?;
    let malformed =
        || format!("has a malformed header: {}", super::text_numbers::quote(header.trim()));
    let value = |key: &str| {
        let quoted = [format!("'{key}'"), format!("\"{key}\"")];
        let found = quoted.iter().find_map(|key| header.split_once(&key[..]))?;
        Some(found.1.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = value("descr").ok_or_else(malformed)?;
    if descr.starts_with('[') {
        return Err("holds records with fields: save each field as an array".into());
    }
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(malformed)?;
    let descr = descr[1..].split(quote).next().ok_or_else(malformed)?;
    let (dtype, big_endian) = dtype(descr)?;
    let fortran = value("fortran_order").ok_or_else(malformed)?.starts_with("True");
    let shape = value("shape").ok_or_else(malformed)?.strip_prefix('(').ok_or_else(malformed)?;
    let (shape, _) = shape.split_once(')').ok_or_else(malformed)?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes.map(|size| size.trim_end_matches('L').parse().map_err(|_| malformed()));
    let shape = shape.collect::<Result<Vec<usize>, _>>()?;
    ArrayInfo::new(shape, dtype, big_endian, fortran)
}

/// The type that a description such as `<f4` stands for, and whether its bytes are big-endian.
fn dtype(descr: &str) -> Result<(ArrayDtype, bool), String> {
    let (order, name) = match descr.chars().next() {
        Some(order @ ('<' | '>' | '|' | '=')) => (order, &descr[1..]),
        _ => ('|', descr),
    };
    let text_size = |unit: usize| {
        let length: usize = name[1..].parse().ok()?;
        length.checked_mul(unit)
    };
    let dtype = match name {
        "f2" => ArrayDtype::F16,
        "f4" => ArrayDtype::F32,
        "f8" => ArrayDtype::F64,
        "i1" => ArrayDtype::I8,
        "i2" => ArrayDtype::I16,
        "i4" => ArrayDtype::I32,
        "i8" => ArrayDtype::I64,
        "u1" => ArrayDtype::U8,
        "u2" => ArrayDtype::U16,
        "u4" => ArrayDtype::U32,
        "u8" => ArrayDtype::U64,
        "b1" | "?" => ArrayDtype::Bool,
        name if name.starts_with('O') => {
            return Err("is an array of Python objects, which are pickled and never read: save numbers, and ragged \
                        sequences as one array of all steps with their lengths"
                .into())
        }
        name if name.starts_with('U') => {
            text_size(4).map(ArrayDtype::Unicode).ok_or_else(|| unknown(descr))?
        }
        name if name.starts_with('S') => {
            text_size(1).map(ArrayDtype::Bytes).ok_or_else(|| unknown(descr))?
        }
        _ => return Err(unknown(descr)),
    };
    Ok((dtype, order == '>'))
}

fn unknown(descr: &str) -> String {
    format!(
        "is of the type {}: expected floats, integers or texts",
        super::text_numbers::quote(descr)
    )
}
