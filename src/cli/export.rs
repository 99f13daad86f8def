//! `candle-rnn export`: a run in the formats of other programs.

use std::path::{Path, PathBuf};

use candle_rnn::export::{self, HalfModel, HalfPlace, IfThere, OnnxGraphKind, StateDictFormat};
use candle_rnn::export::{OnnxModel, Port};
use serde_json::{json, Value};

use super::device::Compute;
use super::halved::{self, Change};
use super::screen;
use super::usage::wrong_usage;

/// Export a run: as a web page, as ONNX, as PyTorch weights, or with its weights in f16
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("format").required(true).multiple(true)))]
#[command(after_help = "Example:
  candle-rnn export runs/0001 --onnx digits.onnx
  candle-rnn export runs/0001 --onnx digits-step.onnx --streaming
  candle-rnn export runs/0001 --pytorch digits.pt
  candle-rnn export runs/0001 --half runs/0001-half
  candle-rnn export runs/0001 --html digit.html")]
pub(super) struct ExportArgs {
    /// Run directory, or a checkpoint of it
    run: PathBuf,
    /// Write an ONNX file (opset 17) that takes raw values: preprocessing and the scaling back of numbers are in its
    /// graph
    #[arg(long, value_name = "FILE", group = "format")]
    onnx: Option<PathBuf>,
    /// With --onnx: a graph of one step, whose states are inputs and outputs
    #[arg(long, requires = "onnx")]
    streaming: bool,
    /// Write the weights as a PyTorch state dict, .pt or .safetensors
    #[arg(long, value_name = "FILE", group = "format")]
    pytorch: Option<PathBuf>,
    /// Write the weights in f16 and measure the loss of accuracy: a file if it is called .safetensors, else a folder that
    /// loads as a run
    #[arg(long, value_name = "DIR|FILE", group = "format")]
    half: Option<PathBuf>,
    /// Write a web page in one file, to be opened from disk: the page of `candle-rnn serve`, with the network in it
    #[arg(long, value_name = "FILE", group = "format")]
    html: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
    /// Data that --half is measured on: of a run of images `sample` or a folder, as for eval, of others a file [default:
    /// the data of the run, if they are on this machine]
    #[arg(long, value_name = "DIR|sample|FILE", requires = "half")]
    data: Option<PathBuf>,
    #[command(flatten)]
    compute: Compute,
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { run, onnx, streaming, pytorch, half, html, overwrite, data, compute, json } =
        args;
    let format = pytorch.as_deref().map(format_of).transpose()?;
    let device = compute.open()?;
    let if_there = if overwrite { IfThere::Replace } else { IfThere::Refuse };
    let kind = if streaming { OnnxGraphKind::Step } else { OnnxGraphKind::Whole };
    let files: Vec<&PathBuf> = [&onnx, &pytorch, &html].into_iter().flatten().collect();
    check_places(&run, &files.iter().copied().chain(&half).collect::<Vec<_>>())?;
    files.iter().try_for_each(|path| export::check_place(path, if_there))?;
    half.iter().try_for_each(|path| export::check_half_place(path, place_of(path), if_there))?;
    // All is made before the first file is written.
    let model = onnx.is_some().then(|| export::onnx(&run, kind)).transpose()?;
    let weights = format
        .map(|format| export::state_dict_bytes(&export::state_dict(&run)?, format))
        .transpose()?;
    let page = html.is_some().then(|| export::html(&run)).transpose()?;
    let halved = half.is_some().then(|| export::half(&run)).transpose()?;
    // Weights alone are measured where their configuration is.
    let change =
        halved.as_ref().map(|model| halved::measure(&run, model, data.as_deref(), &device));
    let change = match change {
        // What was asked for is measured, or nothing is written.
        Some(Err(reason)) if data.is_some() => return Err(reason),
        change => change,
    };
    if let (Some(path), Some(model)) = (onnx, model) {
        export::save(&path, &model.bytes, if_there)?;
        say_onnx(&path, &model, json)?;
    }
    if let (Some(path), Some(weights)) = (pytorch, weights) {
        export::save(&path, &weights, if_there)?;
        say(json, &written(&path, "pytorch", "a PyTorch state dict", weights.len()), &[])?;
    }
    if let (Some(path), Some(page)) = (html, page) {
        export::save(&path, page.as_bytes(), if_there)?;
        say(json, &written(&path, "html", "a web page, to be opened from disk", page.len()), &[])?;
    }
    if let (Some(path), Some(model), Some(change)) = (half, halved, change) {
        export::save_half(&model, &path, place_of(&path), if_there)?;
        say_half(&path, &model, &change, json)?;
    }
    Ok(())
}

