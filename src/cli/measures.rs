//! Reports of models on data of one's own, as lines and as JSON.

use candle_rnn::data::SplitBy;
use candle_rnn::train::tasks::{FeatureScores, ForecastScore, Report, SequenceTask, TaskKind};
use candle_rnn::train::{NumberScore, NumbersReport};
use serde_json::{json, Value};

use super::screen;

/// How the data of a task are split.
pub(super) fn splits(task: &SequenceTask) -> Vec<String> {
    let splits = task.splits();
    let what = if task.config().spec.forecast.is_some() { "window" } else { "sequence" };
    let data = &task.config().data;
    let valid = if data.source.valid.is_none() && task.config().training.split.valid_fraction == 0.
    {
        "nothing validates: the figures of a validation are those of the training data".into()
    } else {
        format!("{} validate{}", screen::thousands(splits.valid.len()), s(splits.valid.len()))
    };
    let train = splits.train.len();
    let mut line = format!("split: {} train{}, {valid}", screen::counted(train, what), s(train));
    if let Some(test) = &splits.test {
        let are = if test.len() == 1 { "is" } else { "are" };
        line.push_str(&format!(", {} {are} the test", screen::thousands(test.len())));
    }
    let mut lines = vec![line];
    let split = &task.config().training.split;
    let is_cut = task.config().spec.target == TaskKind::StepClass
        && splits.train.len() == 1
        && (data.source.valid.is_none() && split.valid_fraction > 0. || split.test_fraction > 0.);
    if is_cut {
        let steps = screen::counted(splits.train.total_steps(), "step");
        lines.push(format!("the single sequence is cut by time: its first {steps} train"));
    }
    let is_held =
        data.source.valid.is_none() && split.valid_fraction > 0. || split.test_fraction > 0.;
    let has_groups = task.config().spec.forecast.is_none() && splits.train.group(0).is_some();
    if has_groups && is_held && split.split_by != SplitBy::Group {
        lines.push("groups are not kept whole: --split-by group does that".into());
    }
    if let Some(of) = task.config().spec.forecast {
        let training = &task.config().training;
        let season = if of.season > 1 {
            format!("a season of {} steps", of.season)
        } else {
            "no season".into()
        };
        lines.push(format!(
            "forecast: {} from {} known ones; {season}",
            screen::counted(training.horizon, "step"),
            training.window
        ));
    }
    lines
}

/// The end of a verb of which so many things are the subject.
fn s(count: usize) -> &'static str {
    if count == 1 {
        "s"
    } else {
        ""
    }
}

/// A report as lines for people.
pub(super) fn lines(name: &str, report: &Report) -> Vec<String> {
    match report {
        Report::Classes(report) => {
            let mut lines = vec![format!(
                "{name}  accuracy {:.4}  macro F1 {:.4}  balanced accuracy {:.4}  loss {:.4}  {}",
                report.accuracy,
                report.macro_f1,
                report.balanced_accuracy,
                report.loss,
                screen::counted(report.examples, "example")
            )];
            let absent = report.classes.iter().filter(|class| class.examples == 0).count();
            if absent > 0 {
                lines.push(format!(
                    "  {absent} of {} classes have no examples here: their recall is undefined and not in the means",
                    report.classes.len()
                ));
            }
            lines
        }
        Report::Numbers(report) if report.numbers.len() > 1 => {
            let mut lines = vec![format!(
                "{name}  mean R2 {}  {}, each number in its own units",
                decimals(report.r2),
                screen::counted(report.examples, "example")
            )];
            lines.extend(of_first(report.numbers.iter().map(|number| vec![number_line(number)])));
            lines.extend(undefined_r2(report));
            lines
        }
        Report::Numbers(report) => {
            let mut lines = vec![format!(
                "{name}  RMSE {:.4}  MAE {:.4}  R2 {}  (the training mean: RMSE {:.4})  {}",
                report.rmse,
                report.mae,
                decimals(report.r2),
                report.mean_rmse,
                screen::counted(report.examples, "example")
            )];
            lines.extend(undefined_r2(report));
            lines
        }
        Report::Forecast(report) => {
            let several = !report.features.is_empty();
            let of = if several { ", each feature in its own units" } else { "" };
            let mut lines =
                vec![format!("{name}  {}{of}", screen::counted(report.examples, "forecast"))];
            if several {
                lines.extend(of_first(report.features.iter().map(feature_lines)));
            } else {
                lines.extend(report.forecasts.iter().map(score));
            }
            if report.forecasts.iter().any(|score| score.mape.is_none()) {
                lines.push("  MAPE is undefined where all values are 0".into());
            }
            lines
        }
    }
}

/// Features or numbers whose measures stand with those of a whole report; the table has the others.
const MOST: usize = 8;

/// The lines of the first features or numbers, and a hint if there are others.
fn of_first(all: impl ExactSizeIterator<Item = Vec<String>>) -> Vec<String> {
    let others = all.len().saturating_sub(MOST);
    let mut lines: Vec<String> = all.take(MOST).flatten().collect();
    if others > 0 {
        lines.push(format!("  and {others} more"));
    }
    lines
}

/// A measure with four decimals; a dash where it is undefined.
fn decimals(measure: Option<f64>) -> String {
    measure.map_or("-".into(), |value| format!("{value:.4}"))
}

/// How good forecasts are, as a line.
fn score(score: &ForecastScore) -> String {
    let mape = score.mape.map_or("-".into(), |mape| format!("{:.2}", 100. * mape));
    format!(
        "  {:<14}  RMSE {:>10.4}  MAE {:>10.4}  MAPE {mape:>6} %",
        score.name, score.rmse, score.mae
    )
}

/// The table of a report's classes, or of those of its numbers or features that [`lines`] leaves out.
pub(super) fn table(report: &Report) -> Vec<String> {
    match report {
        Report::Classes(report) => {
            let width = report.classes.iter().map(|class| class.name.chars().count()).max();
            let width = width.unwrap_or(0).max(5);
            let mut lines =
                vec![format!("  {:<width$}  examples  precision  recall      F1", "class")];
            lines.extend(report.classes.iter().map(|class| {
                format!(
                    "  {:<width$}  {:>8}  {:>9}  {:>6}  {:>6}",
                    class.name,
                    class.examples,
                    decimals(class.precision),
                    decimals(class.recall),
                    decimals(class.f1)
                )
            }));
            lines
        }
        Report::Numbers(report) => report.numbers.iter().skip(MOST).map(number_line).collect(),
        Report::Forecast(report) => {
            report.features.iter().skip(MOST).flat_map(feature_lines).collect()
        }
    }
}

fn number_line(number: &NumberScore) -> String {
    format!(
        "  {}  RMSE {:.4}  MAE {:.4}  R2 {}  (the training mean: RMSE {:.4})",
        number.name,
        number.rmse,
        number.mae,
        decimals(number.r2),
        number.mean_rmse
    )
}

fn feature_lines(feature: &FeatureScores) -> Vec<String> {
    let lines = feature.forecasts.iter().map(score);
    std::iter::once(feature.name.clone()).chain(lines).collect()
}

fn undefined_r2(report: &NumbersReport) -> Option<String> {
    let is_undefined = report.numbers.iter().any(|number| number.r2.is_none());
    is_undefined.then(|| "  R2 is undefined where all targets are equal".into())
}

/// A report as JSON, with the split that it is of.
pub(super) fn as_json(split: &str, report: &Report) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(report)?;
    value["split"] = json!(split);
    Ok(value)
}
