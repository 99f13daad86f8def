//! The sizes of a recurrence, and the windows of its reverse sweep.

/// The sizes of a recurrent layer and of the batch that it runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceDims {
    /// The number of rows in the batch, B.
    pub batch_size: usize,
    /// The number of steps, T, at least 1.
    pub seq_len: usize,
    /// The number of features of an input, I.
    pub input_size: usize,
    /// The number of units, H.
    pub hidden_size: usize,
    /// The number of features of an output and of the state h, P: H unless there is a projection.
    pub output_size: usize,
}

/// Steps through which gradients flow together, counted from 0 as tensors count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first step that gradients reach.
    pub start: usize,
    /// The first step whose loss belongs to this window.
    pub losses_from: usize,
    /// The step after the last one of the window, and after the last whose loss belongs to it.
    pub end: usize,
}
