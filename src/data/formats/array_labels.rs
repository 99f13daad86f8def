//! `ArrayLabels`: the target that an array holds, handed on block by block with its sequences.

use std::ops::Range;

use super::label_reader::LabelReader;
use crate::data::{ClassIndices, Labels, Numbers, Target};

/// The target of all sequences, or of a block of them.
pub(super) struct ArrayLabels {
    target: Target,
    is_block: bool,
    /// Sequences and steps in the blocks before.
    before: Place,
    /// Those that have ended.
    ended: Place,
}

#[derive(Clone, Copy, Default)]
struct Place {
    sequences: usize,
    steps: usize,
}

impl ArrayLabels {
    /// - `target`: of all sequences of the file
    pub(super) fn new(target: Target) -> Self {
        Self { target, is_block: false, before: Place::default(), ended: Place::default() }
    }

    /// A sequence of so many steps has ended.
    pub(super) fn ended(&mut self, steps: usize) {
        self.ended.sequences += 1;
        self.ended.steps += steps;
    }

    /// The target of the sequences that have ended since the last block.
    fn of_block(&self) -> Target {
        let sequences = self.before.sequences..self.ended.sequences;
        let classes = |labels: &Labels, range: Range<usize>| Labels {
            names: labels.names.clone(),
            indices: labels.indices.range(range).collect(),
        };
        match &self.target {
            Target::None => Target::None,
            Target::Class(labels) => Target::Class(classes(labels, sequences)),
            Target::StepClass(labels) => {
                Target::StepClass(classes(labels, self.before.steps..self.ended.steps))
            }
            Target::Numbers(Numbers { names, values }) => {
                let width = names.len();
                let values = values[sequences.start * width..sequences.end * width].to_vec();
                Target::Numbers(Numbers { names: names.clone(), values })
            }
        }
    }
}

impl LabelReader for ArrayLabels {
    fn forget(&mut self) {
        self.before = self.ended;
    }

    fn take(&mut self) -> Self {
        let target = self.of_block();
        self.before = self.ended;
        Self { is_block: true, ..Self::new(target) }
    }

    /// The target of a block; of the whole file, what [`FileOutline`](super::FileOutline) tells of it.
    fn finish(self, _notes: &mut Vec<String>) -> Result<Target, String> {
        if self.is_block {
            return Ok(self.target);
        }
        let one_of_each = |labels: Labels| {
            let classes = (0u32..).zip(labels.counts()).filter(|(_, count)| *count > 0);
            let indices = classes.map(|(class, _)| class).collect::<ClassIndices>();
            Labels { indices, ..labels }
        };
        Ok(match self.target {
            Target::None => Target::None,
            Target::Class(labels) => Target::Class(one_of_each(labels)),
            Target::StepClass(labels) => Target::StepClass(one_of_each(labels)),
            Target::Numbers(numbers) => Target::Numbers(Numbers { values: Vec::new(), ..numbers }),
        })
    }
}
