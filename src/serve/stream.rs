//! `/v1/stream`: a sequence whose steps arrive one by one, a line each; what a network predicts after each as an event,
//! as soon as it has arrived.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::{HeaderMap, StatusCode};
use serde_json::{json, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::app::App;
use super::body::{check_encoding, from_json};
use super::events::{events, EventSender, Gone};
use super::http_error::{HttpError, Reply};
use super::line_reader::LineReader;
use super::number_list::{pixel, StepValues};
use super::queue::{Answer, Work};
use super::sequences;
use super::served_model::{ServedModel, ServedPredictor};
use super::step_stream::{ReadStep, StepStream};
use super::steps::prediction;
use super::url_name::escaped;

/// The most steps of a stream.
const MAX_STEPS: usize = 1 << 16;
/// The most steps that are predicted together.
const STEPS_AT_A_TIME: usize = 256;
/// The most bytes of a line, and of each feature in it if that is more.
const MAX_LINE: usize = 64 << 10;
const MAX_VALUE: usize = 64;
/// How long a client that was told of an error may go on sending before it is cut off.
const LINGER: Duration = Duration::from_secs(1);

/// Answers with a network's prediction after each step, as the steps arrive.
///
/// # Errors
/// 400 for a query that has no meaning and an empty body, 404 for an unknown model, 415 for a body that is compressed, 422 for a model that
/// does not read step by step, 503 when too many streams are open. What goes wrong later is an event.
pub(super) fn stream(
    app: &Arc<App>,
    model: Option<&str>,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, HttpError> {
    let wants_hidden = wants_hidden(query)?;
    let (number, model) = app.model(model, ServedModel::reads_step_by_step)?;
    check(model)?;
    check_encoding(headers)?;
    if body.is_end_stream() {
        return Err(HttpError::malformed("the body is empty: send a line for each step"));
    }
    let stream = StepStream::new(model).map_err(|error| HttpError::unfit(error.to_string()))?;
    let slot = app.open_stream()?;
    let line = MAX_LINE.max(MAX_VALUE * model.step_size());
    let (sender, reply) = events();
    let reading = Reading {
        app: Arc::clone(app),
        number,
        lines: LineReader::new(body, line),
        events: sender,
        stream: Arc::new(Mutex::new(stream)),
        wants_hidden,
        steps: 0,
        last: Value::Null,
    };
    tokio::spawn(reading.run(slot));
    Ok(reply)
}

/// Whether a query asks for hidden states.
fn wants_hidden(query: Option<&str>) -> Result<bool, HttpError> {
    match query {
        None | Some("" | "hidden=false") => Ok(false),
        Some("hidden=true") => Ok(true),
        Some(other) => Err(HttpError::malformed(format!(
            "the query may be hidden=true or hidden=false, got {other}"
        ))),
    }
}

/// Checks that a model reads step by step.
fn check(model: &ServedModel) -> Result<(), HttpError> {
    let (name, path) = (model.name(), escaped(model.name()));
    if matches!(model.predictor(), ServedPredictor::Texts(_)) {
        return Err(HttpError::unfit(format!(
            "{name} continues texts: send a prompt to /v1/generate/{path}"
        )));
    }
    if !model.about().has_steps() {
        return Err(HttpError::unfit(format!(
            "{name} forecasts from a whole window: send it to /v2/models/{path}/infer"
        )));
    }
    if !model.about().has_hidden() {
        return Err(HttpError::unfit(format!(
            "{name} reads in both directions or all outputs at once, not step by step: send whole sequences to /v1/steps"
        )));
    }
    Ok(())
}

/// A stream that is open.
#[derive(Debug)]
struct Reading {
    app: Arc<App>,
    /// The number of the model.
    number: usize,
    lines: LineReader,
    events: EventSender,
    stream: Arc<Mutex<StepStream>>,
    wants_hidden: bool,
    /// How many steps were read.
    steps: usize,
    /// The prediction after the last step.
    last: Value,
}

/// Why a stream ends early.
enum Ended {
    /// For a reason that the client is told.
    Failed(HttpError),
    /// The client has gone.
    Gone,
}

impl From<HttpError> for Ended {
    fn from(error: HttpError) -> Self {
        Self::Failed(error)
    }
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Reading {
    /// Reads to the end, and says so; `slot` is free from then on.
    async fn run(mut self, slot: OwnedSemaphorePermit) {
        match self.read_all().await {
            Ok(()) => {
                let end = json!({ "steps": self.steps, "prediction": self.last });
                self.events.add("end", &end);
                // The client may have gone.
                let _ = self.events.send().await;
            }
            Err(Ended::Gone) => (),
            Err(Ended::Failed(error)) => {
                self.events.fail(&error, &json!({ "steps": self.steps })).await;
                drop(slot);
                tokio::select! {
                    () = self.events.gone() => (),
                    _ = tokio::time::timeout(LINGER, self.lines.discard()) => (),
                }
            }
        }
    }

    async fn read_all(&mut self) -> Result<(), Ended> {
        let names = self.app.models[self.number].about().outputs();
        let name = self.app.models[self.number].name();
        self.events.add("start", &json!({ "model": name, "names": names }));
        self.events.send().await?;
        while let Some(lines) = self.next_lines().await? {
            let (steps, wrong) = self.steps_of(&lines);
            if !steps.is_empty() {
                self.read(steps, &names).await?;
            }
            wrong?;
        }
        if self.steps == 0 {
            return Err(HttpError::unfit("the body has no step: send a line for each").into());
        }
        Ok(())
    }

    /// Waits for lines; `None` at the end of the body.
    async fn next_lines(&mut self) -> Result<Option<Vec<Bytes>>, Ended> {
        let timeout = self.app.step_timeout;
        let lines = tokio::time::timeout(timeout, self.lines.next(STEPS_AT_A_TIME));
        tokio::select! {
            biased;
            () = self.app.stopping() => {
                let message = "the server is stopping: send the sequence again, to another";
                Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message).into())
            }
            () = self.events.gone() => Err(Ended::Gone),
            lines = lines => match lines {
                Ok(lines) => Ok(lines?),
                Err(_) => {
                    let message = format!("no step arrived within {timeout:?}");
                    Err(HttpError::new(StatusCode::REQUEST_TIMEOUT, message).into())
                }
            },
        }
    }

    /// The steps in lines up to the first that is none, and what is wrong with that.
    fn steps_of(&self, lines: &[Bytes]) -> (Vec<Vec<f64>>, Result<(), HttpError>) {
        let model = &self.app.models[self.number];
        let mut steps = Vec::with_capacity(lines.len());
        for line in lines.iter().map(|line| line.trim_ascii()).filter(|line| !line.is_empty()) {
            let number = self.steps + steps.len() + 1;
            let step = step_of(model, line, number);
            match step {
                Ok(step) => steps.push(step),
                Err(error) => return (steps, Err(at_step(number, error))),
            }
        }
        (steps, Ok(()))
    }

    /// Has steps predicted, and says what was.
    async fn read(&mut self, steps: Vec<Vec<f64>>, names: &[String]) -> Result<(), Ended> {
        let work = Work::StreamSteps(Arc::clone(&self.stream), steps, self.wants_hidden);
        let Answer::StreamSteps(found, wrong) = self.app.predict_in_turn(self.number, work).await?
        else {
            return Err(HttpError::internal("the prediction is of another kind").into());
        };
        for ReadStep { outputs, hidden } in found {
            if let Err(error) = sequences::check_outputs(&outputs) {
                self.events.send().await?;
                return Err(at_step(self.steps + 1, error).into());
            }
            self.steps += 1;
            let model = &self.app.models[self.number];
            self.last = prediction(model, names, Some(&outputs));
            let mut event =
                json!({ "step": self.steps, "prediction": self.last, "outputs": outputs });
            if let Some(hidden) = hidden {
                event["hidden"] = json!(hidden);
            }
            self.events.add("step", &event);
        }
        self.events.send().await?;
        let wrong = wrong.map_err(|error| HttpError::unfit(error.to_string()));
        wrong.map_err(|error| at_step(self.steps + 1, error).into())
    }
}

/// The values of a step.
fn step_of(model: &ServedModel, line: &[u8], number: usize) -> Result<Vec<f64>, HttpError> {
    if number > MAX_STEPS.min(model.max_steps()) {
        let most = MAX_STEPS.min(model.max_steps());
        return Err(HttpError::unfit(format!("a stream has at most {most} steps")));
    }
    let StepValues(values) = from_json(line)?;
    let (width, found) = (model.step_size(), values.len());
    if found != width {
        return Err(HttpError::unfit(format!("a step has {width} values, got {found}")));
    }
    if matches!(model.predictor(), ServedPredictor::Images(_)) {
        return values.into_iter().map(|value| pixel(value).map(f64::from)).collect();
    }
    // As of sequences that arrive whole, which are FP32.
    let values: Vec<f64> = values.into_iter().map(|value| f64::from(value as f32)).collect();
    match values.iter().find(|value| value.is_infinite()) {
        None => Ok(values),
        Some(value) => Err(HttpError::unfit(format!("values must be finite, got {value}"))),
    }
}

fn at_step(number: usize, mut error: HttpError) -> HttpError {
    error.message = format!("step {number}: {}", error.message);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_whether_there_are_hidden_states() {
        assert!(!wants_hidden(None).unwrap() && !wants_hidden(Some("hidden=false")).unwrap());
        assert!(wants_hidden(Some("hidden=true")).unwrap());
        for wrong in ["hidden", "hidden=1", "other=true", "hidden=true&hidden=true"] {
            assert_eq!(wants_hidden(Some(wrong)).unwrap_err().status, StatusCode::BAD_REQUEST);
        }
    }
}
