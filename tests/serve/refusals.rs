//! What is refused: the right status with a JSON error, and the server goes on.

use std::io::Write as _;
use std::net::Shutdown;

use serde_json::json;

use crate::http::{head, read};
use crate::{encoded, png, Running};

#[test]
fn paths_and_methods_that_are_none_are_refused() {
    let server = Running::new();
    for path in [
        "/nothing",
        "/predict/",
        "/v2/models/../../etc/passwd",
        "/v2/models/%2e%2e/ready",
        "//healthz",
        "/v2/models/digits%2finfer",
        "/v2/models/digits/versions/1",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    server.get("/nothing").refused(404, &["/openapi.json"]);
    server.get("/v2/models/other").refused(404, &["digits, lines, means, words"]);
    let reply = server.get("/predict");
    reply.refused(405, &["POST", "GET"]);
    assert_eq!(reply.header("allow"), Some("POST"));
    server.post("/healthz", &[], b"").refused(405, &["GET"]);
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    let server = Running::new();
    let json = ["content-type: application/json"];
    let deep = "[".repeat(200_000);
    let deep = format!("{{\"sequence\":{deep}");
    let refused = |path: &str, headers: &[&str], body: &[u8], status: u16| {
        let reply = server.post(path, headers, body);
        assert_eq!(reply.status, status, "{path} {:?}", String::from_utf8_lossy(&reply.body));
        assert!(reply.json()["error"].is_string());
    };
    refused("/predict", &[], b"", 400);
    refused("/predict", &[], b"GIF89a", 400);
    refused("/predict", &[], &png(1)[..60], 400);
    refused("/predict", &json, b"", 400);
    refused("/predict", &json, b"{\"inputs\": 3}", 400);
    refused("/predict", &json, b"{\"inputs\": \"aGk=\"}", 400);
    refused("/predict", &["content-encoding: gzip"], b"\x1f\x8b", 415);
    refused("/predict/lines", &[], &png(1), 422);
    refused("/predict/other", &[], &png(1), 404);
    refused("/v1/steps", &json, b"{\"sequence\": [NaN]}", 400);
    refused("/v1/steps", &json, b"{\"sequence\": [1", 400);
    refused("/v1/steps", &json, b"\xff\xfe", 400);
    refused("/v1/steps", &json, deep.as_bytes(), 400);
    refused("/v2/models/digits/infer", &json, b"{}", 400);
    refused("/v2/models/digits/infer", &json, b"[]", 400);
    refused("/v2/models/digits/infer", &json, b"{\"inputs\": []}", 422);
    refused("/v2/models/other/infer", &json, b"{}", 404);
    let tensor = |datatype: &str, name: &str| json!({"inputs": [{"name": name, "datatype": datatype, "shape": [1, 784], "data": vec![0; 784]}]});
    let infer = "/v2/models/digits/infer";
    server.post_json(infer, &tensor("FP32", "pixels")).refused(422, &["UINT8", "FP32"]);
    server.post_json(infer, &tensor("UINT8", "x")).refused(422, &["pixels", "x"]);
    server.post("/predict", &[], &png(1)).done();
}

#[test]
fn pictures_that_are_too_large_or_show_nothing_are_refused() {
    let server = Running::new();
    // A few kilobytes that would be 36 million pixels.
    let bomb = encoded(&image::GrayImage::new(6_000, 6_000));
    server.post("/predict", &[], &bomb).refused(413, &["6000 x 6000"]);
    let blank = encoded(&image::GrayImage::new(50, 50));
    server.post("/predict", &[], &blank).refused(422, &["no digit"]);
}

#[test]
fn bodies_that_are_too_large_or_cut_off_are_refused() {
    let server = Running::with("--max-body 1000", None);
    // Refused by its length, before it is sent.
    server.raw(&head("POST", "/predict", &[], 1_001)).refused(413, &["1000"]);
    let chunk = [b"3e9\r\n".to_vec(), vec![0; 1_001], b"\r\n0\r\n\r\n".to_vec()].concat();
    let chunked = b"POST /predict HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    server.raw(&[&chunked[..], &chunk[..]].concat()).refused(413, &["1000"]);
    let mut stream = server.connect();
    stream.write_all(&[head("POST", "/predict", &[], 900), vec![0; 100]].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    if let Some(reply) = read(&mut stream) {
        reply.refused(400, &["cut off"]);
    }
    server.post("/predict", &[], &png(1)).done();
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let server = Running::with("--timeout 1", None);
    server.raw(&[head("POST", "/predict", &[], 900), vec![0; 100]].concat()).refused(408, &["1s"]);
}

#[test]
fn requests_without_the_key_are_refused() {
    let server = Running::with("", Some("s3cret"));
    let reply = server.get("/v1/models");
    reply.refused(401, &["Authorization: Bearer"]);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    for wrong in
        ["authorization: Bearer s3cre", "authorization: Bearer", "authorization: Basic s3cret"]
    {
        server.post("/predict", &[wrong], &png(1)).refused(401, &[]);
    }
    server.post("/predict", &["authorization: Bearer s3cret"], &png(1)).done();
    // Probes and the page have no key.
    for open in ["/", "/healthz", "/readyz", "/openapi.json", "/v2", "/v2/health/ready"] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    server.get("/metrics").refused(401, &[]);
}
