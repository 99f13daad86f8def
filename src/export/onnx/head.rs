//! The readout of the outputs, the dense layer, and the answers in the data's units.

use super::builder::GraphBuilder;
use super::layers::LayerOutputs;
use super::preprocess::StepMask;
use super::proto::{Attribute, AxisSize, ConstantValues, ElementType};
use crate::data::Scaler;
use crate::export::trained::TrainedRun;
use crate::model::Readout;
use crate::{Error, Result};

/// Adds what the head reads of the outputs: `(B, F)`; `steps` tells real steps where rows differ in length.
pub(super) fn read(
    graph: &mut GraphBuilder,
    readout: Readout,
    layers: &LayerOutputs,
    steps: Option<&StepMask>,
) -> Result<String> {
    if readout == Readout::Last {
        return Ok(last(graph, layers));
    }
    let outputs = every_step(graph, layers)?;
    if readout == Readout::All {
        return Ok(graph.op_with("Flatten", &[&outputs], vec![("axis", Attribute::Int(1))]));
    }
    let over_steps = || vec![("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(0))];
    let Some(StepMask { mask, lengths }) = steps else {
        let mean = graph.op_with("ReduceMean", &[&outputs], over_steps());
        let max = graph.op_with("ReduceMax", &[&outputs], over_steps());
        return Ok(graph.concat(&[&mean, &max], 1));
    };
    let zero = graph.float(0.);
    let real = graph.op("Where", &[mask, &outputs, &zero]);
    let sum = graph.sum(&real, 1, false);
    let lengths = graph.cast(lengths, ElementType::F32);
    let lengths = graph.unsqueeze(&lengths, 1);
    let mean = graph.op("Div", &[&sum, &lengths]);
    let least = graph.float(f32::NEG_INFINITY);
    let real = graph.op("Where", &[mask, &outputs, &least]);
    let max = graph.op_with("ReduceMax", &[&real], over_steps());
    Ok(graph.concat(&[&mean, &max], 1))
}

/// The last output of each row: `(B, D·H)`.
pub(super) fn last(graph: &mut GraphBuilder, layers: &LayerOutputs) -> String {
    let last = graph.transpose(&layers.last, &[1, 0, 2]);
    graph.op_with("Flatten", &[&last], vec![("axis", Attribute::Int(1))])
}

/// The outputs of all steps: `(B, T, D·H)`.
pub(super) fn every_step(graph: &mut GraphBuilder, layers: &LayerOutputs) -> Result<String> {
    match &layers.outputs {
        Some(outputs) => Ok(graph.transpose(outputs, &[1, 0, 2])),
        None => Err(Error::Config("the outputs of all steps were not computed".into())),
    }
}

/// Adds the dense layer: `(.., F)` to `(.., C)`.
pub(super) fn dense(graph: &mut GraphBuilder, run: &TrainedRun, x: &str) -> Result<String> {
    let (weight, bias) = (run.floats("head.weight")?, run.floats("head.bias")?);
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len().max(1));
    let column = |at: usize| weight.iter().skip(at).step_by(inputs).copied();
    let transposed: Vec<f32> = (0..inputs).flat_map(column).collect();
    let weight = graph.constant("head_weight", &[inputs, outputs], ConstantValues::F32(transposed));
    let bias = graph.constant("head_bias", &[outputs], ConstantValues::F32(bias));
    let product = graph.op("MatMul", &[x, &weight]);
    Ok(graph.op("Add", &[&product, &bias]))
}

/// Makes logits and probabilities outputs: the classes are the last axis, behind `axes`.
pub(super) fn classes(
    graph: &mut GraphBuilder,
    logits: &str,
    axes: &[AxisSize],
    count: usize,
    of: &str,
) {
    let shape = [axes, &[AxisSize::Known(count)]].concat();
    let softmax = vec![("axis", Attribute::Int(-1))];
    let probabilities = graph.op_with("Softmax", &[logits], softmax);
    graph.output(logits, "logits", ElementType::F32, &shape, &format!("the logits of {of}"));
    let meaning = format!("the probabilities of {of}");
    graph.output(&probabilities, "probabilities", ElementType::F32, &shape, &meaning);
}

/// The numbers that scaled ones stand for, as `f64`.
pub(super) fn unscaled(graph: &mut GraphBuilder, scaled: &str, scaler: Option<&Scaler>) -> String {
    let values = graph.cast(scaled, ElementType::F64);
    let Some(scaler) = scaler else { return values };
    let width = scaler.width();
    let (scale, center) =
        (graph.doubles(&[width], &scaler.scale), graph.doubles(&[width], &scaler.center));
    let values = graph.op("Mul", &[&values, &scale]);
    graph.op("Add", &[&values, &center])
}
