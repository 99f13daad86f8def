//! How far gradients flow: their norm at each step, for each form of truncation, as a picture.
//!
//! A classifier is trained on the sample for a few epochs; then the gradient of its loss on one
//! batch is taken by the inputs, and its norm at each of the 28 steps drawn. docs/bptt.md shows the
//! pictures.
//!
//! ```sh
//! cargo run --release --no-default-features --features sample --example gradient_flow -- docs
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Var};
use candle_rnn::data::batches::Gather;
use candle_rnn::data::mnist::Mnist;
use candle_rnn::data::view::View;
use candle_rnn::recurrence::Truncation;
use candle_rnn::recurrence::{Outputs, Unroll};
use candle_rnn::train::LossAt;
use candle_rnn::train::{sequence_cross_entropy, Event, TrainConfig, Trainer, TrainerConfig};
use plotters::prelude::*;

const FORMS: [(&str, &str, RGBColor); 4] = [
    ("full", "full", RGBColor(0x1f, 0x4e, 0x9e)),
    ("window 5:10", "5:10", RGBColor(0x2a, 0x8c, 0x55)),
    ("segments of 5", "5", RGBColor(0xd9, 0x7a, 0x0b)),
    ("segments of 3", "3", RGBColor(0xb3, 0x2d, 0x2d)),
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    let data = Mnist::sample()?;
    let config = TrainConfig {
        trainer: TrainerConfig { epochs: 5, ..TrainerConfig::default() },
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::classifier(&config, data.clone(), &Device::Cpu)?;
    while trainer.next_event()? != Event::Done {}
    for (name, loss_at, title) in [
        ("gradients-last.svg", LossAt::LAST, "loss at the last step"),
        ("gradients-every.svg", LossAt::EVERY, "loss at every step"),
    ] {
        let mut lines = Vec::new();
        for (label, truncation, color) in FORMS {
            let norms = norms(&trainer, &data, truncation.parse()?, &loss_at)?;
            let shown: Vec<String> = norms.iter().map(|norm| format!("{norm:.1e}")).collect();
            println!("{title}, {label}: {}", shown.join(" "));
            lines.push((label, color, norms));
        }
        draw(&folder.join(name), title, &lines)?;
    }
    Ok(())
}

/// The norm of the loss's gradient by the inputs of each step.
fn norms(
    trainer: &Trainer,
    data: &Mnist,
    truncation: Truncation,
    loss_at: &LossAt,
) -> candle_rnn::Result<Vec<f64>> {
    let gather = Gather::new(View::Rows, DType::F32, &Device::Cpu)?;
    let batch = gather.batch(&data.valid, 0..150)?;
    let x = Var::from_tensor(&batch.x)?;
    let unroll = Unroll::new(Outputs::All).truncated(truncation);
    let logits = trainer.model().forward_unrolled(x.as_tensor(), unroll)?;
    let grads = sequence_cross_entropy(&logits, &batch.labels, loss_at)?.backward()?;
    let Some(grad) = grads.get(&x) else { return Ok(Vec::new()) };
    let squares = grad.to_dtype(DType::F64)?.sqr()?.sum(2)?.sum(0)?;
    Ok(squares.to_vec1::<f64>()?.into_iter().map(f64::sqrt).collect())
}

fn draw(
    path: &Path,
    title: &str,
    lines: &[(&str, RGBColor, Vec<f64>)],
) -> Result<(), Box<dyn Error>> {
    let values = || lines.iter().flat_map(|(_, _, norms)| norms.iter().copied());
    let highest = values().fold(0., f64::max) * 2.;
    let lowest = values().filter(|norm| *norm > 0.).fold(f64::INFINITY, f64::min) / 2.;
    let root = SVGBackend::new(path, (760, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(1..28, (lowest..highest).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("step t")
        .y_desc("norm of the gradient by x_t")
        .y_label_formatter(&|norm| format!("{norm:.0e}"))
        .x_labels(14)
        .draw()?;
    for (label, color, norms) in lines {
        // Zeros, which a logarithm does not show, are where the line is missing.
        let points =
            || (1..).zip(norms).filter(|(_, norm)| **norm > 0.).map(|(t, norm)| (t, *norm));
        chart
            .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
            .label(*label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(root.present()?)
}
