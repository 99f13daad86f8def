//! `InferenceQueue`: the thread that predicts, and the requests that wait for it.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::StatusCode;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::http_error::HttpError;
use super::metrics::ServerMetrics;
use super::sequences;
use super::served_model::{ServedModel, ServedPredictor};
use super::step_stream::{ReadStep, StepStream};
use crate::predict::{Generator, Prediction, SequencePrediction, TextStream, Trace};
use crate::{Error, Result};

/// The most requests that are taken together.
const MAX_BATCH: usize = 256;
/// The most steps of sequences that are taken together, unless one request has more.
const MAX_STEPS: usize = 1 << 16;
/// As how many steps an image counts.
const STEPS_OF_AN_IMAGE: usize = 16;

/// A request's inputs.
#[derive(Debug)]
pub(super) enum Work {
    /// The class of images, each `(28, 28)` pixels.
    Images(Vec<Vec<u8>>),
    /// The logits of an image.
    ImageLogits(Vec<u8>),
    /// Sequences, each `(T_n, I)`, to be predicted.
    Sequences(Vec<Vec<f32>>),
    /// The steps of an image.
    ImageSteps(Vec<u8>),
    /// The steps of a sequence.
    SequenceSteps(Vec<f32>),
    /// Steps of a sequence that goes on, each `(I,)`, and whether hidden states are asked for.
    StreamSteps(Arc<Mutex<StepStream>>, Vec<Vec<f64>>, bool),
    /// So many characters of a text that goes on, read or drawn.
    Characters(Arc<Mutex<TextStream<Arc<Generator>>>>, usize),
}

/// A request's predictions.
#[derive(Debug)]
pub(super) enum Answer {
    Images(Vec<Prediction>),
    ImageLogits(Vec<f64>),
    Sequences(Vec<SequencePrediction>),
    Steps(Box<Trace>),
    /// The steps that were read, and the error that ended them.
    StreamSteps(Vec<ReadStep>, Result<()>),
    Characters(String),
}

/// An answer, or why there is none.
pub(super) type Answered = std::result::Result<Answer, String>;

/// A request that waits.
#[derive(Debug)]
struct Job {
    /// The number of its model.
    model: usize,
    work: Work,
    reply: oneshot::Sender<Answered>,
}

/// Why a request cannot wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// As many wait as may.
    Full,
    /// The thread that predicts has ended.
    Closed,
}

/// 429 when the queue is full, 500 when the server ends.
impl From<NotQueued> for HttpError {
    fn from(refused: NotQueued) -> Self {
        match refused {
            NotQueued::Full => {
                let message = "too many requests wait: try again in a second";
                Self::new(StatusCode::TOO_MANY_REQUESTS, message)
                    .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            NotQueued::Closed => Self::internal("the server ends"),
        }
    }
}

/// The requests that wait for the thread that predicts.
#[derive(Debug)]
pub(super) struct InferenceQueue(mpsc::Sender<Job>);

impl InferenceQueue {
    /// Starts the thread; it ends when the queue is dropped.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn start(
        models: Arc<[ServedModel]>,
        len: usize,
        metrics: Arc<ServerMetrics>,
    ) -> std::io::Result<Self> {
        let (sender, mut waiting) = mpsc::channel::<Job>(len);
        let predict = move || {
            let of = |job: &Job| steps(&job.work, models[job.model].about().features().len());
            let mut next = None;
            while let Some(jobs) = take(&mut waiting, &mut next, of) {
                run(&models, jobs, &metrics);
            }
        };
        std::thread::Builder::new().name("inference".into()).spawn(predict)?;
        Ok(Self(sender))
    }

    /// Puts a request into the queue; its answer arrives where it says.
    pub(super) fn submit(
        &self,
        model: usize,
        work: Work,
    ) -> std::result::Result<oneshot::Receiver<Answered>, NotQueued> {
        let (reply, answer) = oneshot::channel();
        match self.0.try_send(Job { model, work, reply }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(NotQueued::Full),
            Err(TrySendError::Closed(_)) => Err(NotQueued::Closed),
        }
    }

    /// The same, once there is a place; `None` when the thread that predicts has ended.
    pub(super) async fn submit_in_turn(
        &self,
        model: usize,
        work: Work,
    ) -> Option<oneshot::Receiver<Answered>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job { model, work, reply }).await.ok().map(|()| answer)
    }

    /// The number of requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }
}

/// Waits for a request, and takes what waits behind it, up to the limits; the one that exceeds them is the `next` first.
/// `None` at the end of the queue.
///
/// - `steps`: the number of steps of a request
fn take(
    waiting: &mut mpsc::Receiver<Job>,
    next: &mut Option<Job>,
    steps: impl Fn(&Job) -> usize,
) -> Option<Vec<Job>> {
    let first = next.take().or_else(|| waiting.blocking_recv())?;
    let mut sum = steps(&first);
    let mut jobs = vec![first];
    while jobs.len() < MAX_BATCH {
        let Ok(job) = waiting.try_recv() else { break };
        sum += steps(&job);
        if sum > MAX_STEPS {
            *next = Some(job);
            break;
        }
        jobs.push(job);
    }
    Some(jobs)
}

