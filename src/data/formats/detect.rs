//! Detection of a file's format: by its first bytes, and by its name where these leave it open.

use std::path::Path;

use super::loaded::Format;
use super::source::DataSource;
use super::text_numbers::{parse, CellValue};
use crate::{Error, Result};

/// Formats that are no data of ours: their first bytes, and what to do about them.
const FOREIGN: [(&[u8], &str); 10] = [
    (b"\x80\x02", "is a Python pickle, which is never read: save arrays with numpy.savez"),
    (b"\x80\x03", "is a Python pickle, which is never read: save arrays with numpy.savez"),
    (b"\x80\x04", "is a Python pickle, which is never read: save arrays with numpy.savez"),
    (b"\x80\x05", "is a Python pickle, which is never read: save arrays with numpy.savez"),
    (b"PAR1", "is a Parquet file: save it as CSV"),
    (b"\x89HDF", "is an HDF5 file: save it as npz"),
    (b"BZh", "is bzip2 data: unpack it"),
    (b"\xfd7zXZ", "is xz data: unpack it"),
    (b"\x28\xb5\x2f\xfd", "is Zstandard data: unpack it"),
    (b"SQLite format 3", "is an SQLite database: save a table as CSV"),
];

/// Tells the format.
///
/// # Errors
/// [`Error::DataFile`] for a format that is not read here, and says what it is if that is known.
pub(super) fn detect(source: &DataSource) -> Result<Format> {
    let head = &source.head[..];
    let fail = |reason: &str| Err(Error::data_file(&source.path, reason));
    if let Some((_, reason)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return fail(reason);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Format::Npz);
    }
    if head.starts_with(b"\x93NUMPY") {
        return Ok(Format::Npy);
    }
    if let [0, 0, 8 | 9 | 11..=14, 1..=4, ..] = head {
        return Ok(Format::Idx);
    }
    if is_safetensors(head) {
        return Ok(Format::Safetensors);
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return fail("is UTF-16 text: save it as UTF-8");
    }
    if head.contains(&0) {
        return fail("is a binary file of an unknown format");
    }
    let text = String::from_utf8_lossy(source.head_lines());
    let extension = extension(&source.path);
    if let Some(format) = by_directives(&text, &extension) {
        return format.ok_or_else(|| {
            Error::data_file(&source.path, "is a .tsf file of forecasting series: save it as CSV")
        });
    }
    match text.trim_start().chars().next() {
        Some('{') => return Ok(Format::JsonLines),
        Some('[') if is_json_array(&text, &extension) => return Ok(Format::Json),
        None => return fail("holds nothing but blanks"),
        _ => {}
    }
    let tabs = text.lines().take(2).any(|line| line.contains('\t'));
    match &extension[..] {
        "csv" | "tsv" | "tab" => {}
        "ts" | "arff" if has_colons(&text) || !looks_like_a_table(&text) => {
            return fail("has neither directives nor data of its format: expected a line @data");
        }
        _ if looks_like_a_table(&text) => {}
        _ => return Ok(Format::Text),
    }
    Ok(if tabs { Format::Tsv } else { Format::Csv })
}

/// The extension of a file's name in lower case, without that of gzip.
fn extension(path: &Path) -> String {
    let of = |path: &Path| {
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        extension.unwrap_or_default().to_ascii_lowercase()
    };
    match &of(path)[..] {
        "gz" => of(Path::new(path.file_stem().unwrap_or_default())),
        other => other.into(),
    }
}

/// Whether a text that begins with a bracket is an array of objects, or is named as JSON is.
fn is_json_array(text: &str, extension: &str) -> bool {
    let items = text.trim_start().strip_prefix('[').unwrap_or_default().trim_start();
    let begins =
        items.strip_prefix('{').is_some_and(|item| item.trim_start().starts_with(['"', '}']));
    begins || matches!(extension, "json" | "jsonl" | "ndjson")
}

/// The length of the header, then a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, header)) = head.split_first_chunk::<8>() else { return false };
    u64::from_le_bytes(*length) < 1 << 32 && length[4..] == [0; 4] && header.starts_with(b"{")
}

