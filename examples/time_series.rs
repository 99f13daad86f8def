//! Forecasts sunspots: a trainer of something that is not about images.
//!
//! A GRU reads yearly sunspot numbers, one a step, and tells the next year's after each. It learns from 1700
//! to 1920; the years to 1955 say when to stop; those to 2008 are looked at once, at the end, beside three
//! forecasts that learn nothing or little: last year's number, the number of eleven years ago, and a linear
//! autoregression of nine years (Yule, 1927). Then the GRU goes on alone, on its own forecasts.
//!
//! `cargo run --release --no-default-features --example time_series`

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, IndexOp, Tensor, Var};
use candle_rnn::train::{Event, Schedule, Score, StepContext, Task, Trainer, TrainerConfig};
use candle_rnn::{Dense, DenseConfig, Gru, GruConfig, Init, Purpose, Result, SeededRng, VarSink};

const FIRST_YEAR: usize = 1700;
/// Years to learn from, to stop by, and to be measured on; as indices.
const TRAIN: Range<usize> = 0..221;
const VALID: Range<usize> = 221..256;
const TEST: Range<usize> = 256..309;
/// Years in a training sequence.
const WINDOW: usize = 44;
/// Steps at the beginning of a sequence whose forecasts do not count: the state knows too little.
const WARM_UP: usize = 11;

/// A GRU and a dense layer that forecast a series, and the series.
struct Forecast {
    /// `(1, N, 1)`, square roots of sunspot numbers over ten: that makes high and low years alike noisy.
    series: Tensor,
    vars: BTreeMap<String, Var>,
    gru: Gru,
    head: Dense,
}

fn scaled(number: f64) -> f32 {
    (number.sqrt() / 10.) as f32
}

fn unscaled(value: f32) -> f64 {
    100. * f64::from(value.max(0.)).powi(2)
}

impl Forecast {
    fn new(numbers: &[f64], seed: u64) -> Result<Self> {
        const UNITS: usize = 24;
        let device = Device::Cpu;
        let sink = VarSink::new(DType::F32, &device);
        let rng = &mut SeededRng::new(seed, Purpose::Init);
        let gru = Gru::init(GruConfig::new(1, UNITS), Init::Orthogonal, rng, &sink.pp("gru"))?;
        let head = DenseConfig::new(gru.output_features(), 1);
        let head = Dense::init(head, Init::Glorot, rng, &sink.pp("head"))?;
        let series: Vec<f32> = numbers.iter().map(|number| scaled(*number)).collect();
        let series = Tensor::from_vec(series, (1, numbers.len(), 1), &device)?;
        Ok(Self { series, vars: sink.named()?, gru, head })
    }

    /// The forecast after each step of `x`, `(B, T, 1)`.
    fn next(&self, x: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.gru.forward(x)?.outputs)
    }

    /// The mean squared error of a batch of inputs and targets, `(B, T, 1)` each.
    fn wrong(&self, (x, target): &(Tensor, Tensor)) -> Result<Tensor> {
        let wrong = (self.next(x)? - target)?.narrow(1, WARM_UP, WINDOW - WARM_UP)?;
        Ok(wrong.sqr()?.mean_all()?)
    }

    /// Forecasts of these years, each from all years before it.
    fn of_years(&self, years: Range<usize>) -> Result<Vec<f64>> {
        let x = self.series.narrow(1, 0, years.end - 1)?;
        let next = self.next(&x)?.i((0, years.start - 1.., 0))?.to_vec1::<f32>()?;
        Ok(next.into_iter().map(unscaled).collect())
    }

    /// Forecasts of the `count` years behind the series, each from those before it.
    fn beyond(&self, count: usize) -> Result<Vec<f64>> {
        let mut x = self.series.clone();
        let mut years = Vec::new();
        for _ in 0..count {
            let next = self.next(&x)?.i((.., x.dim(1)? - 1.., ..))?.detach();
            years.push(unscaled(next.flatten_all()?.to_vec1::<f32>()?[0]));
            x = Tensor::cat(&[&x, &next], 1)?;
        }
        Ok(years)
    }
}

