//! ARFF files of Weka: attributes, then a line a sequence.
//!
//! Numeric attributes are the steps of a sequence with one feature. A relational attribute holds a sequence with
//! several: a quoted text, in which `\n` stands between the features and commas stand between their steps, as in the
//! archive of multivariate series. The label is the last attribute that is nominal, or a last numeric one beside a
//! relational one.

use std::io::BufReader;

use super::arff_header::{ArffHeader, AttributeKind};
use super::arff_row::ArffRow;
use super::cells::{complaint, parse, quote, CellValue};
use super::labels::LabelColumn;
use super::lines::Lines;
use super::memory;
use super::options::ReadOptions;
use super::source::DataSource;
use crate::data::{Dataset, DatasetBuilder, Target, TargetKind};
use crate::error::counted;
use crate::{Error, Result};

/// Reads such a file.
///
/// # Errors
/// [`Error::DataFile`] with the line.
pub(super) fn read(
    source: DataSource,
    options: &ReadOptions,
    notes: &mut Vec<String>,
) -> Result<Dataset> {
    let path = source.path.clone();
    let memory = source.memory;
    let head = source.head_lines();
    let cells = head.iter().filter(|byte| **byte == b',').count() + 1;
    source.check_need(head.len().max(1), 4 * cells)?;
    let mut lines = Lines::new(BufReader::with_capacity(64 << 10, source.into_text()), &path);
    let header = ArffHeader::read(&mut lines)?;
    if options.target == Some(TargetKind::StepClass) {
        return Err(Error::data_file(&path, "an ARFF file has no label for each step"));
    }
    let label = header.label(options.target);
    let mut labels = label.map(|label| match (&header.attributes[label].1, options.target) {
        (AttributeKind::Nominal(classes), None | Some(TargetKind::Class)) => {
            LabelColumn::declared(classes)
        }
        (_, kind) => LabelColumn::new(&header.attributes[label].0, kind),
    });
    let relational = header.relational();
    let mut builder: Option<DatasetBuilder> = None;
    let mut row = ArffRow::default();
    let mut values = SeriesValues::default();
    while lines.next()? {
        let text = lines.line().trim_ascii();
        if text.is_empty() || text.starts_with(b"%") {
            continue;
        }
        if text.starts_with(b"{") {
            row.fill(text, &header.attributes).map_err(|reason| lines.at(reason))?;
        } else {
            row.split(text).map_err(|reason| lines.at(reason))?;
        }
        let (found, expected) = (row.len(), header.attributes.len());
        if found != expected {
            return Err(lines.at(format!("has {found} values, there are {expected} attributes")));
        }
        values.clear();
        let outcome = if let Some(series) = relational {
            values.read_relation(row.cell(series))
        } else {
            let cells = (0..expected)
                .filter(|place| Some(*place) != label)
                .filter(|place| !matches!(header.attributes[*place].1, AttributeKind::Text));
            values.read_feature(cells.map(|place| row.cell(place)))
        };
        outcome.map_err(|reason| lines.at(reason))?;
        let (width, length) = values.end().map_err(|reason| lines.at(reason))?;
        let data = builder.get_or_insert_with(|| DatasetBuilder::unnamed(width));
        if data.features().len() != width {
            let expected = data.features().len();
            let reason =
                format!("has {}, the first sequence has {expected}", counted(width, "feature"));
            return Err(lines.at(reason));
        }
        if let Some((feature, step)) = values.missing.filter(|(_, step)| *step <= length) {
            data.missing_at(|| format!("line {}, feature {feature}, step {step}", lines.number()));
        }
        data.push_steps(values.steps(width, length), length)?;
        data.end_sequence()?;
        memory::check(&path, data.bytes() as u64, memory)?;
        if let (Some(labels), Some(label)) = (&mut labels, label) {
            let name = &header.attributes[label].0;
            labels
                .push(row.cell(label), || format!("line {}", lines.number()))
                .map_err(|reason| lines.at(format!("attribute {}: {reason}", quote(name))))?;
        }
    }
    let Some(builder) = builder else {
        return Err(Error::data_file(&path, "has no sequences after its line @data"));
    };
    let target = match labels {
        Some(labels) => labels.finish(notes).map_err(|reason| Error::data_file(&path, reason))?,
        None => Target::None,
    };
    builder.build(target)
}

/// The values of a sequence, feature by feature.
#[derive(Debug, Default)]
struct SeriesValues {
    values: Vec<f32>,
    /// How many each feature has.
    counts: Vec<usize>,
    /// Feature and step, from 1, of the first that is missing.
    missing: Option<(usize, usize)>,
    transposed: Vec<f32>,
}

impl SeriesValues {
    fn clear(&mut self) {
        self.values.clear();
        self.counts.clear();
        self.missing = None;
    }

    fn read_feature<'a>(
        &mut self,
        cells: impl Iterator<Item = &'a [u8]>,
    ) -> std::result::Result<(), String> {
        let feature = self.counts.len() + 1;
        let before = self.values.len();
        for (step, cell) in (1..).zip(cells) {
            self.values.push(match parse(cell) {
                CellValue::Number(value) => value,
                CellValue::Missing => {
                    self.missing.get_or_insert((feature, step));
                    f32::NAN
                }
                CellValue::Other => {
                    return Err(format!("feature {feature}, step {step}: {}", complaint(cell)))
                }
            });
        }
        self.counts.push(self.values.len() - before);
        Ok(())
    }

    fn read_relation(&mut self, text: &[u8]) -> std::result::Result<(), String> {
        for feature in text.split(|byte| *byte == b'\n') {
            self.read_feature(feature.split(|byte| *byte == b','))?;
        }
        Ok(())
    }

    /// The numbers of features and of steps; values that are missing at the end of all features are no steps.
    fn end(&self) -> std::result::Result<(usize, usize), String> {
        let width = self.counts.len();
        let count = self.counts.first().copied().unwrap_or_default();
        if let Some(other) = self.counts.iter().position(|found| *found != count) {
            let found = self.counts[other];
            return Err(format!(
                "feature {} has {}, feature 1 has {count}",
                other + 1,
                counted(found, "step")
            ));
        }
        let is_step =
            |step: &usize| (0..width).any(|row| !self.values[row * count + step].is_nan());
        let length = (0..count).rev().find(is_step).map_or(0, |last| last + 1);
        if length == 0 {
            return Err("the sequence has no steps".into());
        }
        Ok((width, length))
    }

    /// Step by step.
    fn steps(&mut self, width: usize, length: usize) -> &[f32] {
        if width == 1 {
            return &self.values[..length];
        }
        let count = self.counts[0];
        self.transposed.clear();
        for step in 0..length {
            self.transposed.extend((0..width).map(|row| self.values[row * count + step]));
        }
        &self.transposed
    }
}
