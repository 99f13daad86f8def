//! The features that a head reads of the outputs of the last layer.

use crate::network::number::Number;
use crate::schedule::ForwardOutput;

/// The part of the last layer's outputs that the head reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readout {
    /// The last output: the final state h, of both directions side by side.
    #[default]
    Last,
    /// The mean over the steps beside the maximum over the steps.
    MeanMax,
    /// All outputs, flattened, of sequences of so many steps; zeros stand behind the end of a shorter one.
    All {
        /// The number of steps, T.
        seq_len: usize,
    },
}

impl Readout {
    /// The number of features that a head reads, of outputs with so many.
    pub fn features(self, outputs: usize) -> usize {
        match self {
            Self::Last => outputs,
            Self::MeanMax => 2 * outputs,
            Self::All { seq_len } => seq_len * outputs,
        }
    }
}

/// The final h of each row, `(B, D·P)`, of final states `(D, B, P)`.
pub(super) fn last_rows<E: Number>(
    output: &ForwardOutput<E>,
    batch_size: usize,
    sizes: [usize; 2],
) -> Vec<E> {
    let [directions, size] = sizes;
    let mut rows = Vec::with_capacity(batch_size * directions * size);
    for row in 0..batch_size {
        for direction in 0..directions {
            rows.extend_from_slice(&output.last[(direction * batch_size + row) * size..][..size]);
        }
    }
    rows
}

/// Mean and maximum over the steps of each row, `(B, 2·F)`, of outputs `(B, T, F)`. A row without steps gives
/// zeros, a NaN is in both results.
pub(super) fn mean_max<E: Number>(
    outputs: &[E],
    [batch_size, seq_len, features]: [usize; 3],
    lengths: Option<&[usize]>,
) -> Vec<E> {
    let mut pooled = vec![E::ZERO; batch_size * 2 * features];
    let rows = outputs.chunks_exact(seq_len * features).zip(pooled.chunks_exact_mut(2 * features));
    for (row, (outputs, pooled)) in rows.enumerate() {
        let len = lengths.map_or(seq_len, |lengths| lengths[row]);
        if len == 0 {
            continue;
        }
        let (mean, max) = pooled.split_at_mut(features);
        max.copy_from_slice(&outputs[..features]);
        for step in outputs.chunks_exact(features).take(len) {
            for ((mean, max), x) in mean.iter_mut().zip(max.iter_mut()).zip(step) {
                *mean = *mean + *x;
                // Not equal to itself: NaN, which no comparison would let in or out.
                #[allow(clippy::eq_op)]
                let is_larger = *x > *max || (*x != *x && *max == *max);
                if is_larger {
                    *max = *x;
                }
            }
        }
        let scale = E::from_f64(1. / len as f64);
        mean.iter_mut().for_each(|sum| *sum = *sum * scale);
    }
    pooled
}
