//! `ReadOptions`: what a caller may say about a file.

use serde::{Deserialize, Serialize};

use crate::data::TargetKind;

/// The meaning of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// A step: columns are features.
    Long,
    /// A sequence: columns are steps.
    Wide,
    /// A sequence of one step: columns are its features.
    Tabular,
}

/// Options that a file is read with. Those that are not named are found out, as far as possible.
///
/// Columns are those of CSV and TSV files. Each is given by its name in the header, or else by its number,
/// from 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// The column that says which sequence a row belongs to.
    pub id: Option<String>,
    /// The column with the time of a step. It must increase within each sequence, and is no feature.
    pub time: Option<String>,
    /// The column that says which group a sequence belongs to, such as the person who was recorded.
    pub group: Option<String>,
    /// The columns with the target: one with labels or numbers, or several with numbers.
    pub labels: Vec<String>,
    /// The columns with the features; all others that hold numbers if there are none here.
    pub features: Vec<String>,
    /// The kind of target.
    pub target: Option<TargetKind>,
    /// The meaning of a table's rows.
    pub layout: Option<Layout>,
    /// Whether the file holds series to forecast: the rows of a table follow each other in time.
    #[serde(skip_serializing_if = "is_false")]
    pub is_series: bool,
    /// The number of columns of the wide table that data like these were read from before, if it had a label: a table
    /// without a header that lacks one column is known by it to lack the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<usize>,
    /// The features that a model reads. If the header of a table has a column for each of them, these are the features,
    /// in this order; else the table is read as if they were not given.
    #[serde(skip)]
    pub model_features: Vec<String>,
    /// Whether the file may lack the columns of `labels` and `group`, as data to predict do.
    #[serde(skip)]
    pub may_lack_labels: bool,
    /// The options among these that are left out for a file that is no table of columns, by the names that
    /// [`for_tables`](Self::for_tables) has: such as those of the table that a model was trained on. Others are an error there.
    #[serde(skip)]
    pub tables_only: Vec<&'static str>,
    /// Bytes of memory that the data may take; what the machine has available if it is not given.
    #[serde(skip)]
    pub memory: Option<u64>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl ReadOptions {
    /// The names of those options which are given, and which only a table of columns has a use for.
    pub fn for_tables(&self) -> Vec<&'static str> {
        [
            ("id", self.id.is_some()),
            ("time", self.time.is_some()),
            ("group", self.group.is_some()),
            ("label", !self.labels.is_empty()),
            ("features", !self.features.is_empty()),
            ("layout", self.layout.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// The same for a file beside the one that they were given for, which may have another format.
    pub fn for_other_files(&self) -> Self {
        Self { tables_only: self.for_tables(), ..self.clone() }
    }

    /// The first option that means nothing for a file that is no table of columns.
    pub(super) fn wrong_without_table(&self) -> Option<&'static str> {
        self.for_tables().into_iter().find(|name| !self.tables_only.contains(name))
    }
}