/// As how many steps of sequences a request counts.
fn steps(work: &Work, features: usize) -> usize {
    match work {
        Work::Images(images) => images.len() * STEPS_OF_AN_IMAGE,
        Work::ImageLogits(_) | Work::ImageSteps(_) => STEPS_OF_AN_IMAGE,
        Work::Sequences(all) => all.iter().map(Vec::len).sum::<usize>() / features.max(1),
        Work::SequenceSteps(sequence) => sequence.len() / features.max(1),
        Work::StreamSteps(_, steps, _) => steps.len(),
        Work::Characters(_, count) => *count,
    }
}

/// Answers requests: images of one model together, and sequences of one model together.
fn run(models: &[ServedModel], jobs: Vec<Job>, metrics: &ServerMetrics) {
    let mut groups: Vec<Vec<Job>> = Vec::new();
    for job in jobs {
        let joins = |group: &&mut Vec<Job>| {
            group.first().is_some_and(|first| {
                let are_alike = matches!(
                    (&first.work, &job.work),
                    (Work::Images(_), Work::Images(_)) | (Work::Sequences(_), Work::Sequences(_))
                );
                are_alike && first.model == job.model
            })
        };
        match groups.iter_mut().find(joins) {
            Some(group) => group.push(job),
            None => groups.push(vec![job]),
        }
    }
    for mut group in groups {
        // Nobody waits for the answer of a request that was given up, perhaps while the groups before were predicted.
        group.retain(|job| !job.reply.is_closed());
        if group.is_empty() {
            continue;
        }
        metrics.batch(group.len());
        answer(group, &|jobs| answers(models, jobs));
    }
}

/// Answers requests that are predicted together. Where that fails, each is predicted by itself, so that only those
/// that cannot be predicted get an error.
fn answer(group: Vec<Job>, predict: &dyn Fn(&[Job]) -> Result<Vec<Answer>>) {
    match predicted(&group, predict) {
        Ok(answers) => {
            for (job, answer) in group.into_iter().zip(answers) {
                // Whoever asked may have gone.
                let _ = job.reply.send(Ok(answer));
            }
        }
        Err(error) if group.len() == 1 => {
            tracing::error!(%error, "a prediction failed");
            for job in group {
                let _ = job.reply.send(Err(error.to_string()));
            }
        }
        Err(error) => {
            tracing::warn!(%error, requests = group.len(), "requests are predicted one by one");
            group.into_iter().for_each(|job| answer(vec![job], predict));
        }
    }
}

/// An answer for each request.
///
/// # Errors
/// Those of `predict`; [`Error::Config`] where it panics, or has another number of answers.
fn predicted(
    group: &[Job],
    predict: &dyn Fn(&[Job]) -> Result<Vec<Answer>>,
) -> Result<Vec<Answer>> {
    let found = catch_unwind(AssertUnwindSafe(|| predict(group)));
    let found = found.unwrap_or_else(|_| Err(Error::Config("the prediction panicked".into())))?;
    if found.len() != group.len() {
        let (answers, requests) = (found.len(), group.len());
        return Err(Error::Config(format!("{requests} requests have {answers} answers")));
    }
    Ok(found)
}

/// The answers to requests of one kind and one model.
fn answers(models: &[ServedModel], group: &[Job]) -> Result<Vec<Answer>> {
    let Some(first) = group.first() else { return Ok(Vec::new()) };
    let predictor = models[first.model].predictor();
    match (&first.work, predictor) {
        (Work::Images(_), ServedPredictor::Images(predictor)) => {
            let of = |job: &Job| match &job.work {
                Work::Images(images) => images.len(),
                _ => 0,
            };
            let images = group.iter().flat_map(|job| match &job.work {
                Work::Images(images) => images.as_slice(),
                _ => &[],
            });
            let images: Vec<&[u8]> = images.map(Vec::as_slice).collect();
            let found = parts(predictor.predict(&images)?, group.iter().map(of));
            Ok(found.map(Answer::Images).collect())
        }
        (Work::Sequences(_), ServedPredictor::Sequences(predictor)) => {
            let of = |job: &Job| match &job.work {
                Work::Sequences(sequences) => sequences.len(),
                _ => 0,
            };
            let all = group.iter().flat_map(|job| match &job.work {
                Work::Sequences(sequences) => sequences.as_slice(),
                _ => &[],
            });
            let data = sequences::dataset(predictor, all)?;
            let found = parts(predictor.predict(&data)?, group.iter().map(of));
            Ok(found.map(Answer::Sequences).collect())
        }
        (Work::ImageLogits(image), ServedPredictor::Images(predictor)) => {
            let logits = predictor.logits(&[image])?;
            Ok(logits.into_iter().map(Answer::ImageLogits).collect())
        }
        (Work::ImageSteps(image), ServedPredictor::Images(predictor)) => {
            Ok(vec![Answer::Steps(Box::new(predictor.trace(image)?))])
        }
        (Work::SequenceSteps(sequence), ServedPredictor::Sequences(predictor)) => {
            let traces = predictor.trace(&sequences::dataset(predictor, [sequence])?)?;
            Ok(traces.into_iter().map(|trace| Answer::Steps(Box::new(trace))).collect())
        }
        (Work::StreamSteps(stream, steps, wants_hidden), _) => {
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            let (found, wrong) = stream.read(steps, *wants_hidden);
            Ok(vec![Answer::StreamSteps(found, wrong)])
        }
        (Work::Characters(stream, count), _) => {
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            let mut text = String::new();
            for _ in 0..*count {
                text.extend(stream.advance()?);
            }
            Ok(vec![Answer::Characters(text)])
        }
        _ => Err(Error::Config("the model reads other inputs".into())),
    }
}

