//! `candle-rnn data`: what data hold, without training.

use std::path::{Path, PathBuf};

use candle_rnn::data::formats::{Content, Loaded};
use candle_rnn::data::mnist::{ImageSet, Split};
use candle_rnn::data::{Target, TargetKind, Vocabulary};
use candle_rnn::report::escaped;
use candle_rnn::Error;

use super::choices::{value_of, DATASETS};
use super::own_files::OwnFiles;
use super::source::ImageSource;
use super::usage::wrong_usage;
use super::{describe, screen};

/// Show the content of data: MNIST's splits, downloaded on first use, or a file of your own
#[derive(clap::Args)]
#[command(after_help = "Example:
  candle-rnn data --show 3              shapes of MNIST's splits, and three training digits
  candle-rnn data --data sample --show 1
  candle-rnn data vowels_TRAIN.ts       sequences, steps, features, classes of a file of your own")]
#[command(mut_arg("data", |arg| arg.help(
    "Data: `sample` (2,500 digits inside this program), a file as FILE, or a folder that holds the four IDX files, \
     gzipped or not, itself or in MNIST/raw or raw [default: the user's cache folder, downloaded on first use]"
)))]
pub(super) struct DataArgs {
    /// A file with sequences or a text of your own; without one, MNIST
    file: Option<PathBuf>,
    #[command(flatten)]
    own: OwnFiles,
    #[command(flatten)]
    source: ImageSource,
    /// Data set [default: mnist]
    #[arg(long, value_parser = value_of::<ImageSet>(&DATASETS), conflicts_with = "file")]
    dataset: Option<ImageSet>,
    /// Draw the first N training images, or sequences [default: 0 images, 3 sequences]
    #[arg(long, value_name = "N")]
    show: Option<usize>,
    /// Print no progress on stderr
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(args: DataArgs) -> anyhow::Result<()> {
    if args.file.is_some() && args.source.data.is_some() {
        return Err(wrong_usage("give the data once: as FILE, or with --data"));
    }
    let data = args.source.data.as_ref().filter(|data| data.is_file());
    if let Some(file) = args.file.as_ref().or(data) {
        if args.dataset.is_some() {
            return Err(wrong_usage("--dataset is for images: it means nothing beside a file"));
        }
        return of_file(file, &args.own, args.show.unwrap_or(3));
    }
    args.own.refuse()?;
    images(&args)
}

/// Describes a file of one's own.
fn of_file(file: &Path, own: &OwnFiles, show: usize) -> anyhow::Result<()> {
    let options = own.options();
    let Loaded { content, format, notes, .. } = OwnFiles::read(file, &options)?;
    let data = match content {
        Content::Sequences(data) => data,
        Content::Text(text) => {
            let characters = screen::thousands(text.chars().count());
            let different = Vocabulary::of(&text).map_err(in_file(file))?.len();
            let file = file.display();
            screen::line(&format!(
                "{file}: text, {characters} characters, {different} different ones"
            ))?;
            let start: Vec<&str> = text.lines().take(show).collect();
            return start.iter().try_for_each(|line| screen::line(&escaped(&format!("  {line}"))));
        }
    };
    let is_asked = options.target.is_some_and(|kind| kind != TargetKind::None);
    if is_asked && matches!(data.target(), Target::None) {
        anyhow::bail!(
            "{}: holds no target, which --target asks for: in a table name its column with --label",
            file.display()
        );
    }
    let mut lines = describe::summary(file, format, &data, &notes);
    lines.extend(describe::histogram(&data));
    for index in 0..show.min(data.len()) {
        lines.push(describe::title(&data, index));
        lines.extend(describe::sparklines(&data, index));
    }
    lines.iter().try_for_each(|line| screen::line(&escaped(line)))
}

/// Says of an error in a text which file it was read from.
fn in_file(file: &Path) -> impl Fn(Error) -> Error + '_ {
    move |error| match error {
        Error::Config(reason) => Error::DataFile { path: file.to_path_buf(), reason },
        other => other,
    }
}

fn images(args: &DataArgs) -> anyhow::Result<()> {
    let data = args.source.load(args.dataset.unwrap_or_default(), args.quiet)?;
    for (name, split) in [("train", &data.train), ("valid", &data.valid), ("test", &data.test)] {
        let count = split.len();
        screen::line(&format!("{name:<6} images ({count}, 28, 28) u8  labels ({count},) u8"))?;
    }
    show(&data.train, args.show.unwrap_or(0))
}

fn show(split: &Split, count: usize) -> anyhow::Result<()> {
    for index in 0..count.min(split.len()) {
        let drawing = screen::draw(split.image(index));
        screen::line(&format!("\ntrain:{index}, label {}\n{drawing}", split.labels()[index]))?;
    }
    Ok(())
}
