//! What the names of columns mean.

use std::collections::HashSet;

use crate::data::formats::cells::quote;

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

/// The column of this name or, from 1, this number.
///
/// # Errors
/// The columns that there are.
pub(super) fn find(columns: &[String], name: &String) -> Result<usize, String> {
    if let Some(column) = columns.iter().position(|column| column == name) {
        return Ok(column);
    }
    let number = name.parse::<usize>().ok();
    let column = number.and_then(|number| number.checked_sub(1));
    column.filter(|column| *column < columns.len()).ok_or_else(|| {
        let shown: Vec<&str> = columns.iter().take(12).map(String::as_str).collect();
        let more = if columns.len() > shown.len() { ", ..." } else { "" };
        format!("has no column {}: there are {}{more}", quote(name), shown.join(", "))
    })
}

/// The column that is called by the first of these names that any free column has.
pub(super) fn called(columns: &[String], known: &[&str], used: &HashSet<usize>) -> Option<usize> {
    let free = (0..columns.len()).filter(|column| !used.contains(column));
    let free: Vec<(usize, String)> = free.map(|column| (column, plain(&columns[column]))).collect();
    let find = |name: &str| free.iter().find(|(_, free)| free == name).map(|(column, _)| *column);
    // Beside x and z, y is a coordinate.
    let is_coordinate = |name: &str| name == "y" && find("z").is_some();
    known.iter().filter(|name| !is_coordinate(name)).find_map(|name| find(name))
}

/// Whether a text is a name that columns often have.
pub(super) fn is_known(name: &str) -> bool {
    [&IDS[..], &TIMES, &GROUPS, &LABELS].iter().any(|names| is_one_of(name, names))
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
pub(super) fn are_numbered(names: &[&str], wide: usize) -> bool {
    let Some(found) = names.iter().map(|name| numbered(name)).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let least = if found.first().is_some_and(|(text, _)| text.is_empty()) { 3 } else { wide };
    found.len() >= least
        && found.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[1].1 == pair[0].1 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_blanks_and_case_do_not_hide_a_known_name() {
        let columns = ["Recording ID", "time (s)", "(x)"].map(String::from);
        let none = HashSet::new();
        assert_eq!(called(&columns, &IDS, &none), Some(0));
        assert_eq!(called(&columns, &TIMES, &none), Some(1));
        assert_eq!(called(&columns, &IDS, &HashSet::from([0])), None);
        assert!(is_one_of("time-step [s]", &TIMES) && is_one_of("run", &IDS));
        assert!(!is_one_of("(s)", &TIMES) && !is_one_of("runs", &IDS));
    }
}
