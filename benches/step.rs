//! Where the time of a training step of the reference job goes: `cargo bench --bench step`.
//!
//! Each part is timed by itself, over the batches of an epoch, and the fastest third of them is
//! averaged: the machine's neighbours slow the others. The parts of backward are differences.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_rnn::data::batches::{array_split, Gather};
use candle_rnn::data::mnist::Mnist;
use candle_rnn::data::view::View;
use candle_rnn::model::SequenceClassifier;
use candle_rnn::nn::Init;
use candle_rnn::optim::{Adam, AdamConfig};
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::train::{cross_entropy, TrainConfig};
use candle_rnn::VarSink;

/// As the program has it: `--no-default-features --features sample` times without.
#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STEPS: usize = 300;

fn main() -> candle_rnn::Result<()> {
    // As the program trains: on one of the threads that compute.
    rayon::scope(|_| time_steps())
}

fn time_steps() -> candle_rnn::Result<()> {
    let data = Mnist::sample()?;
    let config = TrainConfig::default();
    let device = Device::Cpu;
    let sink = VarSink::new(DType::F32, &device);
    let mut rng = SeededRng::new(config.trainer.seed, Purpose::Init);
    let model = SequenceClassifier::init(&config.model(), Init::Glorot, &mut rng, &sink)?;
    let mut adam = Adam::new(&sink, AdamConfig::default())?;
    let gather = Gather::new(View::Rows, DType::F32, &device)?;
    let mut parts: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut part =
        |name: &'static str, seconds: f64| match parts.iter_mut().find(|(other, _)| *other == name)
        {
            Some((_, times)) => times.push(seconds),
            None => parts.push((name, vec![seconds])),
        };
    let mut order: Vec<usize> = Vec::new();
    // Rows of units with their padding, for a bias, 28 inputs and 150 units.
    let packed_len = 160 * (1 + 28 + config.network.hidden_size);
    for step in 0..STEPS {
        if step % 10 == 0 {
            order =
                rng.permutation(data.train.len() as u32).into_iter().map(|i| i as usize).collect();
        }
        let start = Instant::now();
        let range = array_split(order.len(), 10, step % 10);
        let batch = gather.batch(&data.train, order[range].iter().copied().take(150))?;
        part("gather the batch", lap(start));

        let start = Instant::now();
        let h = model.rnn().last(&batch.x)?;
        part("recurrence, forward", lap(start));

        let start = Instant::now();
        let grads = h.backward()?;
        part("recurrence, backward", lap(start));
        drop(grads);

        // What Candle does with each gradient that an op hands it, for the packed weights and then
        // for the three tensors that they are made of.
        let shapes = [packed_len, config.network.hidden_size * config.network.hidden_size];
        let grads_of_ops: Vec<Tensor> = shapes
            .iter()
            .map(|len| Tensor::ones(*len, DType::F32, &device))
            .collect::<candle_core::Result<_>>()?;
        let start = Instant::now();
        for grad in &grads_of_ops {
            std::hint::black_box(grad.zeros_like()?.add(grad)?);
        }
        part("of it: gradient store", lap(start));

        let start = Instant::now();
        let loss = cross_entropy(&model.logits(&h)?, &batch.labels)?;
        part("head and loss, forward", lap(start));

        let start = Instant::now();
        let grads = loss.backward()?;
        part("backward, all", lap(start));

        let start = Instant::now();
        adam.step(&grads)?;
        part("Adam", lap(start));

        let start = Instant::now();
        drop((grads, loss, h, batch));
        part("memory given back", lap(start));

        let start = Instant::now();
        let range = array_split(order.len(), 10, step % 10);
        let batch = gather.batch(&data.train, order[range].iter().copied().take(150))?;
        let logits = model.forward(&batch.x)?;
        let loss: Tensor = cross_entropy(&logits, &batch.labels)?;
        let grads = loss.backward()?;
        adam.step(&grads)?;
        drop((batch, logits, loss, grads));
        part("a whole step", lap(start));
    }
    let time = |name: &str| -> f64 {
        let times = parts.iter().find(|(other, _)| *other == name);
        times.map_or(f64::NAN, |(_, times)| {
            let mut times = times.clone();
            times.sort_by(f64::total_cmp);
            let fastest = &times[..times.len() / 3];
            fastest.iter().sum::<f64>() / fastest.len() as f64
        })
    };
    let whole = time("a whole step");
    println!("| part | µs | % of a step |\n|---|---|---|");
    let row = |name: &str, seconds: f64| {
        println!("| {name} | {:.0} | {:.1} |", 1e6 * seconds, 100. * seconds / whole);
    };
    for name in ["gather the batch", "recurrence, forward", "head and loss, forward"] {
        row(name, time(name));
    }
    row("head and loss, backward", time("backward, all") - time("recurrence, backward"));
    for name in [
        "recurrence, backward",
        "of it: gradient store",
        "Adam",
        "memory given back",
        "a whole step",
    ] {
        row(name, time(name));
    }
    Ok(())
}

fn lap(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}
