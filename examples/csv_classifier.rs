//! From a CSV file of sequences to a saved run, and from the run to predictions in another process.
//!
//! examples/data/gestures.csv has a row for each step of 90 gestures, 12 to 30 steps each: `id,px,py,label`.
//! gestures_new.csv has 30 more, without labels. Any other file of labelled sequences does as well, such as a `.ts` file.
//!
//! ```sh
//! cargo run --release --example csv_classifier train runs/gestures examples/data/gestures.csv
//! cargo run --release --example csv_classifier predict runs/gestures examples/data/gestures_new.csv
//! ```

use std::ops::ControlFlow;

use candle_core::Device;
use candle_rnn::data::formats::{read, ReadOptions};
use candle_rnn::predict::SequencePredictor;
use candle_rnn::run::{Session, SessionConfig};
use candle_rnn::train::tasks::{SequenceSource, SequenceTask, SequenceTraining};
use candle_rnn::train::Event;
use candle_rnn::{Error, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, run, file] = &arguments[..] else {
        return Err(Error::Config("usage: csv_classifier train|predict RUN FILE".into()));
    };
    // Which columns are what is found out; ReadOptions says it where that fails.
    let data = read(file, &ReadOptions::default())?.sequences()?;
    if command == "train" {
        let training = SequenceTraining::for_data(&data);
        let splits = training.splits(data)?;
        let source = SequenceSource { file: Some(file.into()), ..SequenceSource::default() };
        let task = SequenceTask::new(&training, splits, source, &Device::Cpu)?;
        let (mut session, _) = Session::open(run, task, SessionConfig::default())?;
        session.run(&mut |event| {
            if let Event::Epoch(metrics) = event {
                let (epoch, loss) = (metrics.epoch, metrics.train_loss);
                let accuracy = metrics.valid_accuracy.unwrap_or_default();
                println!("epoch {epoch}  loss {loss:.3}  acc_valid {accuracy:.3}");
            }
            ControlFlow::Continue(())
        })?;
        return Ok(());
    }
    let model = SequencePredictor::load(run)?;
    for (index, prediction) in model.predict(&data)?.iter().enumerate() {
        if let Some(class) = prediction.class() {
            let name = &model.spec().outputs[class.label];
            println!("{}  {name}  {:.3}", data.id(index), class.probabilities[class.label]);
        }
    }
    Ok(())
}
