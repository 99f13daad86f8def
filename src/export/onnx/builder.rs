//! `GraphBuilder`: a graph made operation by operation.

use super::proto::{
    Attribute, AxisSize, ConstantValues, ElementType, Initializer, OnnxGraph, OnnxNode, OnnxValue,
};

/// A graph under construction. Each operation gives the name of what it computes.
#[derive(Debug, Default)]
pub(super) struct GraphBuilder {
    graph: OnnxGraph,
}

impl GraphBuilder {
    /// A graph with nothing in it.
    pub(super) fn new(name: &str) -> Self {
        Self { graph: OnnxGraph { name: name.into(), ..OnnxGraph::default() } }
    }

    /// Adds an input.
    pub(super) fn input(
        &mut self,
        name: &str,
        element_type: ElementType,
        shape: &[AxisSize],
        meaning: &str,
    ) -> String {
        self.graph.inputs.push(OnnxValue {
            name: name.into(),
            element_type,
            shape: shape.to_vec(),
            meaning: meaning.into(),
        });
        name.into()
    }

    /// Makes a value an output under this name.
    pub(super) fn output(
        &mut self,
        value: &str,
        name: &str,
        element_type: ElementType,
        shape: &[AxisSize],
        meaning: &str,
    ) {
        self.graph.nodes.push(OnnxNode {
            op: "Identity",
            inputs: vec![value.into()],
            outputs: vec![name.into()],
            attributes: vec![],
        });
        self.graph.outputs.push(OnnxValue {
            name: name.into(),
            element_type,
            shape: shape.to_vec(),
            meaning: meaning.into(),
        });
    }

    /// Adds an operation without settings that has one output.
    pub(super) fn op(&mut self, op: &'static str, inputs: &[&str]) -> String {
        self.op_with(op, inputs, vec![])
    }

    /// Adds an operation that has one output.
    pub(super) fn op_with(
        &mut self,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let name = self.free_name(op);
        self.node(op, inputs, vec![name.clone()], attributes);
        name
    }

    /// Adds an operation with these outputs.
    pub(super) fn node(
        &mut self,
        op: &'static str,
        inputs: &[&str],
        outputs: Vec<String>,
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        let inputs = inputs.iter().map(|name| name.to_string()).collect();
        self.graph.nodes.push(OnnxNode { op, inputs, outputs, attributes });
    }

    /// A name that no value has yet.
    pub(super) fn free_name(&self, op: &str) -> String {
        format!("{}_{}", op.to_lowercase(), self.graph.nodes.len())
    }

    /// Adds a constant under this name.
    pub(super) fn constant(
        &mut self,
        name: &str,
        shape: &[usize],
        elements: ConstantValues,
    ) -> String {
        let initializer = Initializer { name: name.into(), shape: shape.to_vec(), elements };
        self.graph.initializers.push(initializer);
        name.into()
    }

    /// A constant list of whole numbers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.shared(&[values.len()], ConstantValues::I64(values.to_vec()))
    }

    /// A constant whole number, without axes.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.shared(&[], ConstantValues::I64(vec![value]))
    }

    /// A constant `f32`, without axes.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.shared(&[], ConstantValues::F32(vec![value]))
    }

    /// A constant list of `f64`, or a number without axes for an empty shape.
    pub(super) fn doubles(&mut self, shape: &[usize], values: &[f64]) -> String {
        self.shared(shape, ConstantValues::F64(values.to_vec()))
    }

    /// A constant without a name of its own; equal ones are one.
    fn shared(&mut self, shape: &[usize], elements: ConstantValues) -> String {
        let bits = |elements: &ConstantValues| match elements {
            // NaN differs from itself.
            ConstantValues::F64(values) => values.iter().map(|value| value.to_bits()).collect(),
            ConstantValues::F32(values) => {
                values.iter().map(|value| u64::from(value.to_bits())).collect()
            }
            ConstantValues::I64(values) => {
                values.iter().map(|value| *value as u64).collect::<Vec<u64>>()
            }
        };
        let is_same = |known: &&Initializer| {
            known.name.starts_with(CONSTANT)
                && known.shape == shape
                && std::mem::discriminant(&known.elements) == std::mem::discriminant(&elements)
                && bits(&known.elements) == bits(&elements)
        };
        if let Some(known) = self.graph.initializers.iter().find(is_same) {
            return known.name.clone();
        }
        let name = format!("{CONSTANT}{}", self.graph.initializers.len());
        self.constant(&name, shape, elements)
    }

    /// Converts to another element type.
    pub(super) fn cast(&mut self, value: &str, to: ElementType) -> String {
        self.op_with("Cast", &[value], vec![("to", Attribute::Int(to as i64))])
    }

    /// Exchanges axes.
    pub(super) fn transpose(&mut self, value: &str, order: &[i64]) -> String {
        self.op_with("Transpose", &[value], vec![("perm", Attribute::Ints(order.to_vec()))])
    }

    /// Changes the shape; 0 keeps a size, -1 takes what is left.
    pub(super) fn reshape(&mut self, value: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("Reshape", &[value, &shape])
    }

    /// Adds an axis of size 1.
    pub(super) fn unsqueeze(&mut self, value: &str, axis: i64) -> String {
        let axes = self.ints(&[axis]);
        self.op("Unsqueeze", &[value, &axes])
    }

    /// Puts values beside each other along an axis; one value is itself.
    pub(super) fn concat(&mut self, values: &[&str], axis: i64) -> String {
        match values {
            [value] => value.to_string(),
            values => self.op_with("Concat", values, vec![("axis", Attribute::Int(axis))]),
        }
    }

    /// The sum over an axis, which stays with size 1 if `keep`.
    pub(super) fn sum(&mut self, value: &str, axis: i64, keep: bool) -> String {
        let axes = self.ints(&[axis]);
        let keep = Attribute::Int(i64::from(keep));
        self.op_with("ReduceSum", &[value, &axes], vec![("keepdims", keep)])
    }

    /// The finished graph.
    pub(super) fn finish(self) -> OnnxGraph {
        self.graph
    }
}

/// The prefix of names of constants that have none of their own.
const CONSTANT: &str = "constant_";
