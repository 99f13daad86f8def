//! Safetensors files, read tensor by tensor and written.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{TensorInfo as Entry, TensorView};
use safetensors::{Dtype, SafeTensors};

use super::durable;
use crate::{Error, Result};

/// The bytes of a safetensors file with these tensors. Equal tensors are equal bytes: names are
/// sorted, and the metadata is `format: pt` alone.
///
/// # Errors
/// [`Error::DType`] for numbers that Candle cannot read, [`Error::Candle`] when a tensor cannot be read.
pub fn serialize(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    if let Some((name, tensor)) = tensors.iter().find(|(_, tensor)| is_opaque(tensor.dtype())) {
        return Err(Error::DType {
            op: "serialize",
            tensor: name.clone(),
            expected: "of numbers that candle can read",
            actual: tensor.dtype().as_str().into(),
        });
    }
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| Error::Candle(candle_core::Error::wrap(error)))
}

/// Writes a safetensors file of these tensors, whole or not at all: under a temporary name in the same
/// folder, synced, then renamed.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; as [`serialize`].
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    durable::write(path, &serialize(tensors)?)
}

/// The description of a tensor in the header of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name.
    pub name: String,
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// The element type, by the format's own name in lower case: `f32`, `bf16`, `bool`, `f8_e4m3`, ..
    pub dtype: String,
}

impl TensorInfo {
    /// The number of elements.
    pub fn elem_count(&self) -> usize {
        if self.shape.contains(&0) {
            return 0;
        }
        self.shape.iter().product()
    }
}

/// A safetensors file in memory. Its header is checked as a whole; a tensor is read when it is asked
/// for.
///
/// Candle reads `u8`, `u16` (as `u32`), `u32`, `i16`, `i32`, `i64`, `f8_e4m3`, `f16`, `bf16`, `f32` and
/// `f64`. The format has more: a tensor of another type is listed, and is an error where it is asked for.
#[derive(Clone, Debug)]
pub struct WeightFile {
    path: PathBuf,
    content: Vec<u8>,
    /// Where the tensors' bytes begin in `content`.
    data: usize,
    tensors: BTreeMap<String, Entry>,
}

impl WeightFile {
    /// Reads a file, of which every tensor may be asked for.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(path, std::fs::read(path).map_err(Error::io(path, "read the file"))?)
    }

    /// As [`open`](Self::open), of a file's content; `path` is for errors.
    pub(crate) fn parse(path: &Path, content: Vec<u8>) -> Result<Self> {
        let damaged = |error: &dyn std::fmt::Display| {
            Error::checkpoint(path, format!("not a valid safetensors file: {error}"))
        };
        let (header, metadata) =
            SafeTensors::read_metadata(&content).map_err(|error| damaged(&error))?;
        let mut tensors = BTreeMap::new();
        for (name, entry) in metadata.tensors() {
            // Of an empty tensor the format lets the other sizes be anything; Candle multiplies them.
            let sizes = entry.shape.iter().filter(|size| **size != 0);
            if sizes.copied().try_fold(1, usize::checked_mul).is_none() {
                let shape = &entry.shape;
                return Err(damaged(&format!("{name} has the impossible shape {shape:?}")));
            }
            tensors.insert(name, entry.clone());
        }
        // The header's own length stands before it.
        let data = size_of::<u64>() + header;
        Ok(Self { path: path.to_path_buf(), content, data, tensors })
    }

    /// All tensors of the file, whatever their types, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo> + '_ {
        self.tensors.iter().map(|(name, entry)| TensorInfo {
            name: name.clone(),
            shape: entry.shape.clone(),
            dtype: name_of(entry.dtype),
        })
    }

    /// The bytes of all tensors, without the header.
    pub fn data_len(&self) -> usize {
        self.content.len() - self.data
    }

    /// Reads a tensor to the CPU; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when Candle cannot read the tensor's type, which it names.
    pub fn get(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(entry) = self.tensors.get(name) else { return Ok(None) };
        if !is_readable(entry.dtype) {
            let dtype = name_of(entry.dtype);
            let reason = format!("{name} is {dtype}, a type that candle cannot read");
            return Err(Error::checkpoint(&self.path, reason));
        }
        let (start, end) = entry.data_offsets;
        let bytes = &self.content[self.data + start..self.data + end];
        let view = TensorView::new(entry.dtype, entry.shape.clone(), bytes);
        let damaged = |error: &dyn std::fmt::Display| {
            Error::checkpoint(&self.path, format!("{name} cannot be read: {error}"))
        };
        let view = view.map_err(|error| damaged(&error))?;
        let tensor = view.load(&Device::Cpu).map_err(|error| damaged(&Error::Candle(error)))?;
        Ok(Some(tensor))
    }

    /// Reads all tensors.
    ///
    /// # Errors
    /// As [`get`](Self::get), of the first that Candle cannot read.
    pub(crate) fn all(&self) -> Result<BTreeMap<String, Tensor>> {
        self.read(|_| true)
    }

    /// Reads the tensors of the types that are asked for.
    fn read(&self, is_asked: impl Fn(Dtype) -> bool) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        for name in self.tensors.iter().filter(|(_, e)| is_asked(e.dtype)).map(|(name, _)| name) {
            if let Some(tensor) = self.get(name)? {
                tensors.insert(name.clone(), tensor);
            }
        }
        Ok(tensors)
    }

    /// Where the file lies, or would.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

/// A tensor's type by the format's own name, in lower case.
fn name_of(dtype: Dtype) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// Whether Candle reads tensors of this type.
fn is_readable(dtype: Dtype) -> bool {
    // It makes `u32` of `u16`, of which it has no tensors.
    dtype == Dtype::U16 || DType::try_from(dtype).is_ok_and(|dtype| !is_opaque(dtype))
}

/// The tensors of a safetensors file, on the CPU.
///
/// Tensors of types that Candle cannot read, such as `bool`, are left out: a [`WeightFile`] lists them,
/// and names the type of one that is asked for.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is damaged.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    WeightFile::open(path)?.read(is_readable)
}

/// Whether Candle has a tensor of this type hold bytes that none of its operations reads: one that
/// writes such a tensor panics.
fn is_opaque(dtype: DType) -> bool {
    matches!(dtype, DType::F4 | DType::F6E2M3 | DType::F6E3M2 | DType::F8E8M0)
}

/// Whether all values of a tensor are finite.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    // A sum would hide an overflow of its own; the largest magnitude would lose a NaN.
    Ok(numbers(tensor)?.iter().all(|value| value.is_finite()))
}

/// The numbers of a tensor on any device, in row-major order.
pub(crate) fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f64>> {
    // Not every device has f64.
    let tensor = tensor.detach().to_device(&Device::Cpu)?;
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}
