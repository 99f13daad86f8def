//! Arrays in files: their types and shapes, and their numbers read piece by piece.

use std::io::Read;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrayDtype {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    F64,
    /// Texts of so many bytes.
    Bytes(usize),
    /// Texts of so many bytes, four for each character.
    Unicode(usize),
}

impl ArrayDtype {
    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Bytes(size) | Self::Unicode(size) => size,
        }
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Bytes(_) | Self::Unicode(_))
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }
}

/// The description of an array: its name, type and shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ArrayInfo {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: ArrayDtype,
    pub(super) big_endian: bool,
    /// Whether the first index is the fastest.
    pub(super) fortran: bool,
    /// The number of elements.
    pub(super) count: usize,
}

impl ArrayInfo {
    /// An array of this shape.
    ///
    /// # Errors
    /// What is impossible about it.
    pub(super) fn new(
        shape: Vec<usize>,
        dtype: ArrayDtype,
        big_endian: bool,
        fortran: bool,
    ) -> Result<Self, String> {
        let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let bytes = count.and_then(|count| count.checked_mul(dtype.size().max(4)));
        match (count, bytes) {
            (Some(count), Some(bytes)) if bytes <= isize::MAX as usize => {
                let fortran = fortran && shape.iter().filter(|size| **size > 1).count() > 1;
                Ok(Self { shape, dtype, big_endian, fortran, count })
            }
            _ => Err(format!("has the impossible shape {shape:?}")),
        }
    }

    /// Bytes of all elements.
    pub(super) fn bytes(&self) -> u64 {
        self.count as u64 * self.dtype.size() as u64
    }
}

/// A file of arrays.
pub(super) trait ArrayFile {
    /// The names of all arrays.
    fn names(&self) -> Vec<String>;

    /// Opens an array.
    ///
    /// # Errors
    /// What is wrong with it.
    fn open(&mut self, name: &str) -> Result<OpenArray<'_>, String>;
}

/// An array whose elements are about to be read.
pub(super) struct OpenArray<'a> {
    pub(super) info: ArrayInfo,
    pub(super) stream: Box<dyn Read + 'a>,
    /// Bytes behind the header, as far as the file's own list says.
    pub(super) held: u64,
}