/// A list cut into parts of these lengths.
fn parts<T>(all: Vec<T>, lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = all.into_iter();
    lengths.map(move |len| rest.by_ref().take(len).collect()).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_parts() {
        let found: Vec<_> = parts(vec![1, 2, 3, 4], [1, 0, 3].into_iter()).collect();
        assert_eq!(found, [vec![1], vec![], vec![2, 3, 4]]);
    }

    /// Fails for a group with an empty image, and panics for one with an image of one pixel.
    fn fake(group: &[Job]) -> Result<Vec<Answer>> {
        let images = group.iter().flat_map(|job| match &job.work {
            Work::Images(images) => images.as_slice(),
            _ => &[],
        });
        for image in images {
            match image.len() {
                0 => return Err(Error::Config("an empty image".into())),
                1 => panic!("an image of one pixel"),
                _ => (),
            }
        }
        Ok(group.iter().map(|_| Answer::Images(Vec::new())).collect())
    }

    #[test]
    fn an_error_answers_only_the_request_that_is_wrong() {
        let (group, mut answers): (Vec<Job>, Vec<_>) = [2, 0, 2, 1, 2]
            .into_iter()
            .map(|len| {
                let (reply, answer) = oneshot::channel();
                (Job { model: 0, work: Work::Images(vec![vec![0; len]]), reply }, answer)
            })
            .unzip();
        answer(group, &fake);
        let found: Vec<Answered> = answers.iter_mut().map(|of| of.try_recv().unwrap()).collect();
        for right in [0, 2, 4] {
            assert!(matches!(found[right], Ok(Answer::Images(_))), "{found:?}");
        }
        assert!(found[1].as_ref().is_err_and(|error| error.contains("an empty image")));
        assert!(found[3].as_ref().is_err_and(|error| error.contains("panicked")));
    }

    #[test]
    fn a_request_without_an_answer_is_an_error() {
        let (reply, mut answered) = oneshot::channel();
        answer(vec![Job { model: 0, work: Work::Images(Vec::new()), reply }], &|_| Ok(Vec::new()));
        assert!(answered.try_recv().unwrap().unwrap_err().contains("0 answers"));
    }

    #[test]
    fn a_full_queue_refuses() {
        let (sender, waiting) = mpsc::channel(1);
        let queue = InferenceQueue(sender);
        assert!(queue.submit(0, Work::Images(Vec::new())).is_ok());
        assert_eq!(queue.waiting(), 1);
        let refused = |queue: &InferenceQueue| queue.submit(0, Work::Images(Vec::new())).err();
        assert_eq!(refused(&queue), Some(NotQueued::Full));
        drop(waiting);
        assert_eq!(refused(&queue), Some(NotQueued::Closed));
    }

    #[test]
    fn no_more_is_taken_together_than_the_limits_say() {
        let (sender, mut waiting) = mpsc::channel(600);
        let queue = InferenceQueue(sender);
        let mut answers = Vec::new();
        let mut submit = |images: usize| {
            let work = Work::Images(vec![Vec::new(); images]);
            answers.push(queue.submit(0, work).unwrap());
        };
        // 4,096 images, then one that is too many, one request of too many, and more requests than are taken.
        for images in [4_000, 96, 1, 5_000] {
            submit(images);
        }
        (0..300).for_each(|_| submit(1));
        drop(queue);
        let mut next = None;
        let mut counts = Vec::new();
        while let Some(jobs) = take(&mut waiting, &mut next, |job| steps(&job.work, 0)) {
            counts.push(jobs.len());
        }
        assert_eq!(counts, [2, 1, 1, 256, 44]);
        assert_eq!(steps(&Work::Sequences(vec![vec![0.; 6], vec![0.; 3]]), 3), 3);
    }
}
