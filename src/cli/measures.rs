//! Reports of models on data of one's own, as lines and as JSON.

use candle_rnn::train::tasks::{Report, SequenceTask};
use serde_json::{json, Value};

use super::screen;

/// How the data of a task are split.
pub(super) fn splits(task: &SequenceTask) -> Vec<String> {
    let splits = task.splits();
    let what = if task.config().spec.forecast.is_some() { "windows" } else { "sequences" };
    let data = &task.config().data;
    let valid = if data.source.valid.is_none() && task.config().training.split.valid_fraction == 0.
    {
        "nothing validates: the figures of a validation are those of the training data".into()
    } else {
        format!("{} validate", screen::thousands(splits.valid.len()))
    };
    let mut line =
        format!("split: {} {what} train, {valid}", screen::thousands(splits.train.len()));
    if let Some(test) = &splits.test {
        line.push_str(&format!(", {} are the test", screen::thousands(test.len())));
    }
    let mut lines = vec![line];
    if let Some(of) = task.config().spec.forecast {
        let training = &task.config().training;
        let season = if of.season > 1 {
            format!("a season of {} steps", of.season)
        } else {
            "no season".into()
        };
        lines.push(format!(
            "forecast: {} steps from {} known ones; {season}",
            training.horizon, training.window
        ));
    }
    lines
}

/// A report as lines for people.
pub(super) fn lines(name: &str, report: &Report) -> Vec<String> {
    match report {
        Report::Classes(report) => vec![format!(
            "{name}  accuracy {:.4}  macro F1 {:.4}  balanced accuracy {:.4}  loss {:.4}  {} examples",
            report.accuracy,
            report.macro_f1,
            report.balanced_accuracy,
            report.loss,
            screen::thousands(report.examples)
        )],
        Report::Numbers(report) => vec![format!(
            "{name}  RMSE {:.4}  MAE {:.4}  R2 {:.4}  (the training mean: RMSE {:.4})  {} examples",
            report.rmse,
            report.mae,
            report.r2,
            report.mean_rmse,
            screen::thousands(report.examples)
        )],
        Report::Forecast(report) => {
            let mut lines = vec![format!("{name}  {} forecasts", screen::thousands(report.examples))];
            lines.extend(report.forecasts.iter().map(|score| {
                format!(
                    "  {:<14}  RMSE {:>10.4}  MAE {:>10.4}  MAPE {:>6.2} %",
                    score.name,
                    score.rmse,
                    score.mae,
                    100. * score.mape
                )
            }));
            lines
        }
    }
}

/// The table of a report's classes, or of its numbers if there are several.
pub(super) fn table(report: &Report) -> Vec<String> {
    match report {
        Report::Classes(report) => {
            let width = report.classes.iter().map(|class| class.name.chars().count()).max();
            let width = width.unwrap_or(0).max(5);
            let mut lines =
                vec![format!("  {:<width$}  examples  precision  recall      F1", "class")];
            lines.extend(report.classes.iter().map(|class| {
                format!(
                    "  {:<width$}  {:>8}  {:>9.4}  {:>6.4}  {:>6.4}",
                    class.name, class.examples, class.precision, class.recall, class.f1
                )
            }));
            lines
        }
        Report::Numbers(report) if report.numbers.len() > 1 => report
            .numbers
            .iter()
            .map(|number| {
                format!(
                    "  {}  RMSE {:.4}  MAE {:.4}  R2 {:.4}  (the training mean: RMSE {:.4})",
                    number.name, number.rmse, number.mae, number.r2, number.mean_rmse
                )
            })
            .collect(),
        Report::Numbers(_) | Report::Forecast(_) => Vec::new(),
    }
}

/// A report as JSON, with the split that it is of.
pub(super) fn as_json(split: &str, report: &Report) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(report)?;
    value["split"] = json!(split);
    Ok(value)
}
