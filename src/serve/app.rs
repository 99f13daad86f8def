//! `App`: the state that all requests share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::StatusCode;
use tokio::sync::{oneshot, watch, OwnedSemaphorePermit, Semaphore};

use super::api_key::ApiKey;
use super::body::BodyReader;
use super::config::ServeConfig;
use super::http_error::HttpError;
use super::metrics::ServerMetrics;
use super::picture::PictureReader;
use super::queue::{Answer, Answered, InferenceQueue, Work};
use super::served_model::ServedModel;

/// The state that all requests share.
#[derive(Debug)]
pub(super) struct App {
    pub(super) models: Arc<[ServedModel]>,
    pub(super) metrics: Arc<ServerMetrics>,
    pub(super) queue: InferenceQueue,
    pub(super) key: Option<ApiKey>,
    pub(super) bodies: BodyReader,
    pub(super) pictures: PictureReader,
    /// How long a step of a stream may take to arrive.
    pub(super) step_timeout: Duration,
    timeout: Duration,
    max_streams: usize,
    /// Places for streams.
    streams: Arc<Semaphore>,
    /// Whether the server was told to stop.
    stops: watch::Sender<bool>,
}

impl App {
    /// The state of a server of these models; `routes` are the names of the counters.
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
            step_timeout: config.step_timeout,
            timeout: config.request_timeout,
            max_streams: config.max_streams,
            streams: Arc::new(Semaphore::new(config.max_streams)),
            stops: watch::Sender::new(false),
        })
    }

    /// Whether new requests are welcome.
    pub(super) fn is_ready(&self) -> bool {
        !*self.stops.borrow()
    }

    /// Says that the server is to stop.
    pub(super) fn stop(&self) {
        self.stops.send_replace(true);
    }

    /// Waits until the server is told to stop.
    pub(super) async fn stopping(&self) {
        // It is there as long as this is, and so there is no error.
        let _ = self.stops.subscribe().wait_for(|stops| *stops).await;
    }

    /// A place for a stream.
    ///
    /// # Errors
    /// 503 when as many are open as may be, or the server was told to stop.
    pub(super) fn open_stream(&self) -> Result<OwnedSemaphorePermit, HttpError> {
        let busy = |message: String| {
            HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
                .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
        };
        if !self.is_ready() {
            return Err(busy("the server is stopping".into()));
        }
        let slot = Arc::clone(&self.streams).try_acquire_owned();
        slot.map_err(|_| busy(format!("{} streams are open, and no more may be", self.max_streams)))
    }

    /// How many streams are open.
    pub(super) fn open_streams(&self) -> usize {
        self.max_streams - self.streams.available_permits()
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
        let answer = self.queue.submit(model, work)?;
        self.answered(answer).await
    }

    /// The same for a part of a request that was admitted: it waits for a place in the queue.
    ///
    /// # Errors
    /// 504 when the answer does not come in time, 500 when there is none.
    pub(super) async fn predict_in_turn(
        &self,
        model: usize,
        work: Work,
    ) -> Result<Answer, HttpError> {
        let answer = self.in_time(self.queue.submit_in_turn(model, work)).await?;
        self.answered(answer.ok_or_else(|| HttpError::internal("the server ends"))?).await
    }

    async fn answered(&self, answer: oneshot::Receiver<Answered>) -> Result<Answer, HttpError> {
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
