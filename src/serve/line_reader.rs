//! `LineReader`: a body that arrives line by line.

use http_body_util::BodyExt as _;
use hyper::body::{Buf as _, Bytes, Incoming};
use hyper::StatusCode;

use super::http_error::HttpError;

/// Reads the lines of a body as they arrive.
#[derive(Debug)]
pub(super) struct LineReader {
    body: Incoming,
    lines: LineBuffer,
    has_ended: bool,
}

impl LineReader {
    /// A reader of lines of at most `max` bytes.
    pub(super) fn new(body: Incoming, max: usize) -> Self {
        Self { body, lines: LineBuffer { content: Vec::new(), max, seen: 0 }, has_ended: false }
    }

    /// Waits for a line, and takes those that arrived with it, at most `count`; `None` at the end. An empty line may
    /// be among them.
    ///
    /// # Errors
    /// 413 for a line that is too long, 400 for a body that was cut off.
    pub(super) async fn next(&mut self, count: usize) -> Result<Option<Vec<Bytes>>, HttpError> {
        loop {
            let found = self.lines.take(count);
            if !found.is_empty() {
                return Ok(Some(found));
            }
            if self.has_ended {
                return Ok(self.lines.rest().map(|last| vec![last]));
            }
            self.lines.check()?;
            match self.body.frame().await {
                None => self.has_ended = true,
                Some(Err(_)) => return Err(HttpError::malformed("the body was cut off")),
                Some(Ok(frame)) => {
                    // What is not data are trailers, which say nothing here.
                    if let Ok(data) = frame.into_data() {
                        self.lines.content.extend_from_slice(data.chunk());
                    }
                }
            }
        }
    }

    /// Reads to the end, and forgets it: a connection that is closed with something unread takes the answer with it.
    pub(super) async fn discard(&mut self) {
        while let Some(Ok(_)) = self.body.frame().await {}
    }
}

/// The bytes of a body that have arrived and were not taken.
#[derive(Debug)]
struct LineBuffer {
    content: Vec<u8>,
    /// The most bytes of a line.
    max: usize,
    /// How many bytes are known to have no end of a line.
    seen: usize,
}

impl LineBuffer {
    /// Takes whole lines, at most `count`.
    fn take(&mut self, count: usize) -> Vec<Bytes> {
        let mut lines = Vec::new();
        let mut begin = 0;
        while lines.len() < count {
            let from = begin.max(self.seen);
            let Some(len) = self.content[from..].iter().position(|byte| *byte == b'\n') else {
                self.seen = self.content.len();
                break;
            };
            lines.push(Bytes::copy_from_slice(&self.content[begin..from + len]));
            begin = from + len + 1;
            self.seen = begin;
        }
        self.content.drain(..begin);
        self.seen -= begin;
        lines
    }

    /// The last line, which has no end of its own; `None` for an empty one.
    fn rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.content);
        self.seen = 0;
        (!rest.is_empty()).then(|| rest.into())
    }

    /// # Errors
    /// 413 when the line that arrives is too long already.
    fn check(&self) -> Result<(), HttpError> {
        if self.content.len() <= self.max {
            return Ok(());
        }
        let message = format!("a line has at most {} bytes", self.max);
        Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_were_sent_however_they_arrive() {
        let text = b"[1]\n[22, 3]\n\n[4]\n5";
        for size in 1..=text.len() {
            let mut lines = LineBuffer { content: Vec::new(), max: 8, seen: 0 };
            let mut found = Vec::new();
            for part in text.chunks(size) {
                lines.content.extend_from_slice(part);
                loop {
                    let taken = lines.take(2);
                    if taken.is_empty() {
                        break;
                    }
                    assert!(taken.len() <= 2);
                    found.extend(taken);
                }
                lines.check().unwrap();
            }
            assert_eq!(found, ["[1]", "[22, 3]", "", "[4]"], "{size}");
            assert_eq!(lines.rest().unwrap(), "5");
            assert_eq!(lines.rest(), None);
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut lines = LineBuffer { content: vec![b'1'; 9], max: 8, seen: 0 };
        assert!(lines.take(1).is_empty());
        assert_eq!(lines.check().unwrap_err().status, 413);
    }
}
