//! `LabelReader`: the labels of sequences as they are read.

use super::labels::LabelColumn;
use crate::data::Target;

/// The labels of the sequences that are read.
pub(super) trait LabelReader: Sized {
    /// Forgets the labels, but for what they say about the kind of the target and which classes there are.
    fn forget(&mut self);

    /// Takes out the labels, whose kind is known; those that follow are of the same.
    fn take(&mut self) -> Self;

    /// The target, and what was assumed.
    ///
    /// # Errors
    /// What is wrong with the labels.
    fn finish(self, notes: &mut Vec<String>) -> Result<Target, String>;
}

/// A label for each sequence, or none.
impl LabelReader for Option<LabelColumn> {
    fn forget(&mut self) {
        self.iter_mut().for_each(LabelColumn::forget);
    }

    fn take(&mut self) -> Self {
        self.as_mut().map(LabelColumn::take)
    }

    fn finish(self, notes: &mut Vec<String>) -> Result<Target, String> {
        self.map_or(Ok(Target::None), |labels| labels.finish(notes))
    }
}
