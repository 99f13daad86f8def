//! The settings of a training as `config.json` has them: those that describe the model stand beside its sizes, and not
//! a second time under `training`.

use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::{Map, Value};

/// Settings by their names.
pub(crate) type Fields = Map<String, Value>;

/// The settings of a structure.
pub(crate) fn fields(of: &impl Serialize) -> Fields {
    match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields,
        _ => Fields::new(),
    }
}

/// The settings of a training without those that have their place elsewhere in the file.
pub(crate) fn without(training: &impl Serialize, elsewhere: &Fields) -> Fields {
    let mut own = fields(training);
    own.retain(|name, _| !elsewhere.contains_key(name));
    own
}

/// The settings of a training, with those that have their place elsewhere in the file. Files of earlier versions have
/// them under `training` too: these are read as they are, so that a file that contradicts itself can be refused.
pub(super) fn with<T: DeserializeOwned>(
    mut own: Fields,
    elsewhere: Fields,
) -> serde_json::Result<T> {
    for (name, value) in elsewhere {
        own.entry(name).or_insert(value);
    }
    serde_json::from_value(Value::Object(own))
}
