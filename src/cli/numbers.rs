//! Parsers of flag values: each checks the range of a number.

use std::num::IntErrorKind;

use candle_rnn::model::ClassifierConfig;
use candle_rnn::settings::MAX_UNITS;

/// The largest whole number: TOML's integers are no larger, and a run's settings must come back from its file.
const MOST: usize = i64::MAX as usize;

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    at_most(MOST, count(text)?).and_then(|number| match number {
        0 => Err("must be at least 1".into()),
        number => Ok(number),
    })
}

/// A whole number.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match text.parse::<i128>() {
        Ok(number) if number < 0 => Err("must be at least 0".into()),
        Ok(number) => usize::try_from(number).map_err(|_| format!("must be at most {MOST}")),
        // It has digits alone, and more than any number.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            Err(format!("must be at most {MOST}"))
        }
        Err(_) => Err("must be a whole number".into()),
    }
}

/// A seed, as it was written: it may be larger than other numbers.
pub(super) fn seed(text: &str) -> Result<String, String> {
    let refused = |_| format!("must be a whole number from 0 to {}", u64::MAX);
    text.parse::<u64>().map(|_| text.to_string()).map_err(refused)
}

/// Any number.
pub(super) fn any(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("must be a number".into()),
    }
}

pub(super) fn steps(text: &str) -> Result<u64, String> {
    at_least_one(text).map(|number| number as u64)
}

pub(super) fn units(text: &str) -> Result<usize, String> {
    at_most(MAX_UNITS, at_least_one(text)?)
}

pub(super) fn layers(text: &str) -> Result<usize, String> {
    at_most(ClassifierConfig::MAX_LAYERS, at_least_one(text)?)
}

fn at_most(limit: usize, number: usize) -> Result<usize, String> {
    if number > limit {
        return Err(format!("must be at most {limit}"));
    }
    Ok(number)
}

/// A fraction of at least 0 and less than 1: a probability, or a part of a run.
pub(super) fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0. ..1.).contains(&number) => Ok(number),
        _ => Err("must be a number of at least 0 and less than 1".into()),
    }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0. && number.is_finite() => Ok(number),
        _ => Err("must be a number above 0".into()),
    }
}
