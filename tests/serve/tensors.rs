//! The Open Inference Protocol, in JSON and with binary tensors.

use serde_json::{json, Value};

use crate::http::Reply;
use crate::{assert_close, line, numbers, predict, Running, SAMPLE};

fn floats(bytes: &[u8]) -> Vec<f64> {
    let float = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    bytes.chunks_exact(4).map(float).collect()
}

/// Sends a request with binary tensors behind its JSON.
fn infer(server: &Running, model: &str, request: &Value, binary: &[u8]) -> Reply {
    let text = request.to_string();
    let header = format!("Inference-Header-Content-Length: {}", text.len());
    let body = [text.as_bytes(), binary].concat();
    server.post(&format!("/v2/models/{model}/infer"), &[&header], &body)
}

#[test]
fn images_as_tensors_have_the_classes_that_predict_says() {
    let server = Running::new();
    let expected = predict("digits test:1 test:2");
    let pixels: Vec<&[u8]> = [1, 2].map(|index| SAMPLE.test.image(index)).to_vec();
    let request = json!({
        "id": "7",
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [2, 784], "data": pixels}],
    });
    let found = server.post_json("/v2/models/digits/infer", &request).done();
    assert_eq!((&found["id"], &found["model_name"]), (&json!("7"), &json!("digits")));
    assert_eq!(found["outputs"][0]["shape"], json!([2, 10]));
    let probabilities = numbers(&found["outputs"][0]["data"]);
    assert_close(&probabilities[..10], &numbers(&expected[0]["probabilities"]));
    assert_close(&probabilities[10..], &numbers(&expected[1]["probabilities"]));
    let labels = json!([expected[0]["label"], expected[1]["label"]]);
    assert_eq!(found["outputs"][1]["data"], labels);

    // As tritonclient asks: binary in, binary out.
    let request = json!({
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [2, 28, 28],
                    "parameters": {"binary_data_size": 1568}}],
        "parameters": {"binary_data_output": true},
    });
    let reply = infer(&server, "digits", &request, &pixels.concat());
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let length: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    let head: Value = serde_json::from_slice(&reply.body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 80);
    assert_close(&floats(&reply.body[length..length + 80]), &probabilities);
    let label = i64::from_le_bytes(reply.body[length + 80..length + 88].try_into().unwrap());
    assert_eq!(json!(label), labels[0]);
    assert_eq!(reply.body.len(), length + 80 + 16);
}