/// The format that lines beginning with `@` tell: `Some(None)` is one that is not read.
fn by_directives(text: &str, extension: &str) -> Option<Option<Format>> {
    let mut known = None;
    for line in text.lines().map(str::trim_start) {
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        match &word[..] {
            "@frequency" | "@horizon" => return Some(None),
            "@relation" | "@attribute" => known = Some(Some(Format::Arff)),
            "@problemname" | "@timestamps" | "@univariate" | "@classlabel" | "@targetlabel" => {
                known = Some(Some(Format::Ts));
            }
            "@data" => {
                let by_name = if extension == "arff" { Format::Arff } else { Format::Ts };
                return known.or(Some(Some(by_name)));
            }
            _ if word.starts_with(['@', '%', '#']) || word.is_empty() => {}
            // Neither format has anything else before its data.
            _ if known.is_none() => return None,
            _ => {}
        }
    }
    known
}

/// Whether every line has a colon, as the data of a `.ts` file have.
fn has_colons(text: &str) -> bool {
    text.lines().filter(|line| !line.trim().is_empty()).all(|line| line.contains(':'))
}

/// Whether most of what separators separate are numbers, the first line aside.
fn looks_like_a_table(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(50).collect();
    let from = usize::from(lines.len() > 1);
    let (mut numbers, mut all) = (0, 0);
    for line in &lines[from..] {
        let by_spaces = !line.contains([',', ';', '\t']);
        let separates = |c: char| if by_spaces { c == ' ' } else { matches!(c, ',' | ';' | '\t') };
        for cell in line.split(separates).map(str::trim).filter(|cell| !cell.is_empty()) {
            all += 1;
            let is_number =
                matches!(parse(cell.as_bytes()), CellValue::Number(_) | CellValue::Missing);
            numbers += usize::from(is_number);
        }
    }
    // A table has a column of names or times, and often one of labels.
    numbers * 3 > all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, content: &[u8]) -> std::result::Result<Format, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let outcome = DataSource::open(&path, None).and_then(|source| detect(&source));
        outcome.map_err(|error| error.to_string().rsplit("/").next().unwrap().to_string())
    }

    #[test]
    fn content_tells_the_format_before_the_name() {
        for (name, content, format) in [
            ("a.csv", &b"a,b\n1,2\n"[..], Format::Csv),
            ("a.dat", b"a,b\n1,2\n", Format::Csv),
            ("a.txt", b"  1.0 2.0\n 3.0 4.0\n", Format::Csv),
            ("a.csv", b"a\tb\n1\t2\n", Format::Tsv),
            ("a.csv", b"# x\n@problemName a\n@data\n1,2:1\n", Format::Ts),
            ("a.ts", b"@data\n1,2:1\n", Format::Ts),
            ("a.ts", b"time,b\n10:30,2\n10:31,5\n", Format::Csv),
            ("a.arff", b"a\tb\n1\t2\n", Format::Tsv),
            ("a.txt", b"% x\n@RELATION a\n@ATTRIBUTE b real\n@DATA\n1\n", Format::Arff),
            ("a.txt", b"{\"x\": [1, 2]}\n", Format::JsonLines),
            ("a.txt", b" [\n {\"x\": [1, 2]}]\n", Format::Json),
            ("a.json", b"[]", Format::Json),
            ("a.txt", b"[1] a footnote, and a text\n", Format::Text),
            ("a.csv", b"PK\x03\x04..", Format::Npz),
            ("a.csv", b"\x93NUMPY..", Format::Npy),
            ("a", b"\0\0\x08\x03....", Format::Idx),
            ("a", b"\x02\0\0\0\0\0\0\0{}", Format::Safetensors),
            ("a.txt", b"To be, or not to be:\nthat is the question.\n", Format::Text),
            ("a.csv", b"To be, or not to be:\nthat is the question.\n", Format::Csv),
        ] {
            assert_eq!(of(name, content), Ok(format), "{name} {content:?}");
        }
    }

    #[test]
    fn foreign_formats_are_named() {
        for (content, reason) in [
            (&b"\x80\x04\x95"[..], "a.x: is a Python pickle, which is never read"),
            (b"PAR1", "a.x: is a Parquet file"),
            (b"\xff\xfea\0", "a.x: is UTF-16 text: save it as UTF-8"),
            (b"a\0b", "a.x: is a binary file of an unknown format"),
            (b"@relation a\n@frequency yearly\n@data\n", "a.x: is a .tsf file"),
            (b" \n\n", "a.x: holds nothing but blanks"),
            (b"", "a.x: is empty"),
        ] {
            let error = of("a.x", content).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
        for content in [&b"1,2,3:1\n4,5,6:2\n"[..], b"To be, or not to be\n"] {
            assert!(of("a.ts", content).unwrap_err().contains("expected a line @data"));
        }
    }
}
