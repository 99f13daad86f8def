//! The storage that the parts of a data set share: values, targets and names, each kept once.

use super::names::Names;
use super::offsets::Offsets;
use super::target::{Labels, Target};
use super::values::Values;
use crate::{Error, Result};

/// The storage that the parts of a data set share.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) features: Vec<String>,
    pub(super) values: Values,
    /// Where each of the N sequences begins and ends, in steps.
    pub(super) steps: Offsets,
    pub(super) target: Target,
    pub(super) ids: Option<Names>,
    pub(super) groups: Option<Labels>,
    pub(super) missing: Missing,
    /// The time of the last step of each sequence, as it stands in the file.
    pub(super) last_times: Option<Names>,
    /// The number of the first sequence in its file, from 0.
    pub(super) first: u64,
}

impl Store {
    /// Checks that there is as much of everything as there must be.
    pub(super) fn check(&self) -> Result<()> {
        let count = self.steps.len();
        let steps = self.steps.total() as usize;
        let fail = |reason: String| Err(Error::Config(reason));
        if count == 0 {
            return fail("the data have no sequences".into());
        }
        if u32::try_from(count).is_err() {
            return fail(format!("{count} sequences are more than 2^32 - 1"));
        }
        let longest = self.steps.sizes().max();
        if let Some(longest) = longest.filter(|longest| u32::try_from(*longest).is_err()) {
            return fail(format!("a sequence of {longest} steps is longer than 2^32 - 1"));
        }
        if self.features.is_empty() {
            return fail("the data have no features".into());
        }
        let (found, expected, what) = match &self.target {
            Target::None => (count, count, "targets"),
            Target::Class(labels) => (labels.indices.len(), count, "labels"),
            Target::StepClass(labels) => (labels.indices.len(), steps, "labels of steps"),
            Target::Numbers(numbers) => {
                (numbers.values.len(), count * numbers.names.len(), "numbers")
            }
        };
        if found != expected {
            return fail(format!("there must be {expected} {what}, got {found}"));
        }
        let names = self.ids.as_ref().map_or(count, Names::len);
        let groups = self.groups.as_ref().map_or(count, |groups| groups.indices.len());
        let times = self.last_times.as_ref().map_or(count, Names::len);
        if times != count {
            return fail(format!("{count} sequences have {times} times of their last steps"));
        }
        if names != count || groups != count {
            return fail(format!("{count} sequences have {names} names and {groups} groups"));
        }
        Ok(())
    }
}

/// How many values are missing, and where the first is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Missing {
    /// The number of missing values.
    pub count: u64,
    /// The place of the first in its file, such as `line 3, column speed`; empty if there is none.
    pub first: String,
}
