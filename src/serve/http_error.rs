//! `HttpError`: why a request is not answered, as JSON with a status; and JSON answers.

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue, CONTENT_TYPE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::event_body::EventBody;

/// An answer, whole or as events.
pub(super) type Reply = Response<Either<Full<Bytes>, EventBody>>;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct HttpError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// A header that belongs to the status.
    header: Option<(HeaderName, HeaderValue)>,
}

impl HttpError {
    /// An error that the client can read.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), header: None }
    }

    /// 400: the request cannot be read.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 422: the request can be read, and does not fit the model.
    pub(super) fn unfit(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// 500: the server failed.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The same with a header.
    pub(super) fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// The answer that says so.
    pub(super) fn reply(&self) -> Reply {
        let mut reply = json_reply(&json!({ "error": self.message }));
        *reply.status_mut() = self.status;
        if let Some((name, value)) = &self.header {
            reply.headers_mut().insert(name.clone(), value.clone());
        }
        reply
    }
}

/// An answer of a content type.
pub(super) fn reply(content_type: &'static str, content: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(content.into())));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An answer in JSON.
pub(super) fn json_reply(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(text) => reply("application/json", text),
        Err(error) => {
            let mut failed = reply("application/json", r#"{"error":"the answer is not JSON"}"#);
            tracing::error!(%error, "an answer cannot be written");
            *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            failed
        }
    }
}
