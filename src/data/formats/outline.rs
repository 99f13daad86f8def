//! `FileOutline`: what is known of a file's sequences without them.

use crate::data::{Dataset, Missing, Target};

/// What is known of the sequences of a file that is too large to be held.
#[derive(Clone, Debug)]
pub struct FileOutline {
    /// The names of the I features.
    pub features: Vec<String>,
    /// N, the number of sequences.
    pub sequences: usize,
    /// The steps of the longest.
    pub longest: usize,
    /// The missing values of all.
    pub missing: Missing,
    /// The target, of the kind that all sequences have: the names of all classes, and the labels of one example of each
    /// that there is. Of numbers there are the names alone.
    pub target: Target,
    /// Whether it is known of which time the last step of each sequence is.
    pub has_times: bool,
}

impl FileOutline {
    /// Of data such as `block`, none of them yet.
    pub(super) fn new(block: &Dataset) -> Self {
        Self {
            features: block.features().to_vec(),
            sequences: 0,
            longest: 0,
            missing: Missing::default(),
            target: Target::None,
            has_times: block.last_time(0).is_some(),
        }
    }

    /// Adds the sequences of a block.
    pub(super) fn add(&mut self, block: &Dataset) {
        self.sequences += block.len();
        let longest = block.lengths().into_iter().max();
        self.longest = self.longest.max(longest.unwrap_or(0));
        let missing = block.missing();
        self.missing.count += missing.count;
        if self.missing.first.is_empty() {
            self.missing.first.clone_from(&missing.first);
        }
    }
}
