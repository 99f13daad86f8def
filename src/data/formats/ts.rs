//! `.ts` files of sktime and aeon: a line a sequence, its features between colons, its label last.

use std::io::{BufRead, BufReader};

use super::labels::LabelColumn;
use super::lines::Lines;
use super::memory;
use super::options::ReadOptions;
use super::sequence_sink::SequenceSink;
use super::series_text::SeriesText;
use super::source::DataSource;
use super::text_numbers::{complaint, quote};
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, TargetKind};
use crate::wording::counted;
use crate::{Error, Result};

/// The directives before the data.
#[derive(Debug, Default)]
struct TsHeader {
    /// The label's kind, if sequences have one, and the classes that are declared.
    label: Option<(TargetKind, Vec<String>)>,
    univariate: Option<bool>,
    dimensions: Option<usize>,
    /// The steps of every sequence.
    steps: Option<usize>,
}

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
    check_need(&source, sink)?;
    let mut lines =
        Lines::new(BufReader::with_capacity(64 << 10, source.into_text()), &path, memory);
    let header = read_header(&mut lines)?;
    let mut labels = match (&header.label, sink.kind(options.target)) {
        (None, _) | (_, Some(TargetKind::None)) => None,
        (_, Some(TargetKind::StepClass)) => {
            return Err(Error::data_file(&path, "a .ts file has no label for each step"));
        }
        (Some((TargetKind::Class, classes)), None | Some(TargetKind::Class))
            if !classes.is_empty() =>
        {
            Some(LabelColumn::declared(classes))
        }
        (Some((kind, _)), wanted) => {
            Some(LabelColumn::new("target", Some(wanted.unwrap_or(*kind))))
        }
    };
    let mut builder: Option<DatasetBuilder> = None;
    while lines.next()? {
        let number = lines.number();
        let text = lines.line().trim_ascii();
        if text.is_empty() || text.starts_with(b"#") || text.starts_with(b"%") {
            continue;
        }
        let fail = |reason: String| lines.at(reason);
        if text.starts_with(b"(") {
            return Err(fail(TIMES.into()));
        }
        let (features, label) = if header.label.is_some() {
            let colon = text.iter().rposition(|byte| *byte == b':');
            let colon =
                colon.ok_or_else(|| fail("expected a colon and a label at the end".into()))?;
            (&text[..colon], Some(&text[colon + 1..]))
        } else {
            (text, None)
        };
        let series = SeriesText::new(features, b':').map_err(fail)?;
        let width = series.width();
        let data = match &mut builder {
            Some(data) => data,
            None => {
                check_width(&header, width).map_err(fail)?;
                builder.insert(DatasetBuilder::unnamed(width))
            }
        };
        if width != data.features().len() {
            let expected = data.features().len();
            return Err(fail(format!(
                "has {}, the first sequence has {expected}",
                counted(width, "feature")
            )));
        }
        let need = 4 * (series.steps * width) as u64;
        memory::check(&path, need.saturating_add(data.bytes() as u64), memory)?;
        series.read(data, || format!("line {number}")).map_err(fail)?;
        data.end_sequence()?;
        if let (Some(labels), Some(label)) = (&mut labels, label) {
            labels
                .push(label, || format!("line {number}"))
                .map_err(|reason| fail(format!("label: {reason}")))?;
        }
        sink.ended(data, &mut labels, &mut LabelsBuilder::new())?;
    }
    let Some(builder) = builder else {
        return Err(Error::data_file(&path, "has no sequences after its line @data"));
    };
    if let Some(steps) = header.steps {
        let others = builder.lengths().filter(|length| *length != steps).count();
        if others > 0 {
            let have = if others == 1 { "has" } else { "have" };
            notes.push(format!(
                "@seriesLength says {}, {others} of the sequences {have} more or fewer",
                counted(steps, "step")
            ));
        }
    }
    sink.finish(builder, labels, None, &path, notes)
}

const TIMES: &str = "values have time stamps, which are not read here: write the values alone, or a CSV file with a \
                     column for the time";

/// Refuses a file that is too large, judged by the numbers in its head.
fn check_need(source: &DataSource, sink: &SequenceSink) -> Result<()> {
    let head = source.head_lines();
    let cells = head.iter().filter(|byte| matches!(byte, b',' | b':')).count() + 1;
    sink.check_need(source, head.len().max(1), 4 * cells)
}

fn check_width(header: &TsHeader, width: usize) -> std::result::Result<(), String> {
    match (header.univariate, header.dimensions) {
        (_, Some(expected)) if expected != width => {
            Err(format!("has {width} features, @dimensions says {expected}"))
        }
        (Some(true), _) if width > 1 => {
            Err(format!("has {width} features, @univariate says there is one"))
        }
        _ => Ok(()),
    }
}

fn read_header<R: BufRead>(lines: &mut Lines<R>) -> Result<TsHeader> {
    let mut header = TsHeader::default();
    while lines.next()? {
        let fail = |reason: String| lines.at(reason);
        let text = lines.text()?;
        if !text.starts_with('@') {
            if text.is_empty() || text.starts_with(['#', '%']) {
                continue;
            }
            return Err(fail(format!("expected a directive such as @data, got {}", quote(text))));
        }
        let mut words = text.split_whitespace();
        let directive = words.next().unwrap_or_default().to_ascii_lowercase();
        let value = words.next().unwrap_or_default().to_ascii_lowercase();
        let truth = || match &value[..] {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(fail(format!("{directive} must be true or false, got {}", quote(other)))),
        };
        match &directive[..] {
            "@data" => return Ok(header),
            "@timestamps" if truth()? => return Err(fail(TIMES.into())),
            "@univariate" => header.univariate = Some(truth()?),
            "@dimensions" | "@dimension" => {
                let count = value.parse().map_err(|_| fail(complaint(value.as_bytes())))?;
                header.dimensions = Some(count);
            }
            "@serieslength" => {
                let count = value.parse().map_err(|_| fail(complaint(value.as_bytes())))?;
                header.steps = Some(count);
            }
            "@classlabel" if truth()? => {
                let classes: Vec<String> = words.map(String::from).collect();
                header.label = Some((TargetKind::Class, classes));
            }
            "@targetlabel" if truth()? => header.label = Some((TargetKind::Numbers, Vec::new())),
            _ => {}
        }
    }
    Err(lines.fail("ends before its line @data"))
}
