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
        "/v2/models/digits/versions/2",
        "/v2/models/%zz",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    server.get("/nothing").refused(404, &["/openapi.json"]);
    server.post("/v2/models/digits/versions/2/infer", &[], b"{}").refused(404, &["version 1"]);
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
    let cut = |request: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read(&mut stream).unwrap()
    };
    let half = [head("POST", "/predict", &[], 900), vec![0; 100]].concat();
    cut(&half).refused(400, &["cut off"]);
    cut(&[&chunked[..], b"3e8\r\n0123"].concat()).refused(400, &["cut off"]);
    // Whoever has sent all of a request may close its side.
    cut(&[head("POST", "/predict", &[], png(1).len()), png(1)].concat()).done();
    server.post("/predict", &[], &png(1)).done();
}

/// As Python's http.client does: it sends everything before it reads anything.
#[test]
fn clients_that_send_all_first_get_the_answer() {
    let server = Running::with("--max-body 1000", Some("s3cret"));
    let body = vec![7; 20 << 20];
    let ask = |path: &str, headers: &[&str]| {
        let mut stream = server.connect();
        let request = head("POST", path, headers, body.len());
        stream.write_all(&request).unwrap();
        stream.write_all(&body).unwrap();
        let reply = read(&mut stream).unwrap();
        // No other request is read from it, and the client is told so.
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(std::io::Read::read(&mut stream, &mut [0]).unwrap(), 0);
        reply
    };
    let key = "authorization: Bearer s3cret";
    for path in ["/predict", "/v1/steps", "/v1/generate", "/v2/models/digits/infer"] {
        ask(path, &[key]).refused(413, &["1000"]);
    }
    ask("/predict", &[]).refused(401, &["Bearer"]);
    ask("/predict/other", &[key]).refused(404, &["digits"]);
    ask("/healthz", &[]).refused(405, &["GET"]);
    ask("/predict", &[key, "content-encoding: gzip"]).refused(415, &["gzip"]);
    ask("/v1/stream/words", &[key]).refused(422, &["continues texts"]);
    // A client that asks first is told before it sends anything.
    let mut stream = server.connect();
    let request = head("POST", "/predict", &[key, "expect: 100-continue"], body.len());
    stream.write_all(&request).unwrap();
    read(&mut stream).unwrap().refused(413, &["1000"]);
    // A refused request with a short body leaves the connection to the next.
    let mut stream = server.connect();
    let request = [head("POST", "/predict", &[], 3), b"abc".to_vec()].concat();
    stream.write_all(&request).unwrap();
    read(&mut stream).unwrap().refused(401, &[]);
    stream.write_all(&head("GET", "/healthz", &[], 0)).unwrap();
    read(&mut stream).unwrap().done();
}

#[test]
fn what_is_no_http_gets_a_json_error() {
    let server = Running::new();
    server.raw(b"hello there\r\n\r\n").refused(400, &["no request of HTTP/1.1"]);
    server.raw(b"GET / HTTP/1.1\r\nno header\r\n\r\n").refused(400, &["HTTP/1.1"]);
    server.raw(b"GET / HTTP/3.7\r\n\r\n").refused(400, &["HTTP/1.1"]);
    // As a client of HTTP/2 begins.
    server.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").refused(400, &["HTTP/1.1"]);
    let long = format!("x: {}", "y".repeat(200_000));
    server.raw(&head("GET", "/healthz", &[&long], 0)).refused(431, &["32768 bytes"]);
    // The limit is the same however it arrives.
    let of_size = |size: usize| {
        let rest = head("GET", "/healthz", &["x: "], 0).len();
        head("GET", "/healthz", &[&format!("x: {}", "y".repeat(size - rest))], 0)
    };
    for (size, status) in [(32_000, 200), (32_768, 200), (32_769, 431), (40_000, 431)] {
        let head = of_size(size);
        assert_eq!((head.len(), server.raw(&head).status), (size, status));
        let mut stream = server.connect();
        for piece in head.chunks(5_000) {
            // A server that refuses may close before it has read everything.
            let _ = stream.write_all(piece);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(read(&mut stream).unwrap().status, status, "{size} in pieces");
    }
    server.raw(&of_size(40_000)).refused(431, &["32768 bytes"]);
    let many: Vec<String> = (0..80).map(|n| format!("x{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.raw(&head("GET", "/healthz", &many, 0)).refused(431, &["64 headers"]);
    server.get("/healthz").done();
}

/// RFC 9112, 6.3: the chunks are the body, and the connection ends, so that nothing behind it is taken for a request.
#[test]
fn a_body_with_two_lengths_is_the_last_of_its_connection() {
    let server = Running::new();
    let body = br#"{"prompt": "to be", "length": 1}"#;
    let chunks = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    let chunked = ["transfer-encoding: chunked"];
    let first = [head("POST", "/v1/generate", &chunked, 7), chunks].concat();
    let mut stream = server.connect();
    stream.write_all(&[first, head("GET", "/healthz", &[], 0)].concat()).unwrap();
    let reply = read(&mut stream).unwrap();
    assert_eq!(reply.done()["prompt"], "to be");
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(read(&mut stream).is_none());
}

#[test]
fn lists_are_no_objects() {
    let server = Running::new();
    let refused = |path: &str, body: &str| {
        let reply = server.post(path, &["content-type: application/json"], body.as_bytes());
        reply.refused(400, &["expected an object"]);
    };
    // The fields of each request, in their order.
    refused("/predict", r#"["aGk="]"#);
    refused("/predict", r#"{"inputs": "aGk=", "parameters": [3]}"#);
    refused("/v1/steps", "[null, null, null, [[1], [2]], true]");
    refused("/v1/generate", r#"["to be", 3]"#);
    refused("/v1/generate", r#"["to be"]"#);
    let infer = "/v2/models/lines/infer";
    refused(
        infer,
        r#"[null, [{"name": "sequence", "shape": [1, 1, 1], "datatype": "FP32", "data": [1]}]]"#,
    );
    refused(infer, r#"{"inputs": [["sequence", [1, 1, 1], "FP32", [1]]]}"#);
    let input =
        r#""inputs": [{"name": "sequence", "shape": [1, 1, 1], "datatype": "FP32", "data": [1]}]"#;
    refused(infer, &format!(r#"{{{input}, "outputs": [["label"]]}}"#));
    refused(infer, &format!(r#"{{{input}, "parameters": [true]}}"#));
    refused(
        infer,
        &format!(r#"{{{input}, "outputs": [{{"name": "label", "parameters": [true]}}]}}"#),
    );
    server.post(infer, &[], format!("{{{input}}}").as_bytes()).done();
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
