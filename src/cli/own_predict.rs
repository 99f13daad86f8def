//! `predict` and `eval` on files of one's own.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use candle_rnn::data::formats::{Content, ReadOptions};
use candle_rnn::data::{DataSplits, Dataset};
use candle_rnn::predict::{Generator, Prediction, SequencePrediction, SequencePredictor};
use candle_rnn::train::tasks::TaskKind;
use serde_json::{json, Value};

use super::own_files::OwnFiles;
use super::usage::wrong_usage;
use super::{measures, screen};

/// Sequences that are predicted together, so that a large file is written as it goes.
const BLOCK: usize = 4_096;

/// Predicts the sequences of files: as CSV into `output`, else as lines, or JSON objects, on stdout.
pub(super) fn predict(
    run: &Path,
    files: &[std::path::PathBuf],
    own: &OwnFiles,
    output: Option<&Path>,
    device: &Device,
    as_json: bool,
) -> anyhow::Result<()> {
    let model = SequencePredictor::load_on(run, device)?;
    let options = own.or(&model.config().task.data.source.read);
    // What is to be predicted is often not known.
    let options = ReadOptions { may_lack_labels: true, ..options };
    if let Some(file) = output.and_then(|output| files.iter().find(|file| is_same(file, output))) {
        return Err(wrong_usage(format!(
            "{}: --output would replace the file that is predicted: name another",
            file.display()
        )));
    }
    // All files are read before the first line is written.
    let mut inputs = Vec::new();
    for file in files {
        let data = OwnFiles::sequences(file, &options)?;
        model.check(&data).with_context(|| file.display().to_string())?;
        inputs.push((file, data));
    }
    let mut table = match output {
        Some(path) => {
            let file = File::create(path)
                .with_context(|| format!("{}: cannot create the file", path.display()))?;
            let mut table = csv::Writer::from_writer(BufWriter::new(file));
            table.write_record(header(&model))?;
            Some(table)
        }
        None => None,
    };
    for (file, data) in &inputs {
        for start in (0..data.len()).step_by(BLOCK) {
            let numbers: Vec<u32> = (start as u32..data.len().min(start + BLOCK) as u32).collect();
            let block = data.select(&numbers);
            for (index, found) in model.predict(&block)?.iter().enumerate() {
                let id = block.id(index);
                match &mut table {
                    Some(table) => rows(&model, &id, found)
                        .iter()
                        .try_for_each(|row| table.write_record(row))?,
                    None if as_json => screen::json(&object(&model, file, &id, found))?,
                    None => screen::line(&text(&model, &block, index, found))?,
                }
            }
        }
    }
    let Some((table, path)) = table.zip(output) else { return Ok(()) };
    let file =
        table.into_inner().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error);
    file.and_then(|mut file| file.flush().and_then(|()| file.sync_all()))
        .with_context(|| format!("{}: cannot write the file", path.display()))
}

/// Whether two paths are those of one file that exists.
fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// The columns of a table of predictions.
fn header(model: &SequencePredictor) -> Vec<String> {
    let spec = model.spec();
    let mut names = vec!["id".to_string()];
    let probabilities = || spec.outputs.iter().map(|name| format!("p({name})"));
    match spec.target {
        TaskKind::Class => {
            names.push("label".into());
            names.extend(probabilities());
        }
        TaskKind::StepClass => {
            names.extend(["step".into(), "label".into()]);
            names.extend(probabilities());
        }
        TaskKind::Numbers => names.extend(spec.outputs.iter().cloned()),
        TaskKind::Forecast => {
            names.push("step".into());
            names.extend(spec.preprocessor.features.iter().cloned());
        }
    }
    names
}

/// A prediction as rows of the table.
fn rows(model: &SequencePredictor, id: &str, found: &SequencePrediction) -> Vec<Vec<String>> {
    let spec = model.spec();
    let of_class = |found: &Prediction| -> Vec<String> {
        let label = spec.outputs[found.label].clone();
        let probabilities = found.probabilities.iter().map(f64::to_string);
        std::iter::once(label).chain(probabilities).collect()
    };
    let row = |cells: Vec<String>| std::iter::once(id.to_string()).chain(cells).collect();
    let numbered = |step: usize, cells: Vec<String>| {
        row(std::iter::once((step + 1).to_string()).chain(cells).collect())
    };
    match found {
        SequencePrediction::Class(found) => vec![row(of_class(found))],
        SequencePrediction::Steps(steps) => {
            steps.iter().enumerate().map(|(step, found)| numbered(step, of_class(found))).collect()
        }
        SequencePrediction::Numbers(numbers) if spec.target == TaskKind::Forecast => {
            let steps = numbers.chunks_exact(spec.preprocessor.features.len());
            let cells = |values: &[f64]| values.iter().map(f64::to_string).collect();
            steps.enumerate().map(|(step, values)| numbered(step, cells(values))).collect()
        }
        SequencePrediction::Numbers(numbers) => {
            vec![row(numbers.iter().map(f64::to_string).collect())]
        }
    }
}

