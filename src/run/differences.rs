//! Differences between two JSON values, in words.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::{Error, Result};

/// Checks that what the settings of a training say of its model is what the model has.
///
/// # Errors
/// [`Error::Config`] naming what differs.
pub(super) fn agree(training: &impl Serialize, model: &impl Serialize) -> Result<()> {
    let json_of = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let [training, model] =
        [serde_json::to_value(training), serde_json::to_value(model)].map(json_of);
    let found = differences(&model, &training, ("model says", "training says"));
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::Config(format!("it contradicts itself: {found}")))
}

/// The leaves in which two JSON values of the same structure differ, in words; empty if none.
pub(super) fn differences(a: &Value, b: &Value, names: (&str, &str)) -> String {
    fn collect(path: &str, a: &Value, b: &Value, names: (&str, &str), found: &mut Vec<String>) {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    let value = |of: &serde_json::Map<String, Value>| {
                        of.get(key).cloned().unwrap_or(Value::Null)
                    };
                    collect(&path, &value(a), &value(b), names, found);
                }
            }
            _ if a != b => found.push(format!("{path}: {} {a}, {} {b}", names.0, names.1)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect("", a, b, names, &mut found);
    found.join("; ")
}
