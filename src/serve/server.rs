//! `Server`: connections, and their end.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderValue, CONNECTION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{watch, OwnedSemaphorePermit, Semaphore};

use super::app::App;
use super::config::ServeConfig;
use super::error_bodies::{no_http2, ErrorBodies, MAX_HEAD, MAX_HEADERS};
use super::routes;
use super::served_model::ServedModel;
use super::write_deadline::WriteDeadline;
use crate::{Error, Result};

/// Between two looks at whether the server is to stop.
const POLL: Duration = Duration::from_millis(20);
/// How long a connection that cannot be accepted, such as for want of file descriptors, holds up the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Up to so many bytes hyper may have the body of a request that is refused, and reads the next request.
const MAX_DRAINED: u64 = 4 << 10;
/// How long a client whose request was refused before it was read may go on sending, and how many bytes.
const DISCARD_TIME: Duration = Duration::from_secs(5);
const MAX_DISCARDED: usize = 64 << 20;
/// How long it, once the server was told to stop, and a client of a connection too many.
const SHORT_DISCARD_TIME: Duration = Duration::from_secs(1);
/// What a connection too many is told.
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
                        connection: close\r\ncontent-length: 37\r\n\r\n{\"error\":\"too many connections open\"}";

/// A server of trained runs that listens.
///
/// ```no_run
/// # fn main() -> candle_rnn::Result<()> {
/// use candle_rnn::serve::{ServeConfig, ServedModel, Server};
///
/// let model = ServedModel::load("runs/0001", &candle_core::Device::Cpu)?;
/// let server = Server::bind(vec![model], ServeConfig::default())?;
/// println!("http://{}", server.address());
/// server.run(|| false)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    config: ServeConfig,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens at the configured address, whatever it is: with one that other machines reach, whoever reaches it may
    /// ask unless there is a [`key`](ServeConfig::key). That `candle-rnn serve` wants one is a rule of the program.
    ///
    /// # Errors
    /// [`Error::Config`] for limits out of range, no models, two of one name, and an address that cannot be listened at.
    pub fn bind(models: Vec<ServedModel>, config: ServeConfig) -> Result<Self> {
        config.check()?;
        if models.is_empty() {
            return Err(Error::Config("there is no model to serve".into()));
        }
        let mut names: Vec<&str> = models.iter().map(ServedModel::name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = pair[0];
            return Err(Error::Config(format!(
                "two runs are called {name}, and their names are part of addresses: give one of them another"
            )));
        }
        let failed = |error: std::io::Error| {
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => ": take another port, or 0 for a free one",
                ErrorKind::AddrNotAvailable => ": take an address of this machine",
                ErrorKind::PermissionDenied => ": take a port from 1024 on, or 0 for a free one",
                _ => "",
            };
            Error::Config(format!("cannot listen at {}: {error}{remedy}", config.address))
        };
        let listener = TcpListener::bind(config.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let app = App::new(models, &config, routes::paths()).map_err(failed)?;
        Ok(Self { app: Arc::new(app), config, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` says so: then it is not ready any more, still accepts connections for
    /// [`linger`](ServeConfig::linger), ends the requests that it has begun, and returns whether all had ended within
    /// [`drain`](ServeConfig::drain).
    ///
    /// # Errors
    /// [`Error::Config`] when the operating system refuses threads or the listener.
    pub fn run(self, stop: impl Fn() -> bool) -> Result<bool> {
        let failed = |error| Error::Config(format!("cannot serve: {error}"));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().thread_name("http").build().map_err(failed)?;
        let result = runtime.block_on(self.accept(stop)).map_err(failed);
        // Pictures that are still being read have nobody to wait for them.
        runtime.shutdown_background();
        result
    }

    async fn accept(self, stop: impl Fn() -> bool) -> std::io::Result<bool> {
        let Self { app, config, listener, .. } = self;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let slots = Arc::new(Semaphore::new(config.max_connections));
        let (close, closing) = watch::channel(false);
        let mut poll = tokio::time::interval(POLL);
        let mut stopped: Option<Instant> = None;
        while stopped.is_none_or(|since| since.elapsed() < config.linger.min(config.drain)) {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => match slots.clone().try_acquire_owned() {
                        Ok(slot) => {
                            let connection = (stream, slot, closing.clone());
                            let timeouts = (config.header_timeout, config.request_timeout);
                            tokio::spawn(serve(app.clone(), connection, timeouts));
                        }
                        Err(_) => {
                            app.metrics.refused();
                            tokio::spawn(refuse(stream));
                        }
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                _ = poll.tick() => if stopped.is_none() && stop() {
                    app.stop();
                    stopped = Some(Instant::now());
                    tracing::info!("stopping: not ready any more");
                },
            }
        }
        drop(listener);
        // There is a receiver: this function has one.
        let _ = close.send(true);
        let since = stopped.unwrap_or_else(Instant::now);
        let rest = config.drain.saturating_sub(since.elapsed());
        let all = u32::try_from(config.max_connections).unwrap_or(u32::MAX);
        let have_ended = tokio::time::timeout(rest, slots.acquire_many(all)).await.is_ok();
        drop(closing);
        let open = config.max_connections - slots.available_permits();
        if !have_ended {
            tracing::warn!(connections = open, "the deadline is over: connections are cut off");
        }
        Ok(have_ended)
    }
}

/// Serves a connection until it ends, or `closing` says that it is to.
async fn serve(
    app: Arc<App>,
    (mut stream, slot, mut closing): (TcpStream, OwnedSemaphorePermit, watch::Receiver<bool>),
    (header_timeout, write_timeout): (Duration, Duration),
) {
    app.metrics.opened();
    // Without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let may_send = AtomicBool::new(false);
    let ended = {
        let service = service_fn(|request: Request<Incoming>| {
            let (app, may_send) = (app.clone(), &may_send);
            async move {
                let has_body = !request.body().is_end_stream();
                let len = request.body().size_hint().upper();
                let mut reply = routes::respond(&app, request).await;
                let is_refused = !reply.status().is_success();
                may_send.store(has_body && is_refused, Ordering::Relaxed);
                if has_body && is_refused && len.is_none_or(|len| len > MAX_DRAINED) {
                    // What is left of it is not read, and so no other request comes.
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(reply)
            }
        });
        let writer = ErrorBodies::new(WriteDeadline::new(&mut stream, write_timeout));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            // Of a client that has sent all of its request and closed its side.
            .half_close(true)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(writer), service);
        let mut connection = pin!(connection);
        let told = async {
            let _ = closing.wait_for(|closing| *closing).await.is_ok();
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = told => None,
        };
        match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let is_no_request = ended.as_ref().is_err_and(hyper::Error::is_parse);
    if ended.as_ref().is_err_and(hyper::Error::is_parse_version_h2) {
        say_last(&mut stream, &no_http2()).await;
    }
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    if is_no_request || may_send.into_inner() {
        let is_closing = *closing.borrow();
        let time = if is_closing { SHORT_DISCARD_TIME } else { DISCARD_TIME };
        discard(&mut stream, time).await;
    }
    app.metrics.closed();
    drop(slot);
}

/// Reads what a client still sends to a connection that is closed for writing, up to limits: bytes that nobody reads would
/// reset the connection, and take the answer with them.
async fn discard(stream: &mut TcpStream, time: Duration) {
    let read = async {
        let (mut buffer, mut count) = (vec![0; 16 << 10], 0);
        while count < MAX_DISCARDED {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => count += read,
            }
        }
    };
    // Whoever goes on sending is cut off.
    let _ = tokio::time::timeout(time, read).await;
}

/// Writes the last answer of a connection and closes it for writing; whether that was done.
async fn say_last(stream: &mut TcpStream, answer: &[u8]) -> bool {
    let write = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
    // Whoever does not read it is cut off.
    let written = tokio::time::timeout(SHORT_DISCARD_TIME, write).await;
    matches!(written, Ok(Ok(())))
}

/// Tells a connection that there are too many.
async fn refuse(mut stream: TcpStream) {
    if say_last(&mut stream, TOO_MANY.as_bytes()).await {
        discard(&mut stream, SHORT_DISCARD_TIME).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_connection_too_many_has_its_length() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }

    #[test]
    fn a_server_without_models_is_refused() {
        let error = Server::bind(Vec::new(), ServeConfig::default()).unwrap_err();
        assert!(error.to_string().contains("no model"), "{error}");
    }
}
