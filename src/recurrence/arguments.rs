//! What a recurrence takes: weights, states, sizes, and how it is run.

use candle_core::{DType, Tensor};

use super::Cell;
use crate::bptt::Truncation;
use crate::{Error, Result};

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

    /// The same with gradients cut as `truncation` says. In a pass that runs backwards in time, so
    /// do its steps: windows are counted from its first step, the last in time.
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

    /// Whether states are computed again.
    pub fn recomputes(&self) -> bool {
        self.recompute
    }
}

impl From<Outputs> for Unroll {
    fn from(read: Outputs) -> Self {
        Self::new(read)
    }
}

/// The weights of one layer in one direction, the same at every step.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `(G·H, I)`, gates in the order of [`Cell`].
    pub w_ih: Tensor,
    /// `(G·H, P)`; P is H unless there is a projection.
    pub w_hh: Tensor,
    /// `(G·H,)`.
    pub b_ih: Tensor,
    /// `(G·H,)`, added where the state's product is; zeros if `None`.
    pub b_hh: Option<Tensor>,
    /// `(P, H)`: the projection of an LSTM, if it has one.
    pub w_hr: Option<Tensor>,
}

impl Weights {
    /// Weights with one bias and no projection.
    pub fn new(w_ih: Tensor, w_hh: Tensor, b_ih: Tensor) -> Self {
        Self { w_ih, w_hh, b_ih, b_hh: None, w_hr: None }
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        [("w_ih", &self.w_ih), ("w_hh", &self.w_hh), ("b_ih", &self.b_ih)]
            .into_iter()
            .chain(self.b_hh.as_ref().map(|b_hh| ("b_hh", b_hh)))
            .chain(self.w_hr.as_ref().map(|w_hr| ("w_hr", w_hr)))
    }

    /// Checks that shapes and dtypes fit together and to the cell, and returns I, H and P, all at
    /// least 1.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree or are 0; [`Error::DType`] unless all tensors are `f32`
    /// or all are `f64`; [`Error::Config`] for a projection of any other cell than the LSTM.
    pub fn check(&self, cell: Cell) -> Result<WeightSizes> {
        let Self { w_ih, w_hh, b_ih, b_hh, w_hr } = self;
        let gates = cell.gates();
        let (rows, input_size) = match *w_ih.dims() {
            [rows, input_size] if rows > 0 && rows % gates == 0 && input_size > 0 => {
                (rows, input_size)
            }
            _ => {
                let rows = if gates == 1 { "H".to_string() } else { format!("{gates}·H") };
                return Err(wrong_shape("w_ih", format!("({rows}, I), both at least 1"), w_ih));
            }
        };
        let hidden_size = rows / gates;
        let output_size = match w_hr.as_ref().map(|w_hr| (w_hr, w_hr.dims())) {
            None => hidden_size,
            Some(_) if cell != Cell::Lstm => {
                return Err(Error::Config(format!("a projection is for lstm, not {}", cell.name())))
            }
            Some((_, [outputs, columns])) if *outputs > 0 && *columns == hidden_size => *outputs,
            Some((w_hr, _)) => {
                return Err(wrong_shape("w_hr", format!("(P, {hidden_size}), P at least 1"), w_hr))
            }
        };
        if w_hh.dims() != [rows, output_size] {
            return Err(wrong_shape("w_hh", format!("({rows}, {output_size})"), w_hh));
        }
        for (name, bias) in [("b_ih", Some(b_ih)), ("b_hh", b_hh.as_ref())] {
            match bias {
                Some(bias) if bias.dims() != [rows] => {
                    return Err(wrong_shape(name, format!("({rows},)"), bias));
                }
                _ => {}
            }
        }
        for (name, tensor) in self.tensors() {
            check_dtype(name, tensor, w_ih.dtype())?;
        }
        Ok(WeightSizes { input_size, hidden_size, output_size })
    }

    /// The same weights without the graph that made them.
    pub fn detach(&self) -> Self {
        self.map(|tensor| Ok(tensor.detach())).unwrap_or_else(|_: Error| unreachable!())
    }

    /// The same weights in memory of their own, without the graph that made them.
    ///
    /// # Errors
    /// [`Error::Candle`] when they cannot be copied.
    pub fn copy(&self) -> Result<Self> {
        self.map(|tensor| Ok(tensor.detach().copy()?))
    }

    fn map(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            w_ih: change(&self.w_ih)?,
            w_hh: change(&self.w_hh)?,
            b_ih: change(&self.b_ih)?,
            b_hh: self.b_hh.as_ref().map(&change).transpose()?,
            w_hr: self.w_hr.as_ref().map(&change).transpose()?,
        })
    }
}

/// The sizes of a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightSizes {
    /// I.
    pub input_size: usize,
    /// H.
    pub hidden_size: usize,
    /// P: numbers of an output and of the state h; H unless there is a projection.
    pub output_size: usize,
}

/// The states of a layer, or of a stack of layers.
///
/// D is the number of directions; of a stack, the states of all layers follow each other, forward
/// before backward: `L·D` instead of D.
#[derive(Clone, Debug)]
#[doc(alias = "LSTMStateTuple")]
pub struct State {
    /// `(D, B, P)`.
    pub h: Tensor,
    /// `(D, B, H)`, of a cell that has it.
    pub c: Option<Tensor>,
}

