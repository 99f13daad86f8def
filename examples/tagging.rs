//! Tags every step of a signal: at rest, slow or fast.
//!
//! A noisy signal of 20 to 400 steps changes between three states. A single step says little, so a bidirectional LSTM
//! reads what comes before and behind it. Rows are ragged; batches of about the same length waste little on padding,
//! and neither loss nor accuracy reads any.
//!
//! `cargo run --release --no-default-features --example tagging [SEQUENCES]`

use candle_core::Device;
use candle_rnn::data::{bucket_by_length, Dataset, DatasetBuilder, LabelsBuilder, Target};
use candle_rnn::model::NetworkConfig;
use candle_rnn::train::tasks::{Report, SequenceSource, SequenceTask, SequenceTraining};
use candle_rnn::train::{Event, Trainer, TrainerConfig};
use candle_rnn::{Cell, Purpose, Result, SeededRng};

/// Radians that the signal turns at each step.
const STATES: [(&str, f64); 3] = [("rest", 0.), ("slow", 0.25), ("fast", 0.7)];
const SEED: u64 = 42;

/// Signals with a state at each step.
fn signals(count: usize) -> Result<Dataset> {
    let rng = &mut SeededRng::user(SEED, "signals");
    let mut signals = DatasetBuilder::new(["signal"]);
    let mut tags = LabelsBuilder::new();
    for _ in 0..count {
        // Short signals are common, long ones rare.
        let steps = 20 + (380. * rng.unit().powi(3)) as usize;
        let (mut state, mut phase) = (rng.below(3), 0.);
        for _ in 0..steps {
            if rng.unit() < 0.04 {
                state = rng.below(3);
            }
            let (name, speed) = STATES[state];
            phase += speed;
            signals.push_step(&[(f64::sin(phase) + 0.3 * rng.normal()) as f32])?;
            tags.push(name);
        }
        signals.end_sequence()?;
    }
    signals.build(Target::StepClass(tags.build()))
}

/// The part of the steps in batches of `size` that is padding.
fn padding(data: &Dataset, order: &[u32], size: usize) -> f64 {
    let longest = |batch: &[u32]| batch.iter().map(|n| data.seq_len(*n as usize)).max();
    let batches = order.chunks(size);
    let steps: usize = batches.map(|batch| batch.len() * longest(batch).unwrap_or(0)).sum();
    1. - data.total_steps() as f64 / steps as f64
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(2_000), |count| count.parse())?;
    let defaults = SequenceTraining::default();
    let network = NetworkConfig::new(Cell::Lstm, 32);
    let training = SequenceTraining {
        network: NetworkConfig { bidirectional: true, ..network },
        trainer: TrainerConfig { epochs: 8, seed: SEED, ..defaults.trainer },
        ..defaults
    };
    let splits = training.splits(signals(count)?)?;
    let (train, size) = (&splits.train, training.trainer.batch_size);
    println!("{} signals to train on, {} steps", train.len(), train.total_steps());
    let rng = &mut SeededRng::new(SEED, Purpose::Bucket);
    let mut order = rng.permutation(train.len() as u32);
    let shuffled = 100. * padding(train, &order, size);
    bucket_by_length(&mut order, size, |number| train.seq_len(number as usize), rng);
    let bucketed = 100. * padding(train, &order, size);
    println!("padding: {shuffled:.1} % of a batch's steps, {bucketed:.1} % with bucketing");

    let task = SequenceTask::new(&training, splits, SequenceSource::default(), &Device::Cpu)?;
    let mut trainer = Trainer::new(task, training.trainer)?;
    for event in trainer.events() {
        if let Event::Epoch(metrics) = event? {
            let (loss, accuracy) = (metrics.train_loss, metrics.valid_accuracy.unwrap_or(0.));
            println!("epoch {}  loss {loss:.3}  acc_valid {accuracy:.4}", metrics.epoch);
        }
    }
    let report = trainer.measured(|task| task.report(&task.splits().valid))?;
    if let Report::Classes(report) = report {
        println!("\n{} steps: accuracy {:.4}", report.examples, report.accuracy);
        println!("{:<6} {:>9} {:>9} {:>9}", "tag", "precision", "recall", "F1");
        for tag in report.classes {
            let [precision, recall, f1] =
                [tag.precision, tag.recall, tag.f1].map(Option::unwrap_or_default);
            println!("{:<6} {precision:>9.3} {recall:>9.3} {f1:>9.3}", tag.name);
        }
    }
    Ok(())
}
