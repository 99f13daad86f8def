//! The server's own description: health, models, samples, the page.

use std::sync::{LazyLock, OnceLock};

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue, CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use hyper::StatusCode;
use serde_json::{json, Value};

use super::app::App;
use super::http_error::{json_reply, reply, HttpError, Reply};
use super::served_model::ServedModel;
use crate::page;

/// The page's content security policy: it runs its own script and talks to this server.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page: one file, without anything from elsewhere.
pub(super) fn page() -> Reply {
    static PAGE: LazyLock<String> = LazyLock::new(|| page::page(page::SERVER));
    let mut page = reply("text/html; charset=utf-8", PAGE.as_str());
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let referrer = HeaderName::from_static("referrer-policy");
    headers.insert(referrer, HeaderValue::from_static("no-referrer"));
    page
}

/// The answer that the process is alive.
pub(super) fn live() -> Reply {
    json_reply(&json!({ "live": true }))
}

/// Whether requests are welcome.
///
/// # Errors
/// 503 once the server was told to stop.
pub(super) fn ready(app: &App) -> Result<Reply, HttpError> {
    if !app.is_ready() {
        return Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"));
    }
    Ok(json_reply(&json!({ "ready": true })))
}

/// The server and the extensions of its protocol.
pub(super) fn server() -> Reply {
    json_reply(&json!({
        "name": "candle-rnn",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "classification"],
    }))
}

/// All models.
pub(super) fn models(app: &App) -> Reply {
    let models: Vec<Value> = app.models.iter().map(ServedModel::description).collect();
    json_reply(&json!({ "models": models }))
}

/// Counters.
pub(super) fn metrics(app: &App) -> Reply {
    reply("text/plain; version=0.0.4", app.metrics.text(app.queue.waiting(), app.open_streams()))
}

/// One digit of each class, of MNIST's test images.
///
/// # Errors
/// 500 when the sample in this program cannot be read.
pub(super) fn samples() -> Result<Reply, HttpError> {
    static SAMPLES: OnceLock<Bytes> = OnceLock::new();
    if let Some(samples) = SAMPLES.get() {
        return Ok(reply("application/json", samples.clone()));
    }
    let samples = page::samples().map_err(|error| HttpError::internal(error.to_string()))?;
    let samples = Bytes::from(samples.to_string());
    Ok(reply("application/json", SAMPLES.get_or_init(|| samples).clone()))
}