impl OpenArray<'_> {
    /// Bytes that are read at once: a multiple of every element's size.
    const PIECE: usize = 64 << 10;

    /// Reads all numbers, a piece after the other.
    ///
    /// # Errors
    /// What is wrong with the array, or what `take` says.
    pub(super) fn numbers(
        mut self,
        mut take: impl FnMut(&[f64]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut values = Vec::new();
        let (dtype, big_endian) = (self.info.dtype, self.info.big_endian);
        self.pieces(|bytes| {
            values.clear();
            decode(bytes, dtype, big_endian, &mut values);
            take(&values)
        })
    }

    /// All elements as they are in the file.
    ///
    /// # Errors
    /// As [`numbers`](Self::numbers).
    pub(super) fn raw(mut self) -> Result<Vec<u8>, String> {
        let mut all = Vec::with_capacity(self.info.bytes() as usize);
        self.pieces(|bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    /// Reads all texts, one after the other.
    ///
    /// # Errors
    /// What is no text, and as [`numbers`](Self::numbers).
    pub(super) fn texts(
        mut self,
        mut take: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let info = self.info.clone();
        let size = info.dtype.size();
        if size == 0 {
            return (0..info.count).try_for_each(|_| take(""));
        }
        let mut text = String::new();
        self.pieces(|bytes| {
            bytes.chunks_exact(size).try_for_each(|bytes| {
                text.clear();
                read_text(bytes, &info, &mut text)?;
                take(&text)
            })
        })
    }

    /// Refuses an array of which the file holds less or more than its shape says.
    ///
    /// # Errors
    /// The shape and the bytes.
    pub(super) fn check_held(&self) -> Result<(), String> {
        let (held, expected, shape) = (self.held, self.info.bytes(), &self.info.shape);
        if held == expected {
            return Ok(());
        }
        let what = if held < expected { "is truncated" } else { "is too long" };
        Err(format!("{what}: its shape {shape:?} takes {expected} bytes, the file holds {held}"))
    }

    fn pieces(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let size = self.info.dtype.size();
        if size == 0 {
            return Ok(());
        }
        self.check_held()?;
        let piece = (Self::PIECE / size).max(1) * size;
        let mut left = self.info.bytes();
        let mut bytes = vec![0; piece.min(usize::try_from(left).unwrap_or(piece))];
        while left > 0 {
            let now = (piece as u64).min(left) as usize;
            self.stream
                .read_exact(&mut bytes[..now])
                .map_err(|error| format!("cannot be read: {error}"))?;
            take(&bytes[..now])?;
            left -= now as u64;
        }
        Ok(())
    }
}

/// Appends the numbers that bytes stand for.
fn decode(bytes: &[u8], dtype: ArrayDtype, big_endian: bool, values: &mut Vec<f64>) {
    macro_rules! read {
        ($t:ty, $of:expr) => {{
            let chunks = bytes.chunks_exact(size_of::<$t>());
            values.extend(chunks.map(|chunk| {
                let mut word = [0; size_of::<$t>()];
                word.copy_from_slice(chunk);
                if big_endian {
                    word.reverse();
                }
                $of(<$t>::from_le_bytes(word))
            }))
        }};
    }
    match dtype {
        ArrayDtype::Bool => values.extend(bytes.iter().map(|byte| f64::from(u8::from(*byte != 0)))),
        ArrayDtype::U8 => values.extend(bytes.iter().map(|byte| f64::from(*byte))),
        ArrayDtype::I8 => values.extend(bytes.iter().map(|byte| f64::from(*byte as i8))),
        ArrayDtype::U16 => read!(u16, f64::from),
        ArrayDtype::I16 => read!(i16, f64::from),
        ArrayDtype::U32 => read!(u32, f64::from),
        ArrayDtype::I32 => read!(i32, f64::from),
        ArrayDtype::U64 => read!(u64, |value| value as f64),
        ArrayDtype::I64 => read!(i64, |value| value as f64),
        ArrayDtype::F16 => read!(u16, f16_to_f64),
        ArrayDtype::Bf16 => {
            read!(u16, |bits: u16| f64::from(f32::from_bits(u32::from(bits) << 16)))
        }
        ArrayDtype::F32 => read!(f32, f64::from),
        ArrayDtype::F64 => read!(f64, |value| value),
        ArrayDtype::Bytes(_) | ArrayDtype::Unicode(_) => {}
    }
}

/// The number that IEEE 754 half precision bits stand for.
fn f16_to_f64(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1. } else { 1. };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction / 1024. * 2f64.powi(-14),
        31 if fraction == 0. => f64::INFINITY,
        31 => f64::NAN,
        _ => (1. + fraction / 1024.) * 2f64.powi(exponent - 15),
    }
}

/// Appends the text of an element.
///
/// # Errors
/// What is no text.
fn read_text(bytes: &[u8], info: &ArrayInfo, text: &mut String) -> Result<(), String> {
    let no_text = || "holds bytes that are no text".to_string();
    if let ArrayDtype::Unicode(_) = info.dtype {
        let words = bytes.chunks_exact(4).map(|word| {
            let word = [word[0], word[1], word[2], word[3]];
            if info.big_endian {
                u32::from_be_bytes(word)
            } else {
                u32::from_le_bytes(word)
            }
        });
        for word in words.take_while(|word| *word != 0) {
            text.push(char::from_u32(word).ok_or_else(no_text)?);
        }
        return Ok(());
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    text.push_str(std::str::from_utf8(&bytes[..end]).map_err(|_| no_text())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_numbers_are_read() {
        for (bits, value) in
            [(0x3c00, 1.), (0xc000, -2.), (0x3555, 0.333_251_953_125), (0, 0.), (1, 2f64.powi(-24))]
        {
            assert_eq!(f16_to_f64(bits), value);
        }
        assert!(f16_to_f64(0x7e00).is_nan() && f16_to_f64(0x7c00).is_infinite());
    }
}
