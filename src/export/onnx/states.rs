//! One step of a network, whose states are inputs and outputs.

use super::builder::GraphBuilder;
use super::head;
use super::layers::{layers, LayerInputs};
use super::proto::{AxisSize, ElementType};
use crate::export::trained::TrainedRun;
use crate::model::Readout;
use crate::{Error, Result};

/// The names of a state before a step and behind it.
const STATES: [(&str, &str); 2] = [("h", "next_h"), ("c", "next_c")];

/// Adds the layers and the dense layer for one step; the states become inputs and outputs.
///
/// - `x`: `(B, I)`
/// - returns the logits, `(B, C)`
pub(super) fn step(graph: &mut GraphBuilder, run: &TrainedRun, x: &str) -> Result<String> {
    let network = run.network();
    if network.bidirectional || network.readout != Readout::Last {
        return Err(Error::Config(
            "a graph of one step needs a unidirectional model with the last-state readout".into(),
        ));
    }
    let shape = [
        AxisSize::Known(network.num_layers),
        AxisSize::Any("batch"),
        AxisSize::Known(network.hidden_size),
    ];
    let kinds = if network.cell.has_c() { &STATES[..] } else { &STATES[..1] };
    let states: Vec<String> = kinds
        .iter()
        .map(|(name, next)| {
            let meaning = format!("{next} of the step before; zeros before the first");
            graph.input(name, ElementType::F32, &shape, &meaning)
        })
        .collect();
    let x = graph.unsqueeze(x, 0);
    let read = LayerInputs { x: &x, lengths: None, states: &states, all: false };
    let outputs = layers(graph, run, &read)?;
    for ((name, next), state) in kinds.iter().zip(&outputs.states) {
        let meaning = format!("the state behind this step: {name} of the next");
        graph.output(state, next, ElementType::F32, &shape, &meaning);
    }
    let last = head::last(graph, &outputs);
    head::dense(graph, run, &last)
}
