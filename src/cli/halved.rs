//! The cost of rounding a run's weights to `f16`: each measure before and after.

use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use candle_rnn::data::fetch::cached;
use candle_rnn::data::formats::{Content, ReadOptions};
use candle_rnn::export::{self, HalfModel, HalfPlace, IfThere};
use candle_rnn::predict::{Generator, Predictor, SequencePredictor};
use candle_rnn::run::{self, TaskName};
use candle_rnn::train::tasks::Report;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use super::own_files::OwnFiles;
use super::own_predict;
use super::source::ImageSource;

/// A measure of a run with its own weights, and with those rounded to `f16`.
pub(super) struct Change {
    split: &'static str,
    examples: usize,
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
        format!("{}  {}  {examples} examples", self.split, measures.join("  "))
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
pub(super) fn measure(
    run: &Path,
    model: &HalfModel,
    source: ImageSource,
    device: &Device,
) -> anyhow::Result<Change> {
    let folder = tempfile::tempdir().context("no folder for temporary files")?;
    let half = folder.path().join("half");
    export::save_half(model, &half, HalfPlace::Folder, IfThere::Refuse)?;
    let runs = [run, &half];
    match run::read_task(run)? {
        TaskName::Images => images(runs, source, device),
        TaskName::Sequences => {
            source.refuse()?;
            sequences(runs, device)
        }
        TaskName::Text => {
            source.refuse()?;
            text(runs, device)
        }
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
        anyhow::bail!("{} is not on this machine; name its folder with --data", dataset.name());
    }
    let data = source.load(dataset, true)?;
    let [before, after] = models.map(|model| model.evaluate(&data.test));
    let (before, after) = (before?, after?);
    let measures =
        vec![("accuracy", [before.accuracy, after.accuracy]), ("loss", [before.loss, after.loss])];
    Ok(Change { split: "test", examples: before.examples, measures })
}

fn sequences(runs: [&Path; 2], device: &Device) -> anyhow::Result<Change> {
    let models = [
        SequencePredictor::load_on(runs[0], device)?,
        SequencePredictor::load_on(runs[1], device)?,
    ];
    let (split, data) = match own_predict::part(&models[0], "test") {
        Ok(data) => ("test", data),
        Err(_) => ("valid", own_predict::part(&models[0], "valid")?),
    };
    let [before, after] = models.map(|model| model.report_windows(&data));
    let ((examples, before), (_, after)) = (measures_of(&before?), measures_of(&after?));
    let pairs = before.into_iter().zip(after);
    let measures = pairs.map(|((name, before), (_, after))| (name, [before, after])).collect();
    Ok(Change { split, examples, measures })
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

fn text(runs: [&Path; 2], device: &Device) -> anyhow::Result<Change> {
    let models = [Generator::load_on(runs[0], device)?, Generator::load_on(runs[1], device)?];
    let config = &models[0].config().task;
    let file = config.data.source.as_deref();
    let file = file.context("this run does not say which text it was trained on")?;
    let Content::Text(text) = OwnFiles::read(file, &ReadOptions::default())?.content else {
        anyhow::bail!("{}: not a plain text", file.display())
    };
    let digest = Sha256::digest(text.as_bytes());
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    anyhow::ensure!(
        sha256 == config.data.sha256,
        "{}: has changed since the run was trained on it",
        file.display()
    );
    // The end of the text, which validated.
    let characters = config.data.characters;
    let count =
        ((characters as f64 * config.training.valid_fraction) as usize).max(2).min(characters);
    let end: String = text.chars().skip(characters - count).collect();
    let [before, after] = models.map(|model| model.evaluate(&end));
    let bits = [before?, after?].map(|score| score.loss / std::f64::consts::LN_2);
    Ok(Change { split: "valid", examples: count, measures: vec![("bits per character", bits)] })
}
