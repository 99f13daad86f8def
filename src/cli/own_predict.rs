//! `predict` and `eval` on files of one's own.

use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use candle_rnn::data::formats::{Content, ReadOptions};
use candle_rnn::data::{DataSplits, Dataset};
use candle_rnn::predict::{Generator, SequencePredictor};
use candle_rnn::report::escaped;
use candle_rnn::train::tasks::TaskKind;
use serde_json::json;

use super::output_file::OutputFile;
use super::own_files::OwnFiles;
use super::predicted::{header, OutputShape, Predicted};
use super::usage::wrong_usage;
use super::{measures, screen};

/// Sequences that are predicted together, so that a large file is written as it goes.
const BLOCK: usize = 4_096;
/// Probabilities of the classes of steps that are held at once.
const PROBABILITIES: usize = 1 << 22;

/// Predicts the sequences of files: as CSV into `output`, else as lines, or JSON objects, on stdout. How many there are.
pub(super) fn predict(
    run: &Path,
    files: &[std::path::PathBuf],
    own: &OwnFiles,
    output: Option<&Path>,
    device: &Device,
    as_json: bool,
) -> anyhow::Result<usize> {
    let model = SequencePredictor::load_on(run, device)?;
    let options = own.of_run(&model.config().task);
    // What is to be predicted is often not known.
    let options = ReadOptions { may_lack_labels: true, ..options };
    if let Some(file) = output.and_then(|output| files.iter().find(|file| is_same(file, output))) {
        return Err(wrong_usage(format!(
            "{}: --output would replace the file that is predicted: name another",
            file.display()
        )));
    }
    // All files are read to their ends before the first line is written; large ones are then read again.
    let mut inputs = Vec::new();
    for file in files {
        inputs.push((file, model.scan(file, &options)?));
    }
    let shape = OutputShape {
        has_files: files.len() > 1,
        has_times: inputs.iter().any(|(_, data)| data.has_times()),
    };
    let mut table = match output {
        Some(path) => {
            let mut table = csv::Writer::from_writer(OutputFile::create(path)?);
            table.write_record(header(&model, shape))?;
            Some(table)
        }
        None => None,
    };
    for (file, data) in &inputs {
        data.for_each_block(|data| {
            for piece in pieces(data, &model) {
                let block = data.select(&piece.collect::<Vec<_>>());
                for (index, found) in model.predict(&block)?.iter().enumerate() {
                    let of = Predicted { model: &model, file, data: &block, index, found };
                    match &mut table {
                        Some(table) => {
                            of.rows(shape).iter().try_for_each(|row| table.write_record(row))?
                        }
                        None if as_json => screen::json(&of.object())?,
                        None => screen::line(&escaped(&of.text(shape)))?,
                    }
                }
            }
            anyhow::Ok(())
        })?;
    }
    let count = inputs.iter().map(|(_, data)| data.sequences()).sum();
    let Some((table, path)) = table.zip(output) else { return Ok(count) };
    let file = table.into_inner();
    file.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?.finish()?;
    Ok(count)
}

/// The numbers of the sequences that are predicted together.
fn pieces(data: &Dataset, model: &SequencePredictor) -> Vec<Range<u32>> {
    let spec = model.spec();
    let per_step = if spec.target == TaskKind::StepClass { spec.outputs.len() } else { 0 };
    let (mut pieces, mut start, mut held) = (Vec::new(), 0, 0);
    for index in 0..data.len() {
        let own = per_step * data.seq_len(index);
        if index - start == BLOCK || index > start && held + own > PROBABILITIES {
            pieces.push(start as u32..index as u32);
            (start, held) = (index, 0);
        }
        held += own;
    }
    pieces.push(start as u32..data.len() as u32);
    pieces
}

/// Whether two paths are those of one file that exists.
fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// Measures a run on a file, or on a part of the data that it was trained on.
pub(super) fn eval(
    run: &Path,
    file: Option<&Path>,
    split: &str,
    own: &OwnFiles,
    device: &Device,
    as_json: bool,
) -> anyhow::Result<()> {
    let model = SequencePredictor::load_on(run, device)?;
    let (name, report) = match file {
        Some(file) => {
            let options = own.of_run(&model.config().task);
            (file.display().to_string(), model.report_file(file, &options)?)
        }
        None => (split.to_string(), model.report_windows(&part(&model, split)?)?),
    };
    if as_json {
        return screen::json(&measures::as_json(&name, &report)?);
    }
    for line in measures::lines(&name, &report).iter().chain(&measures::table(&report)) {
        screen::line(&escaped(line))?;
    }
    Ok(())
}

