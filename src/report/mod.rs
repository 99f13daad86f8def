//! Reports of a run: learning curves, confusion matrix, model card and TensorBoard's event files.
//!
//! [`EventFile`] is written while a run trains; [`write()`] puts `curves.svg`, `confusion.svg` and `README.md`,
//! the model card, beside its weights. All of it follows from the run's metrics and weights: none of it is
//! read when a run is resumed.

mod card;
mod confusion;
mod curves;
mod events;
mod forecast;
mod own_card;
mod sequences;

pub use card::card;
pub use confusion::confusion_svg;
pub use curves::curves_svg;
pub use events::EventFile;
pub use forecast::forecast_svg;
pub use sequences::{is_complete, write_sequences, write_text};

use crate::data::known::Known;
use crate::data::mnist::ImageSet;
use crate::files::durable;
use crate::run::layout::{CARD, CONFUSION, CURVES, SETTINGS};
use crate::run::{RunConfig, Session};
use crate::settings::{RunSettings, Settings};
use crate::train::{confusion, ImageConfig};
pub use crate::wording::escaped;
use crate::Result;

/// Writes the pictures and the model card of a run that has ended.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when a file cannot be written.
pub fn write(session: &Session) -> Result<()> {
    let (config, history) = (session.run_dir().config(), session.history());
    let trainer = session.trainer();
    let counts =
        session.measured(|task| confusion(task.model(), task.gather(), &task.data().valid))?;
    let parameters = trainer.weights()?.values().map(|weight| weight.elem_count()).sum();
    // The classes of data that are not known have no other names than their numbers.
    let known = Known::of(&config.task.data.sha256).map(Known::dataset);
    let names = known.unwrap_or(ImageSet::Mnist).class_names();
    let put = |name: &str, content: String| {
        durable::write(&session.path().join(name), content.as_bytes())
    };
    // A run of the library's has none; the card speaks of it.
    if !session.path().join(SETTINGS).exists() {
        session.run_dir().write_settings(&settings_of(config)?.to_toml())?;
    }
    put(CURVES, curves_svg(history)?)?;
    let counts: Vec<Vec<usize>> = counts.iter().map(|row| row.to_vec()).collect();
    put(CONFUSION, confusion_svg(&counts, &names.map(String::from))?)?;
    let kept = session.kept().map(|metrics| metrics.epoch);
    put(CARD, card(config, history, parameters, trainer.task().data(), kept))
}

/// Writes them where a process that was killed behind its last checkpoint left some out.
///
/// # Errors
/// As [`write()`].
pub fn complete(session: &Session) -> Result<()> {
    // The card is the last.
    if session.path().join(CARD).exists() {
        return Ok(());
    }
    write(session)
}

/// The settings that train a run again, as far as another machine can have its data.
fn settings_of(config: &RunConfig) -> Result<Settings> {
    let ImageConfig { training, data, .. } = &config.task;
    // A folder of this machine is nobody else's.
    let source = data.source.clone().filter(|source| source.as_os_str() == "sample");
    let run = RunSettings { dataset: data.dataset, source, ..RunSettings::default() };
    Ok(Settings::of(&run)?.or(Settings::of(training)?))
}

/// A picture that could not be drawn.
fn cannot_draw(error: impl std::fmt::Display) -> crate::Error {
    crate::Error::Config(format!("cannot draw the picture: {error}"))
}
