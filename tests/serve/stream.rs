//! Sequences whose steps arrive one by one, and what is said after each while the body is still open.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::{line, Running, SAMPLE};

/// A stream that is open: the request, whose body goes on, and the events of its answer.
pub(crate) struct Events {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Events {
    /// Sends a head, and reads that of the answer.
    pub(crate) fn open(server: &Running, head: &str) -> Self {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut text).unwrap() > 0, "{text}");
        }
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains("content-type: text/event-stream\r\n"), "{text}");
        Self { reader, text: String::new() }
    }

    /// A stream of steps; the first event is read.
    fn steps(server: &Running, path: &str) -> Self {
        let mut events = Self::open(server, &chunked(path));
        let (name, start) = events.next().unwrap();
        assert_eq!(name, "start");
        assert!(start["names"].is_array());
        events
    }

    fn send(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.reader.get_mut().write_all(chunk.as_bytes()).unwrap();
    }

    fn end(&mut self) {
        self.reader.get_mut().write_all(b"0\r\n\r\n").unwrap();
    }

    /// Waits for an event: its name and its data; `None` at the end of the answer.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (name, data) = event.split_once('\n').unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_string();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                self.text = rest.to_string();
                return Some((name, data));
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                assert_eq!(self.text, "");
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    /// The next event, which is a step.
    fn step(&mut self) -> Value {
        let (name, step) = self.next().unwrap();
        assert_eq!(name, "step", "{step}");
        step
    }

    /// The next event is an error with a status that says each of `texts`, and the last.
    fn fails(&mut self, status: u16, texts: &[&str]) {
        let (name, data) = self.next().unwrap();
        assert_eq!((name.as_str(), &data["status"]), ("error", &json!(status)), "{data}");
        let error = data["error"].as_str().unwrap();
        for text in texts {
            assert!(error.contains(text), "`{text}` is not in: {error}");
        }
        assert_eq!(self.next(), None);
    }
}

fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
}

#[test]
fn each_step_is_answered_while_the_body_is_open() {
    let server = Running::new();
    for n in [0, 1] {
        let rows: Vec<[f64; 1]> = line(n).into_iter().map(|x| [x]).collect();
        let whole = server.post_json("/v1/steps", &json!({ "sequence": rows })).done();
        let mut events = Events::steps(&server, "/v1/stream/lines?hidden=true");
        for (t, row) in rows.iter().enumerate() {
            events.send(&format!("{}\n", json!(row)));
            // It would wait for ever if the answer came after the body.
            let step = events.step();
            assert_eq!(step["step"], t + 1);
            assert_eq!(step["outputs"], whole["outputs"][t], "step {}", t + 1);
            assert_eq!(step["hidden"], whole["hidden"][t], "step {}", t + 1);
        }
        events.end();
        let end = json!({ "steps": 16, "prediction": whole["prediction"] });
        assert_eq!(events.next(), Some(("end".into(), end)));
        assert_eq!(events.next(), None);
    }
}

#[test]
fn an_image_is_streamed_row_by_row() {
    let server = Running::new();
    let image = SAMPLE.test.image(4);
    let whole = server.post_json("/v1/steps", &json!({ "pixels": image })).done();
    // The first model that reads step by step.
    let mut events = Events::steps(&server, "/v1/stream");
    // All at once, and the last line without an end of its own.
    let rows: Vec<String> = image.chunks(28).map(|row| json!(row).to_string()).collect();
    events.send(&rows.join("\r\n"));
    events.end();
    for t in 0..28 {
        let step = events.step();
        assert_eq!(step["outputs"], whole["outputs"][t], "row {}", t + 1);
        assert_eq!(step["hidden"], Value::Null);
    }
    assert_eq!(events.next().unwrap().1["prediction"], whole["prediction"]);
}

#[test]
fn a_line_that_is_no_step_ends_the_stream_with_an_error() {
    let server = Running::new();
    for (wrong, status, texts) in [
        ("[1", 400, ["step 3", "JSON"]),
        ("{}", 400, ["step 3", "JSON"]),
        ("[[1]]", 400, ["step 3", "a list of numbers"]),
        ("\u{e9}", 400, ["step 3", "JSON"]),
        ("[1, 2]", 422, ["step 3", "1 values, got 2"]),
        ("[]", 422, ["step 3", "got 0"]),
        ("[1e300]", 422, ["step 3", "finite"]),
        ("null", 422, ["step 3", "missing"]),
    ] {
        let mut events = Events::steps(&server, "/v1/stream/lines");
        // What came before is answered, and what comes after is not.
        events.send(&format!("[0.5]\n\n0.25\n{wrong}\n[0.5]\n"));
        assert_eq!((&events.step()["step"], &events.step()["step"]), (&json!(1), &json!(2)));
        let (name, data) = events.next().unwrap();
        assert_eq!((name.as_str(), &data["steps"]), ("error", &json!(2)), "{wrong}: {data}");
        assert_eq!(data["status"], status, "{wrong}: {data}");
        for text in texts {
            assert!(data["error"].as_str().unwrap().contains(text), "{wrong}: {data}");
        }
        assert_eq!(events.next(), None);
    }
    let mut events = Events::steps(&server, "/v1/stream/digits");
    events.send(&format!("{}\n", json!(vec![256; 28])));
    events.fails(422, &["step 1", "256"]);
    let mut events = Events::steps(&server, "/v1/stream/lines");
    events.send("\n\n");
    events.end();
    events.fails(422, &["no step"]);
    let mut events = Events::steps(&server, "/v1/stream/lines");
    events.send("1\n2\n");
    events.step();
    events.step();
    events.reader.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    events.fails(400, &["cut off"]);
}

