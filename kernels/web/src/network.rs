//! The network as `candle-rnn export --html` writes it, and what a page asks it.

use std::sync::Mutex;

use candle_rnn_kernels::{Answer, CellKind, Float, Isa, Readout, Tracer, WeightSlices};

use super::{locked, BUFFER};

/// The cell of this program, of which the compiler keeps the kernels alone.
#[cfg(feature = "tanh")]
const CELL: CellKind = CellKind::Tanh;
#[cfg(feature = "relu")]
const CELL: CellKind = CellKind::Relu;
#[cfg(feature = "gru")]
const CELL: CellKind = CellKind::Gru;
#[cfg(feature = "gru-reset-before")]
const CELL: CellKind = CellKind::GruResetBefore;
#[cfg(feature = "lstm")]
const CELL: CellKind = CellKind::Lstm;
#[cfg(feature = "minimal-gru")]
const CELL: CellKind = CellKind::MinimalGru;

/// The numbers before the weights.
const HEAD: usize = 8;

static NETWORK: Mutex<Option<Tracer<f32>>> = Mutex::new(None);

/// Reads the network in the buffer. Returns whether it is one.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> bool {
    let network = read(&locked(&BUFFER));
    let is_there = network.is_some();
    *locked(&NETWORK) = network;
    is_there
}

/// Reads a sequence, `(T, I)` numbers in the buffer, with the network.
///
/// - `is_class`: whether the answer is the largest output, not the sum of all
/// - returns the bytes of the answer: the outputs after each step `(T, O)`, the hidden states `(T, P)` if there are any,
///   the saliency of each step `(T,)`; 0 if there is no network yet
#[unsafe(no_mangle)]
pub extern "C" fn trace(is_class: bool) -> usize {
    let answer = if is_class { Answer::Largest } else { Answer::Sum };
    asked(|network, x| {
        let trace = network.trace(x, answer);
        let saliency = trace.saliency.iter().map(|value| *value as f32);
        trace.outputs.into_iter().chain(trace.hidden).chain(saliency).collect()
    })
}

/// Reads a sequence, `(T, I)` numbers in the buffer, with the network.
///
/// - returns the bytes of the answer: the outputs after the last step `(O,)`; 0 if there is no network yet
#[unsafe(no_mangle)]
pub extern "C" fn last() -> usize {
    asked(|network, x| network.last(x))
}

/// Puts the numbers that a network answers to those in the buffer there, and returns how many bytes they are.
fn asked(answer: impl Fn(&Tracer<f32>, &[f32]) -> Vec<f32>) -> usize {
    let mut buffer = locked(&BUFFER);
    let network = locked(&NETWORK);
    let Some(network) = &*network else { return 0 };
    *buffer = answer(network, &floats(&buffer)).into_iter().flat_map(f32::to_le_bytes).collect();
    buffer.len()
}

/// The numbers of some bytes.
fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The first elements of `rest`, which is then without them.
fn take<'a, T>(rest: &mut &'a [T], len: usize) -> Option<&'a [T]> {
    let (first, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(first)
}

/// Reads a network: I, H, layers, directions, readout, its steps, outputs and whether the head reads each output by
/// itself, as `u32`; then as `f32` of each layer and direction `W_ih (G·H, I)`, `W_hh (G·H, H)`, `b_ih (G·H,)` and
/// `b_hh (G·H,)`; then the head's weights and biases.
fn read(bytes: &[u8]) -> Option<Tracer<f32>> {
    let (head, weights) = bytes.split_at_checked(4 * HEAD)?;
    let head = head.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let head: Vec<usize> = head.collect();
    let [input_size, hidden_size, num_layers, directions, readout, seq_len, outputs, each] =
        *head.first_chunk::<HEAD>()?;
    let kernels = f32::kernels(Isa::available()[0], CELL);
    let readout = match readout {
        0 => Readout::Last,
        1 => Readout::MeanMax,
        _ => Readout::All { seq_len },
    };
    let mut tracer = Tracer::new(kernels, readout);
    if each == 1 {
        tracer = tracer.reading_each_output();
    }
    let weights = floats(weights);
    let mut rest = &weights[..];
    let rows = CELL.gates() * hidden_size;
    let mut inputs = input_size;
    for _ in 0..num_layers {
        let mut slices = Vec::with_capacity(directions);
        for _ in 0..directions {
            let w_ih = take(&mut rest, rows * inputs)?;
            let w_hh = take(&mut rest, rows * hidden_size)?;
            slices.push(WeightSlices::new(w_ih, w_hh, take(&mut rest, 2 * rows)?, rows));
        }
        tracer = tracer.layer([inputs, hidden_size], &slices);
        inputs = directions * hidden_size;
    }
    let weight = take(&mut rest, outputs * readout.features(inputs))?;
    let bias = take(&mut rest, outputs)?;
    rest.is_empty().then(|| tracer.head(weight, bias))
}
