//! `read`: any file of sequences.

use std::path::Path;

use super::arrays::ArrayFile;
use super::loaded::{Content, Format, Loaded};
use super::npy_file::NpyFile;
use super::npz::NpzFile;
use super::options::ReadOptions;
use super::safetensors::SafetensorsFile;
use super::sequence_sink::SequenceSink;
use super::source::DataSource;
use super::{arff, array_data, csv, detect, idx_images, json_array, jsonl, plain_text, ts};
use crate::data::{Dataset, TargetKind};
use crate::{Error, Result};

/// Reads a file of sequences or text, gzipped or not. Its format is told by its content.
///
/// ```
/// use candle_rnn::data::formats::{read, Content, ReadOptions};
/// # fn main() -> candle_rnn::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("read-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// let path = folder.join("walks.csv");
/// std::fs::write(&path, "id,x,label\na,1,up\na,2,up\nb,5,down\nb,4,down\nb,3,down\n").unwrap();
/// let loaded = read(&path, &ReadOptions::default())?;
/// let Content::Sequences(data) = loaded.content else { panic!("not a text") };
/// assert_eq!((data.lengths(), data.class_names()), (vec![2, 3], &["down".into(), "up".into()][..]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Io`] when the file cannot be read. [`Error::DataFile`] when it is of no known format, disagrees with
/// itself or with `options`, or needs more memory than there is: with the line and the column, what was expected and
/// what is there.
pub fn read(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Loaded> {
    let path = path.as_ref();
    let loaded = read_into(path, options, &mut SequenceSink::kept())?;
    loaded.ok_or_else(|| Error::data_file(path, "holds no sequences"))
}

/// Reads a file of sequences into `sink`, or a text: what it holds, if all of it was kept.
///
/// # Errors
/// As [`read`]; those of whoever takes a block.
pub(super) fn read_into(
    path: &Path,
    options: &ReadOptions,
    sink: &mut SequenceSink,
) -> Result<Option<Loaded>> {
    let source = DataSource::open(path, options.memory)?;
    let format = detect::detect(&source)?;
    if !matches!(format, Format::Csv | Format::Tsv) {
        if let Some(option) = options.wrong_without_table() {
            let reason = format!(
                "is a file of the format {format}, for which the option {option} means nothing"
            );
            return Err(Error::data_file(path, format!("{reason}: leave it out")));
        }
    }
    let lacking;
    let options = if lacks_target(options, format) {
        lacking = ReadOptions { target: Some(TargetKind::None), ..options.clone() };
        &lacking
    } else {
        options
    };
    let (mut notes, mut layout, mut columns) = (Vec::new(), None, None);
    let data = match format {
        Format::Csv | Format::Tsv => {
            let table = csv::read(source, options, sink, &mut notes)?;
            layout = Some(table.layout);
            columns = table.columns;
            table.data
        }
        Format::Ts => ts::read(source, options, sink, &mut notes)?,
        Format::Arff => arff::read(source, options, sink, &mut notes)?,
        Format::JsonLines => jsonl::read(source, options, sink, &mut notes)?,
        Format::Json => json_array::read(source, options, sink, &mut notes)?,
        Format::Text => {
            let content = Content::Text(plain_text::read(source)?);
            return Ok(Some(Loaded { content, format, layout, columns, notes }));
        }
        Format::Idx => {
            source.check_need(1, 1)?;
            Some(idx_images::read(path, options.target, &source.head, &mut notes)?)
        }
        Format::Npz | Format::Npy | Format::Safetensors => {
            read_arrays(source, format, options, sink, &mut notes)?
        }
    };
    let content = data.map(Content::Sequences);
    Ok(content.map(|content| Loaded { content, format, layout, columns, notes }))
}

/// Whether a file whose format has no such targets is read without one, as data to predict may lack it.
fn lacks_target(options: &ReadOptions, format: Format) -> bool {
    let has_none = match format {
        Format::Ts | Format::Arff => options.target == Some(TargetKind::StepClass),
        Format::Idx => matches!(options.target, Some(TargetKind::StepClass | TargetKind::Numbers)),
        _ => false,
    };
    has_none && options.may_lack_labels
}

fn read_arrays(
    source: DataSource,
    format: Format,
    options: &ReadOptions,
    sink: &mut SequenceSink,
    notes: &mut Vec<String>,
) -> Result<Option<Dataset>> {
    let (path, memory) = (source.path.clone(), source.memory);
    let fail = |reason: String| Error::data_file(&path, reason);
    let (file, size) = source.into_seekable()?;
    let mut arrays: Box<dyn ArrayFile> = match format {
        Format::Npz => Box::new(NpzFile::new(file).map_err(fail)?),
        Format::Safetensors => Box::new(SafetensorsFile::new(file, size).map_err(fail)?),
        _ => Box::new(NpyFile { file, size }),
    };
    array_data::read(&mut *arrays, &path, memory, options, sink, notes)
}
