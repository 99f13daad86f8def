//! The role of each column of a table whose rows are sequences.

use std::collections::HashSet;

use super::columns::{is_text, is_whole, Columns};
use super::dialect::Dialect;
use super::names::{are_numbered, called, is_one_of, numbered, GROUPS, IDS, LABELS};
use crate::data::formats::options::ReadOptions;
use crate::data::TargetKind;

/// Columns from which rows of numbers alone are taken for sequences.
const WIDE: usize = 12;
/// Rows from which texts that are all different are taken for names.
const NAMED: usize = 5;

impl Columns {
    /// Whether rows are sequences: their columns are numbered or, without a header, many; besides steps there are the
    /// first column and columns of text.
    pub(super) fn is_wide(&self, dialect: &Dialect) -> bool {
        if self.has_rows_of_steps(dialect) {
            return false;
        }
        let width = dialect.names.len();
        let is_text_column = |column: usize| dialect.column(column).all(is_text);
        if !dialect.header {
            let is_step = |column: usize| !dialect.column(column).any(is_text);
            let last_is_label = width > 1 && is_text_column(width - 1);
            return width >= WIDE
                && ((1..width).all(is_step) || last_is_label && (0..width - 1).all(is_step));
        }
        let named = dialect.header_names();
        let name = |column: usize| &named[column];
        let is_free = |column: &usize| {
            let known = [&LABELS[..], &IDS, &GROUPS];
            Some(*column) != self.id
                && !self.labels.contains(column)
                && !known.iter().any(|names| is_one_of(name(*column), names))
        };
        let first = (0..width).find(is_free);
        let is_step = |column: &usize| numbered(name(*column)).is_some();
        let is_other = |column: usize| first == Some(column) || is_text_column(column);
        let are_others =
            (0..width).all(|column| is_step(&column) || !is_free(&column) || is_other(column));
        let steps = (0..width).filter(|column| is_step(column) && is_free(column)).map(name);
        are_others && are_numbered(steps, WIDE)
    }

    /// Finds the columns of such a table.
    pub(super) fn complete_wide(
        &mut self,
        dialect: &Dialect,
        options: &ReadOptions,
        notes: &mut Vec<String>,
    ) {
        let width = dialect.names.len();
        let named = dialect.header_names();
        self.id = self.id.or_else(|| called(named, &IDS, &self.used()));
        self.group = self.group.or_else(|| called(named, &GROUPS, &self.used()));
        let texts = self.texts(dialect);
        let label = called(named, &LABELS, &self.used());
        if self.id.is_none() {
            let others = texts.iter().filter(|column| label != Some(**column)).count();
            let is_read_without = options.may_lack_labels || options.is_series;
            let is_free = |column: &&usize| label != Some(**column);
            self.id = texts.iter().filter(is_free).copied().find(|column| {
                let has_label = label.is_some() || others > 1 || !self.labels.is_empty();
                (has_label || is_read_without) && are_names(dialect, *column)
            });
            if let Some(id) = self.id {
                let name = &dialect.names.get(id);
                notes.push(format!("column {name} is taken for the name of a sequence"));
            }
        }
        let used = self.used();
        if self.lacks_labels {
            notes.push("the file has no labels".into());
        }
        if self.labels.is_empty() && !self.lacks_labels && !options.is_series {
            let of_text = texts.iter().rev().copied().filter(|column| !used.contains(column));
            let of_text = of_text.min_by_key(|column| distinct(dialect, *column));
            let first = (0..width).find(|column| !used.contains(column));
            let label = label.or(of_text).or_else(|| {
                let first = first?;
                let names_step = dialect.header && numbered(&dialect.names.get(first)).is_some();
                let asked = options.target.is_some_and(|target| target != TargetKind::None);
                let are_classes = dialect.column(first).all(is_whole);
                (!names_step && (asked || are_classes)).then_some(first)
            });
            match label {
                Some(label) if options.target == Some(TargetKind::None) => {
                    let name = &dialect.names.get(label);
                    notes.push(format!("column {name} is left out: no target is asked for"));
                    let is_step = |c: &usize| *c != label && !used.contains(c);
                    self.features = (0..width).filter(is_step).map(|c| c as u32).collect();
                    return;
                }
                Some(label) => {
                    notes.push(format!(
                        "column {} is taken for the label",
                        &dialect.names.get(label)
                    ));
                    self.labels.push(label);
                }
                None => notes.push("no column is taken for the label: all hold steps".into()),
            }
        }
        if self.features.is_empty() {
            let used = self.used();
            let is_left_out = |column: &usize| options.is_series && texts.contains(column);
            self.features = (0..width)
                .filter(|column| !used.contains(column) && !is_left_out(column))
                .map(|column| column as u32)
                .collect();
        }
    }

