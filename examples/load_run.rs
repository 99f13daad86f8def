//! Inference with a trained run: a digit classified whole, and again row by row as its rows arrive.
//!
//! ```sh
//! cargo run --release --example load_run runs/0001
//! ```

use candle_rnn::data::mnist::{Mnist, COLUMNS};
use candle_rnn::predict::Predictor;

fn main() -> candle_rnn::Result<()> {
    let run = std::env::args().nth(1).unwrap_or_else(|| "runs/0001".into());
    let model = Predictor::load(run)?;

    let digits = Mnist::sample()?.test;
    let (image, label) = (digits.image(0), digits.labels()[0]);
    let prediction = &model.predict(&[image])?[0];
    println!("the image of a {label} is told as a {}", prediction.label);

    let mut stream = model.stream();
    for (row, pixels) in image.chunks(COLUMNS).enumerate() {
        let x_t: Vec<f64> = pixels.iter().map(|pixel| f64::from(*pixel) / 255.).collect();
        let so_far = stream.push(&x_t)?;
        let probability = so_far.probabilities[so_far.label];
        println!("after row {:>2}: a {} ({probability:.2})", row + 1, so_far.label);
    }
    Ok(())
}
