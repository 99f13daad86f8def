//! The recurrence over whole sequences.
//!
//! `h_t = f(W_ih x_t + b + W_hh h_{t-1})` for `t = 1..=T`, from `h_0`, with the same `W_ih`, `W_hh`
//! and `b` at every step; `f` is the cell's activation.
//!
//! | name | shape | meaning |
//! |---|---|---|
//! | `x` | `(B, T, I)` | inputs, batch-first |
//! | `w_ih` | `(H, I)` | input weights; rows are the units written to |
//! | `w_hh` | `(H, H)` | recurrent weights |
//! | `b` | `(H,)` | bias |
//! | `h_0` | `(B, H)` | state before the first step |
//! | `h_t` | `(B, H)` | state, and output, of step `t` |
//!
//! Buffers that a call needs go back to a pool, of at most 512 MiB, for the next call:
//! [`release_memory`] empties it.
//!
//! The same recurrence stands here in three forms:
//!
//! - `op`: [`rnn_sequence`] and [`rnn_step`], one differentiable Candle op for a whole sequence, on
//!   the kernels of `cpu`, with weights laid out by `packed`
//! - [`unrolled`]: composed step by step from Candle's own tensor ops, on any device
//! - [`mod@reference`]: plain loops, the definition that the others are tested against

mod cpu;
mod op;
mod packed;
pub mod reference;
mod storage;
pub mod unrolled;

#[cfg(test)]
mod tests;

pub(crate) use op::dense_packed;
pub use op::{dense, rnn_sequence, rnn_step};
pub use packed::PackedWeights;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::bptt::Truncation;
use crate::{Error, Result};

/// The activation `f` of a recurrent cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Cell {
    /// `tanh(z)`.
    #[default]
    Tanh,
    /// `max(z, 0)`.
    Relu,
}

impl Cell {
    /// The name used on the command line and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Relu => "relu",
        }
    }

    /// `f(z)`.
    pub fn of(self, z: f64) -> f64 {
        match self {
            Self::Tanh => z.tanh(),
            // Not `max`, which loses NaN.
            Self::Relu if z <= 0. => 0.,
            Self::Relu => z,
        }
    }

    /// `f'(z)` where `f(z) = h`; of `relu` at 0, where there is none, 0.
    pub fn derivative(self, h: f64) -> f64 {
        match self {
            Self::Tanh => 1. - h * h,
            Self::Relu => f64::from(u8::from(h != 0.)),
        }
    }

    /// `f(z)`, elementwise.
    ///
    /// # Errors
    /// [`Error::Candle`] when Candle refuses the tensor.
    pub fn apply(self, z: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Tanh => z.tanh()?,
            Self::Relu => z.relu()?,
        })
    }
}

/// Which states a sequence's reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Those of all steps: `(B, T, H)`.
    All,
    /// That of the last step: `(B, H)`. The others are kept where only the backward pass sees
    /// them, which saves reading and writing gradients of zero.
    Last,
}

/// How a sequence is run: which states are read, how far gradients flow back, and which states are
/// kept for the backward pass.
///
/// Values do not depend on the last two. `Outputs` alone is full backpropagation with all states
/// kept.
///
/// ```
/// use candle_rnn::bptt::Truncation;
/// use candle_rnn::recurrence::{Outputs, Unroll};
/// # fn main() -> candle_rnn::Result<()> {
/// let in_segments = Unroll::new(Outputs::All).truncated(Truncation::segments(5)?);
/// let in_small_memory = Unroll::new(Outputs::Last).recomputing()?;
/// # let _ = (in_segments, in_small_memory);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unroll {
    read: Outputs,
    truncation: Truncation,
    recompute: bool,
}

impl Unroll {
    /// Full backpropagation through time, with all states kept.
    pub fn new(read: Outputs) -> Self {
        Self { read, truncation: Truncation::FULL, recompute: false }
    }

    /// The same with gradients cut as `truncation` says.
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation, ..self }
    }

    /// The same with states kept only at the ends of blocks of steps: the backward pass computes
    /// the others again. Of T states about √T or fewer are kept, and one block's are in memory at a
    /// time; it takes up to 1.4 times the time, and gives the same bits.
    ///
    /// # Errors
    /// [`Error::Config`] when all states are read: then they are there anyway.
    pub fn recomputing(self) -> Result<Self> {
        match self.read {
            Outputs::Last => Ok(Self { recompute: true, ..self }),
            Outputs::All => Err(Error::Config(
                "states that are all read need not be computed again: recompute with the last \
                 state alone"
                    .into(),
            )),
        }
    }

    /// Which states are read.
    pub fn read(&self) -> Outputs {
        self.read
    }

    /// How far gradients flow back.
    pub fn truncation(&self) -> Truncation {
        self.truncation
    }
}

impl From<Outputs> for Unroll {
    fn from(read: Outputs) -> Self {
        Self::new(read)
    }
}

/// Gives the memory back that calls keep for the calls after them.
pub fn release_memory() {
    cpu::release_memory();
}

