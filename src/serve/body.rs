//! Bodies of requests: how much of them is read, and for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{Engine as _, BASE64_STANDARD};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{HeaderValue, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::http_error::HttpError;
use crate::files::object::Object;

/// Bodies of more bytes are read a few at a time, from there on.
const LARGE: usize = 64 << 10;
/// How many.
const LARGE_AT_A_TIME: usize = 16;

/// Reads bodies.
#[derive(Debug)]
pub(super) struct BodyReader {
    max: usize,
    timeout: Duration,
    large: Arc<Semaphore>,
}

impl BodyReader {
    /// A reader of at most `max` bytes in at most `timeout`.
    pub(super) fn new(max: usize, timeout: Duration) -> Self {
        Self { max, timeout, large: Arc::new(Semaphore::new(LARGE_AT_A_TIME)) }
    }

    /// The whole body.
    ///
    /// # Errors
    /// 408 for one that does not arrive in time, 413 for one that is too large, 415 for one that is compressed, 400 for
    /// one that was cut off, 503 when too many large ones are being read.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Bytes, HttpError> {
        check_encoding(headers)?;
        let len = headers.get(CONTENT_LENGTH).map(|_| body.size_hint().lower());
        if len.is_some_and(|len| len > self.max as u64) {
            return Err(self.too_large());
        }
        let begin = Instant::now();
        let rest = || self.timeout.saturating_sub(begin.elapsed());
        let late = |_| {
            let message = format!("the body did not arrive within {:?}", self.timeout);
            HttpError::new(StatusCode::REQUEST_TIMEOUT, message)
        };
        let mut body = Limited::new(body, self.max);
        let mut content = Vec::<u8>::new();
        let mut slot = None;
        while let Some(frame) = tokio::time::timeout(rest(), body.frame()).await.map_err(late)? {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    self.too_large()
                } else {
                    HttpError::malformed("the body was cut off")
                }
            })?;
            // What is not data are trailers, which say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            if slot.is_none() && content.len() + data.len() > LARGE {
                // Only now: a client that sends nothing is to hold no other up.
                let free = tokio::time::timeout(rest(), self.large.acquire()).await;
                let closed = |_| HttpError::internal("the server ends");
                slot = Some(free.map_err(|_| busy())?.map_err(closed)?);
            }
            content.extend_from_slice(&data);
        }
        Ok(content.into())
    }

    fn too_large(&self) -> HttpError {
        HttpError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than the {} bytes that are read", self.max),
        )
    }
}

/// Checks that a body is not compressed.
///
/// # Errors
/// 415 for one that is.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), HttpError> {
    match headers.get(CONTENT_ENCODING).filter(|value| *value != "identity") {
        None => Ok(()),
        Some(encoding) => Err(HttpError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("bodies with Content-Encoding {encoding:?} are not read: send it as it is"),
        )),
    }
}

fn busy() -> HttpError {
    let message = "too many large bodies are being read: try again in a second";
    HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
        .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Whether a request says that its body is of a type, such as `application/json`.
pub(super) fn is_declared(headers: &HeaderMap, content_type: &str) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    declared.is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(content_type)
    })
}

/// Whether a body is a text: UTF-8 without control characters other than white space.
pub(super) fn is_text(content: &[u8]) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    !content.iter().any(is_control) && std::str::from_utf8(content).is_ok()
}

/// A value from JSON.
///
/// # Errors
/// 400 with what is wrong, and where.
pub(super) fn from_json<T: DeserializeOwned>(content: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(content).map_err(|error| {
        HttpError::malformed(format!("the body is not such JSON: {}", in_words(&error.to_string())))
    })
}

/// An error of JSON with words for the names of Rust's types.
fn in_words(error: &str) -> String {
    const WHOLE: &str = "a whole number of at least 0";
    [("usize", WHOLE), ("u64", WHOLE), ("f64", "a number")].iter().fold(
        error.to_string(),
        |error, (name, words)| {
            error.replace(&format!(", expected {name}"), &format!(", expected {words}"))
        },
    )
}

/// A structure from a JSON object.
///
/// # Errors
/// As [`from_json`]; and 400 for what is no object.
pub(super) fn object_from_json<T: DeserializeOwned>(content: &[u8]) -> Result<T, HttpError> {
    from_json(content).map(|Object(value)| value)
}

/// Bytes from base64, also with a data URL's prefix.
///
/// # Errors
/// 400 for what is not base64.
pub(super) fn from_base64(text: &str) -> Result<Bytes, HttpError> {
    let text = match text.split_once(";base64,") {
        Some((prefix, text)) if prefix.starts_with("data:") => text,
        _ => text,
    };
    let bytes = BASE64_STANDARD.decode(text.trim());
    bytes
        .map(Bytes::from)
        .map_err(|error| HttpError::malformed(format!("the picture is not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_json_name_no_types_of_rust() {
        let whole = from_json::<usize>(b"-1").unwrap_err().message;
        assert!(whole.contains("`-1`, expected a whole number of at least 0 at line 1"), "{whole}");
        let whole = from_json::<u64>(b"0.5").unwrap_err().message;
        assert!(whole.contains("`0.5`, expected a whole number of at least 0"), "{whole}");
        let number = from_json::<f64>(b"\"a\"").unwrap_err().message;
        assert!(number.contains("\"a\", expected a number at line 1"), "{number}");
    }

    #[test]
    fn base64_may_be_a_data_url() {
        assert_eq!(from_base64("aGk=").unwrap(), "hi");
        assert_eq!(from_base64("data:image/png;base64,aGk=\n").unwrap(), "hi");
        for wrong in ["a", "data:image/png,aGk=", "ä"] {
            assert_eq!(from_base64(wrong).unwrap_err().status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn types_are_told_by_the_header() {
        let json = "application/json";
        let is = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            is_declared(&headers, json)
        };
        assert!(is(json) && is("Application/JSON; charset=utf-8"));
        assert!(!is("image/png") && !is("application/jsonl"));
        assert!(!is_declared(&HeaderMap::new(), json));
    }

    #[test]
    fn texts_are_told_from_bytes() {
        assert!(is_text(b"{\"inputs\":\r\n\t\"\"}") && is_text("größe".as_bytes()));
        assert!(!is_text(b"\x00") && !is_text(b"a\x7f") && !is_text(b"\xff\xd8\xff"));
    }
}
