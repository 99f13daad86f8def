//! The role of each column of a table.

use std::collections::HashSet;

use super::dialect::Dialect;
use super::names::{called, find, is_one_of, GROUPS, IDS, LABELS, TIMES};
use super::times;
use crate::data::formats::decimal_comma::has_decimal_comma;
use crate::data::formats::options::{Layout, ReadOptions};
use crate::data::formats::text_numbers::{is_almost_number, is_missing, is_number, quote};
use crate::data::TargetKind;
use crate::wording::counted;

/// The columns of a table by their roles, each by its place from 0.
#[derive(Debug, PartialEq)]
pub(super) struct Columns {
    pub(super) layout: Layout,
    pub(super) id: Option<usize>,
    pub(super) time: Option<usize>,
    pub(super) group: Option<usize>,
    pub(super) labels: Vec<usize>,
    /// Whether one of the labels that were asked for is not there and need not be: none is read.
    pub(super) lacks_labels: bool,
    /// Labels that are not read since others are not there.
    unread: Vec<usize>,
    /// Whether the rows are steps of series to forecast.
    pub(super) is_series: bool,
    /// Features of a step, or the steps of a sequence, of which there may be millions.
    pub(super) features: Vec<u32>,
}

/// The most features of a step. A table with more is one whose rows are sequences.
const MOST_FEATURES: usize = 65_536;

impl Columns {
    /// Finds out what they are, and notes what was assumed.
    ///
    /// # Errors
    /// What options and table disagree about.
    pub(super) fn of(
        dialect: &Dialect,
        options: &ReadOptions,
        notes: &mut Vec<String>,
    ) -> Result<Self, String> {
        let find = |name: &String| find(&dialect.names, name);
        let given = |name: &Option<String>| name.as_ref().map(find).transpose();
        let (id, time) = (given(&options.id)?, given(&options.time)?);
        let group = match given(&options.group) {
            Err(_) if options.may_lack_labels => None,
            group => group?,
        };
        let lacks_column = lacks_label_column(dialect, options)?;
        let lacks_labels = lacks_column
            || options.may_lack_labels && options.labels.iter().any(|label| find(label).is_err());
        let (labels, unread) = if lacks_column {
            // The numbers of columns are those of others here.
            (Vec::new(), Vec::new())
        } else if lacks_labels {
            (Vec::new(), options.labels.iter().filter_map(|label| find(label).ok()).collect())
        } else {
            (options.labels.iter().map(find).collect::<Result<Vec<_>, _>>()?, Vec::new())
        };
        let features = match of_model(dialect, options) {
            Some(features) => features,
            None => options.features.iter().map(find).collect::<Result<Vec<_>, _>>()?,
        };
        let features = features.into_iter().map(|column| column as u32).collect();
        let asked = Self {
            layout: Layout::Long,
            id,
            time,
            group,
            labels,
            lacks_labels,
            unread,
            features,
            is_series: options.is_series,
        };
        asked.check(dialect)?;
        let mut columns =
            Self { labels: asked.labels.clone(), features: asked.features.clone(), ..asked };
        let layout = match options.layout {
            Some(layout) => layout,
            None => columns.guess_layout(dialect, options, notes),
        };
        columns.layout = layout;
        match layout {
            Layout::Long => columns.complete_long(dialect, options, notes)?,
            Layout::Wide => columns.complete_wide(dialect, options, notes),
            Layout::Tabular => columns.complete_tabular(dialect, options, notes)?,
        }
        if columns.features.is_empty() {
            // A label that was guessed may be a feature that was meant.
            let others = [columns.id, columns.time, columns.group];
            let first = |is: fn(&str) -> bool| {
                let mut free =
                    (0..dialect.names.len()).filter(|column| !others.contains(&Some(*column)));
                free.find_map(|column| dialect.wrong_cell(column, is))
            };
            let wrong = first(is_almost_number).or_else(|| first(is_text));
            return Err(wrong.map_or_else(
                || "has no column of numbers that could be a feature".into(),
                |wrong| format!("has no column of numbers: {wrong}"),
            ));
        }
        if layout != Layout::Wide && columns.features.len() > MOST_FEATURES {
            return Err(format!(
                "has {} columns, more than the {MOST_FEATURES} features that a step may have: if each row is a \
                 sequence, ask for the wide layout",
                columns.features.len()
            ));
        }
        Ok(columns)
    }

