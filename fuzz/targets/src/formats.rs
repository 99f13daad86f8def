//! Files of sequences: whatever is read as a data set is one, and the same gzipped and in blocks.

use std::borrow::Cow;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use candle_rnn::data::formats::{read, BlockSize, Content, Loaded, ReadOptions, SequenceFile};
use candle_rnn::data::{Dataset, TargetKind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{cut, framed, gzip};

/// Bytes of memory that any file may take.
const MEMORY: u64 = 8 << 20;

/// So small that files of the fuzzer have several blocks.
const BLOCKS: BlockSize =
    BlockSize { whole_bytes: 64, whole_sequences: 3, block_bytes: 40, block_sequences: 2 };

/// A table of cells.
pub fn csv(folder: &Path, input: &[u8]) -> bool {
    sequences(folder, "input.csv", input)
}

/// A `.ts` file.
pub fn ts(folder: &Path, input: &[u8]) -> bool {
    sequences(folder, "input.ts", input)
}

/// An ARFF file.
pub fn arff(folder: &Path, input: &[u8]) -> bool {
    sequences(folder, "input.arff", input)
}

/// JSON lines.
pub fn jsonl(folder: &Path, input: &[u8]) -> bool {
    sequences(folder, "input.jsonl", input)
}

/// An archive of arrays; or the arrays `x`, `y` and `lengths` with [`CUT`](crate::CUT) between them, of which an
/// archive is made: libFuzzer could not keep its checksums right.
pub fn npz(folder: &Path, input: &[u8]) -> bool {
    if input.starts_with(b"PK") {
        return sequences(folder, "input.npz", input);
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, array) in ["x", "y", "lengths"].into_iter().zip(cut::<3>(input)) {
        let Some(array) = array.filter(|array| !array.is_empty()) else { continue };
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(array).unwrap();
    }
    sequences(folder, "input.npz", &zip.finish().unwrap().into_inner())
}

/// A safetensors file, or its header, a line feed and its numbers.
pub fn safetensors(folder: &Path, input: &[u8]) -> bool {
    let file: Cow<'_, [u8]> = framed(input);
    sequences(folder, "input.safetensors", &file)
}

/// A file of no known extension: what it is, is told by its content.
pub fn text(folder: &Path, input: &[u8]) -> bool {
    sequences(folder, "input", input)
}

/// Reads a file in several ways.
fn sequences(folder: &Path, name: &str, input: &[u8]) -> bool {
    let path = folder.join(name);
    fs::write(&path, input).unwrap();
    let memory = Some(MEMORY + 2 * input.len() as u64);
    let kinds = [
        None,
        Some(TargetKind::None),
        Some(TargetKind::Class),
        Some(TargetKind::StepClass),
        Some(TargetKind::Numbers),
    ];
    let [first, ..] = kinds.map(|target| {
        let options = ReadOptions { target, memory, ..ReadOptions::default() };
        let loaded = read(&path, &options).inspect(check).map_err(|error| error.to_string());
        in_blocks(&path, &options, loaded.as_ref().map(|loaded| &loaded.content));
        loaded
    });
    let packed = folder.join(format!("{name}.gz"));
    if input.starts_with(&[0x1f, 0x8b]) {
        return first.is_ok();
    }
    fs::write(&packed, gzip(input)).unwrap();
    let again = read(&packed, &ReadOptions { memory, ..ReadOptions::default() });
    // Of a packed file it is not known beforehand how much it is.
    if let (Ok(first), Ok(again)) = (&first, &again) {
        assert_eq!(digest(first), digest(again));
    }
    first.is_ok()
}

/// A data set is consistent.
fn check(loaded: &Loaded) {
    let Content::Sequences(data) = &loaded.content else { return };
    assert!(!data.is_empty() && !data.features().is_empty());
    for index in 0..data.len() {
        assert!(data.seq_len(index) > 0);
        if let Some(label) = data.label(index) {
            assert!((label as usize) < data.class_names().len());
        }
        if let Some(labels) = data.step_labels(index) {
            assert_eq!(labels.len(), data.seq_len(index));
        }
    }
    missing(data);
}

/// What is missing is counted, and has a place.
fn missing(data: &Dataset) {
    assert_eq!(data.missing().count == 0, data.missing().first.is_empty(), "{:?}", data.missing());
}

/// Read in blocks, a file has the sequences that it has when it is read at once; or it is refused for the same reason.
fn in_blocks(path: &Path, options: &ReadOptions, whole: Result<&Content, &String>) {
    let mut seen = 0;
    let scanned =
        SequenceFile::scan_in_blocks(path, options, BLOCKS, &mut |block| seen += block.len());
    let scanned = scanned.map_err(|error| error.to_string());
    let (file, whole) = match (scanned, whole) {
        (Ok(file), Ok(Content::Sequences(data))) => (file, Some(data)),
        (Err(error), Ok(Content::Text(_))) => {
            return assert!(error.contains("plain text"), "{error}")
        }
        // The whole file has no room, its blocks may have.
        (Err(_), Err(reason)) if reason.contains("memory") => return,
        (Ok(file), Err(reason)) if reason.contains("memory") => (file, None),
        (Err(error), Err(reason)) => return assert_eq!(&error, reason),
        (scanned, whole) => panic!("{scanned:?} in blocks, {whole:?} at once"),
    };
    let mut found = 0;
    let read = file.for_each_block(|block| {
        for index in 0..block.len() {
            if let Some(data) = whole {
                assert_eq!(told(block, index), told(data, found + index));
            }
        }
        found += block.len();
        Ok::<(), candle_rnn::Error>(())
    });
    read.unwrap();
    assert_eq!(found, file.sequences());
    let Some(outline) = file.outline() else { return };
    assert_eq!(seen, found);
    if let Some(data) = whole {
        let longest = data.lengths().into_iter().max();
        let of_whole = (data.features(), data.len(), longest, data.missing(), data.target().kind());
        let of_blocks = (&outline.features[..], found, Some(outline.longest), &outline.missing);
        let (features, count, longest_found, missing) = of_blocks;
        assert_eq!((features, count, longest_found, missing, outline.target.kind()), of_whole);
    }
}

/// What there is to be known of a sequence.
fn told(data: &Dataset, index: usize) -> String {
    let name = |label: u32| &data.class_names()[label as usize];
    let (id, values, label) = (data.id(index), data.sequence(index), data.label(index).map(name));
    let steps: Option<Vec<_>> = data.step_labels(index).map(|labels| labels.map(name).collect());
    let (numbers, time) = (data.numbers(index), data.last_time(index));
    format!("{id} {values:?} {label:?} {steps:?} {numbers:?} {time:?}")
}

fn digest(loaded: &Loaded) -> String {
    match &loaded.content {
        Content::Sequences(data) => data.fingerprint(),
        Content::Text(text) => text.clone(),
    }
}
