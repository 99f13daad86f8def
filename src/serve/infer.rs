//! The Open Inference Protocol: metadata of models, and tensors in and out.

use std::borrow::Cow;

use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::HeaderMap;
use serde_json::{json, Value};

use super::app::App;
use super::body::object_from_json;
use super::http_error::{json_reply, reply, HttpError, Reply};
use super::infer_request::{InferRequest, RequestedOutput};
use super::infer_tensors::{InferOutput, OutputElements};
use super::queue::{Answer, Work};
use super::sequences;
use super::served_model::{ServedModel, ServedPredictor};
use super::url_name::escaped;
use crate::data::mnist::{COLUMNS, PIXELS, ROWS};
use crate::files::object::Object;
use crate::predict::{Prediction, SequencePrediction};
use crate::train::tasks::TaskKind;

/// The length of the JSON in front of binary tensors.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// The names of output tensors.
const PROBABILITIES: &str = "probabilities";
const LABEL: &str = "label";
const VALUES: &str = "values";
/// The most images of a request.
const MAX_IMAGES: usize = 4_096;

/// What an answer needs of its request.
struct WantedAnswer {
    id: Option<String>,
    outputs: Vec<Object<RequestedOutput>>,
    /// Whether outputs are binary unless they say otherwise.
    is_binary: bool,
}

/// A model's tensors.
///
/// # Errors
/// 422 for a language model, which has none.
pub(super) fn metadata(model: &ServedModel) -> Result<Value, HttpError> {
    let tensor = |name: &str, datatype: &str, shape: Value| json!({ "name": name, "datatype": datatype, "shape": shape });
    let classes = model.about().outputs().len();
    let (input, outputs) = match model.predictor() {
        ServedPredictor::Images(_) => (
            tensor("pixels", "UINT8", json!([-1, ROWS, COLUMNS])),
            vec![
                tensor(PROBABILITIES, "FP32", json!([-1, classes])),
                tensor(LABEL, "INT64", json!([-1])),
            ],
        ),
        ServedPredictor::Sequences(predictor) => {
            let features = model.about().features().len();
            let outputs = match predictor.spec().target {
                TaskKind::Class => vec![
                    tensor(PROBABILITIES, "FP32", json!([-1, classes])),
                    tensor(LABEL, "INT64", json!([-1])),
                ],
                TaskKind::StepClass => vec![
                    tensor(PROBABILITIES, "FP32", json!([-1, -1, classes])),
                    tensor(LABEL, "INT64", json!([-1, -1])),
                ],
                TaskKind::Numbers => vec![tensor(VALUES, "FP32", json!([-1, classes]))],
                TaskKind::Forecast => {
                    let horizon = classes / features.max(1);
                    vec![tensor(VALUES, "FP32", json!([-1, horizon, features]))]
                }
            };
            (tensor("sequence", "FP32", json!([-1, -1, features])), outputs)
        }
        ServedPredictor::Texts(_) => return Err(continues_texts(model)),
    };
    Ok(json!({
        "name": model.name(),
        "versions": ["1"],
        "platform": "candle-rnn",
        "inputs": [input],
        "outputs": outputs,
    }))
}

/// What a request for tensors of a language model is told.
fn continues_texts(model: &ServedModel) -> HttpError {
    let name = model.name();
    let path = escaped(name);
    HttpError::unfit(format!("{name} continues texts: send a prompt to /v1/generate/{path}"))
}