    /// The columns of the features.
    fn feature_columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.features.iter().map(|column| *column as usize)
    }

    /// The columns that have a use.
    pub(super) fn used(&self) -> HashSet<usize> {
        let single = [self.id, self.time, self.group].into_iter().flatten();
        let labels = self.labels.iter().chain(&self.unread).copied();
        single.chain(labels).chain(self.feature_columns()).collect()
    }

    /// No column has two uses.
    fn check(&self, dialect: &Dialect) -> Result<(), String> {
        let mut seen = HashSet::new();
        // Each sequence may be a group.
        let group = self.group.filter(|group| self.id != Some(*group));
        let single = [self.id, self.time, group].into_iter().flatten();
        let all = single.chain(self.labels.iter().copied()).chain(self.feature_columns());
        for column in all {
            if !seen.insert(column) {
                let name = quote(&dialect.names.get(column));
                return Err(format!(
                    "the column {name} is asked for twice: give each column one use"
                ));
            }
        }
        Ok(())
    }

    fn guess_layout(
        &self,
        dialect: &Dialect,
        options: &ReadOptions,
        notes: &mut Vec<String>,
    ) -> Layout {
        if options.target == Some(TargetKind::StepClass) {
            return Layout::Long;
        }
        let asked_long = self.time.is_some() || !self.features.is_empty();
        let is_known_wide = options.columns.is_some() && !dialect.header;
        let is_wide = !asked_long && (is_known_wide || self.is_wide(dialect));
        if !is_wide && self.is_tabular(dialect, options) {
            notes.push(
                "each row is taken for a sequence of one step and each column for a feature, since no column says \
                 which sequence a row belongs to: ask for the long layout if the rows follow each other in time, \
                 for the wide one if the columns do"
                    .into(),
            );
            return Layout::Tabular;
        }
        if asked_long {
            return Layout::Long;
        }
        let is = if is_wide {
            "sequence and each column a step"
        } else {
            "step and each column a feature"
        };
        if dialect.names.len() > 2 || is_wide {
            notes.push(format!("each row is taken for a {is}"));
        }
        if is_wide {
            Layout::Wide
        } else {
            Layout::Long
        }
    }

    /// The column that is called as ids are: each of them may be a group, too.
    pub(super) fn called_id(&self, dialect: &Dialect) -> Option<usize> {
        if !dialect.header {
            return None;
        }
        let group = self.group.filter(|group| is_one_of(&dialect.names.get(*group), &IDS));
        called(dialect.header_names(), &IDS, &self.used()).or(group)
    }

    /// Whether a column of times, or an id that comes again, says that rows are steps.
    pub(super) fn has_rows_of_steps(&self, dialect: &Dialect) -> bool {
        let named = |names: &[&str]| {
            let found = dialect.header_names().iter().position(|name| is_one_of(name, names));
            found.filter(|_| dialect.header)
        };
        let id = self.id.or_else(|| named(&IDS)).map(|id| dialect.column(id).collect::<Vec<_>>());
        let comes_again = id.is_some_and(|ids| ids.windows(2).any(|pair| pair[0] == pair[1]));
        comes_again || named(&TIMES).is_some()
    }

    fn complete_long(
        &mut self,
        dialect: &Dialect,
        options: &ReadOptions,
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        let named = dialect.header_names();
        let called = |names: &[&str], columns: &Self| called(named, names, &columns.used());
        let name = |column: usize| dialect.names.get(column);
        if self.id.is_none() {
            self.id = self.called_id(dialect);
        }
        if self.time.is_none() {
            self.time = called(&TIMES, self).or_else(|| self.index_column(dialect));
            if let Some(time) = self.time {
                notes.push(format!("column {} is taken for the time", name(time)));
            }
        }
        if self.group.is_none() {
            self.group = called(&GROUPS, self);
        }
        if let Some(id) = self.id.filter(|_| options.id.is_none()) {
            notes.push(format!("column {} says which sequence a row belongs to", name(id)));
        }
        if let Some(group) = self.group.filter(|_| options.group.is_none()) {
            notes.push(format!("column {} is taken for the group of a sequence", name(group)));
        }
        if self.id.is_none() {
            notes.push(
                "no column says which sequence a row belongs to: the file is one sequence".into(),
            );
        }
        // Of a series to forecast all numbers are features: its own next steps are the target.
        let wants_label = options.target != Some(TargetKind::None);
        if self.lacks_labels {
            notes.push("the file has no labels".into());
        } else if self.labels.is_empty() && wants_label && !options.is_series {
            let guess = called(&LABELS, self).or_else(|| self.text_column(dialect));
            if let Some(label) = guess {
                let fractions =
                    dialect.column(label).any(|cell| is_number(cell) && !is_whole(cell));
                if fractions && self.id.is_none() && options.target.is_none() {
                    notes.push(format!(
                        "column {} has a number at each step: it is taken for a feature",
                        name(label)
                    ));
                } else {
                    notes.push(format!("column {} is taken for the label", name(label)));
                    self.labels.push(label);
                }
            }
        } else if !wants_label {
            // Not a feature either: whoever asks for no target does not want to see it.
            let label = called(&LABELS, self);
            if let Some(label) = label {
                notes.push(format!("column {} is left out: no target is asked for", name(label)));
                return self.all_features(dialect, &[Some(label)], notes);
            }
        }
        self.all_features(dialect, &[], notes)
    }

    /// All columns of numbers that are nothing else are features, unless features were asked for.
    ///
    /// # Errors
    /// A column of numbers with decimal commas.
    pub(super) fn all_features(
        &mut self,
        dialect: &Dialect,
        but: &[Option<usize>],
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        if !self.features.is_empty() {
            return Ok(());
        }
        let used = self.used();
        let is_free = |column: &usize| !used.contains(column) && !but.contains(&Some(*column));
        for column in (0..dialect.names.len()).filter(is_free) {
            if dialect.header && holds_text(dialect, column) {
                if let Some(wrong) = dialect.wrong_cell(column, has_decimal_comma) {
                    return Err(wrong);
                }
                let mut texts = dialect.column(column).filter(|cell| is_text(cell));
                let what = if texts.all(|cell| times::parse(cell.as_bytes()).is_some()) {
                    "times"
                } else {
                    "text"
                };
                notes.push(format!(
                    "column {} holds {what} and is left out",
                    &dialect.names.get(column)
                ));
                continue;
            }
            self.features.push(column as u32);
        }
        Ok(())
    }

    /// The first column, if it counts rows or holds dates.
    pub(super) fn index_column(&self, dialect: &Dialect) -> Option<usize> {
        if self.used().contains(&0) || dialect.names.len() < 2 {
            return None;
        }
        let cells = || dialect.column(0);
        let dates = cells().all(|cell| is_text(cell) && times::parse(cell.as_bytes()).is_some());
        if dates {
            return Some(0);
        }
        let numbers: Vec<f64> = cells().filter_map(|cell| cell.parse().ok()).collect();
        let counts = numbers.len() == dialect.sample.len()
            && numbers.len() > 1
            && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1.);
        let is_feature = |column: usize| {
            let is_label = dialect.header && is_one_of(&dialect.names.get(column), &LABELS);
            !self.used().contains(&column) && !is_label && dialect.column(column).any(is_number)
        };
        // If it is the only one, it is the feature.
        let others = (1..dialect.names.len()).any(is_feature);
        (counts && others && self.id.is_none()).then_some(0)
    }

    /// The only column of text, if its texts come again.
    pub(super) fn text_column(&self, dialect: &Dialect) -> Option<usize> {
        let used = self.used();
        let mut found = (0..dialect.names.len()).filter(|column| {
            let texts = || dialect.column(*column).filter(|cell| is_text(cell));
            let is_time = || texts().all(|cell| times::parse(cell.as_bytes()).is_some());
            !used.contains(column) && holds_text(dialect, *column) && !is_time()
        });
        let only = found.next().filter(|_| found.next().is_none())?;
        let distinct =
            dialect.column(only).filter(|cell| is_text(cell)).collect::<HashSet<_>>().len();
        (2 * distinct <= dialect.sample.len().max(2)).then_some(only)
    }
}

