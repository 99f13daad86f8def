//! ARFF files of Weka: attributes, then a line a sequence.
//!
//! Numeric attributes are the steps of a sequence with one feature. A relational attribute holds a sequence with
//! several: a quoted text, in which `\n` stands between the features and commas stand between their steps, as in the
//! archive of multivariate series. The label is the last attribute that is nominal, or a last numeric one beside a
//! relational one.

use std::io::BufReader;

use super::arff_attribute::AttributeKind;
use super::arff_header::ArffHeader;
use super::arff_row::ArffRow;
use super::labels::LabelColumn;
use super::lines::Lines;
use super::memory;
use super::options::ReadOptions;
use super::sequence_sink::SequenceSink;
use super::series_text::SeriesText;
use super::source::DataSource;
use super::text_numbers::quote;
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, TargetKind};
use crate::wording::counted;
use crate::{Error, Result};

/// Reads such a file.
///
/// # Errors
/// [`Error::DataFile`] with the line.
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
    let mut lines =
        Lines::new(BufReader::with_capacity(64 << 10, source.into_text()), &path, memory);
    let header = ArffHeader::read(&mut lines)?;
    if options.target == Some(TargetKind::StepClass) {
        return Err(Error::data_file(&path, "an ARFF file has no label for each step"));
    }
    let label = header.label(options.target);
    let kind = sink.kind(options.target);
    let mut labels = label.map(|label| match (&header.attributes[label].1, kind) {
        (AttributeKind::Nominal(classes), None | Some(TargetKind::Class)) => {
            LabelColumn::declared(classes)
        }
        (_, kind) => LabelColumn::new(&header.attributes[label].0, kind),
    });
    let relational = header.relational();
    for name in header.left_out(label) {
        notes.push(format!("attribute {name} is left out: it holds no steps"));
    }
    let mut builder: Option<DatasetBuilder> = None;
    let mut row = ArffRow::default();
    while lines.next()? {
        let text = lines.line().trim_ascii();
        if text.is_empty() || text.starts_with(b"%") {
            continue;
        }
        if text.starts_with(b"{") {
            row.fill(text, &header.attributes).map_err(|reason| lines.at(reason))?;
        } else {
            row.split(text, header.attributes.len()).map_err(|reason| lines.at(reason))?;
        }
        let (found, expected) = (row.len(), header.attributes.len());
        if found != expected {
            return Err(lines.at(format!("has {found} values, there are {expected} attributes")));
        }
        let joined;
        let text = match relational {
            Some(series) => row.cell(series),
            None => {
                joined = row.joined(|place| {
                    let is_text = matches!(header.attributes[place].1, AttributeKind::Text);
                    Some(place) != label && !is_text
                });
                &joined[..]
            }
        };
        let mut series = SeriesText::new(text, b'\n').map_err(|reason| lines.at(reason))?;
        series.cut_missing_end().map_err(|reason| lines.at(reason))?;
        let width = series.width();
        let data = builder.get_or_insert_with(|| DatasetBuilder::unnamed(width));
        if data.features().len() != width {
            let expected = data.features().len();
            let reason =
                format!("has {}, the first sequence has {expected}", counted(width, "feature"));
            return Err(lines.at(reason));
        }
        let need = 4 * (series.steps * width) as u64;
        memory::check(&path, need.saturating_add(data.bytes() as u64), memory)?;
        let number = lines.number();
        let added = series.read(data, || format!("line {number}"));
        added.map_err(|reason| lines.at(reason))?;
        data.end_sequence()?;
        if let (Some(labels), Some(label)) = (&mut labels, label) {
            let name = &header.attributes[label].0;
            labels
                .push(row.cell(label), || format!("line {}", lines.number()))
                .map_err(|reason| lines.at(format!("attribute {}: {reason}", quote(name))))?;
        }
        sink.ended(data, &mut labels, &mut LabelsBuilder::new())?;
    }
    let Some(builder) = builder else {
        return Err(Error::data_file(&path, "has no sequences after its line @data"));
    };
    sink.finish(builder, labels, None, &path, notes)
}
