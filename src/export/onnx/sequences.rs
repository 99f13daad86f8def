//! Graphs of runs on sequences of one's own: raw values in, answers in the data's units out.

use super::builder::GraphBuilder;
use super::head;
use super::layers::{layers, LayerInputs};
use super::preprocess::{self, forward_fill, Order};
use super::proto::{Attribute, AxisSize, ElementType};
use super::states;
use crate::data::{ForecastTarget, MissingPolicy, Scaling};
use crate::export::trained::TrainedRun;
use crate::model::Readout;
use crate::train::tasks::{SequenceConfig, SequenceSpec, TaskKind};
use crate::{Error, Result};

const BATCH: AxisSize = AxisSize::Any("batch");
const STEPS: AxisSize = AxisSize::Any("steps");

/// The graph that reads whole sequences.
pub(super) fn whole(
    graph: &mut GraphBuilder,
    run: &TrainedRun,
    config: &SequenceConfig,
) -> Result<()> {
    let spec = &config.spec;
    let features = spec.preprocessor.features.len();
    let meaning = values(spec, "padded behind a row's end with anything");
    let x =
        graph.input("x", ElementType::F32, &[BATCH, STEPS, AxisSize::Known(features)], &meaning);
    let window = config.training.window;
    let meaning = match spec.forecast {
        Some(_) => format!("the steps of each row, at least {window}"),
        None => "the steps of each row, at least 1".into(),
    };
    let given = graph.input("lengths", ElementType::I64, &[BATCH], &meaning);
    let (x, lengths) = match spec.forecast {
        Some(_) => last_steps(graph, &x, &given, window, features),
        None => (x, given.clone()),
    };
    let steps = preprocess::steps(graph, &x, &lengths);
    let inputs = preprocess::sequences(graph, &spec.preprocessor, &x, &steps);
    let inputs = graph.transpose(&inputs, &[1, 0, 2]);
    let lengths = graph.cast(&lengths, ElementType::I32);
    let readout = spec.model.network.readout;
    let is_of_steps = spec.target == TaskKind::StepClass;
    let all = is_of_steps || readout != Readout::Last;
    let read = LayerInputs { x: &inputs, lengths: Some(&lengths), states: &[], all };
    let outputs = layers(graph, run, &read)?;
    let read = if is_of_steps {
        head::every_step(graph, &outputs)?
    } else {
        head::read(graph, readout, &outputs, Some(&steps))?
    };
    let answer = head::dense(graph, run, &read)?;
    match spec.forecast {
        Some(forecast) => {
            let raw = graph.cast(&x, ElementType::F64);
            let window = Window { values: &raw, rows: &given, given: &given, steps: window };
            forecast_of(graph, spec, forecast, &window, &answer);
        }
        None => answers(graph, spec, &answer, true),
    }
    Ok(())
}

/// The graph that reads one step, with the states before and behind it.
pub(super) fn step(graph: &mut GraphBuilder, run: &TrainedRun, spec: &SequenceSpec) -> Result<()> {
    if spec.target == TaskKind::Forecast {
        return Err(Error::Config(
            "a forecast is made from a whole window: there is no graph of one step".into(),
        ));
    }
    if spec.preprocessor.config.scaling == Scaling::PerSequence {
        return Err(Error::Config(
            "the model scales whole sequences (per-sequence scaling): there is no graph of one step"
                .into(),
        ));
    }
    let features = spec.preprocessor.features.len();
    let row = [BATCH, AxisSize::Known(features)];
    let x = graph.input("x", ElementType::F32, &row, &values(spec, "one step of each row"));
    let last = (spec.preprocessor.config.missing == MissingPolicy::ForwardFill).then(|| {
        let meaning = "next_last of the step before; NaN before the first";
        graph.input("last", ElementType::F64, &row, meaning)
    });
    let (inputs, next) = preprocess::one_step(graph, &spec.preprocessor, &x, last.as_deref());
    let logits = states::step(graph, run, &inputs)?;
    answers(graph, spec, &logits, false);
    if let Some(next) = next {
        let meaning = "the values of this step with missing ones filled in: last of the next";
        graph.output(&next, "next_last", ElementType::F64, &row, meaning);
    }
    Ok(())
}

/// The meaning of the input in words.
fn values(spec: &SequenceSpec, layout: &str) -> String {
    let missing = if spec.preprocessor.config.missing == MissingPolicy::Refuse {
        "no value may be missing"
    } else {
        "NaN where a value is missing"
    };
    format!(
        "the values of {} as they are in the data; {missing}; {layout}",
        spec.preprocessor.features.join(", ")
    )
}