/// The answer to tensors.
///
/// # Errors
/// 400 for what cannot be read, 404 for an unknown model, 422 for what does not fit it; else as [`App::predict`].
pub(super) async fn infer(
    app: &App,
    model: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, HttpError> {
    let (number, model) = app.model(Some(model), |_| true)?;
    let content = app.bodies.read(headers, body).await?;
    let (work, wanted) = read(model, headers, &content)?;
    // Requests that wait would hold their inputs more than once.
    drop(content);
    let outputs = match app.predict(number, work).await? {
        Answer::Images(found) => {
            let probabilities = found.iter().flat_map(|image| &image.probabilities);
            sequences::check_outputs(probabilities)?;
            of_classes(vec![found.len()], &found)
        }
        Answer::Sequences(found) => {
            sequences::check_predictions(&found)?;
            of_sequences(model, found)?
        }
        Answer::ImageLogits(_)
        | Answer::Steps(_)
        | Answer::StreamSteps(..)
        | Answer::Characters(_) => {
            return Err(HttpError::internal("the prediction is of another kind"))
        }
    };
    write(model, &wanted, outputs)
}

/// What a request asks to predict, and how it wants the answer.
fn read(
    model: &ServedModel,
    headers: &HeaderMap,
    content: &[u8],
) -> Result<(Work, WantedAnswer), HttpError> {
    let (text, mut binary) = content.split_at(json_length(headers, content.len())?);
    let request: InferRequest = object_from_json(text)?;
    request.check(output_names(model)?, PROBABILITIES)?;
    let work = work(model, &request, &mut binary)?;
    if !binary.is_empty() {
        let surplus = binary.len();
        return Err(HttpError::malformed(format!("{surplus} bytes belong to no tensor")));
    }
    let is_binary = request.wants_binary();
    Ok((work, WantedAnswer { id: request.id, outputs: request.outputs, is_binary }))
}

/// The names of a model's output tensors.
///
/// # Errors
/// 422 for a language model, which has none.
fn output_names(model: &ServedModel) -> Result<&'static [&'static str], HttpError> {
    let target = model.about().target().ok_or_else(|| continues_texts(model))?;
    let names: &[&str] = match target {
        TaskKind::Class | TaskKind::StepClass => &[PROBABILITIES, LABEL],
        TaskKind::Numbers | TaskKind::Forecast => &[VALUES],
    };
    Ok(names)
}

/// The number of bytes of JSON.
fn json_length(headers: &HeaderMap, len: usize) -> Result<usize, HttpError> {
    let Some(value) = headers.get(&JSON_LENGTH) else { return Ok(len) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length.filter(|length| *length <= len).ok_or_else(|| {
        HttpError::malformed(format!("{JSON_LENGTH} is {value:?}, the body has {len} bytes"))
    })
}

fn work(
    model: &ServedModel,
    request: &InferRequest,
    binary: &mut &[u8],
) -> Result<Work, HttpError> {
    let expected = match model.predictor() {
        ServedPredictor::Images(_) => "pixels",
        ServedPredictor::Sequences(_) => "sequence",
        ServedPredictor::Texts(_) => return Err(continues_texts(model)),
    };
    let [input] = &request.inputs[..] else {
        let count = request.inputs.len();
        return Err(HttpError::unfit(format!("there is one input, {expected}; got {count}")));
    };
    if input.name != expected {
        let name = &input.name;
        return Err(HttpError::unfit(format!("the input is called {expected}, not {name}")));
    }
    let shape = &input.shape;
    match model.predictor() {
        ServedPredictor::Images(_) => {
            let count = match shape[..] {
                [count, ROWS, COLUMNS] | [count, PIXELS] => count,
                _ => 0,
            };
            if !(1..=MAX_IMAGES).contains(&count) {
                return Err(HttpError::unfit(format!(
                    "pixels must have the shape (N, {ROWS}, {COLUMNS}) with N from 1 to {MAX_IMAGES}, got {shape:?}"
                )));
            }
            let pixels = input.pixels(binary)?;
            Ok(Work::Images(pixels.chunks_exact(PIXELS).map(<[u8]>::to_vec).collect()))
        }
        ServedPredictor::Sequences(predictor) => {
            let features = model.about().features().len();
            let [count, steps, width] = shape[..] else {
                return Err(HttpError::unfit(format!(
                    "sequence must have the shape (N, T, {features}), got {shape:?}"
                )));
            };
            if count == 0 || steps == 0 || width != features {
                return Err(HttpError::unfit(format!(
                    "sequence must have the shape (N, T, {features}) with N and T at least 1, got {shape:?}"
                )));
            }
            let numbers = input.numbers(binary)?;
            let all: Vec<Vec<f32>> =
                numbers.chunks_exact(steps * features).map(<[f32]>::to_vec).collect();
            sequences::check(predictor, &all)?;
            Ok(Work::Sequences(all))
        }
        ServedPredictor::Texts(_) => Err(continues_texts(model)),
    }
}

/// Probabilities and labels; `shape` is that of the labels.
fn of_classes<'a>(
    shape: Vec<usize>,
    found: impl IntoIterator<Item = &'a Prediction>,
) -> Vec<InferOutput> {
    let (mut probabilities, mut labels) = (Vec::new(), Vec::new());
    for prediction in found {
        probabilities.extend(prediction.probabilities.iter().map(|value| *value as f32));
        labels.push(prediction.label as i64);
    }
    let classes = probabilities.len() / labels.len().max(1);
    let of_probabilities = [&shape[..], &[classes]].concat();
    vec![
        InferOutput {
            name: PROBABILITIES,
            shape: of_probabilities,
            elements: OutputElements::Fp32(probabilities),
        },
        InferOutput { name: LABEL, shape, elements: OutputElements::Int64(labels) },
    ]
}

