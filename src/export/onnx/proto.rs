//! The parts of an ONNX model, and how each is written as a protocol buffers message.
//!
//! The numbers of fields and of types are those of onnx.proto. Nine of its messages are written: ModelProto,
//! OperatorSetIdProto, StringStringEntryProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto and
//! TypeProto with its shape.

use crate::files::protobuf::Message;

/// The file format's version. Version 8 belongs to opset 17.
const IR_VERSION: i64 = 8;
/// The version of the operators.
pub(super) const OPSET: i64 = 17;

/// The numbers of a constant, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ConstantValues {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
}

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    F32 = 1,
    I32 = 6,
    I64 = 7,
    F64 = 11,
}

impl ElementType {
    /// NumPy's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F64 => "float64",
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Initializer {
    pub(super) name: String,
    /// No sizes for a scalar.
    pub(super) shape: Vec<usize>,
    pub(super) elements: ConstantValues,
}

/// A setting of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
    Texts(Vec<&'static str>),
    Graph(OnnxGraph),
}

/// An operation. An input or output that is left out has an empty name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OnnxNode {
    pub(super) op: &'static str,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

/// A size of an input or an output: known, or with a name where any will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AxisSize {
    Known(usize),
    Any(&'static str),
}

/// An input or an output of a graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OnnxValue {
    pub(super) name: String,
    pub(super) element_type: ElementType,
    pub(super) shape: Vec<AxisSize>,
    /// Its meaning in words.
    pub(super) meaning: String,
}

/// A graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OnnxGraph {
    pub(super) name: String,
    pub(super) nodes: Vec<OnnxNode>,
    pub(super) initializers: Vec<Initializer>,
    pub(super) inputs: Vec<OnnxValue>,
    pub(super) outputs: Vec<OnnxValue>,
}

/// ModelProto: the bytes of a file.
pub(super) fn model(graph: &OnnxGraph, metadata: &[(String, String)]) -> Vec<u8> {
    let mut model = Message::default();
    model.int(1, IR_VERSION);
    model.text(2, "candle-rnn");
    model.text(3, env!("CARGO_PKG_VERSION"));
    model.message(7, &graph.message());
    let mut opset = Message::default();
    opset.text(1, "");
    opset.int(2, OPSET);
    model.message(8, &opset);
    for (name, value) in metadata {
        let mut entry = Message::default();
        entry.text(1, name);
        entry.text(2, value);
        model.message(14, &entry);
    }
    model.into_bytes()
}

impl OnnxGraph {
    fn message(&self) -> Message {
        let mut graph = Message::default();
        self.nodes.iter().enumerate().for_each(|(at, node)| graph.message(1, &node.message(at)));
        graph.text(2, &self.name);
        self.initializers.iter().for_each(|tensor| graph.message(5, &tensor.message()));
        self.inputs.iter().for_each(|value| graph.message(11, &value.message()));
        self.outputs.iter().for_each(|value| graph.message(12, &value.message()));
        graph
    }
}

impl OnnxNode {
    fn message(&self, at: usize) -> Message {
        let mut node = Message::default();
        self.inputs.iter().for_each(|name| node.text(1, name));
        self.outputs.iter().for_each(|name| node.text(2, name));
        node.text(3, &format!("{}_{at}", self.op));
        node.text(4, self.op);
        self.attributes.iter().for_each(|(name, value)| node.message(5, &value.message(name)));
        node
    }
}

impl Attribute {
    fn message(&self, name: &str) -> Message {
        let mut attribute = Message::default();
        attribute.text(1, name);
        let kind = match self {
            Self::Int(value) => {
                attribute.int(3, *value);
                2
            }
            Self::Text(value) => {
                attribute.text(4, value);
                3
            }
            Self::Graph(value) => {
                attribute.message(6, &value.message());
                5
            }
            Self::Ints(values) => {
                values.iter().for_each(|value| attribute.int(8, *value));
                7
            }
            Self::Texts(values) => {
                values.iter().for_each(|value| attribute.text(9, value));
                8
            }
        };
        attribute.int(20, kind);
        attribute
    }
}

