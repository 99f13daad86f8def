//! The cost of rounding a run's weights to `f16`: each measure before and after.

use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use candle_rnn::data::fetch::cached;
use candle_rnn::export::{self, HalfModel, HalfPlace, IfThere};
use candle_rnn::predict::{Generator, Predictor, SequencePredictor};
use candle_rnn::run::{self, TaskName};
use candle_rnn::train::tasks::Report;
use serde_json::{json, Value};

use super::own_files::OwnFiles;
use super::own_predict;
use super::source::ImageSource;
use super::usage::wrong_usage;

/// A measure of a run with its own weights, and with those rounded to `f16`.
pub(super) struct Change {
    /// The split, or the file, that was measured on.
    split: String,
    examples: usize,
    /// What is counted there.
    counted: &'static str,
    /// The measures by name, with their values before and after.
    measures: Vec<(&'static str, [f64; 2])>,
}

impl Change {
    pub(super) fn line(&self) -> String {
        let measure = |(name, [before, after]): &(&str, [f64; 2])| {
            format!("{name} {before:.4} -> {after:.4} ({:+.4})", after - before)
        };
        let measures: Vec<String> = self.measures.iter().map(measure).collect();
        let examples = super::screen::thousands(self.examples);
        format!("{}  {}  {examples} {}", self.split, measures.join("  "), self.counted)
    }

    pub(super) fn json(&self) -> Value {
        let side = |at: usize| -> Value {
            self.measures
                .iter()
                .map(|(name, values)| (name.to_string(), json!(values[at])))
                .collect()
        };
        json!({ "split": self.split, "examples": self.examples, "before": side(0), "after": side(1) })
    }
}

/// Measures a run before and after; an error says why that is not possible.
///
/// - `data`: what is measured on in place of the run's own data
pub(super) fn measure(
    run: &Path,
    model: &HalfModel,
    data: Option<&Path>,
    device: &Device,
) -> anyhow::Result<Change> {
    let folder = tempfile::tempdir().context("no folder for temporary files")?;
    let half = folder.path().join("half");
    export::save_half(model, &half, HalfPlace::Folder, IfThere::Refuse)?;
    let runs = [run, &half];
    match run::read_task(run)? {
        TaskName::Images => images(runs, ImageSource { data: data.map(Path::to_path_buf) }, device),
        TaskName::Sequences => sequences(runs, data, device),
        TaskName::Text => text(runs, data, device),
        TaskName::Other(name) => anyhow::bail!("a run of another program's task, {name}"),
    }
}

fn images(runs: [&Path; 2], source: ImageSource, device: &Device) -> anyhow::Result<Change> {
    let models = [Predictor::load_on(runs[0], device)?, Predictor::load_on(runs[1], device)?];
    let config = &models[0].config().task;
    let dataset = config.data.dataset.unwrap_or_default();
    let source = source.or(&config.data);
    // Nothing is downloaded for this.
    if source.data.is_none() && cached(dataset).is_none() {
        anyhow::bail!("{} is not on this machine", dataset.name());
    }
    let data = source.load(dataset, true)?;
    let [before, after] = models.map(|model| model.evaluate(&data.test));
    let (before, after) = (before?, after?);
    let measures =
        vec![("accuracy", [before.accuracy, after.accuracy]), ("loss", [before.loss, after.loss])];
    Ok(Change { split: "test".into(), examples: before.examples, counted: "examples", measures })
}

fn sequences(runs: [&Path; 2], file: Option<&Path>, device: &Device) -> anyhow::Result<Change> {
    let models = [
        SequencePredictor::load_on(runs[0], device)?,
        SequencePredictor::load_on(runs[1], device)?,
    ];
    let (split, [before, after]) = if let Some(file) = file {
        refuse_sample(file)?;
        let options = OwnFiles::default().of_run(&models[0].config().task);
        let reports = models.map(|model| model.report_file(file, &options));
        (file.display().to_string(), reports)
    } else {
        let (split, data) = match own_predict::part(&models[0], "test") {
            Ok(data) => ("test", data),
            Err(_) => ("valid", own_predict::part(&models[0], "valid")?),
        };
        (split.into(), models.map(|model| model.report_windows(&data)))
    };
    let ((examples, before), (_, after)) = (measures_of(&before?), measures_of(&after?));
    let pairs = before.into_iter().zip(after);
    let measures = pairs.map(|((name, before), (_, after))| (name, [before, after])).collect();
    Ok(Change { split, examples, counted: "examples", measures })
}

/// Refuses the digits of the sample where a run reads a file.
fn refuse_sample(file: &Path) -> anyhow::Result<()> {
    if file == Path::new("sample") && !file.exists() {
        return Err(wrong_usage(
            "--data sample is of images, and this run was trained on other data: name a file",
        ));
    }
    Ok(())
}

/// The number of examples, and what is measured of them.
fn measures_of(report: &Report) -> (usize, Vec<(&'static str, f64)>) {
    match report {
        Report::Classes(report) => {
            (report.examples, vec![("accuracy", report.accuracy), ("loss", report.loss)])
        }
        Report::Numbers(report) => {
            (report.examples, vec![("RMSE", report.rmse), ("MAE", report.mae)])
        }
        Report::Forecast(report) => {
            let model = report.forecasts.first();
            let measures = model.map(|score| vec![("RMSE", score.rmse), ("MAE", score.mae)]);
            (report.examples, measures.unwrap_or_default())
        }
    }
}

fn text(runs: [&Path; 2], file: Option<&Path>, device: &Device) -> anyhow::Result<Change> {
    let models = [Generator::load_on(runs[0], device)?, Generator::load_on(runs[1], device)?];
    let (split, text) = if let Some(file) = file {
        refuse_sample(file)?;
        (file.display().to_string(), own_predict::plain_text(file)?)
    } else {
        ("valid".into(), own_predict::validation_text(&models[0])?)
    };
    let [before, after] = models.map(|model| model.evaluate(&text));
    let bits = [before?, after?].map(|score| score.loss / std::f64::consts::LN_2);
    let measures = vec![("bits per character", bits)];
    Ok(Change { split, examples: text.chars().count(), counted: "characters", measures })
}
