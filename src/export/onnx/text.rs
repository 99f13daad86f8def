//! Graphs of language models: the numbers of characters in, those that may follow out.

use super::builder::GraphBuilder;
use super::head;
use super::layers::{layers, LayerInputs};
use super::proto::{AxisSize, ConstantValues, ElementType};
use super::states;
use crate::export::trained::TrainedRun;
use crate::Result;

const BATCH: AxisSize = AxisSize::Any("batch");
const STEPS: AxisSize = AxisSize::Any("steps");
const EMBEDDING: &str = "embedding.weight";

/// The graph that reads whole texts.
pub(super) fn whole(graph: &mut GraphBuilder, run: &TrainedRun) -> Result<()> {
    let meaning = "characters by their places in the metadata's vocabulary";
    let ids = graph.input("ids", ElementType::I64, &[BATCH, STEPS], meaning);
    let meaning = "the characters of each row, at least 1";
    let lengths = graph.input("lengths", ElementType::I64, &[BATCH], meaning);
    let x = embedded(graph, run, &ids)?;
    let x = graph.transpose(&x, &[1, 0, 2]);
    let lengths = graph.cast(&lengths, ElementType::I32);
    let read = LayerInputs { x: &x, lengths: Some(&lengths), states: &[], all: true };
    let outputs = layers(graph, run, &read)?;
    let outputs = head::every_step(graph, &outputs)?;
    let logits = head::dense(graph, run, &outputs)?;
    let of = "the character behind each; those behind a row's end mean nothing";
    head::classes(graph, &logits, &[BATCH, STEPS], run.rows(EMBEDDING), of);
    Ok(())
}

/// The graph that reads one character.
pub(super) fn step(graph: &mut GraphBuilder, run: &TrainedRun) -> Result<()> {
    let meaning = "a character by its place in the metadata's vocabulary";
    let id = graph.input("id", ElementType::I64, &[BATCH], meaning);
    let x = embedded(graph, run, &id)?;
    let logits = states::step(graph, run, &x)?;
    head::classes(graph, &logits, &[BATCH], run.rows(EMBEDDING), "the character behind it");
    Ok(())
}

fn embedded(graph: &mut GraphBuilder, run: &TrainedRun, ids: &str) -> Result<String> {
    let (values, rows) = (run.floats(EMBEDDING)?, run.rows(EMBEDDING));
    let shape = [rows, values.len() / rows.max(1)];
    let embedding = graph.constant("embedding_weight", &shape, ConstantValues::F32(values));
    Ok(graph.op("Gather", &[&embedding, ids]))
}
