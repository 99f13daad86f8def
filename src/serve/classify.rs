//! Hugging Face's image classification: a picture in, labels with scores out.

use hyper::body::{Bytes, Incoming};
use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{json, Value};

use super::app::App;
use super::body::{from_base64, is_declared, is_text, object_from_json};
use super::http_error::{json_reply, HttpError, Reply};
use super::queue::{Answer, Work};
use super::sequences::check_outputs;
use super::served_model::{ServedModel, ServedPredictor};
use super::unknown_parameters::UnknownParameters;
use crate::data::mnist::PIXELS;
use crate::files::object::Object;

/// A request in JSON.
#[derive(Deserialize)]
struct ClassifyRequest {
    /// A picture in base64.
    inputs: String,
    #[serde(default)]
    parameters: Option<Object<ClassifyParameters>>,
}

#[derive(Default, Deserialize)]
struct ClassifyParameters {
    #[serde(default)]
    top_k: Option<usize>,
    #[serde(default)]
    function_to_apply: Option<String>,
    #[serde(flatten)]
    unknown: UnknownParameters,
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyKind {
    /// A request in JSON.
    Json,
    /// A text of another kind, which is neither a picture nor pixels.
    Text,
    /// The bytes of a picture, or pixels.
    Bytes,
}

impl BodyKind {
    /// What a body holds by what the request says of it, or else by its content.
    fn of(headers: &HeaderMap, content: &[u8]) -> Self {
        if is_declared(headers, "application/json") {
            return Self::Json;
        }
        if content.is_empty()
            || is_declared(headers, "application/octet-stream")
            || !is_text(content)
        {
            return Self::Bytes;
        }
        if matches!(content.trim_ascii_start().first(), Some(b'{' | b'[')) {
            Self::Json
        } else {
            Self::Text
        }
    }
}

/// What a score is of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScoreKind {
    /// Its probability: the scores sum to 1.
    Softmax,
    /// The logistic function of its logit.
    Sigmoid,
    /// Its logit, what the network gives.
    Logit,
}

impl ClassifyParameters {
    /// What scores are asked for.
    ///
    /// # Errors
    /// 422 for a parameter that there is not, or that cannot have such a value.
    fn score_kind(&self) -> Result<ScoreKind, HttpError> {
        self.unknown.refuse("image classification", "top_k and function_to_apply")?;
        if self.top_k == Some(0) {
            return Err(HttpError::unfit("top_k must be at least 1, got 0"));
        }
        match self.function_to_apply.as_deref() {
            None | Some("softmax") => Ok(ScoreKind::Softmax),
            Some("sigmoid") => Ok(ScoreKind::Sigmoid),
            Some("none") => Ok(ScoreKind::Logit),
            Some(other) => Err(HttpError::unfit(format!(
                "function_to_apply must be softmax, sigmoid or none, got {other}"
            ))),
        }
    }
}

/// Whether a model classifies images.
pub(super) fn is_of_images(model: &ServedModel) -> bool {
    matches!(model.predictor(), ServedPredictor::Images(_))
}

/// The classes of a picture, the most probable first.
///
/// # Errors
/// 400 for what cannot be read, 404 for an unknown model, 422 for what does not fit it; else as [`App::predict`].
pub(super) async fn classify(
    app: &App,
    model: Option<&str>,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, HttpError> {
    let (number, model) = app.model(model, is_of_images)?;
    if !is_of_images(model) {
        let name = model.name();
        return Err(HttpError::unfit(format!(
            "{name} reads no pictures: /v1/models says what it reads"
        )));
    }
    let content = app.bodies.read(headers, body).await?;
    let body_kind = BodyKind::of(headers, &content);
    let (picture, parameters) = match body_kind {
        BodyKind::Json => {
            let request: ClassifyRequest = object_from_json(&content)?;
            drop(content);
            (from_base64(&request.inputs)?, request.parameters.unwrap_or_default().0)
        }
        BodyKind::Text => {
            return Err(HttpError::malformed(
                "the body is a text: send a PNG or JPEG picture as it is, JSON with one in base64, {\"inputs\": \"..\"}, \
                 or 28 x 28 pixels as application/octet-stream",
            ))
        }
        BodyKind::Bytes => (content, ClassifyParameters::default()),
    };
    let kind = parameters.score_kind()?;
    let pixels = pixels(app, picture, body_kind == BodyKind::Bytes).await?;
    let work = match kind {
        ScoreKind::Softmax => Work::Images(vec![pixels]),
        ScoreKind::Sigmoid | ScoreKind::Logit => Work::ImageLogits(pixels),
    };
    let values: Vec<f64> = match app.predict(number, work).await? {
        Answer::Images(found) => found.into_iter().next().map(|found| found.probabilities),
        Answer::ImageLogits(logits) if kind == ScoreKind::Logit => Some(logits),
        Answer::ImageLogits(logits) => {
            Some(logits.into_iter().map(|logit| 1. / (1. + (-logit).exp())).collect())
        }
        _ => None,
    }
    .ok_or_else(|| HttpError::internal("the prediction is of another kind"))?;
    check_outputs(&values)?;
    Ok(json_reply(&scores(&values, &model.about().outputs(), parameters.top_k)))
}

/// The pixels of a picture; 784 bytes that are none are pixels themselves where they `may_be_pixels`.
async fn pixels(app: &App, content: Bytes, may_be_pixels: bool) -> Result<Vec<u8>, HttpError> {
    if content.is_empty() {
        return Err(HttpError::malformed("the body is empty: send a PNG or JPEG picture"));
    }
    let is_picture = content.starts_with(b"\x89PNG") || content.starts_with(b"\xff\xd8\xff");
    if may_be_pixels && content.len() == PIXELS && !is_picture {
        return Ok(content.to_vec());
    }
    Ok(app.in_time(app.pictures.read(content)).await??.pixels)
}

/// Labels with their scores, the highest first.
fn scores(values: &[f64], labels: &[String], top_k: Option<usize>) -> Vec<Value> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(top_k.unwrap_or(usize::MAX));
    let score = |class: usize| json!({ "label": labels[class], "score": values[class] });
    order.into_iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_in_order() {
        let found = [0.2, 0.5, 0.3];
        let labels = ["a", "b", "c"].map(String::from);
        let expected = [json!({"label": "b", "score": 0.5}), json!({"label": "c", "score": 0.3})];
        assert_eq!(scores(&found, &labels, Some(2)), expected);
        assert_eq!(scores(&found, &labels, None).len(), 3);
    }
}
