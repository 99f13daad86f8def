//! `EventBody`: the content of an answer that goes on.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

/// The content of an answer: what somebody sends as it comes.
#[derive(Debug)]
pub(super) struct EventBody(mpsc::Receiver<Bytes>);

impl EventBody {
    /// A body of what the sender of `receiver` sends, until it is dropped.
    pub(super) fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self(receiver)
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|next| next.map(|content| Ok(Frame::data(content))))
    }
}
