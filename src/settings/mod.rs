//! Settings as people write them: in a TOML file, in the words of `config.json`, and in named recipes.
//!
//! A setting has one name and one home, a field of a task's configuration ([`TrainConfig`] of images,
//! [`SequenceTraining`], [`TextTraining`]) or of [`RunSettings`]. [`Settings`] holds those that were named and nothing
//! else; [`Settings::or`] puts one set on top of another, and [`Settings::config`] fills in the rest. [`Recipe`] names
//! those that are known to work.

mod recipe;

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use toml::{Spanned, Table, Value};

pub use recipe::Recipe;

use crate::data::mnist::ImageSet;
use crate::train::tasks::{SequenceTraining, TextTraining};
use crate::train::{Schedule, TrainConfig};
use crate::{Error, Result};

/// More units than this are a slip of the finger: W_hh alone would take gigabytes.
pub const MAX_UNITS: usize = 1 << 14;

/// Names that settings had in earlier versions, some of which are flags' still.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("data", "source"),
    ("hidden", "hidden_size"),
    ("layers", "num_layers"),
    ("lr", "learning_rate"),
    ("truncate", "truncation"),
];

/// How the names of a limit on the gradients begin: `clip_norm`, `clip_value`.
const CLIP: &str = "clip_";

/// How a training is run, as far as it was named: what makes no other model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSettings {
    /// `sample` or a folder with the four IDX files.
    pub source: Option<PathBuf>,
    /// Data set.
    pub dataset: Option<ImageSet>,
    /// Optimizer steps between checkpoints.
    pub save_every: Option<u64>,
    /// How many checkpoints are kept, besides the best.
    pub keep: Option<usize>,
    /// After how many minutes the training is saved and ended.
    pub max_minutes: Option<f64>,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    pub device: Option<String>,
    /// Threads on the CPU.
    pub threads: Option<u16>,
}

impl RunSettings {
    fn check(&self) -> Result<()> {
        let counts = [
            ("keep", self.keep.map(|count| count as u64)),
            ("save_every", self.save_every),
            ("threads", self.threads.map(u64::from)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == Some(0)) {
            return Err(Error::Config(format!("{name} must be at least 1, got 0")));
        }
        if self.max_minutes.is_some_and(|minutes| minutes <= 0.) {
            return Err(Error::Config("max_minutes must be above 0".into()));
        }
        Ok(())
    }
}

/// How the error of [`Settings::config`] ends for a setting that the task does not have; the setting stands before it.
pub const NOT_OF_TASK: &str = " is no setting of such a training";

/// Settings that were named: of [`TrainConfig`] and of [`RunSettings`], each with a value that it can have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Table);

impl Settings {
    /// Reads TOML: `learning_rate = 0.004`, `schedule = "one-cycle"`.
    ///
    /// # Errors
    /// [`Error::Config`] with the line for what is not TOML, for a name that no setting has, with the one that is
    /// most like it, for a setting that is named twice, and for a value that its setting cannot have.
    pub fn from_toml(text: &str) -> Result<Self> {
        let fail = |error| no_toml(text, error);
        let table: Table = toml::from_str(text).map_err(fail)?;
        let mut spans: std::collections::BTreeMap<String, Spanned<Value>> =
            toml::from_str(text).map_err(fail)?;
        let mut settings = Self::default();
        let mut written = std::collections::BTreeMap::new();
        for (name, value) in table {
            let start = spans.remove(&name).map_or(0, |value| value.span().start);
            if let Some(before) = written.insert(current_name(&name), name.clone()) {
                return Err(in_line(text, start, &named_twice(&before, &name)));
            }
            settings
                .name(&name, value)
                .map_err(|error| in_line(text, start, &error.to_string()))?;
        }
        Ok(settings)
    }

    /// The line of a TOML text that names a setting, and how it is written there: under the name that it has now, or
    /// one that it had.
    pub fn place_of(text: &str, name: &str) -> Option<(usize, String)> {
        let spans: std::collections::BTreeMap<String, Spanned<Value>> =
            toml::from_str(text).ok()?;
        let (written, value) =
            spans.into_iter().find(|(written, _)| current_name(written) == name)?;
        Some((line_at(text, value.span().start), written))
    }

    /// The other settings, without this one.
    pub fn without(&self, name: &str) -> Self {
        let mut others = self.clone();
        others.0.remove(name);
        others
    }

    /// A single setting, under its name or one that it had.
    ///
    /// # Errors
    /// [`Error::Config`] as [`from_toml`](Self::from_toml), without a line.
    pub(crate) fn one(name: &str, value: Value) -> Result<Self> {
        let mut settings = Self::default();
        settings.name(name, value)?;
        Ok(settings)
    }

