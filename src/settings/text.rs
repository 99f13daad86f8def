//! Serialisation of settings that a file may have as text or as a number.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::Serializer;

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "a whole number or a text was expected")]
enum NumberOrText {
    Number(i64),
    Text(String),
}

pub(super) fn serialize<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value.as_ref().map(T::to_string) {
        None => serializer.serialize_none(),
        // TOML's integers are no larger.
        Some(text) => match text.parse::<i64>() {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.serialize_str(&text),
        },
    }
}

pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = match Option::<NumberOrText>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(NumberOrText::Number(number)) => number.to_string(),
        Some(NumberOrText::Text(text)) => text,
    };
    text.parse().map(Some).map_err(D::Error::custom)
}
