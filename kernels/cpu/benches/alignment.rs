//! The forward pass of one batch row, by where the packed weights lie in a cache line.
//!
//! With one row every weight is loaded for one product, so that a register of weights that lies across
//! two cache lines costs most of what the product takes. `pack_weights` therefore gives memory
//! that is aligned to a line; an allocator gives 16 bytes. The placements take turns within every round, so
//! that another program on the machine slows all of them.
//!
//! `cargo bench -p candle-rnn-kernels --bench alignment`; times are microseconds.

use std::hint::black_box;
use std::time::Instant;

use candle_rnn_kernels::{
    forward, pack_weights, CellKind, Float, Isa, RawCall, Save, SequenceDims, WeightSlices,
};

const DIMS: SequenceDims =
    SequenceDims { batch_size: 1, seq_len: 28, input_size: 28, hidden_size: 150, output_size: 150 };
/// Bytes behind a boundary of 64.
const OFFSETS: [usize; 5] = [0, 4, 16, 32, 48];
const ROUNDS: usize = 200;
const CALLS: usize = 20;
const LINE: usize = 64;

/// Values between -0.1 and 0.1.
fn values(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.2
    };
    (0..len).map(|_| next()).collect()
}

/// A copy of some values that begins `offset` bytes behind a boundary of 64.
struct Placed {
    memory: Vec<f32>,
    first: usize,
    len: usize,
}

impl Placed {
    fn new(values: &[f32], offset: usize) -> Self {
        let mut memory = vec![0.; values.len() + 2 * LINE / size_of::<f32>()];
        let at = memory.as_ptr() as usize;
        let first = (at.next_multiple_of(LINE) - at + offset) / size_of::<f32>();
        memory[first..][..values.len()].copy_from_slice(values);
        Self { memory, first, len: values.len() }
    }

    fn get(&self) -> &[f32] {
        &self.memory[self.first..][..self.len]
    }
}

fn main() {
    let isa = match Isa::chosen() {
        Ok(isa) => isa,
        Err(error) => return eprintln!("error: {error}"),
    };
    let SequenceDims { seq_len, input_size, hidden_size, .. } = DIMS;
    println!("{} f32, B 1, T {seq_len}, I {input_size}, H {hidden_size}", isa.name());
    println!("median (least) of {ROUNDS} rounds, µs\n");
    print!("{:8}", "cell");
    OFFSETS.iter().for_each(|offset| print!("{:>16}", format!("{offset} bytes")));
    println!("{:>16}", "as packed");
    for (name, cell, gates) in
        [("tanh", CellKind::Tanh, 1), ("gru", CellKind::Gru, 3), ("lstm", CellKind::Lstm, 4)]
    {
        let kernels = f32::kernels(isa, cell);
        let rows = gates * hidden_size;
        let (w_ih, w_hh, biases) =
            (values(rows * input_size), values(rows * hidden_size), values(2 * rows));
        let biases = if cell == CellKind::Tanh { &biases[..rows] } else { &biases };
        let packed = pack_weights(&kernels, &DIMS, WeightSlices::new(&w_ih, &w_hh, biases, rows));
        let placed = OFFSETS.map(|offset| Placed::new(&packed, offset));
        let mut places: Vec<&[f32]> = placed.iter().map(Placed::get).collect();
        places.push(&packed);
        let x = values(seq_len * input_size);
        let mut times = vec![Vec::new(); places.len()];
        for _ in 0..ROUNDS {
            for (weights, times) in places.iter().zip(&mut times) {
                let weights = [*weights];
                let call = RawCall::new(DIMS, &x, &weights);
                let start = Instant::now();
                for _ in 0..CALLS {
                    black_box(forward(&kernels, black_box(call), false, Save::None));
                }
                times.push(start.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
            }
        }
        print!("{name:8}");
        for times in &mut times {
            times.sort_by(f64::total_cmp);
            let figure = format!("{:.1} ({:.1})", times[times.len() / 2], times[0]);
            print!("{figure:>16}");
        }
        println!("  (at {} bytes)", packed.as_ptr() as usize % LINE);
    }
}
