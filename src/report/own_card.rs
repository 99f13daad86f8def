//! The model cards of runs on data of one's own.

use std::fmt::Write as _;

use crate::model::NetworkConfig;
use crate::run::{best_of, RunConfig};
use crate::train::tasks::{ForecastScore, Report, SequenceConfig, TaskKind, TextConfig};
use crate::train::{EpochMetrics, TrainerConfig};
use crate::wording::{counted, escaped};

/// The model card of a run on sequences: front matter of the Hugging Face hub's form, then Markdown.
///
/// - `parameters`: how many numbers were trained
/// - `reports`: of the validation split, and of the test split if there is one
/// - `pictures`: descriptions and files
/// - `settings`: as TOML
pub(super) fn sequence_card(
    config: &RunConfig<SequenceConfig>,
    history: &[EpochMetrics],
    parameters: usize,
    (valid, test): (&Report, Option<&Report>),
    pictures: &[(&str, &str)],
    settings: &str,
) -> String {
    let SequenceConfig { spec, data, training } = &config.task;
    let features = &spec.preprocessor.features;
    let [train, validating] = data.sequences;
    let is_validated = data.source.valid.is_some() || training.split.valid_fraction > 0.;
    let what = match spec.target {
        TaskKind::Class => format!("the class of a sequence, one of {}", spec.outputs.len()),
        TaskKind::StepClass => format!("the class of each step, one of {}", spec.outputs.len()),
        TaskKind::Numbers => format!("{} of a sequence", listed(&spec.outputs)),
        TaskKind::Forecast => format!(
            "the next {} of a series from {} known ones",
            counted(training.horizon, "step"),
            training.window
        ),
    };
    let pipeline = match spec.target {
        TaskKind::Class => "other",
        TaskKind::StepClass => "token-classification",
        TaskKind::Numbers => "tabular-regression",
        TaskKind::Forecast => "time-series-forecasting",
    };
    let mut card = head(pipeline, &training.network);
    let file = data.source.file.as_ref().and_then(|file| file.file_name());
    let file = file.map_or("data of one's own".into(), |name| markdown(&name.to_string_lossy()));
    let _ = write!(
        card,
        "# {}, on {file}\n\nPredicts {what}. It reads {} ({}) at each step.\n\n{}\n",
        network(&training.network),
        counted(features.len(), "feature"),
        listed(features),
        trained(
            &config.candle_rnn_version,
            parameters,
            counted(
                train,
                if spec.forecast.is_some() { "training window" } else { "training sequence" }
            ),
            is_validated.then_some(validating)
        ),
    );
    if !spec.outputs.is_empty() && spec.target != TaskKind::Forecast {
        let _ = writeln!(card, "Outputs: {}.\n", listed(&spec.outputs));
    }
    card.push_str(&epochs(history, &training.trainer, is_validated));
    let measured = if is_validated { "Validation" } else { "Training data" };
    for (split, report) in [(measured, Some(valid)), ("Test", test)] {
        if let Some(report) = report {
            let _ = write!(card, "\n## {split}\n\n{}", table(report));
        }
    }
    if test.is_none() && is_validated {
        card.push_str("\nNo test data played a part: the figures above are those of the data that chose the epoch.\n");
    }
    for (text, file) in pictures {
        let _ = write!(card, "\n![{text}]({file})\n");
    }
    let _ = write!(
        card,
        "{}\n## Settings\n\n```toml\n{settings}```\n\nTraining data: SHA-256 `{}` over all values and targets.\n",
        include_str!("use_sequences.md"),
        data.sha256
    );
    card
}

/// The model card of a language model's run.
pub(super) fn text_card(
    config: &RunConfig<TextConfig>,
    history: &[EpochMetrics],
    parameters: usize,
    settings: &str,
) -> String {
    let TextConfig { vocabulary, data, training, .. } = &config.task;
    let mut card = head("text-generation", &training.network);
    let _ = write!(
        card,
        "# {}, a language model of characters\n\nPredicts the next of {} characters. It was trained on a text of {} \
         characters, whose last part ({:.0} %) validates, by candle-rnn {}: {} parameters.\n\n",
        network(&training.network),
        vocabulary.len(),
        data.characters,
        100. * training.valid_fraction,
        config.candle_rnn_version,
        thousands(parameters),
    );
    card.push_str(&epochs(history, &training.trainer, true));
    let _ = write!(
        card,
        "\n![losses over the epochs](curves.svg)\n{}\n## Settings\n\n```toml\n{settings}```\n\nTraining data: SHA-256 `{}` of the text.\n",
        include_str!("use_text.md"),
        data.sha256
    );
    card
}

fn head(pipeline: &str, network: &NetworkConfig) -> String {
    let cell = cell(network);
    format!(
        "---\nlibrary_name: candle-rnn\npipeline_tag: {pipeline}\ntags: [candle, recurrent-neural-network, {cell}]\n---\n\n"
    )
}

fn cell(network: &NetworkConfig) -> String {
    serde_json::json!(network.cell).as_str().unwrap_or_default().to_string()
}

