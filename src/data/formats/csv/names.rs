//! The meaning of columns' names.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::data::formats::text_numbers::quote;
use crate::data::Names;

pub(super) const IDS: [&str; 16] = [
    "id",
    "ids",
    "seq",
    "seq_id",
    "sequence",
    "sequence_id",
    "series",
    "series_id",
    "case",
    "case_id",
    "sample_id",
    "recording",
    "recording_id",
    "unique_id",
    "run",
    "run_id",
];
pub(super) const TIMES: [&str; 15] = [
    "time",
    "times",
    "timestamp",
    "date",
    "datetime",
    "datetime_gmt",
    "step",
    "t",
    "ds",
    "day",
    "month",
    "frame",
    "timepoint",
    "time_step",
    "timestep",
];
pub(super) const GROUPS: [&str; 6] =
    ["group", "groups", "subject", "subject_id", "person", "participant"];
pub(super) const LABELS: [&str; 10] = [
    "label",
    "labels",
    "class",
    "target",
    "activity",
    "is_anomaly",
    "anomaly",
    "category",
    "classlabel",
    "y",
];

/// The names of a table's columns: those of its header or, without one, their numbers from 1, which take no memory.
#[derive(Debug)]
pub(super) struct HeaderNames {
    of_header: Names,
    width: usize,
}

impl HeaderNames {
    /// Those of a header, of which none is empty.
    pub(super) fn of_header(names: Names) -> Self {
        Self { width: names.len(), of_header: names }
    }

    /// Numbers of so many columns.
    pub(super) fn numbers(width: usize) -> Self {
        Self { of_header: Names::default(), width }
    }

    /// How many columns there are.
    pub(super) fn len(&self) -> usize {
        self.width
    }

    /// The name of a column.
    ///
    /// # Panics
    /// When there is no such column.
    pub(super) fn get(&self, column: usize) -> Cow<'_, str> {
        if self.of_header.is_empty() {
            return (column + 1).to_string().into();
        }
        self.of_header.get(column).into()
    }

    /// The names of the header; none without one.
    pub(super) fn of_header_or_none(&self) -> &Names {
        &self.of_header
    }
}

/// The column of this name or, from 1, this number.
///
/// # Errors
/// The columns that there are.
pub(super) fn find(columns: &HeaderNames, name: &str) -> Result<usize, String> {
    if let Some(column) = columns.of_header.iter().position(|column| column == name) {
        return Ok(column);
    }
    let number = name.parse::<usize>().ok();
    let column = number.and_then(|number| number.checked_sub(1));
    column.filter(|column| *column < columns.len()).ok_or_else(|| {
        let shown: Vec<_> = (0..columns.len().min(12)).map(|column| columns.get(column)).collect();
        let more = if columns.len() > shown.len() { ", ..." } else { "" };
        format!("has no column {}: there are {}{more}", quote(name), shown.join(", "))
    })
}

/// The column that is called by the first of these names that any free column has.
pub(super) fn called(columns: &Names, known: &[&str], used: &HashSet<usize>) -> Option<usize> {
    // The first column of each name.
    let mut found = vec![None; known.len()];
    let mut has_z = false;
    for column in (0..columns.len()).filter(|column| !used.contains(column)) {
        let name = plain(&columns[column]);
        has_z |= name == "z";
        if let Some(rank) = known.iter().position(|known| *known == name) {
            found[rank].get_or_insert(column);
        }
    }
    // Beside x and z, y is a coordinate.
    let is_coordinate = |name: &str| name == "y" && has_z;
    let ranked = known.iter().zip(found).filter(|(name, _)| !is_coordinate(name));
    ranked.filter_map(|(_, column)| column).next()
}

/// Whether a text is a name that columns often have.
pub(super) fn is_known(name: &str) -> bool {
    let name = plain(name);
    [&IDS[..], &TIMES, &GROUPS, &LABELS].iter().any(|names| names.contains(&&name[..]))
}

pub(super) fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.contains(&&plain(name)[..])
}

/// A name in lower case, with underscores for blanks and hyphens, and without a unit in brackets: `Time (s)` is `time`,
/// `recording id` is `recording_id`.
fn plain(name: &str) -> String {
    let unit = name.find(['(', '[']).filter(|unit| *unit > 0);
    name[..unit.unwrap_or(name.len())].trim().to_ascii_lowercase().replace([' ', '-'], "_")
}

/// A name's text and the number behind it: `t12` is `t` and 12.
pub(super) fn numbered(name: &str) -> Option<(&str, u64)> {
    let text = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Some((text, name[text.len()..].parse().ok()?))
}

/// Whether columns are named as steps are: `0, 1, 2`, or `t1, t2, t3` if there are as many as `wide`.
pub(super) fn are_numbered<'a>(names: impl Iterator<Item = &'a str>, wide: usize) -> bool {
    let (mut before, mut count, mut least) = (None, 0, wide);
    for name in names {
        let Some((text, number)) = numbered(name) else { return false };
        if count == 0 && text.is_empty() {
            least = 3;
        }
        if before.is_some_and(|(last, at): (&str, u64)| {
            last != text || at.checked_add(1) != Some(number)
        }) {
            return false;
        }
        (before, count) = (Some((text, number)), count + 1);
    }
    count >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_blanks_and_case_do_not_hide_a_known_name() {
        let columns: Names = ["Recording ID", "time (s)", "(x)"].iter().collect();
        let none = HashSet::new();
        assert_eq!(called(&columns, &IDS, &none), Some(0));
        assert_eq!(called(&columns, &TIMES, &none), Some(1));
        assert_eq!(called(&columns, &IDS, &HashSet::from([0])), None);
        assert!(is_one_of("time-step [s]", &TIMES) && is_one_of("run", &IDS));
        assert!(!is_one_of("(s)", &TIMES) && !is_one_of("runs", &IDS));
    }
}
