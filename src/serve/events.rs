//! Server-sent events: an answer that goes on while the server has something to say.

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue, CACHE_CONTROL, CONTENT_TYPE};
use hyper::Response;
use serde_json::{json, Value};
use tokio::sync::mpsc;

use super::event_body::EventBody;
use super::http_error::{HttpError, Reply};

/// How many pieces of an answer wait for a client that reads slowly; whoever makes them waits then.
const WAITING: usize = 16;

/// Where the events of an answer are sent.
#[derive(Debug)]
pub(super) struct EventSender {
    sender: mpsc::Sender<Bytes>,
    /// Events that are to be sent together.
    text: String,
}

/// The client has gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// An answer of events, and where they are sent; it ends when that is dropped.
pub(super) fn events() -> (EventSender, Reply) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut reply: Response<Either<Full<Bytes>, EventBody>> =
        Response::new(Either::Right(EventBody::new(receiver)));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects answers would hold events back.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    (EventSender { sender, text: String::new() }, reply)
}

impl EventSender {
    /// Adds an event to those that are sent next.
    pub(super) fn add(&mut self, name: &str, data: &Value) {
        self.text.push_str(&format!("event: {name}\ndata: {data}\n\n"));
    }

    /// Sends what was added.
    ///
    /// # Errors
    /// [`Gone`] when nobody reads it.
    pub(super) async fn send(&mut self) -> Result<(), Gone> {
        let content = Bytes::from(std::mem::take(&mut self.text));
        self.sender.send(content).await.map_err(|_| Gone)
    }

    /// Waits until the client has gone.
    pub(super) async fn gone(&self) {
        self.sender.closed().await;
    }

    /// Ends the answer with what went wrong.
    ///
    /// - `more`: what else the event says
    pub(super) async fn fail(&mut self, error: &HttpError, more: &Value) {
        let mut data = json!({ "error": error.message, "status": error.status.as_u16() });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more.clone());
        }
        self.add("error", &data);
        // The client may have gone, with which everything is over.
        let _ = self.send().await;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn events_are_what_the_answer_holds() {
        let (mut sender, reply) = events();
        sender.add("step", &json!({ "step": 1 }));
        sender.add("step", &json!("a\nb"));
        sender.send().await.unwrap();
        sender.fail(&HttpError::unfit("no"), &json!({ "steps": 2 })).await;
        drop(sender);
        let content = reply.into_body().collect().await.unwrap().to_bytes();
        let text = "event: step\ndata: {\"step\":1}\n\nevent: step\ndata: \"a\\nb\"\n\n\
                    event: error\ndata: {\"error\":\"no\",\"status\":422,\"steps\":2}\n\n";
        assert_eq!(String::from_utf8_lossy(&content), text);
    }

    #[tokio::test]
    async fn a_client_that_has_gone_is_noticed() {
        let (mut sender, reply) = events();
        drop(reply);
        sender.gone().await;
        sender.add("step", &Value::Null);
        assert_eq!(sender.send().await, Err(Gone));
    }
}