/// A prediction as a JSON object.
fn object(model: &SequencePredictor, file: &Path, id: &str, found: &SequencePrediction) -> Value {
    let spec = model.spec();
    let mut object = json!({ "input": file.display().to_string(), "id": id });
    match found {
        SequencePrediction::Class(found) => {
            object["label"] = json!(spec.outputs[found.label]);
            object["probabilities"] = json!(found.probabilities);
        }
        SequencePrediction::Steps(steps) => {
            let labels: Vec<&str> =
                steps.iter().map(|found| spec.outputs[found.label].as_str()).collect();
            object["labels"] = json!(labels);
            object["steps"] = steps.iter().map(|found| json!(found.probabilities)).collect();
        }
        SequencePrediction::Numbers(numbers) if spec.target == TaskKind::Forecast => {
            let steps = numbers.chunks_exact(spec.preprocessor.features.len());
            object["forecast"] = steps.map(|step| json!(step)).collect();
        }
        SequencePrediction::Numbers(numbers) => object["numbers"] = json!(numbers),
    }
    object
}

/// A prediction as a line for people, with the truth if it is known.
fn text(
    model: &SequencePredictor,
    data: &Dataset,
    index: usize,
    found: &SequencePrediction,
) -> String {
    let spec = model.spec();
    let id = data.id(index);
    let class = |found: &Prediction| {
        format!("{} ({:.1} %)", spec.outputs[found.label], 100. * found.probabilities[found.label])
    };
    let number = |value: &f64| format!("{value:.4}");
    let listed = |values: &[f64]| values.iter().map(number).collect::<Vec<_>>().join(", ");
    match found {
        SequencePrediction::Class(found) => {
            let truth = data.label(index).map(|label| &data.class_names()[label as usize]);
            let truth = truth.map_or(String::new(), |name| format!("; its label is {name}"));
            format!("{id}: {}{truth}", class(found))
        }
        SequencePrediction::Steps(steps) => {
            let labels: Vec<&str> =
                steps.iter().map(|found| spec.outputs[found.label].as_str()).collect();
            format!("{id}: {}", labels.join(" "))
        }
        SequencePrediction::Numbers(numbers) if spec.target == TaskKind::Forecast => {
            let steps = numbers.chunks_exact(spec.preprocessor.features.len());
            let steps: Vec<String> = steps.map(listed).collect();
            format!("{id}: {}", steps.join("; "))
        }
        SequencePrediction::Numbers(numbers) => {
            let truth = data.numbers(index).map_or(String::new(), |truth| {
                let truth: Vec<f64> = truth.iter().map(|value| f64::from(*value)).collect();
                format!("; its target is {}", listed(&truth))
            });
            format!("{id}: {}{truth}", listed(numbers))
        }
    }
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
            let options = own.or(&model.config().task.data.source.read);
            let data = OwnFiles::sequences(file, &options)?;
            let report = model.report(&data).with_context(|| file.display().to_string())?;
            (file.display().to_string(), report)
        }
        None => (split.to_string(), model.report_windows(&part(&model, split)?)?),
    };
    if as_json {
        return screen::json(&measures::as_json(&name, &report)?);
    }
    for line in measures::lines(&name, &report).iter().chain(&measures::table(&report)) {
        screen::line(line)?;
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
    let read = |file: &Option<std::path::PathBuf>| {
        file.as_ref().map(|file| OwnFiles::sequences(file, &source.read)).transpose()
    };
    let training = &config.training;
    let splits = if training.is_forecast() {
        DataSplits::windows(&data, training.window, training.horizon, &training.split)?
    } else {
        let (valid, test) = (read(&source.valid)?, read(&source.test)?);
        DataSplits::sequences(data, valid, test, &training.split, training.trainer.seed)?
    };
    // Of another file the test could be what was trained on.
    anyhow::ensure!(
        splits.train.fingerprint() == config.data.sha256,
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
        anyhow::bail!("this run kept no test data: name a file, or measure --split valid")
    };
    Ok(model.spec().data(part)?)
}

/// Measures a language model on a text.
pub(super) fn eval_text(
    run: &Path,
    file: Option<&Path>,
    device: &Device,
    as_json: bool,
) -> anyhow::Result<()> {
    let model = Generator::load_on(run, device)?;
    let Some(file) = file else {
        anyhow::bail!("name a file with the text that the language model is to be measured on")
    };
    let Content::Text(text) = OwnFiles::read(file, &ReadOptions::default())?.content else {
        anyhow::bail!("{}: not a plain text", file.display())
    };
    let score = model.evaluate(&text).with_context(|| file.display().to_string())?;
    let bits = score.loss / std::f64::consts::LN_2;
    if as_json {
        let characters = text.chars().count();
        return screen::json(&json!({
            "split": file.display().to_string(),
            "loss": score.loss,
            "bits_per_character": bits,
            "examples": characters,
        }));
    }
    let characters = screen::thousands(text.chars().count());
    screen::line(&format!(
        "{}  {bits:.4} bits per character  loss {:.4}  {characters} characters",
        file.display(),
        score.loss
    ))
}
