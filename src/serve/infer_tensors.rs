//! Tensors of the Open Inference Protocol, in JSON and as bytes.

use serde::Deserialize;
use serde_json::{json, Value};

use super::http_error::HttpError;
use super::number_list::NumberList;
use super::unknown_parameters::UnknownParameters;
use crate::files::object::Object;

/// An input tensor of a request.
#[derive(Deserialize)]
pub(super) struct InferInput {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) datatype: String,
    #[serde(default)]
    data: Option<NumberList>,
    #[serde(default)]
    parameters: Object<InputParameters>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    /// The number of bytes that hold the tensor, of those behind the JSON.
    #[serde(default)]
    binary_data_size: Option<usize>,
    #[serde(flatten)]
    unknown: UnknownParameters,
}

impl InferInput {
    /// The tensor as pixels.
    ///
    /// # Errors
    /// 400 when the data are not as the tensor says, 422 for other data.
    pub(super) fn pixels(&self, binary: &mut &[u8]) -> Result<Vec<u8>, HttpError> {
        self.check_datatype("UINT8")?;
        if let Some(bytes) = self.bytes(binary, 1)? {
            return Ok(bytes.to_vec());
        }
        self.list()?.pixels()
    }

    /// The tensor as numbers.
    ///
    /// # Errors
    /// As [`pixels`](Self::pixels).
    pub(super) fn numbers(&self, binary: &mut &[u8]) -> Result<Vec<f32>, HttpError> {
        self.check_datatype("FP32")?;
        if let Some(bytes) = self.bytes(binary, 4)? {
            let number =
                |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            return Ok(bytes.chunks_exact(4).map(number).collect());
        }
        Ok(self.list()?.values.iter().map(|value| *value as f32).collect())
    }

    fn check_datatype(&self, expected: &str) -> Result<(), HttpError> {
        self.parameters.unknown.refuse("an input", "binary_data_size")?;
        if self.datatype == expected {
            return Ok(());
        }
        let (name, found) = (&self.name, &self.datatype);
        Err(HttpError::unfit(format!("{name} must be {expected}, got {found}")))
    }

    /// The number of elements that the shape says.
    fn len(&self) -> Result<usize, HttpError> {
        let sizes = self.shape.iter();
        let len = sizes.copied().try_fold(1_usize, |len, size| len.checked_mul(size));
        len.ok_or_else(|| {
            HttpError::malformed(format!("{}: the shape {:?} is too large", self.name, self.shape))
        })
    }

    /// The tensor's bytes, taken off `binary`; `None` if it is in the JSON.
    fn bytes<'a>(
        &self,
        binary: &mut &'a [u8],
        element: usize,
    ) -> Result<Option<&'a [u8]>, HttpError> {
        let Some(size) = self.parameters.binary_data_size else { return Ok(None) };
        let (name, shape) = (&self.name, &self.shape);
        if self.data.is_some() {
            return Err(HttpError::malformed(format!("{name} has both data and binary data")));
        }
        if self.len()?.checked_mul(element) != Some(size) {
            return Err(HttpError::malformed(format!(
                "{name}: {size} bytes do not hold the shape {shape:?} of {}",
                self.datatype
            )));
        }
        let Some((bytes, rest)) = binary.split_at_checked(size) else {
            return Err(HttpError::malformed(format!(
                "{name}: {size} bytes are announced, {} follow",
                binary.len()
            )));
        };
        *binary = rest;
        Ok(Some(bytes))
    }

    /// The tensor's numbers in the JSON: nested as the shape says, or flat.
    fn list(&self) -> Result<&NumberList, HttpError> {
        let (name, shape) = (&self.name, &self.shape);
        let Some(list) = &self.data else {
            return Err(HttpError::malformed(format!("{name} has neither data nor binary data")));
        };
        let len = self.len()?;
        if list.values.len() != len || (list.shape != *shape && list.shape != [len]) {
            return Err(HttpError::malformed(format!(
                "{name}: the data have the shape {:?}, not {shape:?}",
                list.shape
            )));
        }
        Ok(list)
    }
}

/// An output tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InferOutput {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) elements: OutputElements,
}

/// The elements of an output tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OutputElements {
    Fp32(Vec<f32>),
    Int64(Vec<i64>),
    /// Texts.
    Bytes(Vec<String>),
}