impl Initializer {
    fn message(&self) -> Message {
        let mut tensor = Message::default();
        self.shape.iter().for_each(|size| tensor.int(1, *size as i64));
        let (element_type, bytes): (_, Vec<u8>) = match &self.elements {
            ConstantValues::F32(values) => {
                (ElementType::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            ConstantValues::F64(values) => {
                (ElementType::F64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            ConstantValues::I64(values) => {
                (ElementType::I64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
        };
        tensor.int(2, element_type as i64);
        tensor.text(8, &self.name);
        tensor.bytes(9, &bytes);
        tensor
    }
}

impl OnnxValue {
    fn message(&self) -> Message {
        let mut shape = Message::default();
        for size in &self.shape {
            let mut axis = Message::default();
            match size {
                AxisSize::Known(size) => axis.int(1, *size as i64),
                AxisSize::Any(name) => axis.text(2, name),
            }
            shape.message(1, &axis);
        }
        let mut tensor = Message::default();
        tensor.int(1, self.element_type as i64);
        tensor.message(2, &shape);
        let mut kind = Message::default();
        kind.message(1, &tensor);
        let mut value = Message::default();
        value.text(1, &self.name);
        value.message(2, &kind);
        if !self.meaning.is_empty() {
            value.text(3, &self.meaning);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y = x + b, of three numbers.
    fn sum() -> OnnxGraph {
        let value = |name: &str| OnnxValue {
            name: name.into(),
            element_type: ElementType::F32,
            shape: vec![AxisSize::Any("n"), AxisSize::Known(1)],
            meaning: String::new(),
        };
        OnnxGraph {
            name: "g".into(),
            nodes: vec![OnnxNode {
                op: "Add",
                inputs: vec!["x".into(), "b".into()],
                outputs: vec!["y".into()],
                attributes: vec![],
            }],
            initializers: vec![Initializer {
                name: "b".into(),
                shape: vec![1],
                elements: ConstantValues::F32(vec![0.5]),
            }],
            inputs: vec![value("x")],
            outputs: vec![value("y")],
        }
    }

    #[test]
    fn a_model_is_these_bytes() {
        let metadata = [("k".to_string(), "v".to_string())];
        let bytes = model(&sum(), &metadata);
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        // As the protobuf runtime of the Python package onnx serializes the same model.
        let node = b"\x0a\x15\x0a\x01x\x0a\x01b\x12\x01y\x1a\x05Add_0\x22\x03Add".as_slice();
        let constant = b"\x12\x01g\x2a\x0d\x08\x01\x10\x01\x42\x01b\x4a\x04\0\0\0\x3f".as_slice();
        let kind = b"\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x01".as_slice();
        let values = [b"\x5a\x14\x0a\x01x".as_slice(), kind, b"\x62\x14\x0a\x01y", kind].concat();
        let graph = [node, constant, &values].concat();
        let head = [b"\x08\x08\x12\x0acandle-rnn\x1a".as_slice(), &[version.len() as u8], version];
        let tail = b"\x42\x04\x0a\0\x10\x11\x72\x06\x0a\x01k\x12\x01v".as_slice();
        let expected = [&head.concat(), &[0x3a, graph.len() as u8][..], &graph, tail].concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn attributes_say_their_types() {
        let ints = Attribute::Ints(vec![1, 0]).message("perm").into_bytes();
        assert_eq!(ints, b"\x0a\x04perm\x40\x01\x40\x00\xa0\x01\x07");
        let int = Attribute::Int(3).message("to").into_bytes();
        assert_eq!(int, b"\x0a\x02to\x18\x03\xa0\x01\x02");
        let texts = Attribute::Texts(vec!["Relu"]).message("a").into_bytes();
        assert_eq!(texts, b"\x0a\x01a\x4a\x04Relu\xa0\x01\x08");
        let text = Attribute::Text("f").message("d").into_bytes();
        assert_eq!(text, b"\x0a\x01d\x22\x01f\xa0\x01\x03");
    }
}