impl Task for Forecast {
    /// Inputs and, a year later, targets: `(B, T, 1)` each.
    type Batch = (Tensor, Tensor);

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        self.series.device()
    }

    fn examples(&self) -> usize {
        TRAIN.len() - WINDOW
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<Self::Batch> {
        let window = |later: usize| -> Result<Tensor> {
            let windows: candle_core::Result<Vec<Tensor>> = numbers
                .iter()
                .map(|start| self.series.narrow(1, *start as usize + later, WINDOW))
                .collect();
            Ok(Tensor::cat(&windows?, 0)?)
        };
        Ok((window(0)?, window(1)?))
    }

    fn loss(&self, batch: &Self::Batch, _context: &mut StepContext<'_>) -> Result<Tensor> {
        self.wrong(batch)
    }

    fn score(&self, batch: &Self::Batch) -> Result<Score> {
        let loss = self.wrong(batch)?.to_scalar::<f32>()?;
        Ok(Score { loss: loss.into(), ..Score::default() })
    }

    fn validate(&self) -> Result<Score> {
        let forecast = self.of_years(VALID)?;
        let series = self.series.i((0, VALID, 0))?.to_vec1::<f32>()?;
        let wrong = forecast.iter().zip(&series).map(|(f, x)| (scaled(*f) - x).powi(2));
        let loss = f64::from(wrong.sum::<f32>()) / VALID.len() as f64;
        Ok(Score { loss, ..Score::default() })
    }
}

/// Root of the mean squared error, in sunspots.
fn error(forecast: &[f64], numbers: &[f64]) -> f64 {
    let squares: f64 = forecast.iter().zip(numbers).map(|(f, n)| (f - n).powi(2)).sum();
    (squares / numbers.len() as f64).sqrt()
}

/// The linear autoregression of `ORDER` years that fits the training years best, applied to the test years.
fn autoregression(numbers: &[f64]) -> Vec<f64> {
    const ORDER: usize = 9;
    // The inputs of a year: one, and the years before it.
    let inputs = |year: usize| -> Vec<f64> {
        std::iter::once(1.).chain((1..=ORDER).map(|lag| numbers[year - lag])).collect()
    };
    // Normal equations with their right side, solved by elimination.
    let mut rows = vec![[0.; ORDER + 2]; ORDER + 1];
    for (year, number) in numbers.iter().enumerate().take(TRAIN.end).skip(ORDER) {
        let inputs = inputs(year);
        for (row, a) in rows.iter_mut().zip(&inputs) {
            for (sum, b) in row.iter_mut().zip(inputs.iter().chain([number])) {
                *sum += a * b;
            }
        }
    }
    for pivot in 0..rows.len() {
        let scaled: Vec<f64> = rows[pivot].iter().map(|v| v / rows[pivot][pivot]).collect();
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = if index == pivot { 0. } else { row[pivot] };
            row.iter_mut().zip(&scaled).for_each(|(value, scaled)| *value -= factor * scaled);
        }
        rows[pivot].copy_from_slice(&scaled);
    }
    let of_year = |year: usize| {
        inputs(year).iter().zip(&rows).map(|(input, row)| input * row[ORDER + 1]).sum()
    };
    TEST.map(of_year).collect()
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let csv = include_str!("data/sunspots.csv");
    let numbers = csv
        .lines()
        .skip(1)
        .map(|line| {
            line.split_once(',').ok_or("a line has no comma")?.1.parse().map_err(|_| "no number")
        })
        .collect::<std::result::Result<Vec<f64>, &str>>()?;
    let config = TrainerConfig {
        epochs: 120,
        batch_size: 16,
        learning_rate: 5e-3,
        schedule: Schedule::Cosine,
        ema: Some(0.99),
        patience: Some(25),
        ..TrainerConfig::default()
    };
    let mut trainer = Trainer::new(Forecast::new(&numbers, config.seed)?, config)?;
    for event in trainer.events() {
        if let Event::Epoch(metrics) = event? {
            if metrics.epoch % 10 == 0 {
                let (train, valid) = (metrics.train_loss, metrics.valid_loss);
                println!("epoch {:>3}  loss {train:.5}  loss_valid {valid:.5}", metrics.epoch);
            }
        }
    }
    trainer.restore_best()?;
    let (forecast, beyond) =
        trainer.measured(|task| Ok((task.of_years(TEST)?, task.beyond(11)?)))?;
    let test = &numbers[TEST];
    let lagged = |lag: usize| &numbers[TEST.start - lag..TEST.end - lag];
    println!(
        "\nforecast of one year, {} to {}: root of the mean squared error",
        FIRST_YEAR + TEST.start,
        FIRST_YEAR + TEST.end - 1
    );
    for (name, forecast) in [
        ("GRU", forecast.as_slice()),
        ("autoregression", &autoregression(&numbers)),
        ("last year's number", lagged(1)),
        ("eleven years ago", lagged(11)),
    ] {
        println!("  {name:<20} {:>5.1} sunspots", error(forecast, test));
    }
    println!("\nthe years behind the series, on its own");
    for (year, number) in (FIRST_YEAR + TEST.end..).zip(beyond) {
        println!("  {year}  {number:>5.0}  {}", "█".repeat((number / 4.) as usize));
    }
    Ok(())
}
