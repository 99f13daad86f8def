//! Models of runs: predictions of a run that candle-rnn trained, and files that are none.
//!
//! The run in `data/waves` and its predictions come from candle-rnn's own test `writes_the_run_of_the_kernels_tests`.

#![allow(clippy::unwrap_used)]

mod counting;

use candle_rnn_kernels::{Model, ModelError, ModelStream, TargetKind};
use serde_json::Value;

use counting::allocations_of;

const CONFIG: &[u8] = include_bytes!("data/waves/config.json");
const WEIGHTS: &[u8] = include_bytes!("data/waves/model.safetensors");
const EXPECTED: &str = include_str!("data/waves/expected.json");

/// Sequences, and the probabilities of their classes.
fn expected() -> Vec<(Vec<f32>, Vec<f64>)> {
    let json: Value = serde_json::from_str(EXPECTED).unwrap();
    let floats = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let sequences = json["sequences"].as_array().unwrap();
    let probabilities = json["probabilities"].as_array().unwrap();
    let pairs = sequences.iter().zip(probabilities);
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    pairs.map(|(sequence, found)| (narrow(floats(sequence)), floats(found))).collect()
}

fn model() -> Model<f32> {
    Model::from_bytes(CONFIG, WEIGHTS).unwrap()
}

fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    assert!(
        pairs.into_iter().all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6),
        "{found:?} {expected:?}"
    );
}

#[test]
fn a_run_predicts_what_it_was_written_with() {
    let (model, expected) = (model(), expected());
    assert_eq!((model.target(), model.features()), (TargetKind::Class, 2));
    assert_eq!(model.output_names(), ["saw", "sine", "square"]);
    let sequences: Vec<&[f32]> = expected.iter().map(|(sequence, _)| &sequence[..]).collect();
    let found = model.predict(&sequences).unwrap();
    for (found, (sequence, expected)) in found.iter().zip(&expected) {
        assert_close(found.probabilities().unwrap(), expected);
        let mut stream = model.stream().unwrap();
        for x_t in sequence.chunks(2) {
            stream.push(x_t).unwrap();
        }
        assert_close(stream.outputs(), expected);
        assert_eq!(stream.hidden().len(), 12);
    }
    let wide = Model::<f64>::from_bytes(CONFIG, WEIGHTS).unwrap();
    let sequence: Vec<f64> = expected[0].0.iter().map(|x| f64::from(*x)).collect();
    let found = &wide.predict(&[&sequence]).unwrap()[0];
    let pairs = found.probabilities().unwrap().iter().zip(&expected[0].1);
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn a_step_of_a_model_allocates_nothing() {
    let (sequence, _) = expected().remove(0);
    let mut stream = model().stream().unwrap();
    let allocations = allocations_of(|| {
        for x_t in sequence.chunks(2) {
            assert!(stream.push(x_t).is_ok());
        }
        stream.reset();
    });
    assert_eq!(allocations, 0);
}

#[test]
fn models_move_between_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Model<f32>>();
    is_send_and_sync::<ModelStream<f64>>();
}

#[test]
fn what_is_no_sequence_of_the_model_is_an_error() {
    let model = model();
    let error = |sequence: &[f32]| model.predict(&[sequence]).unwrap_err().to_string();
    assert!(error(&[1.; 13]).contains("sequence 1 has 13 values: it takes 2"));
    assert!(error(&[]).contains("at least 1 step"));
    assert!(error(&[f32::NAN; 2]).contains("is missing"));
    let mut stream = model.stream().unwrap();
    assert!(stream.push(&[1.]).unwrap_err().to_string().contains("2 values, got 1"));
    assert!(stream.push_char('a').is_err());
    assert!(model.predict_text("a").is_err());
    assert!(model.predict_images(&[&[0; 784]]).is_err());
    assert!(model.predict(&[]).unwrap().is_empty());
}

/// Why a configuration with this change is none of the weights.
fn changed_config(change: impl FnOnce(&mut Value)) -> String {
    let mut config: Value = serde_json::from_slice(CONFIG).unwrap();
    change(&mut config);
    reason(config.to_string().as_bytes(), WEIGHTS)
}

fn reason(config: &[u8], weights: &[u8]) -> String {
    let found: Result<Model<f32>, ModelError> = Model::from_bytes(config, weights);
    found.unwrap_err().to_string()
}

#[test]
fn configurations_that_are_wrong_say_so() {
    assert!(reason(b"{", WEIGHTS).contains("config.json is not a run's configuration"));
    assert!(changed_config(|c| c["model_type"] = "bert".into()).contains("bert"));
    assert!(changed_config(|c| c["task"] = "music".into()).contains("the task is music"));
    assert!(changed_config(|c| c["model"]["cell"] = "gruu".into()).contains("gruu"));
    let found = changed_config(|c| c["model"]["hidden_size"] = 13.into());
    assert!(found.contains("rnn.weight_ih_l0 has shape [36, 2]"), "{found}");
    assert!(
        changed_config(|c| c["model"]["num_layers"] = 2.into()).contains("lacks rnn.weight_ih_l1")
    );
    assert!(changed_config(|c| c["model"]["num_layers"] = 1_000_000.into()).contains("layers"));
    assert!(changed_config(|c| c["model"]["hidden_size"] = 0.into()).contains("sizes"));
    assert!(changed_config(|c| c["model"]["num_classes"] = 4.into()).contains("fit together"));
    assert!(
        changed_config(|c| c["preprocessor"]["means"] = vec![0.].into()).contains("fit together")
    );
    let scaler = |c: &mut Value| {
        let of = c["preprocessor"]["scaler"].take();
        c["preprocessor"]["scaler"] = vec![of["center"].clone(), of["scale"].clone()].into();
    };
    let found = changed_config(scaler);
    assert!(found.contains("preprocessor.scaler must be an object, got a list"), "{found}");
    assert!(reason(b"[]", WEIGHTS).contains("the file must be an object"));
    let all = changed_config(|c| c["model"]["readout"] = "all".into());
    assert!(all.contains("fit together"), "{all}");
}

#[test]
fn weights_that_are_damaged_say_so() {
    for len in [0, 7, 8, 100, WEIGHTS.len() - 1] {
        let found = reason(CONFIG, &WEIGHTS[..len]);
        assert!(found.contains("not a safetensors file"), "{len}: {found}");
    }
    let mut nan = WEIGHTS.to_vec();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(reason(CONFIG, &nan).contains("NaN or infinite"));
    let renamed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = WEIGHTS.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        let mut renamed = WEIGHTS.to_vec();
        renamed[at..at + to.len()].copy_from_slice(to.as_bytes());
        reason(CONFIG, &renamed)
    };
    assert!(renamed("head.bias", "head.bios").contains("lacks head.bias"));
    assert!(renamed("rnn.bias_hh_l0", "rnn.bias_hh_l7").contains("lacks rnn.bias_hh_l0"));
}