/// Whether a table without a header lacks the column of the label, which nothing but its place tells from a step.
///
/// # Errors
/// Another number of columns than such a table has with its label, or without it where that may be.
fn lacks_label_column(dialect: &Dialect, options: &ReadOptions) -> Result<bool, String> {
    let Some(expected) = options.columns.filter(|_| !dialect.header) else { return Ok(false) };
    let may_differ = matches!(options.layout, Some(Layout::Long | Layout::Tabular));
    let (found, labels) = (dialect.names.len(), options.labels.len().max(1));
    if found == expected || may_differ || options.is_series {
        return Ok(false);
    }
    if options.may_lack_labels && found + labels == expected {
        return Ok(true);
    }
    let found = counted(found, "column");
    Err(format!(
        "has {found} and no header, where a table with the label has {expected}: a label cannot be told from a step \
         here; give it {expected} columns, or name the label's column"
    ))
}

/// The columns of a model's features, if a header names them all.
fn of_model(dialect: &Dialect, options: &ReadOptions) -> Option<Vec<usize>> {
    let names = &options.model_features;
    if !dialect.header || names.is_empty() || options.layout == Some(Layout::Wide) {
        return None;
    }
    let place = |name: &String| dialect.header_names().iter().position(|column| column == name);
    names.iter().map(place).collect()
}

/// Whether a column has texts and no number. Some may be missing: which, is said where they are needed.
fn holds_text(dialect: &Dialect, column: usize) -> bool {
    let cells = || dialect.column(column);
    cells().any(is_text) && !cells().any(is_number)
}

pub(super) fn is_text(cell: &str) -> bool {
    !is_number(cell) && !is_missing(cell)
}

pub(super) fn is_whole(cell: &str) -> bool {
    is_number(cell) && cell.parse::<f64>().is_ok_and(|value| value.fract() == 0.)
}
