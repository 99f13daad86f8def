//! A task that a short truncation provably cannot learn, and a long one does.
//!
//! The adding problem (Hochreiter & Schmidhuber, 1997): at each of 30 steps the network reads a
//! random value and a mark, which is 1 at two of the first 15 steps and 0 elsewhere; after the last
//! step it is to tell the sum of the two marked values. The weights that read the mark begin as
//! zeros. A gradient that flows back over the last k <= 15 steps alone sees no mark that is not
//! zero, so that the gradient of these weights is exactly 0.0, they stay zeros for good, and the
//! network never knows which values are marked. Not knowing, nobody gets a mean squared error below
//! 0.144 (1/6 less what the values themselves tell); with the marks it can come near 0.
//!
//! ```sh
//! cargo run --release --no-default-features --example adding_problem
//! ```

use candle_core::{DType, Device, Tensor};
use candle_rnn::{
    Adam, AdamConfig, Dense, DenseConfig, Init, Purpose, Result, Rnn, RnnConfig, SeededRng,
    Sequences, Truncation, VarSink,
};

const STEPS: usize = 30;
const MARKED: usize = 15;
const BATCH: usize = 64;
const UNITS: usize = 64;
const UPDATES: usize = 4_000;
/// The variance of the sum of two of 15 values, drawn uniformly from [0, 1), when all are known but
/// not which two: drawn without replacement, 2 · 1/12 · (15 - 2) / 15.
const BLIND: f64 = 2. / 12. * 13. / 15.;

fn main() -> Result<()> {
    println!(
        "mean squared error over the last 500 of {UPDATES} updates; blind to the marks: {BLIND:.3}"
    );
    for truncation in ["5", "15", "5:20", "full"] {
        let (error, mark_weights) = train(truncation.parse()?)?;
        println!("truncation {truncation:>5}: {error:.4}   weights of the marks: {mark_weights:e}");
    }
    Ok(())
}

/// Trains from the same start; returns the error, and the largest weight that reads the marks.
fn train(truncation: Truncation) -> Result<(f64, f32)> {
    let device = Device::Cpu;
    let sink = VarSink::new(DType::F32, &device);
    let mut rng = SeededRng::new(1, Purpose::Init);
    let rnn = Rnn::init(RnnConfig::new(2, UNITS), Init::Orthogonal, &mut rng, &sink.pp("rnn"))?;
    let head = DenseConfig::new(rnn.output_features(), 1);
    let head = Dense::init(head, Init::Glorot, &mut rng, &sink.pp("head"))?;
    // The weights that read the marks begin at zero: what moves them is a gradient.
    let w_ih = sink.named()?["rnn.weight_ih_l0"].clone();
    let values_only = Tensor::new(&[[1f32, 0.]], &device)?;
    w_ih.set(&w_ih.as_detached_tensor().broadcast_mul(&values_only)?)?;
    let mut adam = Adam::new(&sink, AdamConfig { learning_rate: 1e-3, ..AdamConfig::default() })?;
    let mut late = 0.;
    for update in 0..UPDATES {
        let (x, sums) = batch(&mut rng)?;
        let predicted = head.forward(&rnn.last(Sequences::new(&x).truncated(truncation))?)?;
        let loss = (predicted - sums)?.sqr()?.mean_all()?;
        adam.backward_step(&loss)?;
        if update >= UPDATES - 500 {
            late += f64::from(loss.to_scalar::<f32>()?) / 500.;
        }
    }
    let marks = w_ih.as_detached_tensor().narrow(1, 1, 1)?.abs()?.max_all()?.to_scalar::<f32>()?;
    Ok((late, marks))
}

/// Inputs `(B, T, 2)` and sums `(B, 1)`.
fn batch(rng: &mut SeededRng) -> Result<(Tensor, Tensor)> {
    let (mut x, mut sums) = (vec![0f32; BATCH * STEPS * 2], vec![0f32; BATCH]);
    for (sequence, sum) in x.chunks_exact_mut(STEPS * 2).zip(&mut sums) {
        for step in sequence.chunks_exact_mut(2) {
            step[0] = rng.unit() as f32;
        }
        for marked in &rng.permutation(MARKED as u32)[..2] {
            let step = &mut sequence[*marked as usize * 2..][..2];
            step[1] = 1.;
            *sum += step[0];
        }
    }
    let device = Device::Cpu;
    Ok((
        Tensor::from_vec(x, (BATCH, STEPS, 2), &device)?,
        Tensor::from_vec(sums, (BATCH, 1), &device)?,
    ))
}
