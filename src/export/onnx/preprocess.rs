//! Preprocessing as part of the graph: raw values in, what the network reads out.
//!
//! It computes in `f64`, as [`Preprocessor`] does.

use super::builder::GraphBuilder;
use super::proto::{Attribute, AxisSize, ElementType};
use crate::data::{MissingPolicy, Preprocessor, Scaling};

/// The real steps of a batch, for operations over steps.
pub(super) struct StepMask {
    /// `(B, T, 1)`, whether a step is one of its row's.
    pub(super) mask: String,
    /// `(B,)`, `int64`.
    pub(super) lengths: String,
}

/// Adds what tells real steps from padding. `x` is `(B, T, ..)`.
pub(super) fn steps(graph: &mut GraphBuilder, x: &str, lengths: &str) -> StepMask {
    let shape = graph.op("Shape", &[x]);
    let [zero, one] = [graph.int(0), graph.int(1)];
    let count = graph.op("Gather", &[&shape, &one]);
    let numbers = graph.op("Range", &[&zero, &count, &one]);
    let column = graph.unsqueeze(lengths, 1);
    let mask = graph.op("Less", &[&numbers, &column]);
    StepMask { mask: graph.unsqueeze(&mask, 2), lengths: lengths.into() }
}

/// Adds what is done to whole sequences: `(B, T, I)` to `(B, T, input_size)`, zeros behind a row's end.
pub(super) fn sequences(
    graph: &mut GraphBuilder,
    preprocessor: &Preprocessor,
    x: &str,
    steps: &StepMask,
) -> String {
    let values = graph.cast(x, ElementType::F64);
    let missing = missing(graph, preprocessor, &values);
    let filled = match (preprocessor.config.missing, &missing) {
        (MissingPolicy::ForwardFill, _) => {
            let width = preprocessor.features.len();
            let start = graph.doubles(&[width], &preprocessor.means);
            forward_fill(graph, &values, &start, &steps.lengths, width, Order::Forward)
        }
        (_, Some(missing)) => replaced(graph, preprocessor, &values, missing),
        (_, None) => values,
    };
    let scaled = if preprocessor.config.scaling == Scaling::PerSequence {
        scaled_alone(graph, &filled, steps)
    } else {
        scaled(graph, preprocessor, &filled)
    };
    let inputs = with_mask(graph, preprocessor, &scaled, missing.as_deref(), 2);
    let zero = graph.float(0.);
    graph.op("Where", &[&steps.mask, &inputs, &zero])
}

/// Adds what is done to one step: `(B, I)` to `(B, input_size)`. `last` is what the step before was filled to, `(B, I)`,
/// NaN before the first; the second result is what this one was filled to.
pub(super) fn one_step(
    graph: &mut GraphBuilder,
    preprocessor: &Preprocessor,
    x: &str,
    last: Option<&str>,
) -> (String, Option<String>) {
    let values = graph.cast(x, ElementType::F64);
    let missing = missing(graph, preprocessor, &values);
    let filled = match (last, &missing) {
        (Some(last), Some(missing)) => {
            let is_first = graph.op("IsNaN", &[last]);
            let means = graph.doubles(&[preprocessor.means.len()], &preprocessor.means);
            let last = graph.op("Where", &[&is_first, &means, last]);
            graph.op("Where", &[missing, &last, &values])
        }
        (None, Some(missing)) => replaced(graph, preprocessor, &values, missing),
        (_, None) => values,
    };
    let next = last.map(|_| filled.clone());
    let scaled = scaled(graph, preprocessor, &filled);
    (with_mask(graph, preprocessor, &scaled, missing.as_deref(), 1), next)
}

/// The mask of missing values, where it matters.
fn missing(graph: &mut GraphBuilder, preprocessor: &Preprocessor, values: &str) -> Option<String> {
    let config = &preprocessor.config;
    let matters = config.missing != MissingPolicy::Refuse || config.missing_mask;
    matters.then(|| graph.op("IsNaN", &[values]))
}

/// The values with those that are missing replaced by what does not depend on other steps.
fn replaced(
    graph: &mut GraphBuilder,
    preprocessor: &Preprocessor,
    values: &str,
    missing: &str,
) -> String {
    let filler = match preprocessor.config.missing {
        MissingPolicy::Zero => graph.doubles(&[], &[0.]),
        MissingPolicy::Mean => graph.doubles(&[preprocessor.means.len()], &preprocessor.means),
        // NaN that is not to be stays NaN, up to the answer.
        MissingPolicy::Refuse | MissingPolicy::ForwardFill => return values.into(),
    };
    graph.op("Where", &[missing, &filler, values])
}