/// Refuses places of which two are the same, or that are the run's own.
fn check_places(run: &Path, places: &[&PathBuf]) -> anyhow::Result<()> {
    let own = [PathBuf::new(), "model.safetensors".into(), "config.json".into()];
    let own = own.map(|name| run.join(name).canonicalize().ok());
    for (index, path) in places.iter().enumerate() {
        let name = path.display();
        if places[..index].contains(path) {
            return Err(wrong_usage(format!("{name} is named twice: give each export a place")));
        }
        if path.canonicalize().is_ok_and(|path| own.contains(&Some(path))) {
            anyhow::bail!("{name} belongs to the run that is exported: name another place");
        }
    }
    Ok(())
}

/// Prints what was written: a JSON object, or a line with others below it.
fn say(json: bool, written: &(Value, String), below: &[String]) -> anyhow::Result<()> {
    let (object, line) = written;
    if json {
        return screen::json(object);
    }
    screen::line(line)?;
    below.iter().try_for_each(|line| screen::line(&format!("  {line}")))
}

fn say_onnx(path: &Path, model: &OnnxModel, json: bool) -> anyhow::Result<()> {
    let OnnxModel { bytes, opset, inputs, outputs } = model;
    let object = json!({
        "file": path.display().to_string(),
        "format": "onnx",
        "bytes": bytes.len(),
        "opset": opset,
        "inputs": inputs,
        "outputs": outputs,
    });
    let line = format!(
        "{}: ONNX, opset {opset}, {} bytes",
        path.display(),
        screen::thousands(bytes.len())
    );
    let ports = |what: &str, ports: &[Port]| {
        let line = |port: &Port| format!("{what:<6}  {port}; {}", port.meaning);
        ports.iter().map(line).collect::<Vec<_>>()
    };
    let below = [ports("input", inputs), ports("output", outputs)].concat();
    say(json, &(object, line), &below)
}

fn written(path: &Path, format: &str, what: &str, bytes: usize) -> (Value, String) {
    let file = path.display().to_string();
    let line = format!("{file}: {what}, {} bytes", screen::thousands(bytes));
    (json!({ "file": file, "format": format, "bytes": bytes }), line)
}

fn say_half(
    path: &Path,
    model: &HalfModel,
    change: &anyhow::Result<Change>,
    json: bool,
) -> anyhow::Result<()> {
    let HalfModel { largest_error: (error, name), bytes_before, bytes_after, .. } = model;
    let file = path.display().to_string();
    let mut object = json!({
        "file": file,
        "format": "half",
        "bytes": bytes_after,
        "bytes_before": bytes_before,
        "largest_error": error,
        "largest_error_in": name,
    });
    let line = format!(
        "{file}: weights in f16, {} bytes instead of {}",
        screen::thousands(*bytes_after),
        screen::thousands(*bytes_before)
    );
    let mut below = vec![format!("largest rounding error: {error:.1e}, in {name}")];
    match change {
        Ok(change) => {
            object["measured"] = change.json();
            below.push(change.line());
        }
        Err(reason) => {
            let reason = format!("{reason:#}");
            let says_what = reason.contains(": name ");
            let remedy =
                if says_what { " with --data" } else { "; name data to measure on with --data" };
            object["not_measured"] = json!(format!("{reason}{remedy}"));
            below.push(format!("the loss of accuracy was not measured: {reason}{remedy}"));
        }
    }
    say(json, &(object, line), &below)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn format_of(path: &Path) -> anyhow::Result<StateDictFormat> {
    match extension(path) {
        "safetensors" => Ok(StateDictFormat::Safetensors),
        "pt" | "pth" => Ok(StateDictFormat::Pickle),
        _ => Err(wrong_usage(format!(
            "{}: --pytorch needs a file called .pt or .safetensors",
            path.display()
        ))),
    }
}

fn place_of(path: &Path) -> HalfPlace {
    if extension(path) == "safetensors" {
        HalfPlace::File
    } else {
        HalfPlace::Folder
    }
}
