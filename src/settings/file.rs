//! Settings in a TOML file.

use super::{Settings, MAX_UNITS};
use crate::{Error, Result};

impl Settings {
    /// Reads TOML: `lr = 0.004`, `schedule = "one-cycle"`, each under the name of its flag.
    ///
    /// # Errors
    /// [`Error::Config`] for what is not TOML and a value of another kind than its setting's, with the line;
    /// for a name that no setting has, with the one that is most like it; and for what flags refuse too.
    pub fn from_toml(text: &str) -> Result<Self> {
        let table: toml::Table = toml::from_str(text).map_err(|error| in_line(text, &error))?;
        let names = Self::names();
        if let Some(unknown) = table.keys().find(|key| !names.contains(key)) {
            let hint = most_alike(unknown, &names);
            return Err(Error::Config(format!("no setting is called {unknown}{hint}")));
        }
        let settings: Self = toml::from_str(text).map_err(|error| in_line(text, &error))?;
        if settings.clip_norm.is_some() && settings.clip_value.is_some() {
            return Err(Error::Config(
                "clip-norm and clip-value exclude each other: set one of them: set one of them: \
                 set one of them"
                    .into(),
            ));
        }
        let counts = [
            ("keep", settings.keep.map(|count| count as u64)),
            ("save-every", settings.save_every),
            ("threads", settings.threads.map(u64::from)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == Some(0)) {
            return Err(Error::Config(format!("{name} must be at least 1, got 0")));
        }
        if settings.hidden.is_some_and(|units| units > MAX_UNITS) {
            return Err(Error::Config(format!("hidden must be at most {MAX_UNITS}")));
        }
        if settings.max_minutes.is_some_and(|minutes| !(minutes > 0. && minutes.is_finite())) {
            return Err(Error::Config("max-minutes must be a number above 0".into()));
        }
        Ok(settings)
    }

    /// These settings as TOML.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Config(error.to_string()))
    }

    /// The names of all settings.
    fn names() -> Vec<String> {
        let every = serde_json::to_value(Self::default()).unwrap_or_default();
        every.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }
}

/// A TOML error in one line.
fn in_line(text: &str, error: &toml::de::Error) -> Error {
    let line =
        error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    Error::Config(format!("{place}{}", error.message().replace('\n', " ")))
}

/// A hint at the name that `unknown` may stand for.
fn most_alike(unknown: &str, names: &[String]) -> String {
    let unknown = unknown.replace('_', "-");
    let similarity = |name: &String| strsim::jaro_winkler(&unknown, name);
    names
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .filter(|name| similarity(name) > 0.7)
        .map(|name| format!(": did you mean {name}?"))
        .unwrap_or_else(|| format!(": there are {}", names.join(", ")))
}
