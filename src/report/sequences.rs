//! Reports of runs on sequences and texts of one's own.

use super::confusion::confusion_svg;
use super::curves::curves_svg;
use super::forecast::forecast_svg;
use super::own_card::{sequence_card, text_card};
use crate::data::{Dataset, ForecastTarget, SequenceValues};
use crate::files::durable;
use crate::run::layout::{CARD, CONFUSION, CURVES, FORECAST, SETTINGS};
use crate::run::{RunTask, Session};
use crate::settings::Settings;
use crate::train::tasks::{Report, SequenceTask, TextTask};
use crate::Result;

/// Writes the pictures and the model card of a run on sequences that has ended.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when a file cannot be written.
pub fn write_sequences(session: &Session<SequenceTask>) -> Result<()> {
    let splits = session.trainer().task().splits();
    let valid = session.measured(|task| task.report(&splits.valid))?;
    let measured = |data: &Dataset| session.measured(|task| task.report(data));
    let test = splits.test.as_ref().map(measured).transpose()?;
    let config = &session.run_dir().config().task;
    let settings = Settings::of(&config.training)?;
    start(session, &settings)?;
    let put = put(session);
    let mut pictures = vec![("losses over the epochs", CURVES)];
    if let Report::Classes(report) = &valid {
        put(CONFUSION, confusion_svg(&report.confusion, &config.spec.outputs)?)?;
        pictures.push(("which classes are taken for which, on the validation split", CONFUSION));
    }
    if let Some(of) = config.spec.forecast {
        let data = splits.test.as_ref().unwrap_or(&splits.valid);
        put(FORECAST, forecast_picture(session, data, of)?)?;
        pictures.push(("a forecast, and what came", FORECAST));
    }
    let card = sequence_card(
        session.run_dir().config(),
        session.history(),
        parameters(session)?,
        (&valid, test.as_ref()),
        &pictures,
        &settings.to_toml(),
    );
    put(CARD, card)
}

/// Writes the learning curves and the model card of a language model's run that has ended.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when a file cannot be written.
pub fn write_text(session: &Session<TextTask>) -> Result<()> {
    let config = session.run_dir().config();
    let settings = Settings::of(&config.task.training)?;
    start(session, &settings)?;
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

/// What every run has: its settings, and its learning curves.
fn start<T: RunTask>(session: &Session<T>, settings: &Settings) -> Result<()> {
    // A run of the library's has none; the card speaks of it.
    if !session.path().join(SETTINGS).exists() {
        session.run_dir().write_settings(&settings.to_toml())?;
    }
    put(session)(CURVES, curves_svg(session.history())?)
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
        &format!("{}: forecast of {} steps", features[0], of.horizon),
        &first(&floats(window)),
        &first(&floats(last.following(0, of.horizon))),
        &first(&forecast),
        &first(&of.naive(window, features.len())),
    )
}
