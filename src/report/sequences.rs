//! Reports of runs on sequences and texts of one's own.

use super::confusion::confusion_svg_of;
use super::curves::labelled_curves_svg;
use super::forecast::{forecast_svg, naive_name};
use super::own_card::{sequence_card, text_card};
use crate::data::{Dataset, ForecastTarget, SequenceValues};
use crate::files::durable;
use crate::run::layout::{CARD, CONFUSION, CURVES, FORECAST, SETTINGS};
use crate::run::{RunTask, Session};
use crate::settings::Settings;
use crate::train::tasks::{ClassWeights, Report, SequenceTask, TaskKind, TextTask};
use crate::wording::counted;
use crate::Result;

/// Writes the pictures and the model card of a run on sequences that has ended.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when a file cannot be written.
pub fn write_sequences(session: &Session<SequenceTask>) -> Result<()> {
    let splits = session.trainer().task().splits();
    let valid = session.measured(|task| task.report(&splits.valid))?;
    let report_of = |data: &Dataset| session.measured(|task| task.report(data));
    let test = splits.test.as_ref().map(report_of).transpose()?;
    let config = &session.run_dir().config().task;
    let settings = Settings::of(&config.training)?;
    let training = &config.training;
    let is_validated = config.data.source.valid.is_some() || training.split.valid_fraction > 0.;
    let (split, measured) = if is_validated {
        ("validation", "on the validation split")
    } else {
        ("training data", "on the training data")
    };
    let smoothing = if training.label_smoothing > 0. { " and label smoothing" } else { "" };
    let weights =
        if training.class_weights == ClassWeights::None { "" } else { " and class weights" };
    let trained = match [smoothing, weights].concat() {
        none if none.is_empty() => "training (mean over batches)".to_string(),
        with => format!("training (mean over batches, with{})", &with[" and".len()..]),
    };
    let labels =
        (&trained[..], if is_validated { "validation" } else { "training data, after the epoch" });
    start(session, &settings, labels)?;
    let put = put(session);
    let confused;
    let mut pictures = vec![("losses over the epochs", CURVES)];
    if let Report::Classes(report) = &valid {
        put(CONFUSION, confusion_svg_of(split, &report.confusion, &config.spec.outputs)?)?;
        confused = format!("which classes are taken for which, {measured}");
        pictures.push((&confused[..], CONFUSION));
    }
    if let Some(of) = config.spec.forecast {
        let data = splits.test.as_ref().unwrap_or(&splits.valid);
        put(FORECAST, forecast_picture(session, data, of)?)?;
        pictures.push(("a forecast, and the true values", FORECAST));
    }
    let card = sequence_card(
        session.run_dir().config(),
        session.history(),
        parameters(session)?,
        (&valid, test.as_ref()),
        &pictures,
        &read_settings(&settings, config.spec.target).to_toml(),
    );
    put(CARD, card)
}

/// The settings that such a task reads.
fn read_settings(settings: &Settings, task: TaskKind) -> Settings {
    let is_class = matches!(task, TaskKind::Class | TaskKind::StepClass);
    let is_forecast = task == TaskKind::Forecast;
    let unread = [
        ("loss", is_class),
        ("class_weights", !is_class),
        ("label_smoothing", !is_class),
        ("window", !is_forecast),
        ("horizon", !is_forecast),
    ];
    let unread = unread.iter().filter(|(_, is_unread)| *is_unread);
    unread.fold(settings.clone(), |settings, (name, _)| settings.without(name))
}

/// Writes the learning curves and the model card of a language model's run that has ended.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when a file cannot be written.
pub fn write_text(session: &Session<TextTask>) -> Result<()> {
    let config = session.run_dir().config();
    let settings = Settings::of(&config.task.training)?;
    start(session, &settings, ("training (mean over batches)", "validation"))?;
    let (history, parameters) = (session.history(), parameters(session)?);
    put(session)(CARD, text_card(config, history, parameters, &settings.to_toml()))
}

/// Whether the card, the last file of a run, is there.
pub fn is_complete<T: RunTask>(session: &Session<T>) -> bool {
    session.path().join(CARD).exists()
}

fn put<T: RunTask>(session: &Session<T>) -> impl Fn(&str, String) -> Result<()> + '_ {
    |name, content| durable::write(&session.path().join(name), content.as_bytes())
}

/// Writes the files of every run: its settings, and its learning curves.
fn start<T: RunTask>(
    session: &Session<T>,
    settings: &Settings,
    (training, validation): (&str, &str),
) -> Result<()> {
    // A run of the library's has none; the card speaks of it.
    if !session.path().join(SETTINGS).exists() {
        session.run_dir().write_settings(&settings.to_toml())?;
    }
    put(session)(CURVES, labelled_curves_svg(session.history(), training, validation)?)
}

/// How many numbers were trained.
fn parameters<T: RunTask>(session: &Session<T>) -> Result<usize> {
    Ok(session.trainer().weights()?.values().map(|weight| weight.elem_count()).sum())
}

/// The last forecast of the first feature.
fn forecast_picture(
    session: &Session<SequenceTask>,
    data: &Dataset,
    of: ForecastTarget,
) -> Result<String> {
    let last = data.select(&[data.len() as u32 - 1]);
    let forecast = session.measured(|task| task.forecasts(&last))?.swap_remove(0);
    let features = data.features();
    let first =
        |values: &[f64]| -> Vec<f64> { values.iter().step_by(features.len()).copied().collect() };
    let floats = |values: SequenceValues| crate::data::floats(values);
    let window = last.sequence(0);
    forecast_svg(
        &format!("{}: forecast of {}", features[0], counted(of.horizon, "step")),
        &first(&floats(window)),
        &first(&floats(last.following(0, of.horizon))),
        &first(&forecast),
        (naive_name(of.season), &first(&of.naive(window, features.len()))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tasks::SequenceTraining;

    #[test]
    fn a_card_has_the_settings_that_its_task_reads() {
        let settings = Settings::of(&SequenceTraining::default()).unwrap();
        let optional = ["loss", "class_weights", "label_smoothing", "window", "horizon"];
        for (task, expected) in [
            (TaskKind::Class, &["class_weights", "label_smoothing"][..]),
            (TaskKind::StepClass, &["class_weights", "label_smoothing"]),
            (TaskKind::Numbers, &["loss"]),
            (TaskKind::Forecast, &["loss", "window", "horizon"]),
        ] {
            let read = read_settings(&settings, task);
            let found: Vec<&str> =
                optional.into_iter().filter(|name| read.value(name).is_some()).collect();
            assert_eq!(found, expected, "{task:?}");
            assert!(read.value("hidden_size").is_some());
        }
    }
}
