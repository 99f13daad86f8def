//! `/v1/steps`: a sequence or an image in; belief, hidden state and saliency after every step out.

use hyper::body::Incoming;
use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{json, Value};

use super::app::App;
use super::body::{from_base64, object_from_json};
use super::http_error::{json_reply, HttpError, Reply};
use super::number_list::NumberList;
use super::queue::{Answer, Work};
use super::sequences;
use super::served_model::{ServedModel, ServedPredictor};
use super::url_name::escaped;
use crate::data::mnist::{COLUMNS, PIXELS, ROWS};
use crate::train::most_likely;
use crate::train::tasks::TaskKind;

/// The most numbers of all hidden states of an answer.
const MAX_HIDDEN: usize = 1 << 20;

/// A request: of one of the three inputs, and of a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepsRequest {
    /// The name of the model; by default the first that reads such an input.
    #[serde(default)]
    model: Option<String>,
    /// A PNG or JPEG picture in base64.
    #[serde(default)]
    picture: Option<String>,
    /// `(28, 28)` pixels from 0 to 255, nested or flat.
    #[serde(default)]
    pixels: Option<NumberList>,
    /// `(T, I)` numbers; `null` is a missing value.
    #[serde(default)]
    sequence: Option<NumberList>,
    /// Whether the answer has hidden states.
    #[serde(default = "yes")]
    hidden: bool,
}

fn yes() -> bool {
    true
}

/// Answers with a network's predictions and hidden states after each step.
///
/// # Errors
/// 400 for what cannot be read, 404 for an unknown model, 422 for what does not fit it; else as [`App::predict`].
pub(super) async fn steps(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, HttpError> {
    let content = app.bodies.read(headers, body).await?;
    let mut request: StepsRequest = object_from_json(&content)?;
    drop(content);
    let inputs = [request.picture.is_some(), request.pixels.is_some(), request.sequence.is_some()];
    if inputs.iter().filter(|is_there| **is_there).count() != 1 {
        return Err(HttpError::malformed(
            "a request has one of picture, pixels and sequence, and no other of them",
        ));
    }
    let wants_images = request.sequence.is_none();
    let suits = |model: &ServedModel| match model.predictor() {
        ServedPredictor::Images(_) => wants_images,
        ServedPredictor::Sequences(_) => !wants_images,
        ServedPredictor::Texts(_) => false,
    };
    let (number, model) = app.model(request.model.as_deref(), suits)?;
    if !suits(model) {
        let input = match model.predictor() {
            ServedPredictor::Images(_) => "a picture or pixels",
            ServedPredictor::Sequences(_) => "a sequence",
            ServedPredictor::Texts(_) => "texts: send a prompt to /v1/generate",
        };
        return Err(HttpError::unfit(format!("{} reads {input}", model.name())));
    }
    if !model.about().has_steps() {
        let (name, path) = (model.name(), escaped(model.name()));
        return Err(HttpError::unfit(format!(
            "{name} forecasts from a whole window: send it to /v2/models/{path}/infer"
        )));
    }
    let mut warning = None;
    let mut pixels = None;
    let work = if let Some(sequence) = &request.sequence {
        Work::SequenceSteps(read_sequence(model, sequence, request.hidden)?)
    } else {
        check_steps(model, model.max_steps())?;
        let image = if let Some(picture) = request.picture.take() {
            let content = from_base64(&picture)?;
            drop(picture);
            let digit = app.in_time(app.pictures.read(content)).await??;
            warning =
                digit.doubt.filter(|_| model.about().is_of_digits()).map(|doubt| doubt.to_string());
            digit.pixels
        } else {
            read_pixels(request.pixels.as_ref())?
        };
        pixels = Some(image.clone());
        Work::ImageSteps(image)
    };
    let wants_hidden = request.hidden;
    // Requests that wait would hold their inputs more than once.
    drop(request);
    let Answer::Steps(trace) = app.predict(number, work).await? else {
        return Err(HttpError::internal("the prediction is of another kind"));
    };
    sequences::check_outputs(trace.outputs.iter().flatten())?;
    let outputs = model.about().outputs();
    let mut answer = json!({
        "model": model.name(),
        "names": outputs,
        "prediction": prediction(model, &outputs, trace.outputs.last()),
        "outputs": trace.outputs,
        "saliency": trace.saliency,
    });
    if wants_hidden && model.about().has_hidden() {
        answer["hidden"] = json!(trace.hidden);
    }
    if let Some(pixels) = pixels {
        answer["pixels"] = json!(pixels);
    }
    if let Some(warning) = warning {
        answer["warning"] = json!(warning);
    }
    Ok(json_reply(&answer))
}

/// The last prediction: the name of the class, or the numbers.
pub(super) fn prediction(model: &ServedModel, names: &[String], last: Option<&Vec<f64>>) -> Value {
    let Some(last) = last else { return Value::Null };
    if model.about().target() == Some(TaskKind::Numbers) {
        return json!(last);
    }
    json!(names.get(most_likely(last)))
}

/// Checks that there are not too many steps for a model.
fn check_steps(model: &ServedModel, steps: usize) -> Result<(), HttpError> {
    let (about, most) = (model.about(), model.about().max_steps());
    if (1..=most).contains(&steps) {
        return Ok(());
    }
    Err(HttpError::unfit(if about.has_hidden() {
        format!("a sequence has from 1 to {most} steps here, got {steps}")
    } else {
        format!(
            "{} reads each beginning of a sequence by itself: one of 1 to {most} steps, got {steps}",
            model.name()
        )
    }))
}

fn read_pixels(list: Option<&NumberList>) -> Result<Vec<u8>, HttpError> {
    let Some(list) = list else { return Err(HttpError::malformed("there are no pixels")) };
    if list.shape[..] != [ROWS, COLUMNS] && list.shape[..] != [PIXELS] {
        let shape = &list.shape;
        return Err(HttpError::unfit(format!(
            "pixels must have the shape ({ROWS}, {COLUMNS}) or ({PIXELS},), got {shape:?}"
        )));
    }
    list.pixels()
}

fn read_sequence(
    model: &ServedModel,
    list: &NumberList,
    wants_hidden: bool,
) -> Result<Vec<f32>, HttpError> {
    let ServedPredictor::Sequences(predictor) = model.predictor() else {
        return Err(HttpError::unfit(format!("{} reads images", model.name())));
    };
    let features = model.about().features().len();
    let steps = match list.shape[..] {
        [steps, width] if width == features => steps,
        [steps] if features == 1 => steps,
        _ => {
            return Err(HttpError::unfit(format!(
                "sequence must have the shape (T, {features}), a value for each of {}; got {:?}",
                model.about().features().join(", "),
                list.shape
            )))
        }
    };
    check_steps(model, steps)?;
    if wants_hidden
        && model.about().has_hidden()
        && steps.saturating_mul(model.hidden_size()) > MAX_HIDDEN
    {
        return Err(HttpError::unfit(format!(
            "{steps} hidden states of {} numbers are too many for an answer: ask without them, \"hidden\": false",
            model.hidden_size()
        )));
    }
    let sequence: Vec<f32> = list.values.iter().map(|value| *value as f32).collect();
    sequences::check(predictor, std::slice::from_ref(&sequence))?;
    Ok(sequence)
}
