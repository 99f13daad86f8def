//! A long sequence with all states kept, and with states computed again: memory and time.
//!
//! 784 steps, 128 units, a batch of 128, the loss at the last step. Each way runs in a process of its
//! own; its extra memory is the growth of the largest resident set, which Linux tells, over what it
//! was before the first call.
//!
//! ```sh
//! cargo run --release --no-default-features --example long_sequence
//! ```

use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use candle_rnn::recurrence::{run_layer, Call, Cell, LayerWeights, Outputs, Unroll, Weights};
use candle_rnn::rng::{Purpose, SeededRng};

const BATCH: usize = 128;
const STEPS: usize = 784;
const UNITS: usize = 128;
const CALLS: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(way) = std::env::args().nth(1) {
        let (memory, seconds) = measure(way == "recompute")?;
        println!("{memory} {seconds}");
        return Ok(());
    }
    let mut measured = Vec::new();
    for way in ["keep", "recompute"] {
        // The faster of three processes each: the machine's neighbours slow the others.
        let mut best = (f64::INFINITY, f64::INFINITY);
        for _ in 0..3 {
            let output = std::process::Command::new(std::env::current_exe()?).arg(way).output()?;
            let text = String::from_utf8(output.stdout)?;
            let (memory, seconds) = text.trim().split_once(' ').ok_or("the measurement failed")?;
            best = (best.0.min(memory.parse()?), best.1.min(seconds.parse()?));
        }
        println!("{way:>9}: {:.1} MB, {:.1} ms forward and backward", best.0 / 1e6, 1e3 * best.1);
        measured.push(best);
    }
    let (keep, recompute) = (measured[0], measured[1]);
    println!(
        "    ratio: {:.3} of the memory, {:.2} of the time",
        recompute.0 / keep.0,
        recompute.1 / keep.1
    );
    Ok(())
}

fn measure(recompute: bool) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let device = Device::Cpu;
    let mut rng = SeededRng::new(1, Purpose::Init);
    let mut tensor = |shape: &[usize], limit: f64| -> candle_core::Result<Tensor> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| rng.symmetric(limit) as f32).collect();
        Tensor::from_vec(values, shape, &device)
    };
    let x = tensor(&[BATCH, STEPS, 1], 1.)?;
    let limit = 1. / (UNITS as f64).sqrt();
    let [w_ih, w_hh, b] = [&[UNITS, 1][..], &[UNITS, UNITS], &[UNITS]]
        .map(|shape| tensor(shape, limit).and_then(|tensor| Var::from_tensor(&tensor)));
    let [w_ih, w_hh, b] = [w_ih?, w_hh?, b?].map(|var| var.as_tensor().clone());
    let weights = Weights::new(w_ih, w_hh, b);
    let mut unroll = Unroll::new(Outputs::Last);
    if recompute {
        unroll = unroll.recomputing()?;
    }
    // Threads and code are there before the measurement.
    step(&x.narrow(1, 0, 2)?.contiguous()?, &weights, Unroll::new(Outputs::Last))?;
    let before = resident("VmRSS:")?;
    let mut fastest = f64::INFINITY;
    for _ in 0..CALLS {
        let start = Instant::now();
        step(&x, &weights, unroll)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok((resident("VmHWM:")? - before, fastest))
}

fn step(x: &Tensor, weights: &Weights, unroll: Unroll) -> candle_rnn::Result<()> {
    let weights = LayerWeights::new(Cell::Tanh, weights.clone())?;
    let (_, state) = run_layer(x, &weights, &Call::new(unroll))?;
    state.h.backward()?;
    Ok(())
}

/// Bytes, as the operating system counts them.
fn resident(name: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such line")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).ok_or("no such number")?.parse()?;
    Ok(kilobytes * 1024.)
}
