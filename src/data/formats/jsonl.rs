//! JSON lines: an object a line, with a sequence and its target.

use std::io::BufReader;

use super::json_numbers::JsonNumbers;
use super::json_objects::Objects;
use super::jsonl_example::Example;
use super::lines::Lines;
use super::memory;
use super::options::ReadOptions;
use super::sequence_sink::SequenceSink;
use super::source::DataSource;
use crate::data::Dataset;
use crate::{Error, Result};

/// Reads such a file: `x` or `sequence` is a list of steps, each a number or a list of I numbers; `y`, `label` or
/// `target` a label, a label for each step or a list of numbers; `id` and `group` name a sequence and its group.
///
/// # Errors
/// [`Error::DataFile`] with line and column.
pub(super) fn read(
    source: DataSource,
    options: &ReadOptions,
    sink: &mut SequenceSink,
    notes: &mut Vec<String>,
) -> Result<Option<Dataset>> {
    let path = source.path.clone();
    let memory = source.memory;
    let head = source.head_lines();
    let cells = head.iter().filter(|byte| **byte == b',').count() + 1;
    sink.check_need(&source, head.len().max(1), 4 * cells)?;
    let mut lines = Lines::new(
        BufReader::with_capacity(64 << 10, JsonNumbers::new(source.into_text())),
        &path,
        memory,
    );
    let mut example = Example::default();
    let mut objects = Objects::new(options.target, sink);
    while lines.next()? {
        if lines.line().trim_ascii().is_empty() {
            continue;
        }
        example.clear();
        let commas = lines.line().iter().filter(|byte| **byte == b',').count();
        example.values.reserve_exact(commas + 1);
        let text = lines.text()?;
        let mut json = serde_json::Deserializer::from_str(text);
        let outcome = example.deserialize(&mut json).and_then(|()| json.end());
        outcome.map_err(|error| of_json(&lines, &error))?;
        let need = 4 * example.values.len() as u64;
        memory::check(&path, need.saturating_add(objects.bytes()), memory)?;
        lines.forget();
        let added = objects.add(&mut example, || format!("line {}", lines.number()));
        added.map_err(|reason| lines.at(reason))?;
        objects.pass_on()?;
    }
    objects.finish(&example, &path, notes)
}

fn of_json<R: std::io::BufRead>(lines: &Lines<R>, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(&text[..], |(reason, _)| reason);
    lines.fail(format!("line {}, column {}: {reason}", lines.number(), error.column()))
}
