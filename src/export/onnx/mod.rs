//! ONNX files of trained runs: opset 17, IR version 8.
//!
//! `proto` has the parts of a file and writes them, `builder` makes a graph, `layers` are the recurrent layers,
//! `preprocess` what comes before them and `head` what comes behind; `images`, `sequences` and `text` are the graphs of
//! each task, `states` those of one step.

mod builder;
mod head;
mod images;
mod layers;
mod preprocess;
mod proto;
mod sequences;
mod states;
mod text;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::trained::{TaskRun, TrainedRun};
use crate::data::view::View;
use crate::train::tasks::TaskKind;
use crate::{Error, Result};
use builder::GraphBuilder;
use proto::{AxisSize, OnnxValue, OPSET};

/// The largest file that protocol buffers can be read from.
const MAX_BYTES: usize = i32::MAX as usize;

/// The kind of graph that a run becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum OnnxGraphKind {
    /// One that reads whole sequences, of any lengths.
    #[default]
    Whole,
    /// One that reads a step of each sequence: the states are inputs and outputs.
    Step,
}

/// An ONNX file in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxModel {
    /// The content of the file.
    pub bytes: Vec<u8>,
    /// The version of the operators.
    pub opset: i64,
    /// The inputs of the graph.
    pub inputs: Vec<Port>,
    /// The outputs of the graph.
    pub outputs: Vec<Port>,
}

/// An input or an output of an ONNX file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The element type, by NumPy's name.
    pub dtype: String,
    /// The sizes, each a number, or a name where any will do.
    pub shape: Vec<String>,
    /// Its meaning in words.
    pub meaning: String,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { name, dtype, shape, .. } = self;
        let comma = if shape.len() == 1 { "," } else { "" };
        write!(f, "{name}: {dtype} ({}{comma})", shape.join(", "))
    }
}

/// The ONNX file of a run directory, or of a checkpoint of it.
///
/// Raw values go in and answers in the units of the data come out: preprocessing is part of the graph. Weights are `f32`,
/// those of a run in `f64` are rounded.
///
/// ```no_run
/// # fn main() -> candle_rnn::Result<()> {
/// use candle_rnn::export::{onnx, OnnxGraphKind};
///
/// let model = onnx("runs/0001".as_ref(), OnnxGraphKind::Whole)?;
/// for input in &model.inputs {
///     println!("{input}"); // pixels: float32 (batch, 28, 28)
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run; [`Error::Config`] for a graph
/// of one step of a model that reads in both directions, more than the last output, whole windows or scales whole
/// sequences, and for a file beyond 2 GB; [`Error::Weight`] for a weight beyond the range of `f32`.
pub fn onnx(run: &Path, kind: OnnxGraphKind) -> Result<OnnxModel> {
    let run = TrainedRun::read(run)?;
    let mut graph = GraphBuilder::new("candle-rnn");
    let step = kind == OnnxGraphKind::Step;
    match &run.task {
        TaskRun::Images(config) if step => images::step(&mut graph, &run, &config.task)?,
        TaskRun::Images(config) => images::whole(&mut graph, &run, &config.task)?,
        TaskRun::Sequences(config) if step => sequences::step(&mut graph, &run, &config.task.spec)?,
        TaskRun::Sequences(config) => sequences::whole(&mut graph, &run, &config.task)?,
        TaskRun::Text(_) if step => text::step(&mut graph, &run)?,
        TaskRun::Text(_) => text::whole(&mut graph, &run)?,
    }
    let graph = graph.finish();
    let (inputs, outputs) = (ports(&graph.inputs), ports(&graph.outputs));
    let bytes = proto::model(&graph, &metadata(&run.task, kind)?);
    if bytes.len() > MAX_BYTES {
        let size = bytes.len();
        return Err(Error::Config(format!(
            "the file would have {size} bytes: ONNX files end at 2 GB"
        )));
    }
    Ok(OnnxModel { bytes, opset: OPSET, inputs, outputs })
}

fn ports(values: &[OnnxValue]) -> Vec<Port> {
    let size = |size: &AxisSize| match size {
        AxisSize::Known(size) => size.to_string(),
        AxisSize::Any(name) => name.to_string(),
    };
    let port = |value: &OnnxValue| Port {
        name: value.name.clone(),
        dtype: value.element_type.name().into(),
        shape: value.shape.iter().map(size).collect(),
        meaning: value.meaning.clone(),
    };
    values.iter().map(port).collect()
}

/// The metadata that a user of the file needs beside its graph; lists are JSON.
fn metadata(task: &TaskRun, kind: OnnxGraphKind) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    let mut add = |name: &str, value: String| entries.push((name.to_string(), value));
    match task {
        TaskRun::Images(config) => {
            let config = &config.task;
            add("task", "the class of an image".into());
            let names = config.data.dataset.unwrap_or_default().class_names();
            add("classes", json(&names)?);
            if config.training.view == View::Permuted && kind == OnnxGraphKind::Step {
                add("pixel_order", json(&View::Permuted.order())?);
            }
        }
        TaskRun::Sequences(config) => {
            let spec = &config.task.spec;
            let is_of_classes = matches!(spec.target, TaskKind::Class | TaskKind::StepClass);
            add("task", spec.target.name().into());
            add("features", json(&spec.preprocessor.features)?);
            add(if is_of_classes { "classes" } else { "numbers" }, json(&spec.outputs)?);
        }
        TaskRun::Text(config) => {
            add("task", "the next character of a text".into());
            add("vocabulary", String::from(config.task.vocabulary.clone()));
        }
    }
    Ok(entries)
}

fn json(list: &impl Serialize) -> Result<String> {
    serde_json::to_string(list)
        .map_err(|error| Error::Config(format!("the metadata cannot be written: {error}")))
}