#[test]
fn only_outputs_that_are_asked_for_are_sent() {
    let server = Running::new();
    let pixels = vec![0; 784];
    let input =
        json!({"name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28], "data": pixels});
    let request = json!({"inputs": [input], "outputs": [{"name": "label"}]});
    let found = server.post_json("/v2/models/digits/infer", &request).done();
    assert_eq!(found["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(found["outputs"][0]["datatype"], "INT64");
    let request = json!({"inputs": [input], "outputs": [{"name": "loss"}]});
    server.post_json("/v2/models/digits/infer", &request).refused(422, &["loss", "probabilities"]);
    let request = json!({"inputs": [input], "outputs": [{"name": "label"}, {"name": "label"}]});
    server.post_json("/v2/models/digits/infer", &request).refused(422, &["label", "once"]);
    // Those two were refused before anything was predicted.
    let counters = String::from_utf8(server.get("/metrics").body).unwrap();
    let predicted =
        counters.lines().find(|line| line.starts_with("candle_rnn_batch_requests_count"));
    assert_eq!(predicted, Some("candle_rnn_batch_requests_count 1"));
    let input = json!({"name": "sequence", "datatype": "FP32", "shape": [1, 2, 1], "data": [1, 2]});
    let request = json!({"inputs": [input], "outputs": [{"name": "label"}]});
    server.post_json("/v2/models/means/infer", &request).refused(422, &["label", "values"]);
}

/// As tritonclient asks with `model_version="1"` and with `class_count`.
#[test]
fn a_version_and_the_most_probable_classes_may_be_asked_for() {
    let server = Running::new();
    let expected = predict("digits test:1");
    let pixels = SAMPLE.test.image(1);
    let input =
        json!({"name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28], "data": pixels});
    let output = json!({"name": "probabilities", "parameters": {"classification": 2}});
    let request = json!({"inputs": [input], "outputs": [output]});
    let found = server.post_json("/v2/models/digits/versions/1/infer", &request).done();
    let output = &found["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([1, 2])));
    let probabilities = numbers(&expected[0]["probabilities"]);
    let label = expected[0]["label"].as_u64().unwrap() as usize;
    let text = output["data"][0].as_str().unwrap();
    let parts: Vec<&str> = text.split(':').collect();
    assert_eq!(parts[1..], [label.to_string(), label.to_string()]);
    assert_close(&[parts[0].parse().unwrap()], &[probabilities[label]]);
    // The same as bytes: each text behind its length.
    let binary = json!({"classification": 2, "binary_data": true});
    let request =
        json!({"inputs": [input], "outputs": [{"name": "probabilities", "parameters": binary}]});
    let reply = server.post_json("/v2/models/digits/infer", &request);
    let length: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    let bytes = &reply.body[length..];
    assert_eq!(bytes[..4], (text.len() as u32).to_le_bytes());
    assert_eq!(bytes[4..4 + text.len()], *text.as_bytes());

    server.get("/v2/models/digits/versions/1/ready").done();
    let described = server.get("/v2/models/digits/versions/1").done();
    assert_eq!(described, server.get("/v2/models/digits").done());
    assert_eq!(described["versions"], json!(["1"]));
    let ask = |outputs: Value, parameters: Value| {
        let request = json!({"inputs": [input], "outputs": outputs, "parameters": parameters});
        server.post_json("/v2/models/digits/infer", &request)
    };
    for name in ["sequence_id", "sequence_start", "priority", "timeout"] {
        ask(json!([]), json!({ name: 1 })).refused(422, &[name, "binary_data_output"]);
    }
    let of = |name: &str, parameters: Value| json!([{"name": name, "parameters": parameters}]);
    let classes = |count: usize| json!({ "classification": count });
    ask(of("label", classes(2)), json!({})).refused(422, &["classification", "label"]);
    ask(of("probabilities", classes(0)), json!({})).refused(422, &["at least 1"]);
    ask(of("label", json!({"shared_memory_region": "a"})), json!({}))
        .refused(422, &["shared_memory_region"]);
    let mut input = input.clone();
    input["parameters"] = json!({"shared_memory_offset": 0});
    server
        .post_json("/v2/models/digits/infer", &json!({"inputs": [input]}))
        .refused(422, &["shared_memory_offset"]);
}

#[test]
fn sequences_as_tensors_have_what_predict_says() {
    let server = Running::new();
    let expected = predict("lines lines.csv");
    let sequences: Vec<Vec<[f64; 1]>> =
        [0, 1].map(|n| line(n).into_iter().map(|x| [(x * 1e4).round() / 1e4]).collect()).to_vec();
    let input =
        json!({"name": "sequence", "datatype": "FP32", "shape": [2, 16, 1], "data": sequences});
    let found = server.post_json("/v2/models/lines/infer", &json!({"inputs": [input]})).done();
    let probabilities = numbers(&found["outputs"][0]["data"]);
    assert_close(&probabilities[..2], &numbers(&expected[0]["probabilities"]));
    assert_close(&probabilities[2..], &numbers(&expected[1]["probabilities"]));

    let values: Vec<u8> = [0.1_f32, 0.3, 0.2].iter().flat_map(|x| x.to_le_bytes()).collect();
    let request = json!({"inputs": [{"name": "sequence", "datatype": "FP32", "shape": [1, 3, 1],
                                     "parameters": {"binary_data_size": 12}}]});
    let found = infer(&server, "means", &request, &values).done();
    assert_eq!(found["outputs"][0]["shape"], json!([1, 1]));
    let listed = json!({"name": "sequence", "datatype": "FP32", "shape": [1, 3, 1], "data": [0.1, 0.3, 0.2]});
    let other = server.post_json("/v2/models/means/infer", &json!({"inputs": [listed]})).done();
    assert_eq!(found["outputs"], other["outputs"]);
}

#[test]
fn tensors_that_contradict_themselves_are_refused() {
    let server = Running::new();
    let request = |shape: Value, size: usize| {
        json!({"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": shape,
                           "parameters": {"binary_data_size": size}}]})
    };
    for (shape, size, bytes, status) in [
        (json!([1, 784]), 784, 700, 400),
        (json!([1, 784]), 700, 700, 400),
        (json!([1, 784]), 784, 785, 400),
        (json!([0, 784]), 0, 0, 422),
        (json!([784]), 784, 784, 422),
        (json!([]), 784, 784, 422),
        (json!([u64::MAX, 784]), 784, 784, 422),
        (json!([-1, 784]), 784, 784, 400),
    ] {
        let reply = infer(&server, "digits", &request(shape.clone(), size), &vec![0; bytes]);
        assert_eq!(reply.status, status, "{shape} {size} {bytes}: {:?}", reply.json());
    }
    let nan = f32::NAN.to_le_bytes();
    let request = json!({"inputs": [{"name": "sequence", "datatype": "FP32", "shape": [1, 1, 1],
                                     "parameters": {"binary_data_size": 4}}]});
    infer(&server, "lines", &request, &nan).refused(422, &["missing"]);
    let infinite = f32::INFINITY.to_le_bytes();
    infer(&server, "lines", &request, &infinite).refused(422, &["finite", "inf"]);
    let length = ["Inference-Header-Content-Length: 9999"];
    server.post("/v2/models/digits/infer", &length, b"{}").refused(400, &["9999", "2 bytes"]);
}
