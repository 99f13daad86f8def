//! The recurrent layers as ONNX's RNN, GRU and LSTM operators.
//!
//! ONNX's gates stand in another order than PyTorch's: `i o f c` for `i f g o` of an LSTM, `z r h` for `r z n` of a GRU.
//! A GRU's reset gate acts after the product where `linear_before_reset` is 1, before it where it is 0. A minimal gated
//! unit is a GRU whose reset gate is f and whose update gate is `1 - f = σ(-..)`: f's weights, and f's weights with the
//! other sign. Operators of layout 1 are refused by ONNX Runtime, so that time is the first axis between layers.

use super::builder::GraphBuilder;
use super::proto::{Attribute, ConstantValues};
use crate::export::trained::TrainedRun;
use crate::recurrence::Cell;
use crate::Result;

/// The outputs of the layers.
pub(super) struct LayerOutputs {
    /// The outputs of the last layer at all steps, `(T, B, D·H)`; unless the last one alone is asked for.
    pub(super) outputs: Option<String>,
    /// The state of the last layer behind the last step of each row, `(D, B, H)`.
    pub(super) last: String,
    /// The states behind the last step, h and c if there is one, `(L·D, B, H)` each.
    pub(super) states: Vec<String>,
}

/// The inputs of the layers.
pub(super) struct LayerInputs<'a> {
    /// `(T, B, I)`.
    pub(super) x: &'a str,
    /// `(B,)`, `int32`: the steps of each row; all have T if there is none.
    pub(super) lengths: Option<&'a str>,
    /// The states to begin with, h and c if there is one, `(L·D, B, H)` each; zeros if there is none.
    pub(super) states: &'a [String],
    /// Whether the outputs of all steps are needed.
    pub(super) all: bool,
}

/// Adds the recurrent layers of a run.
pub(super) fn layers(
    graph: &mut GraphBuilder,
    run: &TrainedRun,
    inputs: &LayerInputs,
) -> Result<LayerOutputs> {
    let network = run.network();
    let (cell, count) = (network.cell, network.num_layers);
    let directions = if network.bidirectional { 2 } else { 1 };
    let starts: Vec<Vec<String>> =
        inputs.states.iter().map(|state| split(graph, state, count)).collect();
    let kinds: &[&str] = if cell.has_c() { &["h", "c"] } else { &["h"] };
    let mut states: Vec<Vec<String>> = vec![Vec::new(); kinds.len()];
    let (mut x, mut last) = (inputs.x.to_string(), String::new());
    let mut outputs = None;
    for layer in 0..count {
        let [w, r, b] = weights(graph, run, layer, directions)?;
        let start = |kind: usize| starts.get(kind).map_or("", |start| start[layer].as_str());
        let mut read = vec![x.as_str(), &w, &r, &b, inputs.lengths.unwrap_or("")];
        (0..kinds.len()).for_each(|kind| read.push(start(kind)));
        while read.last().is_some_and(|name| name.is_empty()) {
            read.pop();
        }
        let is_read = layer + 1 < count || inputs.all;
        // Optional in ONNX, but candle-onnx panics at an LSTM without it.
        let y = format!("layer_{layer}_outputs");
        let ends: Vec<String> = kinds.iter().map(|kind| format!("layer_{layer}_{kind}")).collect();
        let written = std::iter::once(y.clone()).chain(ends.iter().cloned()).collect();
        let settings = settings(cell, network.hidden_size, directions);
        graph.node(operator(cell), &read, written, settings);
        if is_read {
            // (T, D, B, H) to (T, B, D·H).
            let y = graph.transpose(&y, &[0, 2, 1, 3]);
            x = graph.reshape(&y, &[0, 0, -1]);
            outputs = Some(x.clone());
        }
        last.clone_from(&ends[0]);
        states.iter_mut().zip(ends).for_each(|(states, end)| states.push(end));
    }
    let states = states.iter().map(|of_layers| {
        let of_layers: Vec<&str> = of_layers.iter().map(String::as_str).collect();
        graph.concat(&of_layers, 0)
    });
    Ok(LayerOutputs { outputs, last, states: states.collect() })
}

