//! Records of cells: csv-core splits them, and lines are counted here.

use std::io::{BufRead, BufReader, Error, Read, Result};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::data::formats::memory;
use crate::data::formats::text_numbers::{complaint, complaint_without_commas};

/// The separator of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Byte(u8),
    /// Blanks, any number of them.
    Spaces,
}

impl Separator {
    /// What is wrong with a cell that is no number.
    pub(super) fn complaint(self, cell: &[u8]) -> String {
        if self == Self::Byte(b',') {
            complaint(cell)
        } else {
            complaint_without_commas(cell)
        }
    }
}

/// The records of a table, one after the other in the same memory.
pub(super) struct Records<'a> {
    text: BufReader<Box<dyn Read + 'a>>,
    reader: Reader,
    cells: Vec<u8>,
    /// Where the cells of the record end that was read.
    ends: Vec<u32>,
    /// Where some of them end: as many as are found at once.
    some_ends: Vec<usize>,
    /// The most bytes of memory that a record may take.
    memory: u64,
    /// Where it begins.
    line: u64,
    /// Where the next one begins.
    next_line: u64,
    /// Bytes of all records so far.
    pub(super) bytes: usize,
    /// Whether the text ends within the quotes of the record that was read.
    unclosed: bool,
}

impl<'a> Records<'a> {
    /// The records of a text.
    ///
    /// - `memory`: bytes of memory that the data may take
    pub(super) fn new(text: impl Read + 'a, separator: Separator, memory: u64) -> Self {
        let (text, delimiter): (Box<dyn Read + 'a>, _) = match separator {
            Separator::Byte(byte) => (Box::new(text), byte),
            Separator::Spaces => (Box::new(Spaces::new(text)), b','),
        };
        Self {
            text: BufReader::with_capacity(256 << 10, text),
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            cells: vec![0; 1 << 10],
            ends: Vec::new(),
            some_ends: vec![0; 1 << 10],
            // The other half is for what is read of it.
            memory: memory / 2,
            line: 1,
            next_line: 1,
            bytes: 0,
            unclosed: false,
        }
    }

