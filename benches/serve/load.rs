//! Measures the server under load: requests a second, percentiles of their times, memory, and its end.
//!
//! `serve-load PROGRAM RUN [SECONDS [PART...]]` serves a run of images with that program, beside which it runs on one
//! thread. Every answer is compared: with the answer to the same request that was asked alone, bit by bit, and that one with
//! what [`Predictor`] says, to 1e-5. Parts are those of [`PARTS`]; by default all, in this order. Exit code 1 where an
//! answer was wrong or lost, the memory under load was not flat within 10 MB, or the server did not end as it should.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_clients;
mod memory;

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use candle_rnn::data::mnist::Mnist;
use candle_rnn::predict::{Prediction, Predictor};
use serde_json::{json, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use memory::Memory;

/// How many different images are asked about.
const IMAGES: usize = 64;
/// How many connections ask, one request after the other.
const CONNECTIONS: usize = 64;

/// What is measured: raw pixels and JSON tensors on 64 connections; raw pixels on 8 connections beside idle connections
/// and slow senders, and beside clients that must be refused; the end under load.
const PARTS: [&str; 5] = ["raw", "tensors", "idle", "bad", "stop"];

/// A request, and the content of its answer.
struct Question {
    request: Vec<u8>,
    expected: Vec<u8>,
}

/// What the connections have seen.
#[derive(Default)]
struct Counts {
    micros: Vec<u32>,
    wrong: usize,
    lost: usize,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (program, run) = (&args[1], &args[2]);
    let seconds = args.get(3).map_or(10, |text| text.parse().expect("seconds"));
    let time = Duration::from_secs(seconds);
    let parts: Vec<&str> = args.iter().skip(4).map(String::as_str).collect();
    if let Some(other) = parts.iter().find(|part| !PARTS.contains(part)) {
        eprintln!("error: there is no part {other}: there are {}", PARTS.join(", "));
        std::process::exit(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let has = |part: &str| parts.is_empty() || parts.contains(&part);
    if !LocalSet::new().block_on(&runtime, measure(program, run, time, has)) {
        std::process::exit(1);
    }
}

/// Runs the parts; whether all was as it should be.
async fn measure(program: &str, run: &str, time: Duration, has: impl Fn(&str) -> bool) -> bool {
    let (mut server, address, name) = serve(program, run);
    let pid = server.id();
    let sample = Mnist::sample().unwrap();
    let images: Vec<&[u8]> = (0..IMAGES).map(|index| sample.test.image(index)).collect();
    let expected = Predictor::load(run).unwrap().predict(&images).unwrap();
    let raw = ask(address, images.iter().map(|image| raw(image)), &expected, of_scores).await;
    let tensors = images.iter().map(|image| tensor(&name, image));
    let tensors = ask(address, tensors, &expected, of_tensors).await;
    // Threads and their buffers come with the first requests.
    load(address, &raw, CONNECTIONS, Duration::from_secs(2)).await;
    if has("tensors") {
        load(address, &tensors, CONNECTIONS, Duration::from_secs(2)).await;
    }
    let mut is_right = true;
    if has("raw") || has("tensors") {
        let memory = Memory::watch(pid);
        if has("raw") {
            is_right &= report("raw pixels", load(address, &raw, CONNECTIONS, time).await, time);
        }
        if has("tensors") {
            let counts = load(address, &tensors, CONNECTIONS, time).await;
            is_right &= report("JSON tensors", counts, time);
        }
        is_right &= memory.report();
    }
    if has("idle") || has("bad") {
        is_right &= crowd(address, &name, &raw, time, &has).await;
    }
    if has("stop") {
        is_right &= stop(server, address, &raw).await;
    } else {
        server.kill().unwrap();
        server.wait().unwrap();
    }
    is_right
}

/// Measures beside clients that do nothing, send slowly, or must be refused; whether all answers were right.
async fn crowd(
    address: SocketAddr,
    name: &str,
    raw: &[Question],
    time: Duration,
    has: &impl Fn(&str) -> bool,
) -> bool {
    let mut is_right = true;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let slow = |_| tokio::task::spawn_local(send_slowly(address, raw[0].request.clone()));
    let slow: Vec<_> = (0..100).map(slow).collect();
    let what = "raw pixels on 8 connections, beside 1,000 idle ones and 100 slow senders";
    if has("idle") {
        is_right &= report(what, load(address, raw, 8, time).await, time);
    }
    if has("bad") {
        let (bad, counts) = bad_clients::start(address, name);
        let good = load(address, raw, 8, time).await;
        is_right &= report(&format!("{what}, and bad clients"), good, time);
        bad.iter().for_each(|task| task.abort());
        let counts = counts.borrow();
        is_right &= counts.wrong == 0;
        println!(
            "bad clients: {} answers, {} with a wrong status or without a JSON error{}",
            counts.answers,
            counts.wrong,
            counts.first.as_ref().map_or(String::new(), |first| format!(", the first: {first}"))
        );
    }
    slow.iter().for_each(|task| task.abort());
    is_right
}

/// Ends a server under load; whether it answered everything rightly, and ended with exit code 0.
async fn stop(mut server: Child, address: SocketAddr, raw: &[Question]) -> bool {
    let pid = server.id();
    let counts = Rc::new(RefCell::new(Counts::default()));
    let tasks = start(address, raw, CONNECTIONS, Duration::from_secs(60), &counts);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = counts.borrow().micros.len();
    let killed = Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    for task in tasks {
        task.await.unwrap();
    }
    let code = tokio::task::spawn_blocking(move || server.wait().unwrap().code()).await.unwrap();
    let counts = counts.borrow();
    println!(
        "SIGTERM under load: {} answers after it, {} requests lost, {} wrong answers, exit code {code:?}",
        counts.micros.len() - before,
        counts.lost,
        counts.wrong
    );
    counts.lost == 0 && counts.wrong == 0 && code == Some(0)
}

/// Serves a run: the process, its address and the model's name.
fn serve(program: &str, run: &str) -> (Child, SocketAddr, String) {
    let mut command = Command::new(program);
    command.args(["serve", run, "--port", "0", "--json"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    std::thread::spawn(move || log.lines().for_each(drop));
    let event: Value = serde_json::from_str(&first).unwrap();
    let url = event["url"].as_str().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    (child, address, event["models"].as_str().unwrap().to_string())
}

pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: load\r\ncontent-type: {content_type}\r\ncontent-length: {len}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn raw(image: &[u8]) -> Vec<u8> {
    post("/predict", "application/octet-stream", image)
}

fn tensor(name: &str, image: &[u8]) -> Vec<u8> {
    let rows: Vec<&[u8]> = image.chunks(28).collect();
    let tensor =
        json!({ "name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28], "data": [rows] });
    let body = json!({ "inputs": [tensor] }).to_string();
    post(&format!("/v2/models/{name}/infer"), "application/json", body.as_bytes())
}

/// The probabilities in an answer of Hugging Face's protocol.
fn of_scores(answer: &Value) -> Vec<f64> {
    let score = |label: usize| {
        let (all, label) = (answer.as_array().unwrap(), label.to_string());
        let found = all.iter().find(|score| score["label"] == label.as_str());
        found.unwrap()["score"].as_f64().unwrap()
    };
    (0..10).map(score).collect()
}

/// The probabilities in an answer of the Open Inference Protocol.
fn of_tensors(answer: &Value) -> Vec<f64> {
    let output = answer["outputs"].as_array().unwrap();
    let found = output.iter().find(|output| output["name"] == "probabilities").unwrap();
    found["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// Asks each request alone, and compares its answer with the library's.
async fn ask(
    address: SocketAddr,
    requests: impl Iterator<Item = Vec<u8>>,
    expected: &[Prediction],
    probabilities: impl Fn(&Value) -> Vec<f64>,
) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = Vec::new();
    for (request, expected) in requests.zip(expected) {
        stream.write_all(&request).await.unwrap();
        let (answer, _) = read(&mut stream, &mut buffer).await.expect("an answer");
        let found = probabilities(&serde_json::from_slice(&answer).unwrap());
        for (found, expected) in found.iter().zip(&expected.probabilities) {
            assert!((found - expected).abs() <= 1e-5, "{found} {expected}");
        }
        questions.push(Question { request, expected: answer });
    }
    questions
}

/// Reads an answer with status 200: its content, and whether the connection ends with it. `None` when it ended before.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(Vec<u8>, bool)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name));
            let len: usize = field("content-length: ").unwrap().parse().unwrap();
            let closes = field("connection: ") == Some("close");
            if buffer.len() >= end + 4 + len {
                let content = buffer[end + 4..end + 4 + len].to_vec();
                buffer.drain(..end + 4 + len);
                return Some((content, closes));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Has connections ask for some time.
async fn load(
    address: SocketAddr,
    questions: &[Question],
    connections: usize,
    time: Duration,
) -> Counts {
    let counts = Rc::new(RefCell::new(Counts::default()));
    for task in start(address, questions, connections, time, &counts) {
        task.await.unwrap();
    }
    counts.take()
}

/// Starts connections that ask for some time, or until the server says that it closes them.
fn start(
    address: SocketAddr,
    questions: &[Question],
    connections: usize,
    time: Duration,
    counts: &Rc<RefCell<Counts>>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let end = Instant::now() + time;
    let questions: Rc<Vec<(Vec<u8>, Vec<u8>)>> = Rc::new(
        questions
            .iter()
            .map(|question| (question.request.clone(), question.expected.clone()))
            .collect(),
    );
    (0..connections)
        .map(|first| {
            let (questions, counts) = (questions.clone(), counts.clone());
            tokio::task::spawn_local(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = Vec::new();
                for (request, expected) in questions.iter().cycle().skip(first) {
                    let begin = Instant::now();
                    if begin >= end {
                        break;
                    }
                    let sent = stream.write_all(request).await.is_ok();
                    let answer = if sent { read(&mut stream, &mut buffer).await } else { None };
                    let mut counts = counts.borrow_mut();
                    let Some((answer, closes)) = answer else {
                        counts.lost += 1;
                        break;
                    };
                    counts.micros.push(begin.elapsed().as_micros() as u32);
                    counts.wrong += usize::from(answer != *expected);
                    if closes {
                        break;
                    }
                }
            })
        })
        .collect()
}

/// Sends a request of which a byte comes every 50 ms, again and again.
async fn send_slowly(address: SocketAddr, request: Vec<u8>) {
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for byte in &request {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Prints what the connections have seen; whether all answers came and were right.
fn report(what: &str, mut counts: Counts, time: Duration) -> bool {
    counts.micros.sort_unstable();
    let count = counts.micros.len();
    let at = |part: f64| f64::from(counts.micros[(count as f64 * part) as usize]) / 1e3;
    println!(
        "{what}: {:.0} requests/s, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms; {count} answers, {} wrong, {} lost",
        count as f64 / time.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        counts.wrong,
        counts.lost
    );
    counts.wrong == 0 && counts.lost == 0
}
