//! Settings that are written as a text or as a number, in TOML and JSON alike.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::Serializer;

/// A value in a file; runs of earlier versions have it as it is built up.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "a whole number or a text was expected")]
enum Written<T> {
    Number(i64),
    Text(String),
    Structure(T),
}

pub(super) fn serialize<T: Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = value.to_string();
    match text.parse::<i64>() {
        Ok(number) => serializer.serialize_i64(number),
        // TOML's integers are no larger.
        Err(_) => serializer.serialize_str(&text),
    }
}

pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display> + Deserialize<'de>,
    D: Deserializer<'de>,
{
    let text = match Written::deserialize(deserializer)? {
        Written::Structure(value) => return Ok(value),
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    text.parse().map_err(D::Error::custom)
}

/// A seed: the numbers beyond TOML's are written as texts.
pub(super) mod seed {
    pub(in super::super) use super::serialize;
    use super::{Deserialize, Deserializer, Written};
    use serde::de::Error as _;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        let text = match Written::<u64>::deserialize(deserializer)? {
            Written::Structure(seed) => return Ok(seed),
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        let refused = |_| {
            let most = u64::MAX;
            D::Error::custom(format!("a seed is a whole number from 0 to {most}, got {text}"))
        };
        text.parse().map_err(refused)
    }
}
