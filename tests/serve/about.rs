//! The page, probes, metadata, counters and the description of the interface.

use std::io::{Read as _, Write as _};

use crate::http::head;
use crate::Running;

#[test]
fn every_route_that_is_read_answers() {
    let server = Running::new();
    let document = server.get("/openapi.json").done();
    let mut seen = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods["get"].is_object() {
            let reply = server.get(&path.replace("{model}", "digits"));
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            seen += 1;
        }
    }
    assert_eq!(seen, 14);
    // The head alone, whose length is that of the body that GET has.
    let mut stream = server.connect();
    stream.write_all(&head("HEAD", "/healthz", &["connection: close"], 0)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn the_page_is_one_file_with_nothing_from_elsewhere() {
    let reply = Running::new().get("/");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let page = String::from_utf8(reply.body).unwrap();
    let rest = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!rest.contains(outside), "{outside}");
    }
    for needed in
        ["<html lang=", "name=\"viewport\"", "prefers-reduced-motion", "prefers-color-scheme"]
    {
        assert!(page.contains(needed), "{needed}");
    }
}

#[test]
fn models_say_what_they_read_and_predict() {
    let server = Running::new();
    let models = server.get("/v1/models").done();
    let names: Vec<_> = models["models"].as_array().unwrap().iter().map(|m| &m["name"]).collect();
    assert_eq!(names, ["digits", "lines", "means", "words", "tides"]);
    assert_eq!(models["models"][0]["outputs"].as_array().unwrap().len(), 10);
    assert_eq!(models["models"][1]["outputs"], serde_json::json!(["down", "up"]));
    for name in ["hidden", "stream"] {
        let has = [0, 1, 2, 3, 4].map(|n| models["models"][n][name].as_bool().unwrap());
        assert_eq!(has, [true, true, false, false, false]);
    }
    assert_eq!(models["models"][3]["kind"], "texts");
    server.get("/v2/models/words").refused(422, &["/v1/generate/words"]);
    let digits = server.get("/v2/models/digits").done();
    assert_eq!(digits["inputs"][0]["shape"], serde_json::json!([-1, 28, 28]));
    let lines = server.get("/v2/models/lines").done();
    assert_eq!(lines["inputs"][0]["shape"], serde_json::json!([-1, -1, 1]));
    assert_eq!(lines["outputs"][0]["shape"], serde_json::json!([-1, 2]));
    let means = server.get("/v2/models/means").done();
    assert_eq!(means["outputs"][0]["name"], "values");
}

#[test]
fn samples_are_a_digit_of_each_class() {
    let samples = Running::new().get("/v1/samples").done();
    let samples = samples["samples"].as_array().unwrap();
    for (class, sample) in samples.iter().enumerate() {
        assert_eq!(sample["label"], class.to_string());
        assert_eq!(sample["pixels"].as_array().unwrap().len(), 784);
    }
    assert_eq!(samples.len(), 10);
}

#[test]
fn counters_count_answers_and_batches() {
    let server = Running::new();
    server.get("/healthz").done();
    server.get("/healthz").done();
    server.get("/nothing").refused(404, &[]);
    server.post("/predict", &[], &crate::png(3)).done();
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        "candle_rnn_requests_total{route=\"/healthz\",status=\"200\"} 2",
        "candle_rnn_requests_total{route=\"other\",status=\"404\"} 1",
        "candle_rnn_request_seconds_count{route=\"/predict\"} 1",
        "candle_rnn_batch_requests_bucket{le=\"1\"} 1",
        "candle_rnn_queued_requests 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
