//! Layers and the reference job's steps on a GPU, fused and composed from Candle's ops: `just bench-cuda`,
//! `just bench-metal`; with `cpu` behind it on the CPU, to try the bench itself.
//!
//! A time is the median of rounds in which both run one after the other, each waited for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use candle_rnn::data::mnist::Mnist;
use candle_rnn::nn::{Init, Stack, StackConfig};
use candle_rnn::recurrence::{open_cuda, run_composed, Call, Cell, LayerWeights, Outputs};
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::train::{Event, TrainConfig, Trainer, TrainerConfig};
use candle_rnn::VarSink;

const ROUNDS: usize = 15;

/// Cell, B, T, I, H.
const LAYERS: [(Cell, [usize; 4]); 9] = [
    (Cell::Tanh, [150, 28, 28, 150]),
    (Cell::Gru, [150, 28, 28, 150]),
    (Cell::Lstm, [150, 28, 28, 150]),
    (Cell::Tanh, [64, 128, 256, 512]),
    (Cell::Gru, [64, 128, 256, 512]),
    (Cell::Lstm, [64, 128, 256, 512]),
    (Cell::Tanh, [32, 64, 512, 1024]),
    (Cell::Gru, [32, 64, 512, 1024]),
    (Cell::Lstm, [32, 64, 512, 1024]),
];

fn device() -> Device {
    let is_cpu = std::env::args().any(|argument| argument == "cpu");
    match (is_cpu, cfg!(feature = "cuda"), cfg!(feature = "metal")) {
        (true, _, _) => Device::Cpu,
        (_, true, _) => open_cuda(0).expect("an NVIDIA GPU"),
        (_, _, true) => Device::new_metal(0).expect("an Apple GPU"),
        _ => panic!("build with the feature cuda or metal, or give `cpu`"),
    }
}

/// Milliseconds until the device has done it.
fn time(device: &Device, body: &dyn Fn()) -> f64 {
    device.synchronize().unwrap();
    let start = Instant::now();
    body();
    device.synchronize().unwrap();
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn layer(device: &Device, cell: Cell, [batch_size, seq_len, input_size, hidden_size]: [usize; 4]) {
    let sink = VarSink::new(DType::F32, device);
    let rng = &mut SeededRng::new(1, Purpose::Init);
    let config = StackConfig::new(cell, input_size, hidden_size);
    let stack = Stack::init(config, Init::Orthogonal, rng, &sink.pp("rnn")).unwrap();
    let numbers: Vec<f32> =
        (0..batch_size * seq_len * input_size).map(|_| rng.symmetric(1.) as f32).collect();
    let x = Tensor::from_vec(numbers, (batch_size, seq_len, input_size), device).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let loss = |outputs: Tensor| outputs.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let fused = || {
        loss(stack.forward(x.as_tensor()).unwrap().outputs);
    };
    let composed = || {
        let weights = LayerWeights::new(cell, stack.weights(0)[0].clone()).unwrap();
        let (outputs, _) = run_composed(&x, &weights, &Call::new(Outputs::All)).unwrap();
        loss(outputs.unwrap());
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 2 {
        let times = (time(device, &fused), time(device, &composed));
        // The first rounds compile kernels and fill pools.
        if round >= 2 {
            ours.push(times.0);
            theirs.push(times.1);
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let (name, size) = (cell.name(), [batch_size, seq_len, input_size, hidden_size]);
    println!(
        "{name:5} {size:?}: fused {ours:.3} ms, composed {theirs:.3} ms, {:.1} times",
        theirs / ours
    );
}

fn reference_job(device: &Device) {
    // The first steps find a card that sleeps.
    let config = TrainConfig {
        trainer: TrainerConfig {
            epochs: if device.is_cpu() { 5 } else { 60 },
            ..TrainerConfig::default()
        },
        ..Default::default()
    };
    let mut trainer = Trainer::classifier(&config, Mnist::sample().unwrap(), device).unwrap();
    let mut times = Vec::new();
    while let event @ (Event::Step { .. } | Event::Epoch(_)) = {
        let start = Instant::now();
        let event = trainer.next_event().unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        event
    } {
        if matches!(event, Event::Epoch(_)) {
            times.pop();
        }
    }
    println!("a training step of the reference job: {:.3} ms", median(times));
}

fn main() {
    let device = device();
    println!("{:?}, forward and backward, {ROUNDS} rounds", device.location());
    reference_job(&device);
    let only_first = device.is_cpu();
    for (cell, size) in LAYERS.into_iter().take(if only_first { 3 } else { LAYERS.len() }) {
        layer(&device, cell, size);
    }
}
