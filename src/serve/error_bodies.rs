//! `ErrorBodies`: a connection on which hyper's own errors, such as that of a head that is too large, are JSON.

use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most headers of a request.
pub(super) const MAX_HEADERS: usize = 64;
/// The most bytes of a request's head.
pub(super) const MAX_HEAD: usize = 32 << 10;

/// What a client is told that speaks no HTTP/1.1.
const NO_HTTP1: &str = "this is no request of HTTP/1.1";

/// A connection on which answers that hyper makes itself, to what is no request, get a body.
///
/// hyper writes such an answer at once, with an empty body, and ends the connection with it. All other errors have a body.
#[derive(Debug)]
pub(super) struct ErrorBodies<S> {
    stream: S,
    /// What is written in place of an answer, and how much of it has been.
    answer: Vec<u8>,
    written: usize,
}

impl<S> ErrorBodies<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, answer: Vec::new(), written: 0 }
    }
}

impl<S: AsyncWrite + Unpin> ErrorBodies<S> {
    /// Writes the rest of the answer.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.answer.len() {
            let rest = &self.answer[self.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ErrorBodies<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ErrorBodies<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(context))?;
        let Some(answer) = with_body(content) else {
            return Pin::new(&mut self.stream).poll_write(context, content);
        };
        (self.answer, self.written) = (answer, 0);
        // What cannot be written now is when the connection is flushed or closed.
        if let Poll::Ready(Err(error)) = self.poll_answer(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(content.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        contents: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = contents.iter().filter(|content| !content.is_empty());
        if let (Some(content), None) = (filled.next(), filled.next()) {
            return self.poll_write(context, content);
        }
        ready!(self.poll_answer(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, contents)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What a client is told whose request has too large a head.
pub(super) fn head_too_large() -> String {
    format!("the head of a request has at most {MAX_HEAD} bytes and {MAX_HEADERS} headers")
}

/// An answer of hyper's with a body; `None` for what is no such answer.
fn with_body(content: &[u8]) -> Option<Vec<u8>> {
    if !content.starts_with(b"HTTP/1.1 4") || !content.ends_with(b"\r\n\r\n") {
        return None;
    }
    let head = std::str::from_utf8(content).ok()?;
    let (first, _) = head.split_once("\r\n")?;
    head.contains("\r\ncontent-length: 0\r\n").then_some(())?;
    let error = match first.split(' ').nth(1)? {
        "400" => NO_HTTP1.to_string(),
        "414" => "the path of a request has at most 65534 bytes".to_string(),
        "431" => head_too_large(),
        _ => return None,
    };
    Some(last_answer(first, &error))
}

/// What a client of HTTP/2 is told, to whom hyper says nothing.
pub(super) fn no_http2() -> Vec<u8> {
    last_answer("HTTP/1.1 400 Bad Request", NO_HTTP1)
}

/// An answer with an error as JSON, behind which the connection is closed.
fn last_answer(first: &str, error: &str) -> Vec<u8> {
    let body = json!({ "error": error }).to_string();
    let len = body.len();
    let answer = format!(
        "{first}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}"
    );
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{duplex, AsyncReadExt as _, AsyncWriteExt as _};

    const BARE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn an_answer_without_a_body_gets_one_however_it_is_written() {
        // A reader that takes a byte at a time.
        let (mut reader, writer) = duplex(1);
        let mut writer = ErrorBodies::new(writer);
        let write = async {
            writer.write_all(BARE).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut text = String::new();
        let ((), read) = tokio::join!(write, reader.read_to_string(&mut text));
        read.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{text}");
        assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{text}");
        assert_eq!(
            body,
            r#"{"error":"the head of a request has at most 32768 bytes and 64 headers"}"#
        );
    }

    #[test]
    fn other_answers_stay_as_they_are() {
        for other in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 20\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            b"",
        ] {
            assert_eq!(with_body(other), None);
        }
        assert!(with_body(BARE).is_some());
    }
}
