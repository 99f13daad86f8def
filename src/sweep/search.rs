//! The search space of a sweep: values in a grid, or drawn at random.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::rng::SeededRng;
use crate::settings::Settings;
use crate::{Error, Result};

/// More trials than this are a slip of the finger.
pub(super) const MAX_TRIALS: usize = 100_000;

/// A setting that is searched.
#[derive(Clone, Debug)]
pub(super) struct Searched<D> {
    pub(super) name: String,
    /// Its domain.
    pub(super) domain: D,
}

/// A value that a trial has, under the name as the file has it.
pub(super) type Chosen = (String, Value);

/// The values of a grid's setting: a list with something in it, and nothing twice.
pub(super) fn distinct_values(name: &str, value: Value) -> Result<Vec<Value>> {
    let values = listed_values(name, value)?;
    let mut seen = BTreeSet::new();
    // 1 and 1.0 are the same to a setting that is a number.
    let written = |value: &Value| match value {
        Value::Integer(number) => (*number as f64).to_string(),
        Value::Float(number) => number.to_string(),
        other => other.to_string(),
    };
    match values.iter().find(|value| !seen.insert(written(value))) {
        None => Ok(values),
        Some(twice) => Err(Error::Config(format!(
            "{name} has {twice} twice, whose trials would be the same: leave one out"
        ))),
    }
}

/// A list with something in it.
fn listed_values(name: &str, value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) if !values.is_empty() => Ok(values),
        other => Err(Error::Config(format!(
            "{name} needs a list of values, such as [1, 2], got {other}"
        ))),
    }
}

/// All combinations, the last setting varying fastest.
pub(super) fn product(settings: &[Searched<Vec<Value>>]) -> Vec<Vec<Chosen>> {
    let mut trials = vec![Vec::new()];
    for Searched { name, domain } in settings {
        let with = |trial: &Vec<Chosen>| {
            let trial = trial.clone();
            domain
                .iter()
                .map(move |value| [trial.clone(), vec![(name.clone(), value.clone())]].concat())
                .collect::<Vec<_>>()
        };
        trials = trials.iter().flat_map(with).collect();
    }
    trials
}

/// How a setting's values are drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Distribution {
    /// Numbers from the first to the second, all equally likely.
    Uniform(f64, f64),
    /// Numbers from the first to the second whose logarithms are equally likely.
    Log(f64, f64),
    /// Whole numbers from the first to the second, both included.
    Integers(i64, i64),
    /// One of these.
    Choices(Vec<Value>),
}

impl Distribution {
    /// Reads `{ log = [0.0001, 0.01] }` and its like.
    pub(super) fn of(name: &str, value: Value) -> Result<Self> {
        let forms =
            "{ uniform = [a, b] }, { log = [a, b] }, { integers = [a, b] } or { choices = [..] }";
        let wrong = |what: String| Error::Config(format!("{name} {what}"));
        let single = |table: Table| {
            let mut entries = table.into_iter();
            entries.next().filter(|_| entries.next().is_none())
        };
        let shown = value.to_string();
        let found = if let Value::Table(table) = value { single(table) } else { None };
        let Some((kind, limits)) = found else {
            return Err(wrong(format!("needs {forms}, got {shown}")));
        };
        let numbers = || {
            let [low, high] = limits.as_array()?.as_slice() else { return None };
            let number = |value: &Value| {
                value.as_float().or_else(|| value.as_integer().map(|value| value as f64))
            };
            let (low, high) = (number(low)?, number(high)?);
            (low.is_finite() && high.is_finite() && low <= high).then_some((low, high))
        };
        match kind.as_str() {
            "uniform" => numbers().map(|(low, high)| Self::Uniform(low, high)).ok_or_else(|| {
                wrong(format!("needs two numbers for uniform, the lower first, got {limits}"))
            }),
            "log" => numbers()
                .filter(|(low, _)| *low > 0.)
                .map(|(low, high)| Self::Log(low, high))
                .ok_or_else(|| {
                    wrong(format!(
                        "needs two numbers above 0 for log, the lower first, got {limits}"
                    ))
                }),
            "integers" => match limits.as_array().map(Vec::as_slice) {
                Some([Value::Integer(low), Value::Integer(high)]) if low <= high => {
                    Ok(Self::Integers(*low, *high))
                }
                _ => Err(wrong(format!(
                    "needs two whole numbers for integers, the lower first, got {limits}"
                ))),
            },
            "choices" => listed_values(name, limits).map(Self::Choices),
            other => Err(wrong(format!("needs {forms}, got {other}"))),
        }
    }

    /// Its ends, or all its choices: what a setting must be able to have.
    pub(super) fn ends(&self) -> Vec<Value> {
        match self {
            Self::Uniform(low, high) | Self::Log(low, high) => vec![(*low).into(), (*high).into()],
            Self::Integers(low, high) => vec![(*low).into(), (*high).into()],
            Self::Choices(choices) => choices.clone(),
        }
    }

    fn draw(&self, rng: &mut SeededRng) -> Value {
        match self {
            Self::Uniform(low, high) => {
                rounded(low + (high - low) * rng.unit()).clamp(*low, *high).into()
            }
            Self::Log(low, high) => {
                let (from, to) = (low.ln(), high.ln());
                rounded((from + (to - from) * rng.unit()).exp()).clamp(*low, *high).into()
            }
            Self::Integers(low, high) => {
                let count = usize::try_from(i128::from(*high) - i128::from(*low) + 1);
                let offset = rng.below(count.unwrap_or(usize::MAX));
                low.wrapping_add_unsigned(offset as u64).into()
            }
            Self::Choices(choices) => choices[rng.below(choices.len())].clone(),
        }
    }
}

/// To four digits, so that a table shows what was trained with.
fn rounded(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

/// So many trials at random. Each setting has a stream of random numbers of its own: neither another setting nor more
/// trials change what is drawn.
pub(super) fn draw(
    settings: &[Searched<Distribution>],
    trials: usize,
    seed: u64,
) -> Vec<Vec<Chosen>> {
    let stream = |setting: &Searched<Distribution>| {
        SeededRng::user(seed, &format!("sweep {}", setting.name))
    };
    let mut streams: Vec<SeededRng> = settings.iter().map(stream).collect();
    let mut trial = || {
        let drawn = settings.iter().zip(&mut streams);
        drawn.map(|(setting, rng)| (setting.name.clone(), setting.domain.draw(rng))).collect()
    };
    (0..trials).map(|_| trial()).collect()
}

/// Checks that a setting can have these values; the name that it has now.
pub(super) fn check(name: &str, values: &[Value]) -> Result<String> {
    let mut current = String::new();
    for value in values {
        let settings = Settings::one(name, value.clone())?;
        current = settings.names().collect();
    }
    Ok(current)
}
