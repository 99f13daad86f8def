//! A request of the Open Inference Protocol: its tensors, which outputs it asks for, and in which form.

use std::collections::HashSet;

use serde::Deserialize;

use super::http_error::HttpError;
use super::infer_tensors::InferInput;
use super::unknown_parameters::UnknownParameters;
use crate::files::object::Object;

/// A request.
#[derive(Deserialize)]
pub(super) struct InferRequest {
    #[serde(default)]
    pub(super) id: Option<String>,
    pub(super) inputs: Vec<Object<InferInput>>,
    #[serde(default)]
    pub(super) outputs: Vec<Object<RequestedOutput>>,
    #[serde(default)]
    parameters: Object<InferParameters>,
}

#[derive(Default, Deserialize)]
struct InferParameters {
    /// Whether outputs are binary unless they say otherwise.
    #[serde(default)]
    binary_data_output: bool,
    #[serde(flatten)]
    unknown: UnknownParameters,
}

/// An output that a request asks for.
#[derive(Deserialize)]
pub(super) struct RequestedOutput {
    pub(super) name: String,
    #[serde(default)]
    parameters: Object<OutputParameters>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    #[serde(default)]
    binary_data: Option<bool>,
    /// How many of the most probable classes are asked for, in the place of all probabilities.
    #[serde(default)]
    classification: Option<usize>,
    #[serde(flatten)]
    unknown: UnknownParameters,
}

impl InferRequest {
    /// Whether outputs are binary unless they say otherwise.
    pub(super) fn wants_binary(&self) -> bool {
        self.parameters.binary_data_output
    }

    /// Checks that the outputs that are asked for are there, that none is asked for twice, since an answer would be as
    /// many times as large, and that all parameters are heeded.
    ///
    /// - `names`: the names of the model's output tensors
    /// - `classes`: the name of the one with probabilities
    ///
    /// # Errors
    /// 422 for an output that is not there or was asked for before, and for a parameter that is not heeded.
    pub(super) fn check(&self, names: &[&str], classes: &str) -> Result<(), HttpError> {
        self.parameters.unknown.refuse("a request", "binary_data_output")?;
        let mut seen = HashSet::new();
        for output in &self.outputs {
            let name = output.name.as_str();
            if !names.contains(&name) {
                let names = names.join(", ");
                return Err(HttpError::unfit(format!(
                    "there is no output {name}: there are {names}"
                )));
            }
            if !seen.insert(name) {
                return Err(HttpError::unfit(format!(
                    "the output {name} is asked for more than once: name each output once"
                )));
            }
            let OutputParameters { classification, unknown, .. } = &*output.parameters;
            unknown.refuse("an output", "binary_data and classification")?;
            match classification {
                Some(0) => {
                    return Err(HttpError::unfit("classification must be at least 1, got 0"))
                }
                Some(_) if name != classes => {
                    return Err(HttpError::unfit(format!(
                        "classification is a parameter of {classes}, not of {name}"
                    )))
                }
                _ => (),
            }
        }
        Ok(())
    }
}

impl RequestedOutput {
    /// Whether it is asked for as bytes, if it says so.
    pub(super) fn is_binary(&self) -> Option<bool> {
        self.parameters.binary_data
    }

    /// How many of the most probable classes are asked for, if it is not all probabilities.
    pub(super) fn classification(&self) -> Option<usize> {
        self.parameters.classification
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(request: serde_json::Value) -> Result<(), String> {
        let request: InferRequest = serde_json::from_value(request).map_err(|e| e.to_string())?;
        request.check(&["probabilities", "label"], "probabilities").map_err(|error| error.message)
    }

    #[test]
    fn parameters_that_nothing_heeds_are_refused() {
        let of_output = |name: &str, parameters: serde_json::Value| {
            check(json!({"inputs": [], "outputs": [{"name": name, "parameters": parameters}]}))
        };
        assert_eq!(
            check(json!({"inputs": [], "parameters": {"binary_data_output": true}})),
            Ok(())
        );
        assert_eq!(of_output("label", json!({"binary_data": true})), Ok(()));
        assert_eq!(of_output("probabilities", json!({"classification": 3})), Ok(()));
        for (found, says) in [
            (
                check(json!({"inputs": [], "parameters": {"sequence_id": 7}})),
                "parameter sequence_id",
            ),
            (of_output("label", json!({"shared_memory_region": "a"})), "shared_memory_region"),
            (of_output("label", json!({"classification": 1})), "of probabilities, not of label"),
            (of_output("probabilities", json!({"classification": 0})), "at least 1, got 0"),
        ] {
            let error = found.unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn lists_are_no_objects_at_any_depth() {
        for request in [
            json!({"inputs": [["x", [1], "FP32", [1]]]}),
            json!({"inputs": [], "outputs": [["label"]]}),
            json!({"inputs": [], "parameters": [true]}),
            json!({"inputs": [], "outputs": [{"name": "label", "parameters": [true]}]}),
        ] {
            let error = check(request.clone()).unwrap_err();
            assert!(error.contains("expected an object"), "{request}: {error}");
        }
    }
}