/// What must hold before the fused op can run on this CPU.
///
/// # Errors
/// [`Error::Config`] when `CANDLE_RNN_ISA` names an instruction set that is not there.
pub(crate) fn check_cpu() -> Result<()> {
    cpu::Isa::chosen().map(|_| ()).map_err(|text| Error::Config(text.to_string()))
}

/// The weights of one layer, the same at every step.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `(H, I)`.
    pub w_ih: Tensor,
    /// `(H, H)`.
    pub w_hh: Tensor,
    /// `(H,)`.
    pub b: Tensor,
}

impl Weights {
    /// Checks that shapes and dtypes fit together, and returns I and H, both at least 1.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree or are 0; [`Error::DType`] unless all tensors are `f32`
    /// or all are `f64`.
    pub fn check(&self) -> Result<(usize, usize)> {
        let Self { w_ih, w_hh, b } = self;
        let (hidden_size, input_size) = match *w_ih.dims() {
            [hidden_size, input_size] if hidden_size > 0 && input_size > 0 => {
                (hidden_size, input_size)
            }
            _ => return Err(wrong_shape("w_ih", "(H, I), both at least 1".into(), w_ih)),
        };
        if w_hh.dims() != [hidden_size, hidden_size] {
            return Err(wrong_shape("w_hh", format!("({hidden_size}, {hidden_size})"), w_hh));
        }
        if b.dims() != [hidden_size] {
            return Err(wrong_shape("b", format!("({hidden_size},)"), b));
        }
        for (name, tensor) in [("w_ih", w_ih), ("w_hh", w_hh), ("b", b)] {
            check_dtype(name, tensor, w_ih.dtype())?;
        }
        Ok((input_size, hidden_size))
    }

    /// The same weights without the graph that made them.
    pub fn detach(&self) -> Self {
        Self { w_ih: self.w_ih.detach(), w_hh: self.w_hh.detach(), b: self.b.detach() }
    }
}

fn wrong_shape(tensor: &'static str, expected: String, actual: &Tensor) -> Error {
    Error::Shape { op: OP, tensor, expected, actual: actual.dims().to_vec() }
}

fn check_dtype(tensor: &str, actual: &Tensor, wanted: DType) -> Result<()> {
    let dtype = actual.dtype();
    if dtype == wanted && matches!(dtype, DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(Error::DType {
        op: OP,
        tensor: tensor.into(),
        expected: "f32 or f64, as all other tensors",
        actual: dtype.as_str().into(),
    })
}

/// The name of the operation in errors.
const OP: &str = "recurrence";

/// The sizes of a recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceDims {
    /// B.
    pub batch_size: usize,
    /// T, at least 1.
    pub seq_len: usize,
    /// I.
    pub input_size: usize,
    /// H.
    pub hidden_size: usize,
}

impl SequenceDims {
    /// Checks that shapes and dtypes of all arguments fit together.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree or T is 0; [`Error::DType`] unless all tensors are
    /// `f32` or all are `f64`.
    pub fn check(x: &Tensor, weights: &Weights, h_0: Option<&Tensor>) -> Result<Self> {
        let (input_size, hidden_size) = weights.check()?;
        Self::of((input_size, hidden_size), weights.w_ih.dtype(), x, h_0)
    }

    /// As [`check`](Self::check), for weights that were checked: their sizes and their dtype.
    fn of(
        (input_size, hidden_size): (usize, usize),
        dtype: DType,
        x: &Tensor,
        h_0: Option<&Tensor>,
    ) -> Result<Self> {
        let (batch_size, seq_len) = match *x.dims() {
            [batch_size, seq_len, inputs] if seq_len > 0 && inputs == input_size => {
                (batch_size, seq_len)
            }
            _ => {
                let expected = format!("(B, T, {input_size}) with T at least 1");
                return Err(wrong_shape("x", expected, x));
            }
        };
        let dims = Self { batch_size, seq_len, input_size, hidden_size };
        dims.check_arguments(dtype, x, h_0)?;
        Ok(dims)
    }

    /// Checks the dtypes of all arguments, and the shape of the initial state.
    fn check_arguments(&self, dtype: DType, x: &Tensor, h_0: Option<&Tensor>) -> Result<()> {
        let Self { batch_size, seq_len, input_size, hidden_size } = *self;
        // Room for the largest float, twice, and for padding.
        let rows = batch_size.checked_mul(seq_len).and_then(|rows| rows.checked_mul(16));
        let widest = input_size.checked_add(hidden_size).and_then(|width| width.checked_add(64));
        if rows.zip(widest).and_then(|(rows, width)| rows.checked_mul(width)).is_none() {
            return Err(Error::Config(format!("{OP}: {self:?} is more than memory can hold")));
        }
        check_dtype("x", x, dtype)?;
        let Some(h_0) = h_0 else { return Ok(()) };
        if h_0.dims() != [batch_size, hidden_size] {
            return Err(wrong_shape("h_0", format!("({batch_size}, {hidden_size})"), h_0));
        }
        check_dtype("h_0", h_0, dtype)
    }
}
