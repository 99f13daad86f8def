//! The network as `candle-rnn export --html` writes it.

use candle_rnn_kernels::{CellKind, Float, Isa, Readout, Tracer, WeightSlices};

/// The numbers before the weights.
const HEAD: usize = 9;

/// The numbers of some bytes.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The first elements of `rest`, which is then without them.
fn take<'a, T>(rest: &mut &'a [T], len: usize) -> Option<&'a [T]> {
    let (first, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(first)
}

/// Reads a network: cell, I, H, layers, directions, readout, its steps, outputs and whether the head reads each output
/// by itself, as `u32`; then as `f32` of each layer and direction `W_ih (G·H, I)`, `W_hh (G·H, H)`, `b_ih (G·H,)` and
/// `b_hh (G·H,)`; then the head's weights and biases.
pub(crate) fn read(bytes: &[u8]) -> Option<Tracer<f32>> {
    let (head, weights) = bytes.split_at_checked(4 * HEAD)?;
    let head = head.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let head: Vec<usize> = head.collect();
    let [cell, input_size, hidden_size, num_layers, directions, readout, seq_len, outputs, each] =
        *head.first_chunk::<HEAD>()?;
    let isa = Isa::available()[0];
    // The compiler sees each cell, and leaves the kernels of others out.
    let (kernels, gates) = match cell {
        0 => (f32::kernels(isa, CellKind::Tanh), 1),
        1 => (f32::kernels(isa, CellKind::Relu), 1),
        2 => (f32::kernels(isa, CellKind::Gru), 3),
        3 => (f32::kernels(isa, CellKind::GruResetBefore), 3),
        4 => (f32::kernels(isa, CellKind::Lstm), 4),
        5 => (f32::kernels(isa, CellKind::MinimalGru), 2),
        _ => return None,
    };
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
    let rows = gates * hidden_size;
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
