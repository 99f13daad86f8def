//! Sequences from arrays: `x` with `lengths`, `y`, `groups` and `ids` beside it.

use std::path::Path;

use super::array_labels::ArrayLabels;
use super::array_names::{find, leave_out, GROUPS, IDS, LENGTHS, X, Y};
use super::array_target::{labels_of, target_of};
use super::arrays::{ArrayDtype, ArrayFile, ArrayInfo};
use super::memory;
use super::options::ReadOptions;
use super::sequence_shape::SequenceShape;
use super::sequence_sink::SequenceSink;
use super::text_numbers::quote;
use crate::data::offsets::Offsets;
use crate::data::seen_ids::SeenIds;
use crate::data::{dataset_of_bytes, Dataset, DatasetBuilder, LabelsBuilder, Names, TargetKind};
use crate::{Error, Result};

/// Reads `x` of `(N, T, I)`, `(N, T)`, or with `lengths` `(steps, I)`; `lengths` of `(N,)`; `y` of `(N,)`, `(N, T)` or
/// `(N, K)`; `groups` and `ids` of `(N,)`. Sequences that `sink` does not keep are handed on in blocks, but for bytes and
/// arrays in Fortran's order, which are always kept.
///
/// # Errors
/// [`Error::DataFile`] with the array.
pub(super) fn read(
    file: &mut dyn ArrayFile,
    path: &Path,
    memory: u64,
    options: &ReadOptions,
    sink: &mut SequenceSink,
    notes: &mut Vec<String>,
) -> Result<Option<Dataset>> {
    let fail = |reason: String| Error::data_file(path, reason);
    let names = file.names();
    let find = |known: &[&str]| find(&names, known);
    let x = match (find(&X), &names[..]) {
        (Some(x), _) => x,
        (None, [only]) => only.clone(),
        _ => {
            let names = names.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
            return Err(fail(format!("has no array x: there are {names}")));
        }
    };
    leave_out(&names, &x, options.target, notes).map_err(fail)?;
    let lengths = find(&LENGTHS).map(|name| lengths(file, &name, memory, path)).transpose()?;
    let info = {
        let array = file.open(&x).map_err(fail)?;
        array.check_held().map_err(|reason| fail(format!("array {x} {reason}")))?;
        array.info.clone()
    };
    if info.dtype.is_text() {
        return Err(fail(format!("array {x} holds texts: expected numbers")));
    }
    let sequences = info.shape.first().copied().unwrap_or_default() as u64;
    let holds_bytes = info.dtype == ArrayDtype::U8;
    let size = if holds_bytes { 1 } else { 4 };
    let need =
        (info.count as u64).saturating_mul(size).saturating_add(sequences.saturating_mul(16));
    let is_kept =
        |bytes: u64, count: usize| holds_bytes || info.fortran || sink.keeps(bytes, count);
    if lengths.is_none() && is_kept(need, sequences as usize) {
        memory::check(path, need, memory)?;
    }
    if info.count == 0 {
        return Err(fail(format!("array {x} has the shape {:?}: it holds nothing", info.shape)));
    }
    let shape = SequenceShape::of(&x, &info.shape, lengths).map_err(fail)?;
    let steps = shape.steps.total();
    let id_array = find(&IDS).filter(|name| *name != x);
    let group_array = find(&GROUPS);
    let stay_bytes = holds_bytes
        && !info.fortran
        && id_array.is_none()
        && group_array.is_none()
        && shape.padded.is_some_and(|padded| shape.steps.sizes().all(|length| length == padded));
    // In Fortran's order, all numbers of the file and the sequences made of them.
    let width = if info.fortran { 8 } else { 4 };
    let size = if stay_bytes { 1 } else { width } * shape.features as u64;
    let need = |steps: u64| steps.saturating_mul(size);
    let is_kept = is_kept(need(steps), shape.count);
    let longest = shape.steps.sizes().max().unwrap_or_default() as u64;
    memory::check(path, need(if is_kept { steps } else { longest }), memory)?;
    let ids = id_array.map(|name| names_of(file, &name, shape.count, true).map_err(fail));
    let ids = ids.transpose()?;
    let groups = group_array.map(|name| names_of(file, &name, shape.count, false).map_err(fail));
    let groups = groups.transpose()?.filter(|_| is_kept);
    let kind = sink.kind(options.target);
    let y = find(&Y).filter(|_| kind != Some(TargetKind::None));
    if let Some(y) = &y {
        let info = file.open(y).map_err(fail)?.info;
        memory::check(path, info.bytes(), memory)?;
    }
    let mut target = target_of(file, y.as_deref(), &shape, kind, notes).map_err(fail)?;
    let mut builder = DatasetBuilder::unnamed(shape.features);
    if holds_bytes {
        notes.push(format!("array {x} holds bytes: each stands for a 255th"));
    }
    if stay_bytes {
        let bytes =
            file.open(&x).and_then(|x| x.raw()).map_err(|r| fail(format!("array {x} {r}")))?;
        let steps = shape.padded.unwrap_or(1);
        return dataset_of_bytes(builder.features().to_vec(), bytes, steps, target)
            .map(Some)
            .map_err(|error| fail(error.to_string()));
    }
    if !is_kept {
        // `names_of` has found that they differ.
        builder.let_ids_repeat();
    }
    let blocks = (!is_kept).then(|| (&mut *sink, ArrayLabels::new(std::mem::take(&mut target))));
    let mut sequences = ArraySequences { builder, shape: &shape, ids, row: 0, step: 0, blocks };
    let array = file.open(&x).map_err(fail)?;
    sequences.read(array, &info).map_err(|reason| fail(format!("array {x} {reason}")))?;
    let ArraySequences { mut builder, blocks, .. } = sequences;
    if let Some((sink, labels)) = blocks {
        return sink.finish(builder, labels, None, path, notes);
    }
    if let Some(groups) = groups {
        builder.groups(labels_of(&groups));
    }
    builder.build(target).map(Some).map_err(|error| fail(error.to_string()))
}

