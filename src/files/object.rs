//! `Object`: what must be an object of JSON or a table of TOML. serde takes a list of a structure's fields for it, too.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::Serialize;
use serde_json::Value;

/// A structure that was read from an object, and from nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<T>(pub(crate) T);

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}

/// Checks that what was read from `written` was read from objects where it is one.
///
/// - `read`: the structure, which is written as it is read
///
/// # Errors
/// Where a list stands for an object: `scaler must be an object, got a list`.
pub(crate) fn check_objects(written: &Value, read: &impl Serialize) -> Result<(), String> {
    let read = serde_json::to_value(read).map_err(|error| error.to_string())?;
    match list_for_object(written, &read) {
        None => Ok(()),
        Some(path) => Err(format!("{} must be an object, got a list", path.join("."))),
    }
}

/// The way to the first list that was read as an object.
fn list_for_object<'a>(written: &'a Value, read: &Value) -> Option<Vec<&'a str>> {
    match (written, read) {
        (Value::Array(_), Value::Object(_)) => Some(Vec::new()),
        (Value::Object(written), Value::Object(read)) => {
            written.iter().find_map(|(name, value)| {
                let way = list_for_object(value, read.get(name)?)?;
                Some([vec![name.as_str()], way].concat())
            })
        }
        (Value::Array(written), Value::Array(read)) => {
            written.iter().zip(read).find_map(|(written, read)| list_for_object(written, read))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, serde::Deserialize, Serialize)]
    struct Outer {
        inner: Inner,
        more: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize, Serialize)]
    struct Inner {
        a: usize,
    }

    #[test]
    fn an_object_is_no_list() {
        let read = |text: &str| serde_json::from_str::<Object<Inner>>(text);
        assert_eq!(read("{\"a\": 3}").unwrap().a, 3);
        assert_eq!(serde_json::from_str::<Inner>("[3]").unwrap().a, 3);
        let error = read("[3]").unwrap_err().to_string();
        assert_eq!(error, "invalid type: sequence, expected an object at line 1 column 0");
        let error = read("{\"a\": true}").unwrap_err();
        assert!(error.to_string().starts_with("invalid type: boolean `true`"), "{error}");
    }

    #[test]
    fn a_list_in_the_place_of_an_object_is_found() {
        let check = |written: Value| {
            let read: Outer = serde_json::from_value(written.clone()).unwrap();
            check_objects(&written, &read)
        };
        assert_eq!(check(json!({"inner": {"a": 1}, "more": [{"a": 1}]})), Ok(()));
        let error = check(json!({"inner": [1], "more": []})).unwrap_err();
        assert_eq!(error, "inner must be an object, got a list");
        let error = check(json!({"inner": {"a": 1}, "more": [{"a": 1}, [1]]})).unwrap_err();
        assert_eq!(error, "more must be an object, got a list");
    }
}
