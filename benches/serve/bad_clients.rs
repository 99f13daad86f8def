//! Clients that send what a server must refuse, each again and again: every answer is held to its status and to a JSON
//! error.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use image::{GrayImage, ImageFormat};
use serde_json::{json, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::post;

/// Between two requests of a kind, so that ports do not run out.
const PAUSE: Duration = Duration::from_millis(25);
/// Between two bodies beyond the limit, which are written whole.
const LONG_PAUSE: Duration = Duration::from_millis(250);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client sends, and what it must be told.
struct BadClient {
    name: &'static str,
    request: Vec<u8>,
    /// Whether it closes its side behind the request, which is not whole.
    is_cut: bool,
    status: u16,
    pause: Duration,
}

/// How many answers there were, and what was wrong with them.
#[derive(Default)]
pub(crate) struct BadClientCounts {
    pub(crate) answers: usize,
    pub(crate) wrong: usize,
    /// The first that was wrong.
    pub(crate) first: Option<String>,
}

impl BadClientCounts {
    fn add(&mut self, client: &str, found: Result<(), String>) {
        self.answers += 1;
        if let Err(reason) = found {
            self.wrong += 1;
            self.first.get_or_insert(format!("{client}: {reason}"));
        }
    }
}

/// Starts a client of each kind; they go on until they are aborted.
///
/// - `model`: the name of a run of images
pub(crate) fn start(
    address: SocketAddr,
    model: &str,
) -> (Vec<JoinHandle<()>>, Rc<RefCell<BadClientCounts>>) {
    let counts = Rc::new(RefCell::new(BadClientCounts::default()));
    let of = |client: BadClient| {
        let counts = counts.clone();
        tokio::task::spawn_local(async move {
            loop {
                let found = tokio::time::timeout(PATIENCE, client.ask(address)).await;
                let found = found.unwrap_or_else(|_| Err("no answer in 10 s".into()));
                counts.borrow_mut().add(client.name, found);
                tokio::time::sleep(client.pause).await;
            }
        })
    };
    (all(model).into_iter().map(of).collect(), counts)
}

impl BadClient {
    fn new(name: &'static str, request: Vec<u8>, status: u16) -> Self {
        Self { name, request, is_cut: false, status, pause: PAUSE }
    }

    /// Sends the request whole before it reads anything; the error says what is wrong with the answer.
    async fn ask(&self, address: SocketAddr) -> Result<(), String> {
        let of_io = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(address).await.map_err(of_io)?;
        stream.write_all(&self.request).await.map_err(of_io)?;
        if self.is_cut {
            stream.shutdown().await.map_err(of_io)?;
        }
        let mut answer = Vec::new();
        loop {
            if let Some(whole) = whole(&answer) {
                return self.check(&answer, whole);
            }
            if stream.read_buf(&mut answer).await.map_err(of_io)? == 0 {
                return Err("the connection ended without an answer".into());
            }
        }
    }

    fn check(&self, answer: &[u8], body: &[u8]) -> Result<(), String> {
        let status = answer.get(9..12).and_then(|text| std::str::from_utf8(text).ok());
        let status = status.and_then(|text| text.parse::<u16>().ok());
        let error = serde_json::from_slice::<Value>(body).ok();
        let has_error = error.is_some_and(|error| error["error"].is_string());
        if status == Some(self.status) && has_error {
            return Ok(());
        }
        Err(format!("status {status:?}, not {}: {}", self.status, String::from_utf8_lossy(body)))
    }
}

/// The body of an answer, once it is there.
fn whole(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let len = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "))?;
    answer.get(end + 4..end + 4 + len.parse::<usize>().ok()?)
}

fn all(model: &str) -> Vec<BadClient> {
    let json = |path: &str, body: &str| post(path, "application/json", body.as_bytes());
    let bytes = |body: &[u8]| post("/predict", "application/octet-stream", body);
    let infer = format!("/v2/models/{model}/infer");
    let tensor = |datatype: &str, data: Value| {
        let tensor =
            json!({ "name": "pixels", "datatype": datatype, "shape": [1, 784], "data": data });
        json(&infer, &json!({ "inputs": [tensor] }).to_string())
    };
    let mut bomb = std::io::Cursor::new(Vec::new());
    GrayImage::new(6_000, 6_000).write_to(&mut bomb, ImageFormat::Png).unwrap();
    let path = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: load\r\n\r\n").into_bytes();
    let cut = |request: Vec<u8>| BadClient {
        is_cut: true,
        ..BadClient::new("a cut body", request[..request.len() / 2].to_vec(), 400)
    };
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(60_000));
    vec![
        cut(bytes(&[7; 4_000])),
        BadClient::new("a bomb", bytes(bomb.get_ref()), 413),
        BadClient::new("no picture", bytes(b"GIF89a"), 400),
        BadClient::new("invalid JSON", json(&infer, "{\"inputs\": [1"), 400),
        BadClient::new(
            "deep JSON",
            json("/v1/steps", &format!("{{\"pixels\":{}", "[".repeat(50_000))),
            400,
        ),
        BadClient::new("a list for an object", json("/predict", "[\"aGk=\"]"), 400),
        BadClient::new("a wrong type", tensor("FP32", json!(vec![0; 784])), 422),
        BadClient::new("NaN", json("/v1/steps", "{\"pixels\": [NaN]}"), 400),
        BadClient::new("null for a pixel", tensor("UINT8", json!(vec![Value::Null; 784])), 422),
        BadClient::new("a path trick", path("/v2/models/%2e%2e/%2e%2e/etc/passwd"), 404),
        BadClient::new("no HTTP", b"hello there\r\n\r\n".to_vec(), 400),
        BadClient::new("a long head", long.into_bytes(), 431),
        BadClient {
            pause: LONG_PAUSE,
            ..BadClient::new("a body beyond the limit", bytes(&vec![7; 9 << 20]), 413)
        },
    ]
}