/// Whole numbers, one for each sequence.
fn lengths(file: &mut dyn ArrayFile, name: &str, memory: u64, path: &Path) -> Result<Offsets> {
    let fail = |reason: String| Error::data_file(path, format!("array {name} {reason}"));
    let array = file.open(name).map_err(|reason| Error::data_file(path, reason))?;
    let shape = &array.info.shape;
    if shape.len() != 1 || array.info.dtype.is_text() {
        return Err(fail(format!("has the shape {shape:?}: expected (N,), of whole numbers")));
    }
    memory::check(path, 8 * array.info.count as u64, memory)?;
    let mut lengths = Offsets::default();
    array
        .numbers(|values| {
            for value in values {
                if value.fract() != 0. || *value < 0. || *value > f64::from(u32::MAX) {
                    return Err(format!("holds {value}: expected a number of steps"));
                }
                lengths.push(*value as u64);
            }
            Ok(())
        })
        .map_err(fail)?;
    Ok(lengths)
}

/// Texts, or whole numbers as texts, one for each sequence; each once if they are ids.
fn names_of(
    file: &mut dyn ArrayFile,
    name: &str,
    count: usize,
    are_ids: bool,
) -> std::result::Result<Names, String> {
    let array = file.open(name)?;
    let fail = |reason: String| format!("array {name} {reason}");
    if array.info.shape != [count] {
        let shape = &array.info.shape;
        return Err(fail(format!(
            "has the shape {shape:?}: expected ({count},), one for each sequence"
        )));
    }
    let (mut names, mut seen) = (Names::default(), SeenIds::default());
    let mut push = |name: &str| {
        if are_ids {
            if seen.has(name, [&Names::default(), &names]) {
                let (id, element) = (quote(name), names.len());
                return Err(format!(
                    "has {id} a second time as element {element}: give each sequence an id of its own"
                ));
            }
            seen.add(name);
        }
        names.push(name);
        Ok(())
    };
    let outcome = if array.info.dtype.is_text() {
        array.texts(&mut push)
    } else {
        array.numbers(|values| values.iter().try_for_each(|value| push(&value.to_string())))
    };
    outcome.map_err(fail)?;
    Ok(names)
}

