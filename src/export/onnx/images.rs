//! Graphs of image classifiers: pixels in, classes out.

use super::builder::GraphBuilder;
use super::head;
use super::layers::{layers, LayerInputs};
use super::proto::{Attribute, AxisSize, ElementType};
use super::states;
use crate::data::mnist::{COLUMNS, PIXELS, ROWS};
use crate::data::view::View;
use crate::export::trained::TrainedRun;
use crate::model::Readout;
use crate::train::ImageConfig;
use crate::Result;

const BATCH: AxisSize = AxisSize::Any("batch");
const CLASSES: &str = "the classes of each image";

/// The graph that reads whole images.
pub(super) fn whole(
    graph: &mut GraphBuilder,
    run: &TrainedRun,
    config: &ImageConfig,
) -> Result<()> {
    let shape = [BATCH, AxisSize::Known(ROWS), AxisSize::Known(COLUMNS)];
    let meaning = "pixels from 0 (background) to 1 (ink): bytes divided by 255";
    let pixels = graph.input("pixels", ElementType::F32, &shape, meaning);
    let x = viewed(graph, &pixels, config.training.view);
    let x = graph.transpose(&x, &[1, 0, 2]);
    let readout = config.model.network.readout;
    let all = readout != Readout::Last;
    let outputs = layers(graph, run, &LayerInputs { x: &x, lengths: None, states: &[], all })?;
    let read = head::read(graph, readout, &outputs, None)?;
    let logits = head::dense(graph, run, &read)?;
    head::classes(graph, &logits, &[BATCH], config.model.num_classes, CLASSES);
    Ok(())
}

/// The graph that reads one step of each image, such as a row.
pub(super) fn step(graph: &mut GraphBuilder, run: &TrainedRun, config: &ImageConfig) -> Result<()> {
    let view = config.training.view;
    let what = match view {
        View::Rows => "a row of pixels, from the top row to the bottom row",
        View::Columns => "a column of pixels, from the left column to the right column",
        View::Pixels => "a pixel, row by row",
        View::Permuted => "a pixel, in the order of the metadata's pixel_order",
    };
    let meaning = format!("{what}; from 0 (background) to 1 (ink)");
    let shape = [BATCH, AxisSize::Known(config.model.input_size)];
    let x = graph.input("x", ElementType::F32, &shape, &meaning);
    let logits = states::step(graph, run, &x)?;
    head::classes(graph, &logits, &[BATCH], config.model.num_classes, CLASSES);
    Ok(())
}

/// Images as sequences, `(B, T, I)`.
fn viewed(graph: &mut GraphBuilder, pixels: &str, view: View) -> String {
    match view {
        View::Rows => pixels.into(),
        View::Columns => graph.transpose(pixels, &[0, 2, 1]),
        View::Pixels => graph.reshape(pixels, &[0, PIXELS as i64, 1]),
        View::Permuted => {
            let flat = graph.reshape(pixels, &[0, PIXELS as i64]);
            let order: Vec<i64> = view.order().iter().map(|pixel| *pixel as i64).collect();
            let order = graph.ints(&order);
            let along = vec![("axis", Attribute::Int(1))];
            let ordered = graph.op_with("Gather", &[&flat, &order], along);
            graph.unsqueeze(&ordered, 2)
        }
    }
}
