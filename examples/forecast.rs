//! Forecasts a series: airline passengers a month, 24 months that the network never saw, beside naive forecasts.
//!
//! Windows of two seasons are cut from the series by time: the last 24 months are the test, the months before them
//! say when to stop. The network learns the difference from the seasonal naive forecast, which repeats last year.
//!
//! `cargo run --release --no-default-features --example forecast [FILE] [HORIZON]`; `EPOCHS=2` in the environment is a quick try.

use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_rnn::data::formats::{read, ReadOptions};
use candle_rnn::train::tasks::{Report, SequenceSource, SequenceTask, SequenceTraining};
use candle_rnn::train::{Event, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let airline = || Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/airline.csv");
    let file = arguments.next().map_or_else(airline, PathBuf::from);
    let series = read(&file, &ReadOptions::default())?.sequences()?;

    let horizon = arguments.next().map_or(Ok(12), |horizon| horizon.parse())?;
    let mut training = SequenceTraining::for_forecast(&series, horizon);
    training.split.test_steps = 2 * horizon;
    if let Ok(epochs) = std::env::var("EPOCHS") {
        training.trainer.epochs = epochs.parse()?;
    }
    let source = SequenceSource::default();
    let task = SequenceTask::forecast(&training, &series, source, &Device::Cpu)?;
    let mut trainer = Trainer::new(task, training.trainer.clone())?;
    for event in trainer.events() {
        if let Event::Epoch(metrics) = event? {
            if metrics.epoch % 10 == 1 {
                println!("epoch {:>3}  loss_valid {:.4}", metrics.epoch, metrics.valid_loss);
            }
        }
    }
    trainer.restore_best()?;

    let SequenceTraining { window, horizon, .. } = training;
    let test = trainer.task().splits().test.clone().ok_or("no test")?;
    let last = series.parts(|len| len - window..len);
    let (report, next) =
        trainer.measured(|task| Ok((task.report(&test)?, task.forecasts(&last)?)))?;
    println!(
        "\n{} forecasts of {horizon} steps from {window}, on the last {} steps",
        test.len(),
        2 * horizon
    );
    println!("{:<15} {:>8} {:>8} {:>8}", "", "RMSE", "MAE", "MAPE");
    if let Report::Forecast(report) = report {
        for of in report.forecasts {
            let mape = 100. * of.mape.unwrap_or_default();
            println!("{:<15} {:>8.2} {:>8.2} {mape:>6.1} %", of.name, of.rmse, of.mae);
        }
    }
    println!("\nthe {horizon} steps behind the end");
    for (name, value) in trainer.task().config().spec.outputs.iter().zip(&next[0]) {
        println!("{name:<15} {value:>8.1}");
    }
    Ok(())
}
