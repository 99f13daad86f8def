//! What a network predicts and holds after each step.

use serde_json::{json, Value};

use crate::{assert_close, line, numbers, predict, Running, SAMPLE};

#[test]
fn steps_of_an_image_are_those_that_predict_says() {
    let server = Running::new();
    let expected = predict("digits test:4 --steps");
    let request = json!({ "pixels": SAMPLE.test.image(4) });
    let found = server.post_json("/v1/steps", &request).done();
    let steps = expected[0]["steps"].as_array().unwrap();
    for (found, expected) in found["outputs"].as_array().unwrap().iter().zip(steps) {
        assert_close(&numbers(found), &numbers(expected));
    }
    assert_eq!(found["prediction"], expected[0]["label"].to_string());
    let hidden = found["hidden"].as_array().unwrap();
    assert_eq!((hidden.len(), hidden[27].as_array().unwrap().len()), (28, 12));
    // Another first row changes every state; another last row the last one alone.
    let mut pixels = SAMPLE.test.image(4).to_vec();
    pixels[27 * 28..].fill(255);
    let changed = server.post_json("/v1/steps", &json!({ "pixels": pixels })).done();
    assert_eq!(changed["hidden"].as_array().unwrap()[..27], hidden[..27]);
    assert_ne!(changed["hidden"][27], hidden[27]);
    assert!(numbers(&found["saliency"]).iter().all(|value| *value > 0.));
}

#[test]
fn steps_of_a_sequence_end_in_what_predict_says() {
    let server = Running::new();
    let expected = predict("lines lines.csv");
    for n in [0, 1] {
        let sequence: Vec<f64> = line(n).into_iter().map(|x| (x * 1e4).round() / 1e4).collect();
        let rows: Vec<[f64; 1]> = sequence.iter().map(|x| [*x]).collect();
        let found = server.post_json("/v1/steps", &json!({ "sequence": rows })).done();
        assert_eq!((&found["model"], &found["names"]), (&json!("lines"), &json!(["down", "up"])));
        assert_eq!(found["prediction"], expected[n]["label"]);
        assert_close(&numbers(&found["outputs"][15]), &numbers(&expected[n]["probabilities"]));
        let flat = json!({ "sequence": sequence, "model": "lines", "hidden": false });
        let flat = server.post_json("/v1/steps", &flat).done();
        assert_eq!((&flat["outputs"], &flat["hidden"]), (&found["outputs"], &Value::Null));
    }
}

#[test]
fn a_network_of_both_directions_reads_each_beginning() {
    let server = Running::new();
    let sequence = [0.1, 0.7, 0.3, 0.2];
    let found = server.post_json("/v1/steps", &json!({"sequence": sequence, "model": "means"}));
    let found = found.done();
    assert_eq!(found["hidden"], Value::Null);
    assert_eq!(found["saliency"].as_array().unwrap().len(), 4);
    for steps in 1..=4 {
        let tensor = json!({"name": "sequence", "datatype": "FP32", "shape": [1, steps, 1],
                            "data": sequence[..steps]});
        let whole = server.post_json("/v2/models/means/infer", &json!({"inputs": [tensor]})).done();
        assert_close(
            &numbers(&found["outputs"][steps - 1]),
            &numbers(&whole["outputs"][0]["data"]),
        );
    }
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let server = Running::new();
    let ask = |request: Value| server.post_json("/v1/steps", &request);
    ask(json!({})).refused(400, &["one of picture, pixels and sequence"]);
    ask(json!({"pixels": [[0]], "sequence": [1]})).refused(400, &["one of"]);
    ask(json!({"pixel": [0]})).refused(400, &["pixel"]);
    ask(json!({"pixels": [0, 1]})).refused(422, &["(28, 28)", "[2]"]);
    ask(json!({"pixels": vec![0.5; 784]})).refused(422, &["0.5"]);
    ask(json!({"pixels": vec![256; 784]})).refused(422, &["256"]);
    ask(json!({"sequence": [[1, 2]]})).refused(422, &["(T, 1)", "[1, 2]"]);
    ask(json!({"sequence": [[1], [2, 3]]})).refused(400, &["differ in shape"]);
    let missing =
        "sequence 1, step 2: the value of x is missing, and this model fills in no missing values";
    ask(json!({"sequence": [1, null]})).refused(422, &[missing]);
    ask(json!({"sequence": [1e300]})).refused(422, &["finite"]);
    ask(json!({"sequence": []})).refused(422, &["0"]);
    ask(json!({"sequence": vec![0; 5_000]})).refused(422, &["4096", "5000"]);
    ask(json!({"sequence": [1], "model": "digits"})).refused(422, &["digits reads"]);
    ask(json!({"sequence": vec![0; 257], "model": "means"})).refused(422, &["256", "257"]);
    ask(json!({"sequence": [1], "model": "other"})).refused(404, &["digits, lines, means, words"]);
    ask(json!({"picture": "no base64!"})).refused(400, &["base64"]);
}