    /// The columns of text that have no use yet.
    fn texts(&self, dialect: &Dialect) -> Vec<usize> {
        let used = self.used();
        (0..dialect.names.len())
            .filter(|column| !used.contains(column) && dialect.column(*column).all(is_text))
            .collect()
    }
}

/// How many different cells a column has in the first rows.
fn distinct(dialect: &Dialect, column: usize) -> usize {
    dialect.column(column).collect::<HashSet<_>>().len()
}

/// Whether the cells of a column of text are all different, as names are.
fn are_names(dialect: &Dialect, column: usize) -> bool {
    let rows = dialect.sample.len();
    rows >= NAMED && distinct(dialect, column) == rows
}

#[cfg(test)]
mod tests {
    use crate::data::formats::{read, Layout, ReadOptions};
    use crate::data::{Dataset, TargetKind};

    const STEPS: usize = 14;

    /// A table of six sequences: `before` and `behind` the steps stand such cells.
    fn table(
        header: Option<(&str, &str)>,
        before: impl Fn(usize) -> String,
        behind: impl Fn(usize) -> String,
        options: &ReadOptions,
    ) -> Dataset {
        let steps =
            |cell: &dyn Fn(usize) -> String| (0..STEPS).map(cell).collect::<Vec<_>>().join(",");
        let mut text = header.map_or(String::new(), |(before, behind)| {
            format!("{before}{}{behind}\n", steps(&|step| format!("t{step}")))
        });
        for row in 0..6 {
            let values = steps(&|step| format!("{}.5", row + step));
            text.push_str(&format!("{}{values}{}\n", before(row), behind(row)));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let loaded = read(&path, options).unwrap();
        assert_eq!(loaded.layout, Some(Layout::Wide), "{:?}", loaded.notes);
        loaded.sequences().unwrap()
    }

    fn kind(row: usize) -> String {
        ["good", "bad"][row % 2].into()
    }

    #[track_caller]
    fn has_kinds(data: &Dataset, first_id: &str) {
        assert_eq!((data.len(), data.seq_len(5), data.features().len()), (6, STEPS, 1));
        assert_eq!(data.class_names(), ["bad", "good"]);
        assert_eq!(data.id(0), first_id);
    }

    #[test]
    fn a_label_of_text_may_stand_before_or_behind_the_steps() {
        let (any, none) = (ReadOptions::default(), |_| String::new());
        let wide = ReadOptions { layout: Some(Layout::Wide), ..any.clone() };
        for options in [&any, &wide] {
            let behind = |row| format!(",{}", kind(row));
            has_kinds(&table(Some(("", ",kind")), none, behind, options), "0");
            has_kinds(&table(None, none, behind, options), "0");
            let before = |row| format!("{},", kind(row));
            has_kinds(&table(Some(("kind,", "")), before, none, options), "0");
            has_kinds(&table(None, before, none, options), "0");
        }
    }

    #[test]
    fn texts_that_are_all_different_beside_a_label_are_names() {
        let any = ReadOptions::default();
        let name = |row| format!("r{row},");
        let behind = |row| format!(",{}", kind(row));
        has_kinds(&table(Some(("name,", ",kind")), name, behind, &any), "r0");
        let before = |row: usize| format!("{},r{row},", kind(row));
        has_kinds(&table(Some(("kind,name,", "")), before, |_| String::new(), &any), "r0");
    }

    #[test]
    fn names_are_no_label_of_series_and_of_data_to_predict() {
        let series = ReadOptions { is_series: true, ..ReadOptions::default() };
        let to_predict = ReadOptions { may_lack_labels: true, ..ReadOptions::default() };
        for options in [series, to_predict] {
            let name = |row| format!("r{row},");
            let data = table(Some(("name,", "")), name, |_| String::new(), &options);
            assert_eq!((data.target().kind(), data.id(5)), (TargetKind::None, "r5".into()));
        }
    }
}
