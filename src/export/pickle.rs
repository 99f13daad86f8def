//! PyTorch's own file format: a zip archive with a pickle and the numbers of each tensor.
//!
//! The pickle, of protocol 2, is an `OrderedDict` of `torch._utils._rebuild_tensor_v2(storage, offset, size, stride,
//! requires_grad, hooks)`, as `torch.save` writes it; a storage is a persistent id, the tuple `("storage", type, key,
//! "cpu", count)`, whose numbers are the archive's entry `data/key`.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use candle_core::{DType, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{Error, Result};

/// The folder of all entries.
const ROOT: &str = "model";

/// The bytes of a file with these tensors.
///
/// # Errors
/// [`Error::DType`] unless they are `f16`, `f32` or `f64`, [`Error::Candle`] when one cannot be read.
pub(super) fn state_dict(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut pickle = Pickler::new();
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entries = Vec::new();
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        pickle.tensor(name, &key.to_string(), tensor, storage_type(name, tensor)?);
        entries.push((format!("data/{key}"), numbers(tensor)?));
    }
    let head =
        [("data.pkl".to_string(), pickle.finish()), ("byteorder".into(), b"little".to_vec())];
    entries.push(("version".into(), b"3\n".to_vec()));
    let failed = |error: &dyn std::fmt::Display| {
        Error::Config(format!("the state dict cannot be written: {error}"))
    };
    // PyTorch maps numbers into memory where they begin at a multiple of 64 bytes.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(64);
    for (name, content) in head.iter().chain(&entries) {
        archive.start_file(format!("{ROOT}/{name}"), options).map_err(|error| failed(&error))?;
        archive.write_all(content).map_err(|error| failed(&error))?;
    }
    Ok(archive.finish().map_err(|error| failed(&error))?.into_inner())
}

/// The name of PyTorch's class for numbers of this type.
fn storage_type(name: &str, tensor: &Tensor) -> Result<&'static str> {
    match tensor.dtype() {
        DType::F16 => Ok("HalfStorage"),
        DType::F32 => Ok("FloatStorage"),
        DType::F64 => Ok("DoubleStorage"),
        other => Err(Error::DType {
            op: "state_dict",
            tensor: name.into(),
            expected: "f16, f32 or f64",
            actual: other.as_str().into(),
        }),
    }
}

/// The numbers of a tensor, row by row, little-endian.
fn numbers(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F64 => flat.to_vec1::<f64>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::F16 => {
            // Through candle's own writer: the type of f16 numbers is not this crate's.
            let mut bytes = Vec::new();
            flat.write_bytes(&mut bytes)?;
            bytes
        }
        _ => flat.to_vec1::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
    })
}

/// A pickle under construction.
struct Pickler(Vec<u8>);

impl Pickler {
    /// The beginning of an `OrderedDict` with items.
    fn new() -> Self {
        let mut pickle = Self(b"\x80\x02".to_vec());
        pickle.global("collections", "OrderedDict");
        // An empty tuple; the call; the mark of the items.
        pickle.0.extend(b")R(");
        pickle
    }

    fn tensor(&mut self, name: &str, key: &str, tensor: &Tensor, storage: &str) {
        self.text(name);
        self.global("torch._utils", "_rebuild_tensor_v2");
        // A tuple's mark, and that of the persistent id.
        self.0.extend(b"((");
        self.text("storage");
        self.global("torch", storage);
        self.text(key);
        self.text("cpu");
        self.int(tensor.elem_count());
        self.0.extend(b"tQ");
        self.int(0);
        let sizes = tensor.dims();
        self.tuple(sizes);
        let stride = |axis: usize| sizes[axis + 1..].iter().product();
        self.tuple(&(0..sizes.len()).map(stride).collect::<Vec<usize>>());
        // False; then the hooks.
        self.0.push(b'\x89');
        self.global("collections", "OrderedDict");
        self.0.extend(b")RtR");
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.0.push(b'(');
        numbers.iter().for_each(|number| self.int(*number));
        self.0.push(b't');
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    /// A number: four bytes, or eight where it needs them.
    fn int(&mut self, number: usize) {
        match i32::try_from(number) {
            Ok(number) => {
                self.0.push(b'J');
                self.0.extend(number.to_le_bytes());
            }
            Err(_) => {
                self.0.extend(b"\x8a\x08");
                self.0.extend((number as i64).to_le_bytes());
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        // The items set; the end.
        self.0.extend(b"u.");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn candle_reads_a_state_dict_back() {
        let weight = Tensor::arange(0f32, 6., &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        let bias = Tensor::new(&[0.25f64, -1.], &Device::Cpu).unwrap();
        let half = weight.to_dtype(DType::F16).unwrap();
        let tensors = [("head.weight", &weight), ("head.bias", &bias), ("half", &half)];
        let tensors: BTreeMap<String, Tensor> =
            tensors.map(|(name, tensor)| (name.to_string(), tensor.clone())).into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        std::fs::write(&path, state_dict(&tensors).unwrap()).unwrap();
        let read = candle_core::pickle::read_all(&path).unwrap();
        assert_eq!(read.len(), 3);
        for (name, tensor) in read {
            let expected = &tensors[&name];
            assert_eq!((tensor.dims(), tensor.dtype()), (expected.dims(), expected.dtype()));
            let values = |tensor: &Tensor| {
                tensor
                    .to_dtype(DType::F64)
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1::<f64>()
                    .unwrap()
            };
            assert_eq!(values(&tensor), values(expected), "{name}");
        }
    }

    #[test]
    fn other_numbers_are_refused() {
        let tensor = Tensor::new(&[1u32], &Device::Cpu).unwrap();
        let error = state_dict(&BTreeMap::from([("a".to_string(), tensor)])).unwrap_err();
        assert_eq!(error.to_string(), "state_dict: a must be f16, f32 or f64, got u32");
    }
}
