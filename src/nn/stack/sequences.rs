//! The input of a stack, and its output.

use candle_core::Tensor;

use super::super::Embedding;
use crate::recurrence::Truncation;
use crate::recurrence::{RecurrentDType, State};
use crate::rng::SeededRng;

/// A batch of sequences, and how a stack reads it.
///
/// A tensor alone is a batch of whole sequences, batch-first, read from zeros.
///
/// ```
/// # use candle_core::{DType, Device, Tensor};
/// use candle_rnn::Sequences;
/// # fn main() -> candle_rnn::Result<()> {
/// let x = Tensor::zeros((2, 7, 3), DType::F32, &Device::Cpu)?;
/// let ragged = Sequences::new(&x).lengths(&[7, 4]);
/// # let _ = ragged;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sequences<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) ids: Option<&'a Tensor>,
    pub(crate) initial: Option<&'a State>,
    pub(crate) lengths: Option<&'a [usize]>,
    pub(crate) time_major: bool,
    pub(crate) truncation: Truncation,
    pub(crate) recompute: bool,
    pub(crate) dropout: Option<&'a mut SeededRng>,
    pub(crate) recurrent_dtype: RecurrentDType,
}

impl<'a> Sequences<'a> {
    /// Whole sequences `x`, `(B, T, I)`, that are read from zeros.
    pub fn new(x: &'a Tensor) -> Self {
        Self {
            x,
            ids: None,
            initial: None,
            lengths: None,
            time_major: false,
            truncation: Truncation::FULL,
            recompute: false,
            dropout: None,
            recurrent_dtype: RecurrentDType::F32,
        }
    }

    /// Sequences of numbers whose vectors an embedding has, `embedding.forward(ids)`, read from zeros.
    ///
    /// - `ids`: `(B, T)`; `u8`, `u32` or `i64`, each below V
    ///
    /// The values are those of [`new`](Self::new) with these vectors, to the bit. On the CPU it is faster where the embedding
    /// has at most half as many vectors as the batch has steps: each vector is multiplied with the weights once, rather
    /// than at every step that reads it, see [`Call::ids`](crate::recurrence::Call::ids).
    pub fn embedded(embedding: &'a Embedding, ids: &'a Tensor) -> Self {
        Self { ids: Some(ids), ..Self::new(embedding.weight()) }
    }

    /// The states before the first step: h `(L·D, B, P)` and, for an LSTM, c `(L·D, B, H)`.
    #[doc(alias = "stateful")]
    pub fn initial(self, state: &'a State) -> Self {
        Self { initial: Some(state), ..self }
    }

    /// The length of each row in steps, from 0 to T. Padding behind it is not read, outputs there are zero, and
    /// final states are those at the row's end, where the backward direction begins.
    #[doc(alias = "sequence_length")]
    #[doc(alias = "pack_padded_sequence")]
    pub fn lengths(self, lengths: &'a [usize]) -> Self {
        Self { lengths: Some(lengths), ..self }
    }

    /// Time before batch: `x` is `(T, B, I)`, or ids are `(T, B)`, and outputs are `(T, B, D·P)`.
    pub fn time_major(self) -> Self {
        Self { time_major: true, ..self }
    }

    /// Truncated backpropagation through time: gradients flow back as far as `truncation` says.
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation, ..self }
    }

    /// Gradient checkpointing: the backward pass computes states of the last layer again, see
    /// [`Unroll::recomputing`]. For [`Stack::last`] only.
    ///
    /// [`Unroll::recomputing`]: crate::recurrence::Unroll::recomputing
    /// [`Stack::last`]: super::Stack::last
    pub fn recomputing(self) -> Self {
        Self { recompute: true, ..self }
    }

    /// Products with recurrent weights on a GPU are made in this dtype: [`RecurrentDType::Tf32`] and
    /// [`RecurrentDType::Bf16`] use tensor cores where several blocks share a layer's weights, and with the latter
    /// larger layers stay in one block's memory. The weights themselves, sums, states and gradients stay `f32`. For
    /// devices with kernels only.
    pub fn recurrent_dtype(self, recurrent_dtype: RecurrentDType) -> Self {
        Self { recurrent_dtype, ..self }
    }

    /// Training mode: dropout draws from `rng`. Without it there is no dropout.
    pub fn dropout(self, rng: &'a mut SeededRng) -> Self {
        Self { dropout: Some(rng), ..self }
    }
}

impl<'a> From<&'a Tensor> for Sequences<'a> {
    fn from(x: &'a Tensor) -> Self {
        Self::new(x)
    }
}

/// The output of a stack for a batch of sequences.
#[derive(Clone, Debug)]
pub struct Output {
    /// The outputs of the last layer at each step, forward beside backward: `(B, T, D·P)`, or `(T, B, D·P)` if
    /// time-major.
    pub outputs: Tensor,
    /// The final states of all layers: h `(L·D, B, P)` and, for an LSTM, c `(L·D, B, H)`.
    pub state: State,
}