/// Sequences that are being read from `x`.
struct ArraySequences<'a, 'sink> {
    builder: DatasetBuilder,
    shape: &'a SequenceShape,
    ids: Option<Names>,
    /// The sequence and the step in it that come next.
    row: usize,
    step: usize,
    /// Where sequences go that are not kept.
    blocks: Option<(&'a mut SequenceSink<'sink>, ArrayLabels)>,
}

impl ArraySequences<'_, '_> {
    fn read(
        &mut self,
        array: super::arrays::OpenArray<'_>,
        info: &ArrayInfo,
    ) -> std::result::Result<(), String> {
        let features = self.shape.features;
        let divisor = if info.dtype == ArrayDtype::U8 { 255. } else { 1. };
        if info.fortran {
            let mut all = Vec::with_capacity(info.count);
            array.numbers(|values| {
                all.extend(values.iter().map(|value| (*value / divisor) as f32));
                Ok(())
            })?;
            return self.read_fortran(&all);
        }
        // Numbers of a step that is not complete are kept for the next piece.
        let mut open: Vec<f32> = Vec::new();
        array.numbers(|values| {
            for value in values {
                if value.is_infinite() || value.abs() > f64::from(f32::MAX) {
                    return Err(self.not_finite(*value));
                }
            }
            open.extend(values.iter().map(|value| (*value / divisor) as f32));
            let whole = open.len() / features * features;
            self.take(&open[..whole])?;
            open.drain(..whole);
            Ok(())
        })
    }

    fn not_finite(&self, value: f64) -> String {
        let (row, step) = (self.row + 1, self.step + 1);
        format!("holds {value:e} in or after sequence {row}, step {step}: expected finite numbers")
    }

    /// Adds steps in the order of `x`, those of the padding included.
    fn take(&mut self, mut values: &[f32]) -> std::result::Result<(), String> {
        let features = self.shape.features;
        while !values.is_empty() {
            let length = self.shape.steps.range(self.row).len();
            let slots = self.shape.padded.unwrap_or(length);
            let now = (slots - self.step).min(values.len() / features);
            let (these, others) = values.split_at(now * features);
            let real = length.saturating_sub(self.step).min(now);
            let added = self.builder.push_steps(&these[..real * features], real);
            added.map_err(|error| error.to_string())?;
            self.step += now;
            if self.step == slots {
                self.end()?;
            }
            values = others;
        }
        Ok(())
    }

    fn end(&mut self) -> std::result::Result<(), String> {
        let ended = match &self.ids {
            Some(ids) => self.builder.end_named(ids.get(self.row)),
            None => self.builder.end_sequence(),
        };
        ended.map_err(|error| error.to_string())?;
        if let Some((sink, labels)) = &mut self.blocks {
            labels.ended(self.shape.steps.range(self.row).len());
            sink.ended(&mut self.builder, labels, &mut LabelsBuilder::new())
                .map_err(|error| error.to_string())?;
        }
        (self.row, self.step) = (self.row + 1, 0);
        Ok(())
    }

    /// All numbers, the first index fastest.
    fn read_fortran(&mut self, all: &[f32]) -> std::result::Result<(), String> {
        if all.iter().any(|value| value.is_infinite()) {
            return Err("holds an infinite number: expected finite numbers".into());
        }
        let features = self.shape.features;
        let rows = self.shape.count;
        let mut step_values = vec![0.; features];
        let steps = self.shape.steps.total() as usize;
        for row in 0..rows {
            let std::ops::Range { start: before, end } = self.shape.steps.range(row);
            let slots = self.shape.padded.unwrap_or(end - before);
            for step in 0..slots {
                for (feature, value) in step_values.iter_mut().enumerate() {
                    *value = match self.shape.padded {
                        Some(padded) => all[row + rows * (step + padded * feature)],
                        None => all[before + step + steps * feature],
                    };
                }
                self.take(&step_values)?;
            }
        }
        Ok(())
    }
}
