//! How a table is written: what separates cells, and whether there is a header.

use super::names::{is_known, HeaderNames};
use super::records::{Records, Separator};
use crate::data::formats::source::DataSource;
use crate::data::formats::text_numbers::{complaint, is_missing, is_number, quote};
use crate::data::Names;

/// How a table is written, and its first rows.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) separator: Separator,
    pub(super) header: bool,
    /// The names of all columns: from the header, or their numbers from 1.
    pub(super) names: HeaderNames,
    /// The first rows behind the header, and the lines where they begin.
    pub(super) sample: Vec<Names>,
    lines: Vec<u64>,
    /// Bytes of the file's head, and how many rows are in it.
    pub(super) bytes: usize,
    pub(super) rows: usize,
}

/// Rows that are looked at.
const SAMPLE: usize = 200;

impl Dialect {
    /// Looks at a file's head.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(source: &DataSource, notes: &mut Vec<String>) -> Result<Self, String> {
        let head = source.head_lines();
        let separator = separator(head);
        let mut sample: Vec<Names> = Vec::new();
        let mut lines = Vec::new();
        let mut records = Records::new(head, separator, source.memory);
        while sample.len() <= SAMPLE && records.next().map_err(|error| error.to_string())? {
            let line = records.line();
            lines.push(line);
            let mut row = Names::default();
            for cell in records.cells() {
                match std::str::from_utf8(cell) {
                    Ok(text) => row.push(text.trim()),
                    Err(_) if sample.is_empty() => {
                        return Err(format!("line {line}: {}", complaint(cell)))
                    }
                    // Of what is wrong here reading will say where it is.
                    Err(_) => row.push(String::from_utf8_lossy(cell).trim()),
                }
            }
            sample.push(row);
        }
        let bytes = records.bytes;
        if sample.is_empty() {
            return Err("holds no rows".into());
        }
        let rows = sample.len();
        let header = has_header(&sample);
        let names = if header {
            lines.remove(0);
            HeaderNames::of_header(names(sample.remove(0))?)
        } else {
            HeaderNames::numbers(sample[0].len())
        };
        if sample.is_empty() {
            return Err("holds a header and no rows".into());
        }
        if !header {
            notes.push(
                "the first row holds data, not names: columns are called by their numbers, from 1"
                    .into(),
            );
        }
        if separator == Separator::Byte(b';') {
            notes.push("semicolons separate the cells".into());
        }
        Ok(Self { separator, header, names, sample, lines, bytes, rows })
    }

    /// The names that the header has; none without a header.
    pub(super) fn header_names(&self) -> &Names {
        self.names.of_header_or_none()
    }

    /// The first cell of a column, in the first rows, of which `is` says so: its place and what is wrong with it.
    pub(super) fn wrong_cell(&self, column: usize, is: impl Fn(&str) -> bool) -> Option<String> {
        let cell = |row: &Names| column < row.len() && is(row.get(column));
        let at = self.sample.iter().position(cell)?;
        let (line, name) = (self.lines.get(at)?, &self.names.get(column));
        let cell = self.sample[at].get(column);
        let reason = if cell.contains(char::REPLACEMENT_CHARACTER) {
            complaint(&[0xff])
        } else {
            self.separator.complaint(cell.as_bytes())
        };
        Some(format!("line {line}, column {name}: {reason}"))
    }

    /// The cells of a column in the first rows.
    pub(super) fn column(&self, column: usize) -> impl Iterator<Item = &str> + '_ {
        self.sample.iter().filter(move |row| column < row.len()).map(move |row| row.get(column))
    }
}

/// The byte that separates the first lines, quoted text aside.
fn separator(head: &[u8]) -> Separator {
    let mut counts = [0usize; 4];
    let (mut quoted, mut lines) = (false, 0);
    for byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' => {
                lines += 1;
                if lines == 20 && !quoted {
                    break;
                }
            }
            _ if quoted => {}
            b'\t' => counts[0] += 1,
            b';' => counts[1] += 1,
            b',' => counts[2] += 1,
            b' ' => counts[3] += 1,
            _ => {}
        }
    }
    let [tabs, semicolons, commas, spaces] = counts;
    if tabs > 0 && tabs >= lines.min(1) && tabs >= semicolons {
        // A table of blanks may have tabs among them.
        if commas + semicolons == 0 && spaces > tabs && !head.contains(&b'"') {
            return Separator::Spaces;
        }
        Separator::Byte(b'\t')
    } else if semicolons > 0 && semicolons >= lines.min(1) {
        Separator::Byte(b';')
    } else if commas == 0 && spaces > 0 && are_numbers_and_blanks(head) {
        Separator::Spaces
    } else {
        Separator::Byte(b',')
    }
}

fn are_numbers_and_blanks(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let line = head.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut words = line.split_whitespace();
    // The first word may be a label.
    words.next().is_some() && words.all(|word| is_number(word) || is_missing(word))
}

/// Whether the first row is a header.
fn has_header(sample: &[Names]) -> bool {
    let first = &sample[0];
    let Some(second) = sample.get(1) else {
        // A header alone, or one row of data.
        return first.iter().all(|cell| !is_number(cell));
    };
    // A class may be called y, as in yes.
    if first.iter().any(|name| name.len() > 1 && is_known(name)) {
        return true;
    }
    let is_text = |cell: &str| !is_number(cell) && !is_missing(cell);
    let pairs = || first.iter().zip(second.iter());
    if pairs().any(|(a, b)| is_text(a) && (is_number(b) || is_missing(b))) {
        return true;
    }
    let numbers = |row: &Names| -> Vec<f64> {
        row.iter().filter(|cell| is_number(cell)).filter_map(|cell| cell.parse().ok()).collect()
    };
    let consecutive = |numbers: &[f64]| numbers.windows(2).all(|pair| pair[1] == pair[0] + 1.);
    let found = numbers(first);
    if found.is_empty() {
        return first.iter().any(is_text);
    }
    // Steps that are numbered, such as `label,0,1,2`; or the names that pandas gives.
    let unnamed = first[0].is_empty() && !second[0].is_empty();
    let enough = found.len() >= 3 || unnamed;
    let others = first.len() - found.len();
    enough
        && others <= 3
        && others > 0
        && consecutive(&found)
        && !consecutive_again(&numbers(second), &found)
}

fn consecutive_again(second: &[f64], first: &[f64]) -> bool {
    second.len() == first.len()
        && second.len() > 1
        && second.windows(2).all(|pair| pair[1] == pair[0] + 1.)
}

/// The names of a header; a column without one is called by its number.
fn names(header: Names) -> Result<Names, String> {
    let mut sorted: Vec<u32> = (0u32..)
        .zip(header.iter())
        .filter(|(_, name)| !name.is_empty())
        .map(|(at, _)| at)
        .collect();
    sorted.sort_unstable_by_key(|at| header.get(*at as usize));
    let is_pair = |pair: &&[u32]| header[pair[0] as usize] == header[pair[1] as usize];
    if let Some(pair) = sorted.windows(2).find(is_pair) {
        let name = quote(&header[pair[0] as usize]);
        return Err(format!("line 1: two columns have the name {name}"));
    }
    if sorted.len() == header.len() {
        return Ok(header);
    }
    let named = (1..).zip(header.iter()).map(|(number, name)| {
        if name.is_empty() {
            format!("#{number}")
        } else {
            name.into()
        }
    });
    Ok(named.collect())
}