fn of_sequences(
    model: &ServedModel,
    found: Vec<SequencePrediction>,
) -> Result<Vec<InferOutput>, HttpError> {
    let other = || HttpError::internal("the predictions are of different kinds");
    let count = found.len();
    match found.first() {
        None => Err(HttpError::internal("there is no prediction")),
        Some(SequencePrediction::Class(_)) => {
            let classes: Option<Vec<&Prediction>> =
                found.iter().map(SequencePrediction::class).collect();
            Ok(of_classes(vec![count], classes.ok_or_else(other)?))
        }
        Some(SequencePrediction::Steps(first)) => {
            let shape = vec![count, first.len()];
            let steps: Option<Vec<&[Prediction]>> =
                found.iter().map(SequencePrediction::steps).collect();
            Ok(of_classes(shape, steps.ok_or_else(other)?.into_iter().flatten()))
        }
        Some(SequencePrediction::Numbers(first)) => {
            let features = model.about().features().len().max(1);
            let is_forecast = model.about().target() == Some(TaskKind::Forecast);
            let shape = if is_forecast {
                vec![count, first.len() / features, features]
            } else {
                vec![count, first.len()]
            };
            let numbers: Option<Vec<&[f64]>> =
                found.iter().map(SequencePrediction::numbers).collect();
            let numbers = numbers.ok_or_else(other)?;
            let values = numbers.into_iter().flatten().map(|value| *value as f32).collect();
            let elements = OutputElements::Fp32(values);
            Ok(vec![InferOutput { name: VALUES, shape, elements }])
        }
    }
}

/// The outputs that were asked for, as they were asked for.
fn write(
    model: &ServedModel,
    wanted: &WantedAnswer,
    outputs: Vec<InferOutput>,
) -> Result<Reply, HttpError> {
    let default = wanted.is_binary;
    let all: Vec<(Cow<InferOutput>, bool)> = if wanted.outputs.is_empty() {
        outputs.iter().map(|output| (Cow::Borrowed(output), default)).collect()
    } else {
        let classes = model.about().outputs();
        let find = |requested: &Object<RequestedOutput>| {
            let found = outputs.iter().find(|output| output.name == requested.name);
            let found = found.ok_or_else(|| HttpError::internal("the model has other outputs"))?;
            let output = match requested.classification() {
                None => Cow::Borrowed(found),
                Some(count) => Cow::Owned(found.most_probable(count, &classes)),
            };
            Ok((output, requested.is_binary().unwrap_or(default)))
        };
        wanted.outputs.iter().map(find).collect::<Result<_, HttpError>>()?
    };
    let mut binary = Vec::new();
    let mut tensor = |(output, is_binary): &(Cow<InferOutput>, bool)| {
        if *is_binary {
            output.binary(&mut binary)
        } else {
            output.json()
        }
    };
    let tensors: Vec<Value> = all.iter().map(&mut tensor).collect();
    let mut answer =
        json!({ "model_name": model.name(), "model_version": "1", "outputs": tensors });
    if let Some(id) = &wanted.id {
        answer["id"] = json!(id);
    }
    if binary.is_empty() {
        return Ok(json_reply(&answer));
    }
    let mut content = answer.to_string().into_bytes();
    let length = HeaderValue::from(content.len());
    content.append(&mut binary);
    let mut answer = reply("application/octet-stream", Bytes::from(content));
    answer.headers_mut().insert(JSON_LENGTH, length);
    Ok(answer)
}