/// Makes the answers outputs: classes, or numbers.
fn answers(graph: &mut GraphBuilder, spec: &SequenceSpec, answer: &str, whole: bool) {
    let count = spec.outputs.len();
    match spec.target {
        TaskKind::StepClass if whole => {
            let of = "the classes of each step; those behind a row's end mean nothing";
            head::classes(graph, answer, &[BATCH, STEPS], count, of);
        }
        TaskKind::StepClass => {
            head::classes(graph, answer, &[BATCH], count, "the classes of this step")
        }
        TaskKind::Class => {
            head::classes(graph, answer, &[BATCH], count, "the classes of each sequence")
        }
        TaskKind::Numbers | TaskKind::Forecast => {
            let numbers = head::unscaled(graph, answer, spec.target_scaler.as_ref());
            let numbers = graph.cast(&numbers, ElementType::F32);
            let shape = [BATCH, AxisSize::Known(count)];
            let meaning = format!("{}, in the units of the data", spec.outputs.join(", "));
            graph.output(&numbers, "numbers", ElementType::F32, &shape, &meaning);
        }
    }
}

/// The last `window` steps of each row, and their number for each row.
fn last_steps(
    graph: &mut GraphBuilder,
    x: &str,
    lengths: &str,
    window: usize,
    features: usize,
) -> (String, String) {
    let count = graph.ints(&[window as i64]);
    let start = graph.op("Sub", &[lengths, &count]);
    let start = graph.unsqueeze(&start, 1);
    let numbers: Vec<i64> = (0..window as i64).collect();
    let numbers = graph.ints(&numbers);
    let indices = graph.op("Add", &[&start, &numbers]);
    // A row that is too short is answered with NaN.
    let zero = graph.int(0);
    let indices = graph.op("Max", &[&indices, &zero]);
    let indices = graph.unsqueeze(&indices, 2);
    let rows = graph.op("Shape", &[lengths]);
    let size = graph.ints(&[window as i64, features as i64]);
    let shape = graph.concat(&[&rows, &size], 0);
    let indices = graph.op("Expand", &[&indices, &shape]);
    let along = vec![("axis", Attribute::Int(1))];
    let x = graph.op_with("GatherElements", &[x, &indices], along);
    (x, graph.op("Expand", &[&count, &rows]))
}

/// The window that a forecast is made from.
struct Window<'a> {
    /// `(B, W, I)`, `f64`.
    values: &'a str,
    /// Has B as its size.
    rows: &'a str,
    /// The steps of each row of the input.
    given: &'a str,
    /// W.
    steps: usize,
}

/// Adds the forecast that scaled differences from the naive one stand for, `(B, K, I)`.
fn forecast_of(
    graph: &mut GraphBuilder,
    spec: &SequenceSpec,
    forecast: ForecastTarget,
    window: &Window,
    differences: &str,
) {
    let Window { rows, given, steps, .. } = *window;
    let width = spec.preprocessor.features.len();
    let mut known = window.values.to_string();
    if spec.preprocessor.config.missing != MissingPolicy::Refuse {
        let unknown = graph.doubles(&[width], &vec![f64::NAN; width]);
        for order in [Order::Forward, Order::Backward] {
            known = forward_fill(graph, &known, &unknown, rows, width, order);
        }
    }
    let season = forecast.season.clamp(1, steps);
    let indices: Vec<i64> =
        (0..forecast.horizon).map(|step| (steps - season + step % season) as i64).collect();
    let indices = graph.ints(&indices);
    let along = vec![("axis", Attribute::Int(1))];
    let naive = graph.op_with("Gather", &[&known, &indices], along);
    let differences = graph.cast(differences, ElementType::F64);
    let differences = graph.reshape(&differences, &[0, forecast.horizon as i64, width as i64]);
    let scale = graph.doubles(&[width], &spec.preprocessor.scaler.scale);
    let differences = graph.op("Mul", &[&differences, &scale]);
    let values = graph.op("Add", &[&naive, &differences]);
    let least = graph.ints(&[steps as i64]);
    let is_short = graph.op("Less", &[given, &least]);
    let is_short = graph.reshape(&is_short, &[-1, 1, 1]);
    let unknown = graph.doubles(&[], &[f64::NAN]);
    let values = graph.op("Where", &[&is_short, &unknown, &values]);
    let values = graph.cast(&values, ElementType::F32);
    let shape = [BATCH, AxisSize::Known(forecast.horizon), AxisSize::Known(width)];
    let meaning = format!(
        "the next {} steps in the units of the data; NaN for a row of less than {steps} steps",
        forecast.horizon
    );
    graph.output(&values, "forecast", ElementType::F32, &shape, &meaning);
}