    /// Reads the next record; whether there is one. Empty lines are none.
    pub(super) fn next(&mut self) -> Result<bool> {
        self.skip_ends_of_lines()?;
        self.line = self.next_line;
        let (mut written, mut quotes) = (0, 0);
        self.ends.clear();
        loop {
            let input = self.text.fill_buf()?;
            let before = self.reader.line();
            let (result, read, wrote, ends) =
                self.reader.read_record(input, &mut self.cells[written..], &mut self.some_ends);
            let is_return = read > 0 && input[read - 1] == b'\r';
            let is_end = input.is_empty();
            quotes += input[..read].iter().filter(|byte| **byte == b'"').count();
            self.text.consume(read);
            self.bytes += read;
            self.next_line += self.reader.line() - before;
            written += wrote;
            // Below 2^32, as the cells are.
            self.ends.extend(self.some_ends[..ends].iter().map(|end| *end as u32));
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.grow()?,
                ReadRecordResult::OutputEndsFull => self.check_memory(self.cells.len())?,
                ReadRecordResult::Record => {
                    self.unclosed = is_end && quotes % 2 == 1;
                    if is_return && self.text.fill_buf()?.first() != Some(&b'\n') {
                        self.next_line += 1;
                    }
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    /// Makes room for more cells.
    fn grow(&mut self) -> Result<()> {
        let room = 2 * self.cells.len();
        self.check_memory(room)?;
        self.cells.resize(room, 0);
        Ok(())
    }

    /// Refuses a record that takes too much memory, with so many bytes of cells.
    fn check_memory(&self, cells: usize) -> Result<()> {
        let need = (cells + 4 * self.ends.capacity()) as u64;
        if need <= self.memory && u32::try_from(cells).is_ok() {
            return Ok(());
        }
        let reason = memory::too_long(2 * self.memory.min(u64::from(u32::MAX)));
        Err(Error::other(format!("line {}: {reason}", self.line)))
    }

    fn skip_ends_of_lines(&mut self) -> Result<()> {
        loop {
            let input = self.text.fill_buf()?;
            let ends = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            self.next_line += input[..ends].iter().filter(|byte| **byte == b'\n').count() as u64;
            let all = ends == input.len() && ends > 0;
            self.text.consume(ends);
            self.bytes += ends;
            if !all {
                return Ok(());
            }
        }
    }

    /// How many cells it has.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The line where it begins, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Whether the text ends within its quotes: what follows the opening one was taken for a part of the cell.
    pub(super) fn is_unclosed(&self) -> bool {
        self.unclosed
    }

    /// A cell.
    pub(super) fn cell(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.cells[start..self.ends[place] as usize]
    }

    /// All cells.
    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.cell(place))
    }
}

/// A text in which blanks between the words of a line are a comma, and others are left out.
struct Spaces<R> {
    text: R,
    bytes: Vec<u8>,
    at_start: bool,
    pending: bool,
}

impl<R: Read> Spaces<R> {
    fn new(text: R) -> Self {
        Self { text, bytes: vec![0; 64 << 10], at_start: true, pending: false }
    }
}

impl<R: Read> Read for Spaces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        // A comma that is pending stands for blanks of the piece before.
        let room = buffer.len().saturating_sub(1).min(self.bytes.len());
        if room == 0 {
            return Ok(0);
        }
        loop {
            let read = self.text.read(&mut self.bytes[..room])?;
            if read == 0 {
                return Ok(0);
            }
            let mut to = 0;
            for byte in &self.bytes[..read] {
                match byte {
                    b' ' | b'\t' => {
                        self.pending = !self.at_start;
                        continue;
                    }
                    b'\n' | b'\r' => (self.at_start, self.pending) = (true, false),
                    _ => {
                        if std::mem::take(&mut self.pending) {
                            buffer[to] = b',';
                            to += 1;
                        }
                        self.at_start = false;
                    }
                }
                buffer[to] = *byte;
                to += 1;
            }
            if to > 0 {
                return Ok(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static str, separator: Separator) -> Vec<(u64, Vec<String>)> {
        let mut records = Records::new(text.as_bytes(), separator, 1 << 20);
        let mut all = Vec::new();
        while records.next().unwrap() {
            let cells = records.cells().map(|cell| String::from_utf8_lossy(cell).into());
            all.push((records.line(), cells.collect()));
        }
        all
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        for text in ["a,1\n\nb,2\nc,3", "a,1\r\n\r\nb,2\r\nc,3\r\n"] {
            let lines: Vec<u64> =
                all(text, Separator::Byte(b',')).iter().map(|row| row.0).collect();
            assert_eq!(lines, [1, 3, 4], "{text:?}");
        }
        let lines: Vec<u64> =
            all("a\rb\rc", Separator::Byte(b',')).iter().map(|row| row.0).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn quotes_hold_separators_and_ends_of_lines() {
        let rows = all("\"a,\"\"b\"\"\n\",1\nc,2\n", Separator::Byte(b','));
        assert_eq!(rows[0].1, ["a,\"b\"\n", "1"]);
        assert_eq!((rows[1].0, &rows[1].1[..]), (3, &["c".to_string(), "2".into()][..]));
    }

    #[test]
    fn a_record_that_leaves_no_memory_is_refused() {
        for text in ["1,".repeat(1 << 20), format!("a\n{}", "1".repeat(1 << 20))] {
            let mut records = Records::new(text.as_bytes(), Separator::Byte(b','), 1 << 20);
            let error = (0..2).find_map(|_| records.next().err()).unwrap().to_string();
            assert!(error.contains("is too long to be read"), "{error}");
            assert!(records.cells.len() + 4 * records.ends.capacity() <= 1 << 20);
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told() {
        for (text, unclosed) in [
            ("a,1\n\"b,2\nc,3\n", true),
            ("a,\"", true),
            ("a,\"b\"\"", true),
            ("a,\"b\nc\"", false),
            ("a,\"b\"\"\"", false),
            ("a,b\"\n", false),
            ("a,1\n\"b\",2\n", false),
        ] {
            let mut records = Records::new(text.as_bytes(), Separator::Byte(b','), 1 << 20);
            while records.next().unwrap() {}
            assert_eq!(records.is_unclosed(), unclosed, "{text:?}");
        }
    }

    #[test]
    fn blanks_separate_words_and_nothing_else() {
        for chunk in [2, 3, 5, 100] {
            let mut spaces = Spaces::new(&b"  1.0  2\t3 \r\n\n 4 5 6"[..]);
            let (mut out, mut buffer) = (Vec::new(), vec![0; chunk]);
            loop {
                match spaces.read(&mut buffer).unwrap() {
                    0 => break,
                    read => out.extend_from_slice(&buffer[..read]),
                }
            }
            assert_eq!(String::from_utf8(out).unwrap(), "1.0,2,3\r\n\n4,5,6");
        }
    }
}
