//! `App`: what all requests share.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::StatusCode;

use super::api_key::ApiKey;
use super::body::BodyReader;
use super::config::ServeConfig;
use super::http_error::HttpError;
use super::metrics::ServerMetrics;
use super::picture::PictureReader;
use super::queue::{Answer, InferenceQueue, NotQueued, Work};
use super::served_model::ServedModel;

/// What all requests share.
#[derive(Debug)]
pub(super) struct App {
    pub(super) models: Arc<[ServedModel]>,
    pub(super) metrics: Arc<ServerMetrics>,
    pub(super) queue: InferenceQueue,
    pub(super) key: Option<ApiKey>,
    pub(super) bodies: BodyReader,
    pub(super) pictures: PictureReader,
    timeout: Duration,
    /// Whether the server was told to stop.
    stops: AtomicBool,
}

impl App {
    /// What requests to these models share; `routes` are the names of the counters.
    ///
    /// # Errors
    /// Those of the operating system, which may refuse a thread.
    pub(super) fn new(
        models: Vec<ServedModel>,
        config: &ServeConfig,
        routes: impl IntoIterator<Item = &'static str>,
    ) -> std::io::Result<Self> {
        let models: Arc<[ServedModel]> = models.into();
        let metrics = Arc::new(ServerMetrics::new(routes));
        let queue = InferenceQueue::start(models.clone(), config.queue_len, metrics.clone())?;
        Ok(Self {
            models,
            metrics,
            queue,
            key: config.key.clone(),
            bodies: BodyReader::new(config.max_body, config.request_timeout),
            pictures: PictureReader::new(),
            timeout: config.request_timeout,
            stops: AtomicBool::new(false),
        })
    }

    /// Whether new requests are welcome.
    pub(super) fn is_ready(&self) -> bool {
        !self.stops.load(Ordering::Relaxed)
    }

    /// Says that the server is to stop.
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// The model of a name, with its number; `None` for the first, if it is one that `suits`.
    ///
    /// # Errors
    /// 404 with the names that there are.
    pub(super) fn model(
        &self,
        name: Option<&str>,
        suits: impl Fn(&ServedModel) -> bool,
    ) -> Result<(usize, &ServedModel), HttpError> {
        let mut all = self.models.iter().enumerate();
        let found = match name {
            Some(name) => all.find(|(_, model)| model.name() == name),
            None => all.find(|(_, model)| suits(model)),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.models.iter().map(ServedModel::name).collect();
            let names = names.join(", ");
            let message = match name {
                Some(_) => format!("there is no model of that name: there are {names}"),
                None => format!("no model reads such inputs: there are {names}"),
            };
            HttpError::new(StatusCode::NOT_FOUND, message)
        })
    }

    /// Waits for what a model predicts.
    ///
    /// # Errors
    /// 429 when the queue is full, 504 when the answer does not come in time, 500 when there is none.
    pub(super) async fn predict(&self, model: usize, work: Work) -> Result<Answer, HttpError> {
        let answer = self.queue.submit(model, work).map_err(|refused| match refused {
            NotQueued::Full => {
                let message = "too many requests wait: try again in a second";
                HttpError::new(StatusCode::TOO_MANY_REQUESTS, message)
                    .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            NotQueued::Closed => HttpError::internal("the server ends"),
        })?;
        match self.in_time(answer).await? {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(message)) => Err(HttpError::internal(message)),
            Err(_) => Err(HttpError::internal("the server ends")),
        }
    }

    /// The result of what a request waits for.
    ///
    /// # Errors
    /// 504 when it does not come in time.
    pub(super) async fn in_time<T>(&self, wait: impl Future<Output = T>) -> Result<T, HttpError> {
        tokio::time::timeout(self.timeout, wait).await.map_err(|_| {
            let message = format!("there was no answer within {:?}", self.timeout);
            HttpError::new(StatusCode::GATEWAY_TIMEOUT, message)
        })
    }
}