/// The states of the layers one by one.
fn split(graph: &mut GraphBuilder, state: &str, layers: usize) -> Vec<String> {
    if layers == 1 {
        return vec![state.into()];
    }
    let parts: Vec<String> =
        (0..layers).map(|layer| format!("layer_{layer}_{state}_start")).collect();
    graph.node("Split", &[state], parts.clone(), vec![("axis", Attribute::Int(0))]);
    parts
}

fn operator(cell: Cell) -> &'static str {
    match cell {
        Cell::Tanh | Cell::Relu => "RNN",
        Cell::Gru | Cell::GruResetBefore | Cell::MinimalGru => "GRU",
        Cell::Lstm => "LSTM",
    }
}

fn settings(cell: Cell, units: usize, directions: usize) -> Vec<(&'static str, Attribute)> {
    let direction = if directions == 2 { "bidirectional" } else { "forward" };
    let mut settings = vec![
        ("direction", Attribute::Text(direction)),
        ("hidden_size", Attribute::Int(units as i64)),
    ];
    match cell {
        Cell::Relu => settings.push(("activations", Attribute::Texts(vec!["Relu"; directions]))),
        Cell::Gru | Cell::MinimalGru => settings.push(("linear_before_reset", Attribute::Int(1))),
        Cell::Tanh | Cell::GruResetBefore | Cell::Lstm => {}
    }
    settings
}

/// The blocks of ONNX's gates: which of PyTorch's each is, and with which sign.
fn blocks(cell: Cell) -> &'static [(usize, f32)] {
    match cell {
        Cell::Tanh | Cell::Relu => &[(0, 1.)],
        Cell::Gru | Cell::GruResetBefore => &[(1, 1.), (0, 1.), (2, 1.)],
        Cell::Lstm => &[(0, 1.), (3, 1.), (1, 1.), (2, 1.)],
        Cell::MinimalGru => &[(0, -1.), (0, 1.), (1, 1.)],
    }
}

/// Adds the weights of a layer: W `(D, G·H, I)`, R `(D, G·H, H)` and B `(D, 2·G·H)`.
fn weights(
    graph: &mut GraphBuilder,
    run: &TrainedRun,
    layer: usize,
    directions: usize,
) -> Result<[String; 3]> {
    let network = run.network();
    let (cell, units) = (network.cell, network.hidden_size);
    let rows = blocks(cell).len() * units;
    let (mut w, mut r, mut b) = (Vec::new(), Vec::new(), Vec::new());
    for suffix in ["", "_reverse"].into_iter().take(directions) {
        let read = |name: &str| run.floats(&format!("rnn.{name}_l{layer}{suffix}"));
        w.extend(permuted(cell, &read("weight_ih")?));
        r.extend(permuted(cell, &read("weight_hh")?));
        b.extend(permuted(cell, &read("bias_ih")?));
        if cell.has_two_biases() {
            b.extend(permuted(cell, &read("bias_hh")?));
        } else {
            b.resize(b.len() + rows, 0.);
        }
    }
    let inputs = w.len() / (directions * rows);
    let mut add = |name: &str, shape: &[usize], values: Vec<f32>| {
        graph.constant(&format!("layer_{layer}_{name}"), shape, ConstantValues::F32(values))
    };
    Ok([
        add("W", &[directions, rows, inputs], w),
        add("R", &[directions, rows, units], r),
        add("B", &[directions, 2 * rows], b),
    ])
}

/// The rows of a weight in the order of ONNX's gates.
fn permuted(cell: Cell, values: &[f32]) -> Vec<f32> {
    let block = values.len() / cell.gates();
    let of = |(gate, sign): &(usize, f32)| {
        let (gate, sign) = (*gate, *sign);
        values[gate * block..(gate + 1) * block].iter().map(move |value| sign * value)
    };
    blocks(cell).iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_stand_in_the_order_of_onnx() {
        assert_eq!(permuted(Cell::Tanh, &[1., 2.]), [1., 2.]);
        assert_eq!(permuted(Cell::Gru, &[1., 2., 3., 4., 5., 6.]), [3., 4., 1., 2., 5., 6.]);
        assert_eq!(permuted(Cell::Lstm, &[1., 2., 3., 4.]), [1., 4., 2., 3.]);
        assert_eq!(permuted(Cell::MinimalGru, &[1., 2., 3., 4.]), [-1., -2., 1., 2., 3., 4.]);
    }
}