#[test]
fn a_stream_that_is_too_long_ends_with_an_error() {
    let server = Running::new();
    let mut events = Events::steps(&server, "/v1/stream/digits");
    events.send(&format!("{}\n", json!(vec![0; 28])).repeat(29));
    (0..28).for_each(|_| drop(events.step()));
    events.fails(422, &["step 29", "at most 28"]);
    let mut events = Events::steps(&server, "/v1/stream/lines");
    events.send(&" ".repeat(100_000));
    events.fails(413, &["65536 bytes"]);
    let mut events = Events::steps(&server, "/v1/stream/lines");
    let mut sender = events.reader.get_ref().try_clone().unwrap();
    std::thread::spawn(move || {
        let lines = "0.5\n".repeat(1 << 10);
        let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
        // The server stops reading at its limit.
        (0..65).all(|_| sender.write_all(chunk.as_bytes()).is_ok())
    });
    (0..1 << 16).for_each(|_| drop(events.step()));
    events.fails(422, &["step 65537", "at most 65536"]);
}

#[test]
fn streams_that_cannot_be_are_refused() {
    let server = Running::new();
    let ask = |path: &str, headers: &[&str]| server.post(path, headers, b"[1]\n");
    ask("/v1/stream/means", &[]).refused(422, &["both directions", "/v1/steps"]);
    ask("/v1/stream/words", &[]).refused(422, &["/v1/generate/words"]);
    ask("/v1/stream/other", &[]).refused(404, &["digits, lines, means, words"]);
    ask("/v1/stream/lines?hidden=yes", &[]).refused(400, &["hidden=true", "hidden=yes"]);
    ask("/v1/stream/lines", &["content-encoding: gzip"]).refused(415, &["gzip"]);
    server.post("/v1/stream/lines", &[], b"").refused(400, &["empty"]);
    server.get("/v1/stream/lines").refused(405, &["POST"]);
}

#[test]
fn a_client_that_goes_leaves_its_place() {
    let server = Running::with("--max-streams 1", None);
    let streams = || {
        let text = String::from_utf8(server.get("/metrics").body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("candle_rnn_streams "));
        line.unwrap().to_string()
    };
    let events = Events::steps(&server, "/v1/stream/lines");
    assert_eq!(streams(), "1");
    let refused = server.post("/v1/stream/lines", &[], b"[1]\n");
    refused.refused(503, &["1 streams are open"]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(events);
    let begin = Instant::now();
    while streams() != "0" {
        assert!(begin.elapsed() < Duration::from_secs(5), "it still has its place");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Of a stream that has ended too.
    for _ in 0..3 {
        let mut events = Events::steps(&server, "/v1/stream/lines");
        events.send("1\n");
        events.end();
        events.step();
        assert_eq!(events.next().unwrap().0, "end");
        assert_eq!(events.next(), None);
    }
}

#[test]
fn a_step_that_does_not_arrive_ends_the_stream() {
    let server = Running::with("--step-timeout 2", None);
    let mut events = Events::steps(&server, "/v1/stream/lines");
    let begin = Instant::now();
    // An empty line says that the client is there.
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1_200));
        events.send("\n");
    }
    events.send("1");
    events.fails(408, &["2s"]);
    assert!(begin.elapsed() > Duration::from_millis(4_300), "{:?}", begin.elapsed());
}

#[cfg(unix)]
#[test]
fn a_server_that_stops_tells_streams_so() {
    let server = Running::new();
    let mut events = Events::steps(&server, "/v1/stream/lines");
    events.send("1\n2\n");
    events.step();
    events.step();
    server.terminate();
    let (name, data) = events.next().unwrap();
    assert_eq!((name.as_str(), &data["steps"]), ("error", &json!(2)), "{data}");
    assert_eq!(data["status"], 503);
    assert!(data["error"].as_str().unwrap().contains("stopping"), "{data}");
    assert_eq!(events.next(), None);
    let (code, stderr) = server.end();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}