fn network(network: &NetworkConfig) -> String {
    let NetworkConfig { num_layers, hidden_size, bidirectional, .. } = network;
    let both = if *bidirectional { "bidirectional " } else { "" };
    let layers = if *num_layers == 1 { "one layer".into() } else { format!("{num_layers} layers") };
    format!("{both}{}, {layers} of {hidden_size} units", cell(network))
}

fn trained(version: &str, parameters: usize, train: String, valid: Option<usize>) -> String {
    let valid = match valid {
        Some(valid) => format!("{valid} others validated"),
        None => "none was held out to validate".into(),
    };
    let parameters = thousands(parameters);
    format!("Trained by candle-rnn {version}: {parameters} parameters, {train}; {valid}.\n")
}

/// A number with commas between thousands.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let comma = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    let with = |(at, digit)| [comma(at).then_some(','), Some(digit)];
    digits.chars().enumerate().flat_map(with).flatten().collect()
}

fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let shown = names.iter().take(MOST).map(|name| markdown(name)).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        format!("{shown}, and {} more", names.len() - MOST)
    } else {
        shown
    }
}

/// A name as Markdown shows it: on one line, and no part of a table, a tag, a link or the like.
fn markdown(name: &str) -> String {
    let mut text = String::new();
    for character in escaped(name).chars() {
        match character {
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '[' | ']' => text.extend(['\\', character]),
            other => text.push(other),
        }
    }
    text
}

/// The last epoch and the best, and which of them the model is of.
fn epochs(history: &[EpochMetrics], trainer: &TrainerConfig, is_validated: bool) -> String {
    let has_accuracy = history.iter().any(|metrics| metrics.valid_accuracy.is_some());
    let data = if is_validated { "validation" } else { "training data" };
    let mut text = format!("| | {data} loss |");
    if has_accuracy {
        let _ = write!(text, " {data} accuracy |");
    }
    text.push_str(if has_accuracy { "\n|---|---|---|\n" } else { "\n|---|---|\n" });
    let rows = [("last", history.last()), ("best", best_of(history))];
    for (name, metrics) in rows {
        let Some(metrics) = metrics else { continue };
        let accuracy =
            metrics.valid_accuracy.map_or(String::new(), |value| format!(" {value:.4} |"));
        let _ = writeln!(
            text,
            "| {name}, epoch {} | {:.4} |{accuracy}",
            metrics.epoch, metrics.valid_loss
        );
    }
    let kept = if trainer.patience.is_some() { "best" } else { "last" };
    let _ = writeln!(text, "\n`model.safetensors` holds the {kept} epoch.");
    text
}

/// A measure with four decimals; a dash where it is undefined.
fn decimals(measure: Option<f64>) -> String {
    measure.map_or("-".into(), |value| format!("{value:.4}"))
}

/// A report as a table.
fn table(report: &Report) -> String {
    let mut text = String::new();
    match report {
        Report::Classes(report) => {
            let _ = write!(
                text,
                "Accuracy {:.4}, macro F1 {:.4}, balanced accuracy {:.4}, of {}.\n\n\
                 | class | examples | precision | recall | F1 |\n|---|---|---|---|---|\n",
                report.accuracy,
                report.macro_f1,
                report.balanced_accuracy,
                counted(report.examples, "example")
            );
            for class in &report.classes {
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} |",
                    markdown(&class.name),
                    class.examples,
                    decimals(class.precision),
                    decimals(class.recall),
                    decimals(class.f1)
                );
            }
        }
        Report::Numbers(report) => {
            text.push_str(
                "| number | RMSE | MAE | R2 | RMSE of the training mean |\n|---|---|---|---|---|\n",
            );
            for number in &report.numbers {
                let _ = writeln!(
                    text,
                    "| {} | {:.4} | {:.4} | {} | {:.4} |",
                    markdown(&number.name),
                    number.rmse,
                    number.mae,
                    decimals(number.r2),
                    number.mean_rmse
                );
            }
            if report.numbers.iter().any(|number| number.r2.is_none()) {
                text.push_str("\nR2 is undefined where all targets are equal.\n");
            }
        }
        Report::Forecast(report) => {
            let several = !report.features.is_empty();
            let of = if several { "feature | forecast" } else { "forecast" };
            let rule = if several { "---|---" } else { "---" };
            let _ = write!(text, "| {of} | RMSE | MAE | MAPE |\n|{rule}|---|---|---|\n");
            let mut add = |feature: &str, scores: &[ForecastScore]| {
                for score in scores {
                    let mape =
                        score.mape.map_or("-".into(), |mape| format!("{:.2} %", 100. * mape));
                    let ForecastScore { name, rmse, mae, .. } = score;
                    let _ = writeln!(text, "|{feature} {name} | {rmse:.4} | {mae:.4} | {mape} |");
                }
            };
            if several {
                add(" all |", &report.forecasts);
                report
                    .features
                    .iter()
                    .for_each(|of| add(&format!(" {} |", of.name), &of.forecasts));
            } else {
                add("", &report.forecasts);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_break_a_table() {
        assert_eq!(markdown("p|q"), "p\\|q");
        assert_eq!(markdown("<b>\n[x]`"), "&lt;b>\\\\n\\[x\\]\\`");
        assert_eq!(markdown("a_b 1.5"), "a_b 1.5");
    }
}