/// The neighbour that takes the place of a missing value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Forward,
    Backward,
}

/// The values with each missing one replaced by the one at the step before, or behind. `start` takes the place of what
/// is before the first; `rows` has B as its size.
pub(super) fn forward_fill(
    graph: &mut GraphBuilder,
    values: &str,
    start: &str,
    rows: &str,
    width: usize,
    order: Order,
) -> String {
    let rows = graph.op("Shape", &[rows]);
    let width_of = graph.ints(&[width as i64]);
    let shape = graph.concat(&[&rows, &width_of], 0);
    let start = graph.op("Expand", &[start, &shape]);
    let row = [AxisSize::Any("batch"), AxisSize::Known(width)];
    // Values of a graph within a graph have names of their own.
    let prefix = graph.free_name("fill");
    let name = |part: &str| format!("{prefix}_{part}");
    let mut body = GraphBuilder::new(&prefix);
    let last = body.input(&name("last"), ElementType::F64, &row, "");
    let step = body.input(&name("step"), ElementType::F64, &row, "");
    let missing = name("missing");
    body.node("IsNaN", &[&step], vec![missing.clone()], vec![]);
    let filled = name("filled");
    body.node("Where", &[&missing, &last, &step], vec![filled.clone()], vec![]);
    body.output(&filled, &name("next"), ElementType::F64, &row, "");
    body.output(&filled, &name("out"), ElementType::F64, &row, "");
    let direction = Attribute::Ints(vec![i64::from(order == Order::Backward)]);
    let settings = vec![
        ("body", Attribute::Graph(body.finish())),
        ("num_scan_inputs", Attribute::Int(1)),
        ("scan_input_axes", Attribute::Ints(vec![1])),
        ("scan_input_directions", direction.clone()),
        ("scan_output_axes", Attribute::Ints(vec![1])),
        ("scan_output_directions", direction),
    ];
    let filled = name("sequences");
    graph.node("Scan", &[&start, values], vec![name("end"), filled.clone()], settings);
    filled
}

/// The values on the scale of the training split, as `f32`.
fn scaled(graph: &mut GraphBuilder, preprocessor: &Preprocessor, values: &str) -> String {
    let scaler = &preprocessor.scaler;
    let width = scaler.width();
    let center = graph.doubles(&[width], &scaler.center);
    let scale = graph.doubles(&[width], &scaler.scale);
    let centred = graph.op("Sub", &[values, &center]);
    let scaled = graph.op("Div", &[&centred, &scale]);
    graph.cast(&scaled, ElementType::F32)
}

/// The values with mean 0 and standard deviation 1 over the real steps of each row, as `f32`.
fn scaled_alone(graph: &mut GraphBuilder, values: &str, steps: &StepMask) -> String {
    let zero = graph.doubles(&[], &[0.]);
    let lengths = graph.cast(&steps.lengths, ElementType::F64);
    let lengths = graph.reshape(&lengths, &[-1, 1, 1]);
    let real = graph.op("Where", &[&steps.mask, values, &zero]);
    let sum = graph.sum(&real, 1, true);
    let mean = graph.op("Div", &[&sum, &lengths]);
    let centred = graph.op("Sub", &[values, &mean]);
    let real = graph.op("Where", &[&steps.mask, &centred, &zero]);
    let squares = graph.op("Mul", &[&real, &real]);
    let squares = graph.sum(&squares, 1, true);
    let variance = graph.op("Div", &[&squares, &lengths]);
    let deviation = graph.op("Sqrt", &[&variance]);
    // A deviation that is rounding alone is that of equal values.
    let (rounding, one) = (graph.doubles(&[], &[1e-12]), graph.doubles(&[], &[1.]));
    let size = graph.op("Abs", &[&mean]);
    let least = graph.op("Mul", &[&size, &rounding]);
    let differs = graph.op("Greater", &[&deviation, &least]);
    let scale = graph.op("Where", &[&differs, &deviation, &one]);
    let scaled = graph.op("Div", &[&centred, &scale]);
    graph.cast(&scaled, ElementType::F32)
}

/// The inputs, with what says which were missing beside them if the network reads that.
fn with_mask(
    graph: &mut GraphBuilder,
    preprocessor: &Preprocessor,
    inputs: &str,
    missing: Option<&str>,
    axis: i64,
) -> String {
    match missing.filter(|_| preprocessor.config.missing_mask) {
        Some(missing) => {
            let mask = graph.cast(missing, ElementType::F32);
            graph.concat(&[inputs, &mask], axis)
        }
        None => inputs.into(),
    }
}
