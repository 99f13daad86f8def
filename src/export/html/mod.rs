//! A run as a page in one file, which runs without a server and without a network connection.
//!
//! The file is the server's page, with the network in it in place of the server: programs, which `just wasm` makes of
//! the crate in kernels/web, the weights, and `file.js`, which stands between them and the page.
//!
//! - `network`: the weights as the program in the page reads them
//! - `programs`: a program for each cell, and one that reads drawings

mod network;
mod programs;

use std::io::Write as _;
use std::path::Path;

use base64::prelude::{Engine as _, BASE64_STANDARD};
use flate2::write::GzEncoder;
use flate2::Compression;
use serde_json::{json, Value};

use super::trained::{TaskRun, TrainedRun};
use crate::model::ClassifierConfig;
use crate::page::{page, run_name, AboutRun};
use crate::train::tasks::TaskKind;
use crate::{Error, Result};

/// The script that asks the network in place of a server.
const CONNECTION: &str = include_str!("file.js");
/// The page's content security policy: it runs what is in the file, and cannot send or fetch anything.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval'; \
                      style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
/// The most features, units and outputs of a network in a page.
const MAX_SIZE: usize = 1 << 14;

/// The page of a run directory, or of a checkpoint of it: HTML that holds the weights, in `f32`, and the program that
/// computes with them.
///
/// # Errors
/// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run; [`Error::Config`] for a run
/// that the page does not show: a language model, a network that reads too long sequences several times or that is too
/// large; [`Error::Weight`] for a weight beyond the range of `f32`.
pub fn html(run: &Path) -> Result<String> {
    let trained = TrainedRun::read(run)?;
    let refused = |reason: String| Error::Config(format!("{}: {reason}", run.display()));
    let about = match &trained.task {
        TaskRun::Images(config) => AboutRun::Images(&config.task),
        TaskRun::Sequences(config) => AboutRun::Sequences(&config.task),
        TaskRun::Text(config) => AboutRun::Text(&config.task),
    };
    let Some(model) = about.classifier() else {
        return Err(refused(
            "a page shows runs of images or of sequences, and this is a language model".into(),
        ));
    };
    if let Some(reason) = unsuited(about, model) {
        return Err(refused(reason));
    }
    let network = network::bytes(&trained, model, about.target() == Some(TaskKind::StepClass))?;
    let mut parts = vec![
        ("part-run", "application/json", as_text(&described(about, model, &run_name(run)))),
        ("part-program", "application/gzip", packed(programs::of_cell(about.network().cell))?),
        ("part-network", "application/gzip", packed(&network)?),
    ];
    if about.view().is_some() {
        parts.push(("part-drawing", "application/gzip", packed(programs::DRAWING)?));
    }
    if let Some(samples) = samples(about)? {
        parts.push(("part-samples", "application/gzip", samples));
    }
    let parts = parts.iter().map(|(id, kind, content)| {
        format!("<script type=\"{kind}\" id=\"{id}\">{content}</script>\n")
    });
    let head = format!(
        "<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">"
    );
    let whole = page(CONNECTION).replacen("<meta charset=\"utf-8\">", &head, 1);
    Ok(whole.replacen("<script>", &format!("{}<script>", parts.collect::<String>()), 1))
}

/// Why the page does not show a run, if it does not.
fn unsuited(about: AboutRun, model: &ClassifierConfig) -> Option<String> {
    let steps = about.view().map_or(0, |view| view.seq_len());
    let most = about.max_steps();
    if steps > most {
        return Some(format!(
            "the network reads each beginning of a sequence by itself, at most {most} steps of it in a page, and an image \
             has {steps}"
        ));
    }
    let sizes = [model.input_size, model.network.hidden_size, model.num_classes];
    sizes.iter().any(|size| *size > MAX_SIZE).then(|| {
        format!("a page holds at most {MAX_SIZE} features, units and outputs, the network has {sizes:?}")
    })
}

/// The description of the run that the page reads besides its weights.
fn described(about: AboutRun, model: &ClassifierConfig, name: &str) -> Value {
    let mut described = json!({
        "about": about.json(name),
        "input_size": model.input_size,
        "max_steps": about.max_steps(),
    });
    match about {
        AboutRun::Images(config) => described["order"] = json!(config.training.view.order()),
        AboutRun::Sequences(config) => {
            described["preprocessor"] = json!(config.spec.preprocessor);
            described["target_scaler"] = json!(config.spec.target_scaler);
        }
        AboutRun::Text(_) => (),
    }
    if cfg!(not(feature = "sample")) {
        described["about"]["digits"] = json!(false);
    }
    described
}

/// Digits to be read, compressed, for runs of digits and where the library has some.
fn samples(about: AboutRun) -> Result<Option<String>> {
    #[cfg(feature = "sample")]
    if about.is_of_digits() {
        return packed(crate::page::samples()?.to_string().as_bytes()).map(Some);
    }
    #[cfg(not(feature = "sample"))]
    let _ = about;
    Ok(None)
}

/// JSON that ends no script.
fn as_text(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

/// Compressed with gzip, in base64.
fn packed(content: &[u8]) -> Result<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(content).and_then(|()| encoder.finish());
    let compressed = compressed
        .map_err(|error| Error::Config(format!("the page cannot be compressed: {error}")))?;
    Ok(BASE64_STANDARD.encode(compressed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recurrence::Cell;

    #[test]
    fn names_in_json_end_no_script() {
        let text = as_text(&json!({ "a": "</script><script>" }));
        assert!(!text.contains('<'));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["a"], "</script><script>");
    }

    #[test]
    fn each_program_is_wasm_of_at_most_100_kb() {
        let of_cells = Cell::ALL.map(programs::of_cell);
        for program in of_cells.into_iter().chain([programs::DRAWING]) {
            assert!(program.starts_with(b"\0asm\x01\0\0\0"));
            assert!(program.len() <= 100_000, "{}", program.len());
        }
        // The reference job's page holds these two.
        let len = programs::of_cell(Cell::Tanh).len() + programs::DRAWING.len();
        assert!(len <= 100_000, "{len}");
    }
}
