//! Parsers of flag values: each checks the range of a number.

use candle_rnn::model::ClassifierConfig;
use candle_rnn::settings::MAX_UNITS;

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        // TOML's integers are no larger, and a run's settings must come back from its file.
        Ok(number) if i64::try_from(number).is_err() => {
            Err(format!("must be at most {}", i64::MAX))
        }
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
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

/// Of something whole: a probability, or a part of a run.
pub(super) fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0. ..1.).contains(&number) => Ok(number),
        Ok(_) => Err("must be at least 0 and less than 1".into()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0. && number.is_finite() => Ok(number),
        Ok(_) => Err("must be a number above 0".into()),
        Err(error) => Err(error.to_string()),
    }
}
