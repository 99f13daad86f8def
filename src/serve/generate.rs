//! `/v1/generate`: a prompt in, the text that continues it out, whole or as events.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::app::App;
use super::body::object_from_json;
use super::events::events;
use super::http_error::{json_reply, HttpError, Reply};
use super::queue::{Answer, Work};
use super::served_model::{ServedModel, ServedPredictor};
use crate::predict::{GenerateConfig, Generator, TextStream};

/// The most characters that are added.
const MAX_LENGTH: usize = 1 << 16;
/// The most characters of a prompt.
const MAX_PROMPT: usize = 1 << 16;
/// How many characters are read or drawn before it is another request's turn.
const AT_A_TIME: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerateRequest {
    prompt: String,
    /// The number of characters to add.
    #[serde(default)]
    length: Option<usize>,
    #[serde(default)]
    temperature: Option<f64>,
    /// Draw from so many of the most likely characters alone; by default from all.
    #[serde(default)]
    top_k: Option<usize>,
    #[serde(default)]
    seed: Option<u64>,
    /// Whether the answer is events, with the text as it is drawn.
    #[serde(default)]
    stream: bool,
}

impl GenerateRequest {
    fn config(&self) -> Result<GenerateConfig, HttpError> {
        let default = GenerateConfig::default();
        let config = GenerateConfig {
            length: self.length.unwrap_or(default.length),
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k,
            seed: self.seed.unwrap_or(default.seed),
        };
        config.check().map_err(|error| HttpError::unfit(error.to_string()))?;
        if config.length > MAX_LENGTH {
            let length = config.length;
            return Err(HttpError::unfit(format!(
                "length must be at most {MAX_LENGTH}, got {length}"
            )));
        }
        let prompt = self.prompt.chars().take(MAX_PROMPT + 1).count();
        if prompt > MAX_PROMPT {
            return Err(HttpError::unfit(format!(
                "a prompt has at most {MAX_PROMPT} characters: send its end"
            )));
        }
        Ok(config)
    }
}

/// A text that is being continued.
type OpenText = Arc<Mutex<TextStream<Arc<Generator>>>>;

/// The text that continues a prompt.
///
/// # Errors
/// 400 for what cannot be read, 404 for an unknown model, 422 for what does not fit it, 503 for events when too many
/// streams are open; else as [`App::predict`].
pub(super) async fn generate(
    app: &Arc<App>,
    model: Option<&str>,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, HttpError> {
    let is_of_texts = |model: &ServedModel| matches!(model.predictor(), ServedPredictor::Texts(_));
    let (number, model) = app.model(model, is_of_texts)?;
    let ServedPredictor::Texts(generator) = model.predictor() else {
        let name = model.name();
        return Err(HttpError::unfit(format!("{name} continues no texts")));
    };
    let content = app.bodies.read(headers, body).await?;
    let request: GenerateRequest = object_from_json(&content)?;
    drop(content);
    let config = request.config()?;
    let text = TextStream::new(Arc::clone(generator), &request.prompt, &config);
    let text = text.map_err(|error| HttpError::unfit(of_prompt(&error.to_string())))?;
    // The prompt, whose last character is read when the first is drawn.
    let steps = (request.prompt.chars().count() + config.length).saturating_sub(1);
    let text: OpenText = Arc::new(Mutex::new(text));
    if request.stream {
        return stream(app, number, text, steps, config.length);
    }
    let drawn = app.in_time(whole(app, number, &text, steps)).await??;
    Ok(json_reply(&json!({
        "model": model.name(),
        "prompt": request.prompt,
        "prompt_bits_per_character": prompt_bits(&text),
        "text": drawn,
    })))
}

/// Bits per character of the prompt, of those characters that have one before them; `None` where none has, or none was
/// read because none is drawn.
fn prompt_bits(text: &OpenText) -> Option<f64> {
    let text = text.lock().unwrap_or_else(PoisonError::into_inner);
    // JSON has no infinity.
    text.prompt_bits_per_character().filter(|bits| bits.is_finite())
}

/// A prompt has no lines, of which the library speaks.
fn of_prompt(error: &str) -> String {
    format!("prompt: {}", error.strip_prefix("line 1: ").unwrap_or(error))
}

async fn whole(
    app: &App,
    number: usize,
    text: &OpenText,
    steps: usize,
) -> Result<String, HttpError> {
    let mut drawn = String::new();
    for begin in (0..steps).step_by(AT_A_TIME) {
        let work = Work::Characters(Arc::clone(text), AT_A_TIME.min(steps - begin));
        // Once it was admitted, it goes on.
        let answer = if begin == 0 {
            app.predict(number, work).await?
        } else {
            app.predict_in_turn(number, work).await?
        };
        drawn.push_str(&characters(answer)?);
    }
    Ok(drawn)
}

fn characters(answer: Answer) -> Result<String, HttpError> {
    match answer {
        Answer::Characters(drawn) => Ok(drawn),
        _ => Err(HttpError::internal("the prediction is of another kind")),
    }
}

/// The text as events.
fn stream(
    app: &Arc<App>,
    number: usize,
    text: OpenText,
    steps: usize,
    length: usize,
) -> Result<Reply, HttpError> {
    let slot = app.open_stream()?;
    let app = Arc::clone(app);
    let (mut events, reply) = events();
    tokio::spawn(async move {
        for begin in (0..steps).step_by(AT_A_TIME) {
            let work = Work::Characters(Arc::clone(&text), AT_A_TIME.min(steps - begin));
            let drawn = app.predict_in_turn(number, work).await.and_then(characters);
            let drawn = match drawn {
                Ok(drawn) => drawn,
                Err(error) => return events.fail(&error, &json!({})).await,
            };
            if drawn.is_empty() {
                continue;
            }
            events.add("text", &json!({ "text": drawn }));
            if events.send().await.is_err() {
                return;
            }
        }
        let bits = prompt_bits(&text);
        events.add("end", &json!({ "length": length, "prompt_bits_per_character": bits }));
        // The client may have gone.
        let _ = events.send().await;
        drop(slot);
    });
    Ok(reply)
}