    /// The names of the settings, as they are called now.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of a setting, under the name that it has now.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The settings of a structure: a [`TrainConfig`], [`RunSettings`], or another with such names.
    ///
    /// # Errors
    /// [`Error::Config`] as [`from_toml`](Self::from_toml), and for a value that TOML cannot hold.
    pub fn of(values: &impl Serialize) -> Result<Self> {
        let table = Table::try_from(values).map_err(|error| {
            Error::Config(format!("a setting cannot be written to a file: {error}"))
        })?;
        let mut settings = Self::default();
        table.into_iter().try_for_each(|(name, value)| settings.name(&name, value))?;
        Ok(settings)
    }

    /// The settings with those of `others` that are not named here: but no warm-up for a schedule that has none.
    pub fn or(mut self, mut others: Self) -> Self {
        let schedule = self.0.get("schedule").cloned().map(Value::try_into::<Schedule>);
        if schedule.is_some_and(|schedule| schedule.is_ok_and(|schedule| !schedule.rises())) {
            others.0.remove("warmup");
        }
        for (name, value) in others.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// The settings of a training, of whatever task: these and, of those that are not named, `base`'s.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that this task does not have, and for settings of `base` that no file can hold.
    pub fn config<C: Serialize + DeserializeOwned>(&self, base: &C) -> Result<C> {
        let fail = |error: serde_json::Error| Error::Config(error.to_string());
        let mut config = serde_json::to_value(base).map_err(fail)?;
        let (run, own) = (names_of(&RunSettings::default()), names_of_config(base));
        for (name, value) in self.0.iter().filter(|(name, _)| !run.contains(name)) {
            if !own.contains(name) {
                return Err(Error::Config(format!("{name}{NOT_OF_TASK}")));
            }
            config[name] = serde_json::to_value(value).map_err(fail)?;
        }
        serde_json::from_value(config).map_err(fail)
    }

    /// Checks that each setting has a value that a training like `base` can have.
    fn check<C: Serialize + DeserializeOwned>(&self, base: &C) -> Result<()> {
        let config = self.config(base)?;
        let taken =
            serde_json::to_value(config).map_err(|error| Error::Config(error.to_string()))?;
        for (name, value) in &self.0 {
            // serde takes a list's elements for a structure's fields, in their order. A setting that is no structure
            // when it is written may be one that was read.
            let list = value.as_table().and_then(|table| table.values().find(|v| v.is_array()));
            if let (Some(list), false) = (list, taken[name].is_object()) {
                return Err(Error::Config(format!(
                    "expected a name for each value, got the list {list}: write {}",
                    taken[name]
                )));
            }
        }
        Ok(())
    }

    /// How it is run, as far as that was named.
    pub fn run(&self) -> RunSettings {
        let names = names_of(&RunSettings::default());
        let named = self.0.iter().filter(|(name, _)| names.contains(name));
        let table: Table = named.map(|(name, value)| (name.clone(), value.clone())).collect();
        // Each was looked at when it was named.
        table.try_into().unwrap_or_default()
    }

    /// The settings as TOML.
    pub fn to_toml(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    }

    /// Takes a setting, under its name or one that it had. An error calls it as it was written.
    fn name(&mut self, written: &str, value: Value) -> Result<()> {
        self.take(written, value).map_err(|error| match error {
            Error::Config(text) => {
                Error::Config(as_written(&text, &current_name(written), written))
            }
            error => error,
        })
    }

    fn take(&mut self, name: &str, value: Value) -> Result<()> {
        let value = match name.replace('-', "_").strip_prefix(CLIP) {
            Some(how @ ("norm" | "value")) => Table::from_iter([(how.to_string(), value)]).into(),
            _ => value,
        };
        let name = current_name(name);
        let run = names_of(&RunSettings::default());
        let (images, sequences, text) =
            (TrainConfig::default(), SequenceTraining::default(), TextTraining::default());
        let homes = [names_of_config(&images), names_of_config(&sequences), names_of_config(&text)];
        let mut names: Vec<String> = homes.concat();
        if !names.contains(&name) && !run.contains(&name) {
            names.extend(run);
            names.sort();
            names.dedup();
            let hint = most_alike(&name, names);
            return Err(Error::Config(format!("no setting is called {name}{hint}")));
        }
        if value.as_float().is_some_and(|value| !value.is_finite()) {
            return Err(Error::Config(format!("{name} must be a finite number, got {value}")));
        }
        if name == "hidden_size" && value.as_integer().is_some_and(|units| units > MAX_UNITS as i64)
        {
            return Err(Error::Config(format!("{name} must be at most {MAX_UNITS}, got {value}")));
        }
        let named = Self(Table::from_iter([(name.clone(), value.clone())]));
        if run.contains(&name) {
            let run: std::result::Result<RunSettings, _> = named.0.try_into();
            run.map_err(|error| {
                Error::Config(format!("{name}: {}", in_plain_words(error.message())))
            })?
            .check()?;
        } else {
            // It has the same values wherever it is a setting.
            let checked = if homes[0].contains(&name) {
                named.check(&images)
            } else if homes[1].contains(&name) {
                named.check(&sequences)
            } else {
                named.check(&text)
            };
            checked.map_err(|error| {
                Error::Config(format!("{name}: {}", in_plain_words(&error.to_string())))
            })?;
        }
        if self.0.insert(name.clone(), value).is_some() {
            return Err(Error::Config(named_twice(&name, &name)));
        }
        Ok(())
    }
}

/// The error text for a setting that is named twice, under these names.
pub(crate) fn named_twice(first: &str, second: &str) -> String {
    if first == second {
        return format!("{first} is named twice");
    }
    format!("{first} and {second} are the same setting: give one of them")
}

/// A text about a setting, with the name under which the setting was written.
///
/// - `name`: the setting's name as [`current_name`] gives it, which is replaced where it stands as a word first
pub fn as_written(text: &str, name: &str, written: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || "_-".contains(c);
    let is_word = |at: &usize| {
        !text[..*at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part)
    };
    match text.match_indices(name).map(|(at, _)| at).find(is_word) {
        Some(at) => [&text[..at], written, &text[at + name.len()..]].concat(),
        None => text.into(),
    }
}

/// The name that a setting has now, of one that it had, such as `lr` for `learning_rate`.
pub fn current_name(written: &str) -> String {
    let name = written.replace('-', "_");
    let current = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    match name.strip_prefix(CLIP) {
        Some("norm" | "value") => "clip".into(),
        _ => current.map_or(name, |(_, current)| current.to_string()),
    }
}

/// The number of the line in which a byte of a text is.
fn line_at(text: &str, start: usize) -> usize {
    text.get(..start.min(text.len())).unwrap_or(text).matches('\n').count() + 1
}

/// An error text in words of files: a parser names the types of Rust.
fn in_plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 10] = [
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected usize", "expected a whole number of at least 0"),
        ("expected u64", "expected a whole number of at least 0"),
        ("expected u32", "expected a whole number of at least 0"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected a text"),
        ("expected path string", "expected a text"),
        ("expected map with a single key", "expected one of norm and value"),
    ];
    WORDS.iter().fold(message.to_string(), |text, (words, plain)| text.replace(words, plain))
}

/// An error in a TOML text, with its line.
///
/// - `start`: where in the text it is, in bytes
pub(crate) fn in_line(text: &str, start: usize, message: &str) -> Error {
    let line = line_at(text, start);
    Error::Config(format!("line {line}: {}", message.replace('\n', " ")))
}

/// The error of a text that is no TOML, or whose tables are not those that it must have.
pub(crate) fn no_toml(text: &str, error: toml::de::Error) -> Error {
    let start = error.span().map_or(0, |span| span.start);
    let is_too_large = ["as i128", "as u128", "u64 value was too large"]
        .iter()
        .any(|words| error.message().contains(words));
    if is_too_large {
        let most = i64::MAX;
        let reason = format!(
            "a whole number is at most {most} here: write a larger seed in quotes, as a text"
        );
        return in_line(text, start, &reason);
    }
    in_line(text, start, error.message())
}

/// The names of all fields that a structure is written with.
fn names_of(values: &impl Serialize) -> Vec<String> {
    let Ok(Json::Object(fields)) = serde_json::to_value(values) else { return Vec::new() };
    fields.into_iter().map(|(name, _)| name).collect()
}

/// The names of all settings of a training.
fn names_of_config(config: &impl Serialize) -> Vec<String> {
    let mut names = names_of(config);
    names.push("extensions".into());
    names
}

/// A hint at the name that `unknown` may stand for.
fn most_alike(unknown: &str, mut names: Vec<String>) -> String {
    let similarity = |name: &String| strsim::jaro_winkler(unknown, name);
    let most = names.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match most.filter(|name| similarity(name) > 0.7) {
        Some(name) => format!(": did you mean {name}?"),
        None => {
            names.sort();
            format!(": there are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
