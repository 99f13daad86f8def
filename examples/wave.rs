//! An LSTM learns to continue a wave: `cargo run --release --example wave`.

use candle_core::{DType, Device, Tensor};
use candle_rnn::{Adam, AdamConfig, Dense, DenseConfig, Init, Lstm, LstmConfig};
use candle_rnn::{Purpose, Result, SeededRng, VarSink};

fn main() -> Result<()> {
    let device = Device::Cpu;
    let sink = VarSink::new(DType::F32, &device);
    let rng = &mut SeededRng::new(42, Purpose::Init);
    let lstm = Lstm::init(LstmConfig::new(1, 32), Init::Orthogonal, rng, &sink.pp("lstm"))?;
    let head = DenseConfig::new(lstm.output_features(), 1);
    let head = Dense::init(head, Init::Glorot, rng, &sink.pp("head"))?;
    let mut adam = Adam::new(&sink, AdamConfig { learning_rate: 0.01, ..AdamConfig::default() })?;

    // (batch, steps, features): a sine, and the same one step later.
    let wave = Tensor::arange(0f32, 101., &device)?.affine(0.2, 0.)?.sin()?;
    let wave = wave.reshape((1, 101, 1))?;
    let (x, target) = (wave.narrow(1, 0, 100)?, wave.narrow(1, 1, 100)?);
    for step in 0..=100 {
        let y = head.forward(&lstm.forward(&x)?.outputs)?;
        let loss = (y - &target)?.sqr()?.mean_all()?;
        adam.backward_step(&loss)?;
        if step % 20 == 0 {
            println!("step {step:3}: loss {:.4}", loss.to_scalar::<f32>()?);
        }
    }
    Ok(())
}
