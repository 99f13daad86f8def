//! Pictures in, classes out: the same as `predict` says of the file.

use base64::prelude::{Engine as _, BASE64_STANDARD};
use candle_rnn::data::picture::read_digit;
use image::{imageops, GrayImage, Luma};
use serde_json::{json, Value};

use crate::http::Reply;
use crate::{assert_close, encoded, numbers, png, predict, Running, RUNS, SAMPLE};

/// The scores of all classes, in the order of the classes.
#[track_caller]
fn scores(reply: &Reply) -> Vec<f64> {
    let list = reply.done();
    let list = list.as_array().unwrap();
    let of = |class: usize| {
        let label = class.to_string();
        list.iter().find(|item| item["label"] == label.as_str()).unwrap()
    };
    let ordered: Vec<f64> = list.iter().map(|item| item["score"].as_f64().unwrap()).collect();
    assert!(ordered.is_sorted_by(|a, b| a >= b), "{ordered:?}");
    (0..10).map(|class| of(class)["score"].as_f64().unwrap()).collect()
}

/// A digit as somebody might draw it: dark on light, large, not in the middle.
fn drawing() -> GrayImage {
    let digit = GrayImage::from_raw(28, 28, SAMPLE.test.image(3).to_vec()).unwrap();
    let digit = imageops::resize(&digit, 150, 150, imageops::FilterType::Triangle);
    let mut paper = GrayImage::from_pixel(280, 240, Luma([255]));
    for (x, y, Luma([ink])) in digit.enumerate_pixels() {
        paper.put_pixel(x + 80, y + 20, Luma([255 - ink]));
    }
    paper
}

#[test]
fn a_picture_has_the_classes_that_predict_says() {
    let server = Running::new();
    std::fs::write(RUNS.join("digit.png"), png(5)).unwrap();
    let expected = numbers(&predict("digits digit.png")[0]["probabilities"]);
    let raw = server.post("/predict", &["content-type: image/png"], &png(5));
    assert_close(&scores(&raw), &expected);
    // Clients may send no content type, another, or the pixels themselves.
    assert_close(&scores(&server.post("/predict/digits", &[], &png(5))), &expected);
    let stream = ["content-type: application/octet-stream"];
    assert_close(&scores(&server.post("/predict", &stream, &png(5))), &expected);
    assert_close(&scores(&server.post("/predict", &stream, SAMPLE.test.image(5))), &expected);
}

#[test]
fn a_picture_in_json_may_ask_for_few_classes() {
    let server = Running::new();
    let ask = |parameters: Value| {
        let inputs = BASE64_STANDARD.encode(png(5));
        server.post_json("/predict", &json!({ "inputs": inputs, "parameters": parameters }))
    };
    let all = scores(&ask(Value::Null));
    assert_close(&all, &scores(&server.post("/predict", &[], &png(5))));
    let three = ask(json!({ "top_k": 3, "function_to_apply": "softmax" })).done();
    assert_eq!(three.as_array().unwrap().len(), 3);
    let best = all.iter().copied().fold(0., f64::max);
    assert_eq!(three[0]["score"].as_f64(), Some(best));
    // Pixels are no picture: in JSON there is nothing else.
    let pixels = json!({ "inputs": BASE64_STANDARD.encode(SAMPLE.test.image(5)) });
    server.post_json("/predict", &pixels).refused(400, &["PNG or JPEG"]);
    ask(json!({ "top_k": -1 })).refused(400, &["-1", "a whole number of at least 0"]);
    ask(json!({ "top_k": 0 })).refused(422, &["top_k", "0"]);
    ask(json!({ "function_to_apply": "relu" })).refused(422, &["softmax", "relu"]);
    ask(json!({ "top_n": 3 })).refused(422, &["top_n", "top_k"]);
    // Logits, of which softmax and the logistic function make the others.
    let logits = scores(&ask(json!({ "function_to_apply": "none" })));
    assert!(logits.iter().any(|logit| *logit < 0.), "{logits:?}");
    let exps: Vec<f64> = logits.iter().map(|logit| logit.exp()).collect();
    let sum: f64 = exps.iter().sum();
    assert_close(&exps.iter().map(|exp| exp / sum).collect::<Vec<_>>(), &all);
    let sigmoids = scores(&ask(json!({ "function_to_apply": "sigmoid" })));
    assert_close(&sigmoids, &exps.iter().map(|exp| exp / (1. + exp)).collect::<Vec<_>>());
}

/// As `curl -d` and `curl --data-binary` send it.
#[test]
fn json_is_read_as_json_whatever_its_content_type() {
    let server = Running::new();
    let picture = json!({ "inputs": BASE64_STANDARD.encode(png(5)) });
    let expected = server.post_json("/predict", &picture).done();
    // As many bytes as an image has pixels.
    let mut padded = picture.to_string();
    assert!(padded.len() < 784, "{}", padded.len());
    padded.insert_str(1, &" ".repeat(784 - padded.len()));
    for body in [picture.to_string(), format!("\r\n {picture}"), padded.clone()] {
        for headers in [&[][..], &["content-type: application/x-www-form-urlencoded"]] {
            assert_eq!(server.post("/predict", headers, body.as_bytes()).done(), expected);
        }
    }
    let list = format!("[{}]", &padded[1..783]);
    server.post("/predict", &[], list.as_bytes()).refused(400, &["JSON"]);
    // A text of that length is no image either, such as base64 without JSON.
    for text in [&b"iVBORw0K".repeat(98)[..], b"inputs=abc"] {
        server.post("/predict", &[], text).refused(400, &["is a text", "{\"inputs\": "]);
    }
    // Who says that they are bytes is believed, whatever the pixels.
    let bytes = ["content-type: application/octet-stream"];
    assert_eq!(scores(&server.post("/predict", &bytes, padded.as_bytes())).len(), 10);
    server.post("/predict", &[], &[123; 784]).refused(400, &["JSON"]);
}

#[test]
fn a_drawing_becomes_the_bytes_that_predict_reads() {
    let server = Running::new();
    let content = encoded(&drawing());
    let path = RUNS.join("drawing.png");
    std::fs::write(&path, &content).unwrap();
    let expected = read_digit(&path).unwrap().pixels;
    let url = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&content));
    let found = server.post_json("/v1/steps", &json!({ "picture": url })).done();
    let pixels: Vec<u8> = numbers(&found["pixels"]).iter().map(|pixel| *pixel as u8).collect();
    assert_eq!(pixels, expected);
    let probabilities = numbers(&predict("digits drawing.png")[0]["probabilities"]);
    assert_close(&numbers(&found["outputs"][27]), &probabilities);
    assert_close(&scores(&server.post("/predict", &[], &content)), &probabilities);
}

#[test]
fn many_clients_at_a_time_get_each_its_own_answer() {
    let server = Running::new();
    let alone: Vec<Vec<f64>> = (0..24)
        .map(|index| scores(&server.post("/predict", &[], SAMPLE.test.image(index))))
        .collect();
    std::thread::scope(|scope| {
        for (index, expected) in alone.iter().enumerate() {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..10 {
                    let found = server.post("/predict", &[], SAMPLE.test.image(index));
                    assert_close(&scores(&found), expected);
                }
            });
        }
    });
}
