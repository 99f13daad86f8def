//! How the backward pass cuts a batch: part of the result.

use crate::backward;
use crate::cells::cell::WeightLayout;
use crate::rows::MIN_ROWS;
use crate::SequenceDims;

/// Bytes that the groups' parts of the weight gradients may take together, beyond two groups.
const MAX_SUMS: usize = 4 << 20;
/// Rows of a group, if there are enough.
const GROUP_ROWS: usize = 25;

/// How a batch is cut into groups of rows that sum their weight gradients apart, and their steps
/// into blocks. Part of the result, as it fixes the order of summation: it depends on the sizes
/// alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReductionGroups {
    pub(crate) count: usize,
    pub(crate) block_steps: usize,
}

impl ReductionGroups {
    /// From a checkpoint to the next: whole blocks, about as many steps as there are checkpoints.
    pub(crate) fn checkpoint_steps(&self, seq_len: usize) -> usize {
        let blocks = (seq_len.isqrt() / self.block_steps).max(1);
        blocks * self.block_steps
    }

    pub(crate) fn new(layout: &WeightLayout, dims: &SequenceDims, size_of_element: usize) -> Self {
        let sums = layout.packed_len * size_of_element;
        let most = (MAX_SUMS / sums).max(2);
        // Even, so that two threads, and nearly so that four, get the same share.
        let wanted = dims.batch_size.div_ceil(GROUP_ROWS).next_multiple_of(2);
        let count = wanted.min(most).min(dims.batch_size.div_ceil(MIN_ROWS)).max(1);
        let largest = dims.batch_size.div_ceil(count).max(1);
        let sample = layout.packed_delta_len * size_of_element;
        Self { count, block_steps: backward::block_steps(dims, sample, sums, largest) }
    }
}