impl State {
    /// The state h of a cell that has no other.
    pub fn new(h: Tensor) -> Self {
        Self { h, c: None }
    }

    /// The same values without the graph that made them.
    pub fn detach(&self) -> Self {
        Self { h: self.h.detach(), c: self.c.as_ref().map(Tensor::detach) }
    }
}

/// How a layer runs over a batch of sequences, besides its weights and `x`.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// States before the first step; zeros if `None`.
    pub initial: Option<&'a State>,
    /// `(B,)`: the steps of each row, at most T; all have T if `None`.
    pub lengths: Option<&'a [usize]>,
    /// `(D, B, P)`: what the state is multiplied with wherever a product reads it, the same at every
    /// step: variational dropout (Gal & Ghahramani, 2016). A constant: it gets no gradient.
    pub mask: Option<&'a Tensor>,
    /// Whether `x` is `(T, B, I)`, and so are the outputs.
    pub time_major: bool,
    /// What is read, and how far gradients flow back.
    pub unroll: Unroll,
}

impl Call<'_> {
    /// From zeros, over whole sequences of one length, batch-first.
    pub fn new(unroll: impl Into<Unroll>) -> Self {
        Self { initial: None, lengths: None, mask: None, time_major: false, unroll: unroll.into() }
    }
}

pub(super) fn wrong_shape(tensor: &'static str, expected: String, actual: &Tensor) -> Error {
    Error::Shape { op: OP, tensor, expected, actual: actual.dims().to_vec() }
}

pub(super) fn check_dtype(tensor: &str, actual: &Tensor, wanted: DType) -> Result<()> {
    let dtype = actual.dtype();
    if dtype == wanted && matches!(dtype, DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(Error::DType {
        op: OP,
        tensor: tensor.into(),
        expected: match wanted {
            DType::F32 => "f32, as the weights",
            DType::F64 => "f64, as the weights",
            _ => "f32 or f64",
        },
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
    /// P: numbers of an output and of the state h; H unless there is a projection.
    pub output_size: usize,
}

impl SequenceDims {
    /// Checks that `x` fits to weights of the given sizes and dtype.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree or T is 0; [`Error::DType`] when dtypes disagree;
    /// [`Error::Config`] when it is more than memory can hold.
    pub fn check(x: &Tensor, sizes: WeightSizes, dtype: DType, time_major: bool) -> Result<Self> {
        let WeightSizes { input_size, .. } = sizes;
        let (batch_size, seq_len) = match (x.dims(), time_major) {
            (&[rows, steps, inputs], false) | (&[steps, rows, inputs], true)
                if steps > 0 && inputs == input_size =>
            {
                (rows, steps)
            }
            _ => {
                let order = if time_major { "T, B" } else { "B, T" };
                let expected = format!("({order}, {input_size}) with T at least 1");
                return Err(wrong_shape("x", expected, x));
            }
        };
        check_dtype("x", x, dtype)?;
        Self::of(batch_size, seq_len, sizes)
    }

    /// Checks that such a size can be in memory.
    pub(super) fn of(batch_size: usize, seq_len: usize, sizes: WeightSizes) -> Result<Self> {
        let WeightSizes { input_size, hidden_size, output_size } = sizes;
        let dims = Self { batch_size, seq_len, input_size, hidden_size, output_size };
        // Room for the largest float, all gates of two directions, and padding.
        let rows = batch_size.checked_mul(seq_len).and_then(|rows| rows.checked_mul(128));
        let widest = input_size
            .checked_add(hidden_size)
            .and_then(|width| width.checked_add(output_size))
            .and_then(|width| width.checked_add(64));
        if rows.zip(widest).and_then(|(rows, width)| rows.checked_mul(width)).is_none() {
            return Err(Error::Config(format!("{OP}: {dims:?} is more than memory can hold")));
        }
        Ok(dims)
    }

    /// Checks the shape and the dtype of states.
    pub(super) fn check_state(
        &self,
        cell: Cell,
        directions: usize,
        state: &State,
        dtype: DType,
    ) -> Result<()> {
        let Self { batch_size, hidden_size, output_size, .. } = *self;
        let expect = |name, tensor: &Tensor, size: usize| {
            if tensor.dims() != [directions, batch_size, size] {
                let expected = format!("({directions}, {batch_size}, {size})");
                return Err(wrong_shape(name, expected, tensor));
            }
            check_dtype(name, tensor, dtype)
        };
        expect("h_0", &state.h, output_size)?;
        match (&state.c, cell.has_c()) {
            (Some(c), true) => expect("c_0", c, hidden_size),
            (None, false) => Ok(()),
            (None, true) => Err(Error::Config(format!("{OP}: lstm needs c_0 beside h_0"))),
            (Some(_), false) => Err(Error::Config(format!("{OP}: {} has no state c", cell.name()))),
        }
    }

    /// Checks the lengths of rows.
    pub(super) fn check_lengths(&self, lengths: &[usize]) -> Result<()> {
        let Self { batch_size, seq_len, .. } = *self;
        if lengths.len() != batch_size {
            let found = lengths.len();
            return Err(Error::Config(format!(
                "{OP}: lengths must be one for each of {batch_size} rows, got {found}"
            )));
        }
        match lengths.iter().find(|length| **length > seq_len) {
            None => Ok(()),
            Some(length) => Err(Error::Config(format!(
                "{OP}: lengths must be at most {seq_len}, the steps of x, got {length}"
            ))),
        }
    }
}
