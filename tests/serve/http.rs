//! A client of HTTP/1.1 that sends what it is told to, right or wrong.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::Running;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The JSON of an answer without an error.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The answer has a status, and a JSON error that says each of `texts`.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, texts: &[&str]) {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        let answer = self.json();
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{answer}"));
        for text in texts {
            assert!(error.contains(text), "`{text}` is not in: {error}");
        }
    }
}

impl Running {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes as they are; the answer.
    #[track_caller]
    pub(crate) fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(request);
        read(&mut stream).expect("an answer")
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.raw(&head("GET", path, &[], 0))
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        self.raw(&[head("POST", path, headers, body.len()), body.to_vec()].concat())
    }

    #[track_caller]
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Reply {
        self.post(path, &["content-type: application/json"], body.to_string().as_bytes())
    }
}

/// The head of a request with a body of so many bytes.
pub(crate) fn head(method: &str, path: &str, headers: &[&str], len: usize) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    if method == "POST" {
        text.push_str(&format!("content-length: {len}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Reads an answer; `None` when the connection ends before one.
pub(crate) fn read(stream: &mut TcpStream) -> Option<Reply> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_string()));
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    let len = reply.header("content-length").unwrap_or("0").parse().unwrap();
    reply.body.resize(len, 0);
    reader.read_exact(&mut reply.body).ok()?;
    Some(reply)
}
