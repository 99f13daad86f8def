//! `candle-rnn data`: shapes of the splits, and digits drawn in the terminal.

use candle_rnn::data::mnist::{ImageSet, Split};

use super::choices::{value_of, DATASETS};
use super::screen;
use super::source::DataSource;

/// Show the shapes of the splits and draw digits; downloads the data on first use
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn data --show 3              shapes of the splits, and three training digits
  candle-rnn data --data sample --show 1")]
pub(super) struct DataArgs {
    #[command(flatten)]
    source: DataSource,
    /// Data set
    #[arg(long, default_value = "mnist", value_parser = value_of::<ImageSet>(&DATASETS))]
    dataset: ImageSet,
    /// Draw the first N training images, row by row
    #[arg(long, value_name = "N", default_value_t = 0)]
    show: usize,
    /// Print no progress on stderr
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(args: DataArgs) -> anyhow::Result<()> {
    let data = args.source.load(args.dataset, args.quiet)?;
    for (name, split) in [("train", &data.train), ("valid", &data.valid), ("test", &data.test)] {
        let count = split.len();
        screen::line(&format!("{name:<6} images ({count}, 28, 28) u8  labels ({count},) u8"))?;
    }
    show(&data.train, args.show)
}

fn show(split: &Split, count: usize) -> anyhow::Result<()> {
    for index in 0..count.min(split.len()) {
        let drawing = screen::draw(split.image(index));
        screen::line(&format!("\ntrain:{index}, label {}\n{drawing}", split.labels()[index]))?;
    }
    Ok(())
}
