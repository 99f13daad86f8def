//! A model in use on one thread: one sequence of 28 steps of 28 numbers through 150 units and a head of 10 classes,
//! and single steps of it.
//!
//! `cargo bench -p candle-rnn-kernels --bench stream`; times are microseconds. With `-- --json` each figure is a
//! JSON object on a line, as `benches/peers/onnx_latency.py` prints those of ONNX Runtime and tract.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use candle_rnn_kernels::{CellKind, Isa, LayerShape, Network, Stream, WeightSlices};

const STEPS: usize = 28;
const INPUTS: usize = 28;
const UNITS: usize = 150;
const CLASSES: usize = 10;
const IMAGES: usize = 10_000;
const ROUNDS: usize = 300;
const CALLS: usize = 20;

/// Values between -0.1 and 0.1.
fn values(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.2
    };
    (0..len).map(|_| next()).collect()
}

fn network(isa: Isa, cell: CellKind) -> Network<f32> {
    let rows = cell.gates() * UNITS;
    let (w_ih, w_hh) = (values(rows * INPUTS), values(rows * UNITS));
    let biases = values(if rows == UNITS { rows } else { 2 * rows });
    let weights = WeightSlices::new(&w_ih, &w_hh, &biases, rows);
    Network::new(isa)
        .layer(LayerShape::new(cell, INPUTS, UNITS), &[weights])
        .head(&values(CLASSES * UNITS), &values(CLASSES))
}

/// Median and least time of a call, in microseconds.
fn time(rounds: usize, calls: usize, mut call: impl FnMut()) -> [f64; 2] {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_secs_f64() * 1e6 / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[0]]
}

fn main() {
    let isa = match Isa::chosen() {
        Ok(isa) => isa,
        Err(error) => return eprintln!("error: {error}"),
    };
    let is_json = std::env::args().any(|argument| argument == "--json");
    let say = |cell: &str, job: &str, [median, least]: [f64; 2]| {
        if is_json {
            println!(
                r#"{{"program":"candle-rnn-kernels","cell":"{cell}","job":"{job}","median_us":{median:.3},"least_us":{least:.3}}}"#
            );
        } else {
            println!("{cell:18}{job:10}{median:12.2} ({least:.2})");
        }
    };
    if !is_json {
        println!("{} f32, T {STEPS}, I {INPUTS}, H {UNITS}, C {CLASSES}", isa.name());
        println!("median (least) of {ROUNDS} rounds, µs\n");
    }
    for (name, cell) in [
        ("tanh", CellKind::Tanh),
        ("gru", CellKind::Gru),
        ("gru-reset-before", CellKind::GruResetBefore),
        ("lstm", CellKind::Lstm),
        ("minimal-gru", CellKind::MinimalGru),
    ] {
        let network = Arc::new(network(isa, cell));
        let Ok(mut stream) = Stream::new(network.clone()) else { return };
        let x = values(STEPS * INPUTS);
        let image = time(ROUNDS, CALLS, || {
            stream.reset();
            black_box(stream.read(black_box(&x)));
        });
        say(name, "image", image);
        let whole = time(ROUNDS, CALLS, || {
            black_box(network.run(black_box(&x), [1, STEPS], None));
        });
        say(name, "batch of 1", whole);
        let mut step = x.chunks_exact(INPUTS).cycle();
        let one = time(ROUNDS, CALLS * STEPS, || {
            black_box(stream.step(black_box(step.next().unwrap_or(&x))));
        });
        say(name, "step", one);
        if cell == CellKind::Tanh {
            let x = values(IMAGES * STEPS * INPUTS);
            say(name, "10000", time(5, 1, || drop(network.run(&x, [IMAGES, STEPS], None))));
        }
    }
}