/// A part of the data of the run.
pub(super) fn part(model: &SequencePredictor, split: &str) -> anyhow::Result<Dataset> {
    let config = &model.config().task;
    let source = &config.data.source;
    let no_file =
        || anyhow::anyhow!("this run does not say which file it was trained on: name one");
    let data = OwnFiles::sequences(source.file.as_deref().ok_or_else(no_file)?, &source.read)?;
    let options = source.read.for_other_files();
    let read = |file: &Option<std::path::PathBuf>| {
        file.as_ref().map(|file| OwnFiles::sequences(file, &options)).transpose()
    };
    let training = &config.training;
    let splits = if training.is_forecast() {
        DataSplits::windows(&data, training.window, training.horizon, &training.split)?
    } else {
        let (valid, test) = (read(&source.valid)?, read(&source.test)?);
        DataSplits::sequences(data, valid, test, &training.split, training.trainer.seed)?
    };
    // Of another file the test could be what was trained on.
    let train = model.spec().data(splits.train.clone())?;
    anyhow::ensure!(
        train.fingerprint() == config.data.sha256,
        "{}: has changed since the run was trained on it: name the file to measure on it as it is",
        source.file.as_deref().unwrap_or(Path::new("")).display()
    );
    let has_validation = source.valid.is_some() || training.split.valid_fraction > 0.;
    let part = match split {
        "valid" => Some(splits.valid).filter(|_| has_validation),
        _ => splits.test,
    };
    let Some(part) = part else {
        if split == "valid" {
            anyhow::bail!("this run held out no validation data: name a file to measure on");
        }
        let or = if has_validation { ", or measure --split valid" } else { "" };
        anyhow::bail!("this run kept no test data: name a file to measure on{or}")
    };
    Ok(model.spec().data(part)?)
}

/// Measures a language model on a text, or on the part of its own text that validated.
pub(super) fn eval_text(
    run: &Path,
    file: Option<&Path>,
    split: &str,
    device: &Device,
    as_json: bool,
) -> anyhow::Result<()> {
    let model = Generator::load_on(run, device)?;
    let (name, text) = match file {
        Some(file) => (file.display().to_string(), plain_text(file)?),
        None if split == "valid" => (split.to_string(), validation_text(&model)?),
        None => anyhow::bail!(
            "a run on a text keeps no test data: name a file with a text to measure on, or measure --split valid"
        ),
    };
    let score = model.evaluate(&text).with_context(|| name.clone())?;
    let bits = score.loss / std::f64::consts::LN_2;
    let characters = text.chars().count();
    if as_json {
        return screen::json(&json!({
            "split": name,
            "loss": score.loss,
            "bits_per_character": bits,
            "examples": characters,
        }));
    }
    let characters = screen::thousands(characters);
    screen::line(&format!(
        "{name}  {bits:.4} bits per character  loss {:.4}  {characters} characters",
        score.loss
    ))
}

pub(super) fn plain_text(file: &Path) -> anyhow::Result<String> {
    match OwnFiles::read(file, &ReadOptions::default())?.content {
        Content::Text(text) => Ok(text),
        Content::Sequences(_) => anyhow::bail!("{}: not a plain text", file.display()),
    }
}

/// The end of the text that a model was trained on, which validated.
pub(super) fn validation_text(model: &Generator) -> anyhow::Result<String> {
    let config = &model.config().task;
    let no_file =
        || anyhow::anyhow!("this run does not say which file it was trained on: name one");
    let file = config.data.source.as_deref().ok_or_else(no_file)?;
    let text = plain_text(file)?;
    anyhow::ensure!(
        config.data.is_of(&text),
        "{}: has changed since the run was trained on it: name the file to measure on it as it is",
        file.display()
    );
    let from = config.data.characters - config.training.validating(config.data.characters);
    Ok(text.chars().skip(from).collect())
}
