//! A trained model in a program without Candle: its files are part of the program, and it tells the shape of a wave step
//! by step.
//!
//! `cargo run --release -p candle-rnn-kernels --example predict_steps --features model`

use std::error::Error;

use candle_rnn_kernels::Model;

/// The files that `candle-rnn train` left in its run directory.
const CONFIG: &[u8] = include_bytes!("../tests/data/waves/config.json");
const WEIGHTS: &[u8] = include_bytes!("../tests/data/waves/model.safetensors");
/// A wave, a step a line.
const WAVE: &str = include_str!("../tests/data/waves/wave.csv");

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::<f32>::from_bytes(CONFIG, WEIGHTS)?;
    let mut stream = model.stream()?;
    for (step, line) in WAVE.lines().enumerate() {
        let x_t: Vec<f32> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let probabilities = stream.push(&x_t)?;
        let most = |a: &usize, b: &usize| probabilities[*a].total_cmp(&probabilities[*b]);
        let best = (0..probabilities.len()).max_by(most).unwrap_or(0);
        let (name, probability) = (&model.output_names()[best], probabilities[best]);
        println!("step {:2}: {name}, with probability {probability:.2}", step + 1);
    }
    Ok(())
}