impl InferOutput {
    /// Of probabilities, `(.., C)`, the most probable classes, `(.., K)` with K at most C: each a text of its
    /// probability, its number and its name, with colons between, as Triton's classification extension has it.
    pub(super) fn most_probable(&self, count: usize, names: &[String]) -> Self {
        let probabilities: &[f32] = match &self.elements {
            OutputElements::Fp32(probabilities) => probabilities,
            OutputElements::Int64(_) | OutputElements::Bytes(_) => &[],
        };
        let (count, mut texts) = (count.min(names.len()), Vec::new());
        for row in probabilities.chunks_exact(names.len().max(1)) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            let text = |class: &usize| format!("{}:{class}:{}", row[*class], names[*class]);
            texts.extend(order.iter().take(count).map(text));
        }
        let mut shape = self.shape.clone();
        if let Some(classes) = shape.last_mut() {
            *classes = count;
        }
        Self { name: self.name, shape, elements: OutputElements::Bytes(texts) }
    }

    /// The tensor with its data.
    pub(super) fn json(&self) -> Value {
        let mut tensor = self.head();
        tensor["data"] = match &self.elements {
            OutputElements::Fp32(elements) => json!(elements),
            OutputElements::Int64(elements) => json!(elements),
            OutputElements::Bytes(elements) => json!(elements),
        };
        tensor
    }

    /// The tensor without its data, which are added to `binary`.
    pub(super) fn binary(&self, binary: &mut Vec<u8>) -> Value {
        let before = binary.len();
        match &self.elements {
            OutputElements::Fp32(elements) => {
                binary.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
            }
            OutputElements::Int64(elements) => {
                binary.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
            }
            OutputElements::Bytes(elements) => {
                for element in elements {
                    binary.extend((element.len() as u32).to_le_bytes());
                    binary.extend(element.as_bytes());
                }
            }
        }
        let mut tensor = self.head();
        tensor["parameters"] = json!({ "binary_data_size": binary.len() - before });
        tensor
    }

    fn head(&self) -> Value {
        let datatype = match self.elements {
            OutputElements::Fp32(_) => "FP32",
            OutputElements::Int64(_) => "INT64",
            OutputElements::Bytes(_) => "BYTES",
        };
        json!({ "name": self.name, "shape": self.shape, "datatype": datatype })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(value: Value) -> InferInput {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn tensors_in_json_may_be_nested_or_flat() {
        for data in [json!([[1, 2], [3, 4]]), json!([1, 2, 3, 4])] {
            let tensor =
                input(json!({"name": "x", "shape": [2, 2], "datatype": "FP32", "data": data}));
            assert_eq!(tensor.numbers(&mut &[][..]).unwrap(), [1., 2., 3., 4.]);
        }
        let wrong =
            json!({"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2, 3, 4]]});
        assert_eq!(input(wrong).numbers(&mut &[][..]).unwrap_err().status, 400);
    }

    #[test]
    fn tensors_as_bytes_are_taken_in_order() {
        let mut binary = &[7, 8, 0, 0, 128, 63][..];
        let tensor = |shape: Value, datatype: &str, size: usize| {
            let parameters = json!({ "binary_data_size": size });
            input(
                json!({"name": "x", "shape": shape, "datatype": datatype, "parameters": parameters}),
            )
        };
        assert_eq!(tensor(json!([2]), "UINT8", 2).pixels(&mut binary).unwrap(), [7, 8]);
        assert_eq!(tensor(json!([1]), "FP32", 4).numbers(&mut binary).unwrap(), [1.]);
        assert!(binary.is_empty());
        assert!(tensor(json!([1]), "FP32", 4).numbers(&mut binary).is_err());
        let huge = json!([usize::MAX, 8]);
        assert!(tensor(huge, "UINT8", 8).pixels(&mut &[0; 8][..]).is_err());
        assert!(tensor(json!([8]), "UINT8", 7).pixels(&mut &[0; 8][..]).is_err());
    }

    #[test]
    fn outputs_are_written_in_little_endian() {
        let elements = OutputElements::Int64(vec![258]);
        let output = InferOutput { name: "label", shape: vec![1], elements };
        let mut binary = Vec::new();
        let head = output.binary(&mut binary);
        assert_eq!(head["parameters"]["binary_data_size"], 8);
        assert_eq!(binary, [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(output.json()["data"], json!([258]));
    }

    #[test]
    fn the_most_probable_classes_are_texts() {
        let elements = OutputElements::Fp32(vec![0.25, 0.5, 0.25, 0.125, 0., 0.875]);
        let output = InferOutput { name: "probabilities", shape: vec![2, 3], elements };
        let names = ["a", "b", "c:d"].map(String::from);
        let found = output.most_probable(2, &names);
        assert_eq!(found.shape, [2, 2]);
        let json = found.json();
        assert_eq!(json["datatype"], "BYTES");
        assert_eq!(json["data"], json!(["0.5:1:b", "0.25:0:a", "0.875:2:c:d", "0.125:0:a"]));
        assert_eq!(output.most_probable(9, &names).shape, [2, 3]);
        let mut binary = Vec::new();
        found.binary(&mut binary);
        assert_eq!(binary[..11], *b"\x07\x00\x00\x000.5:1:b");
        assert_eq!(binary.len(), 4 * 4 + 7 + 8 + 11 + 9);
    }
}
