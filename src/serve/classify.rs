//! Hugging Face's image classification: a picture in, labels with scores out.

use hyper::body::{Bytes, Incoming};
use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{json, Value};

use super::app::App;
use super::body::{from_base64, from_json, is_json};
use super::http_error::{json_reply, HttpError, Reply};
use super::queue::{Answer, Work};
use super::served_model::{ServedModel, ServedPredictor};
use crate::data::mnist::PIXELS;
use crate::predict::Prediction;

/// A request in JSON.
#[derive(Deserialize)]
struct ClassifyRequest {
    /// A picture in base64.
    inputs: String,
    #[serde(default)]
    parameters: Option<ClassifyParameters>,
}

#[derive(Default, Deserialize)]
struct ClassifyParameters {
    #[serde(default)]
    top_k: Option<usize>,
    #[serde(default)]
    function_to_apply: Option<String>,
}

impl ClassifyParameters {
    fn check(&self) -> Result<(), HttpError> {
        if self.top_k == Some(0) {
            return Err(HttpError::unfit("top_k must be at least 1, got 0"));
        }
        match self.function_to_apply.as_deref() {
            None | Some("softmax") => Ok(()),
            Some(other) => Err(HttpError::unfit(format!(
                "function_to_apply must be softmax, got {other}: scores are probabilities"
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
    let is_in_json = is_json(headers);
    let (picture, parameters) = if is_in_json {
        let request: ClassifyRequest = from_json(&content)?;
        drop(content);
        (from_base64(&request.inputs)?, request.parameters.unwrap_or_default())
    } else {
        (content, ClassifyParameters::default())
    };
    parameters.check()?;
    let pixels = pixels(app, picture, is_in_json).await?;
    let answer = app.predict(number, Work::Images(vec![pixels])).await?;
    let Answer::Images(found) = answer else {
        return Err(HttpError::internal("the prediction is of another kind"));
    };
    let Some(found) = found.first() else {
        return Err(HttpError::internal("there is no prediction"));
    };
    Ok(json_reply(&scores(found, &model.about().outputs(), parameters.top_k)))
}

/// The pixels of a picture; a body of 784 bytes that is none is pixels itself, unless it is in JSON.
async fn pixels(app: &App, content: Bytes, is_in_json: bool) -> Result<Vec<u8>, HttpError> {
    if content.is_empty() {
        return Err(HttpError::malformed("the body is empty: send a PNG or JPEG picture"));
    }
    let is_picture = content.starts_with(b"\x89PNG") || content.starts_with(b"\xff\xd8\xff");
    if !is_in_json && content.len() == PIXELS && !is_picture {
        return Ok(content.to_vec());
    }
    Ok(app.in_time(app.pictures.read(content)).await??.pixels)
}

/// Labels with their scores, the most probable first.
fn scores(found: &Prediction, labels: &[String], top_k: Option<usize>) -> Vec<Value> {
    let probabilities = &found.probabilities;
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    order.truncate(top_k.unwrap_or(usize::MAX));
    let score = |class: usize| json!({ "label": labels[class], "score": probabilities[class] });
    order.into_iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_in_order() {
        let found = Prediction { label: 1, probabilities: vec![0.2, 0.5, 0.3] };
        let labels = ["a", "b", "c"].map(String::from);
        let expected = [json!({"label": "b", "score": 0.5}), json!({"label": "c", "score": 0.3})];
        assert_eq!(scores(&found, &labels, Some(2)), expected);
        assert_eq!(scores(&found, &labels, None).len(), 3);
    }
}
