//! JSON: an array of the objects that JSON lines have.

use std::fmt;
use std::io::BufReader;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use super::json_numbers::JsonNumbers;
use super::json_objects::Objects;
use super::jsonl_example::Example;
use super::memory;
use super::options::ReadOptions;
use super::sequence_sink::SequenceSink;
use super::source::{unreadable, DataSource};
use crate::data::Dataset;
use crate::{Error, Result};

/// Reads such a file, object by object.
///
/// # Errors
/// [`Error::DataFile`] with line and column, or the number of the object.
pub(super) fn read(
    source: DataSource,
    options: &ReadOptions,
    sink: &mut SequenceSink,
    notes: &mut Vec<String>,
) -> Result<Option<Dataset>> {
    let (path, memory) = (source.path.clone(), source.memory);
    let head = source.head_lines();
    let cells = head.iter().filter(|byte| **byte == b',').count() + 1;
    sink.check_need(&source, head.len().max(1), 4 * cells)?;
    let mut objects = Objects::new(options.target, sink);
    let mut wrong = None;
    let reader = BufReader::with_capacity(64 << 10, JsonNumbers::new(source.into_text()));
    let mut json = serde_json::Deserializer::from_reader(reader);
    // Values and their copy in the data set, each while its memory grows.
    let most = usize::try_from(memory / 16).unwrap_or(usize::MAX).max(1);
    let add = |number, example: &mut Example| {
        let place = || format!("object {number}");
        let added = objects.add(example, place);
        let added =
            added.map_err(|reason| Error::data_file(&path, format!("{}: {reason}", place())));
        let outcome = added.and_then(|()| memory::check(&path, objects.bytes(), memory));
        let outcome = outcome.and_then(|()| objects.pass_on());
        outcome.map_err(|error| wrong = Some(error)).is_ok()
    };
    let mut example = Example { most, ..Example::default() };
    let outcome = json.deserialize_seq(ArrayVisitor(add, &mut example)).and_then(|()| json.end());
    if let Some(error) = wrong {
        return Err(error);
    }
    outcome.map_err(|error| {
        let text = error.to_string();
        if error.is_io() {
            return unreadable(&path, error.into());
        }
        let reason = text.rsplit_once(" at line ").map_or(&text[..], |(reason, _)| reason);
        let (line, column) = (error.line(), error.column());
        Error::data_file(&path, format!("line {line}, column {column}: {reason}"))
    })?;
    objects.finish(&example, &path, notes)
}

/// Hands on each object with its number, from 1; `false` ends the reading.
///
/// The second field is where each is put.
struct ArrayVisitor<'a, F>(F, &'a mut Example);

impl<'de, F: FnMut(usize, &mut Example) -> bool> Visitor<'de> for ArrayVisitor<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects such as {\"x\": [1, 2, 3], \"y\": \"up\"}")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> std::result::Result<(), A::Error> {
        let example = self.1;
        for number in 1.. {
            example.clear();
            if array.next_element_seed(ExampleSeed(example))?.is_none() {
                break;
            }
            if !(self.0)(number, example) {
                return Err(A::Error::custom("an object is wrong"));
            }
        }
        Ok(())
    }
}

/// An object of the array.
struct ExampleSeed<'a>(&'a mut Example);

impl<'de> DeserializeSeed<'de> for ExampleSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        self.0.deserialize(from)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::data::formats::{read, Format, ReadOptions};
    use crate::data::Dataset;

    fn array(content: &[u8]) -> std::result::Result<Dataset, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, content).unwrap();
        let loaded = read(&path, &ReadOptions::default())
            .map_err(|error| error.to_string().rsplit_once("a.json: ").unwrap().1.to_string())?;
        assert_eq!(loaded.format, Format::Json);
        Ok(loaded.sequences().unwrap())
    }

    #[test]
    fn an_array_holds_what_lines_hold() {
        let objects = [
            "{\"x\": [[1, 2], [3, null]], \"y\": \"a\", \"id\": \"p\"}",
            "{\"id\": \"q\", \"sequence\": [[5, 6]],\n \"label\": \"b\"}",
        ];
        let text = format!("\u{feff}[\n  {} ,\n{}]\n", objects[0], objects[1]);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        for content in [text.into_bytes(), packed.finish().unwrap()] {
            let data = array(&content).unwrap();
            assert_eq!(
                (data.lengths(), data.id(1), data.label(1)),
                (vec![2, 1], "q".into(), Some(1))
            );
            assert_eq!(data.missing().first, "object 1, feature 2, step 2");
        }
        let missing = array(b"[{\"x\": [1, NaN, 3], \"y\": \"NaN-ish\"}]").unwrap();
        assert_eq!((missing.missing().count, missing.class_names()[0].as_str()), (1, "NaN-ish"));
        // Longer than the part of a file by which its format is told.
        let many =
            format!("[{}{{\"x\": [1], \"y\": 1}}]", "{\"x\": [1, 2], \"y\": 0},".repeat(20_000));
        assert_eq!(array(many.as_bytes()).unwrap().len(), 20_001);
    }

    #[test]
    fn what_is_wrong_in_an_array_has_its_place() {
        for (content, reason) in [
            ("[]", "holds no objects"),
            ("[1, 2]", "line 1, column 3: invalid type: integer `1`, expected an object such as"),
            ("[{\"x\": [1]},\n {\"x\": [1}]", "line 2, column "),
            (
                "[{\"x\": [1]}, {\"x\": [[1, 2]]}]",
                "object 2: has 2 features, the first sequence has 1",
            ),
            ("[{\"x\": [Infinity]}]", "line 1, column 16: number out of range"),
            ("[{\"x\": [\"\", \"a\"]}]", "line 1, column "),
            ("[{\"x\": []}]", "object 1: the sequence has no steps"),
            ("[{\"x\": [1]}] 3", "line 1, column "),
            ("[{\"x\": [1]}", "line 1, column "),
        ] {
            let error = array(content.as_bytes()).unwrap_err();
            assert!(error.starts_with(reason), "{content}: {error}");
        }
    }
}
