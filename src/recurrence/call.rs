//! How a layer runs over a batch: the arguments as a caller gives them, and their checks.

use candle_core::{DType, Tensor};
use candle_rnn_kernels::SequenceDims;

pub(super) use super::checked_call::CheckedCall;
use super::checks::{check_dtype, wrong_shape, OP};
use super::gpu::plan::RecurrentDType;
use super::ids::read_ids;
use super::{Cell, LayerWeights, State, Unroll, WeightSizes};
use crate::{Error, Result};

/// How a layer runs over a batch of sequences, besides its weights and `x`.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `(B, T)`, or `(T, B)` if the call is time-major; `u8`, `u32` or `i64`: the rows of `x` that the steps read. `x` is
    /// then a table, `(V, I)`, and each number below V.
    ///
    /// On the CPU the table is multiplied with the weights, rather than every step's input, where it has at most half
    /// as many rows as the batch has steps. Values have the same bits; gradients are summed in another order: first over
    /// all places that read a row of the table.
    pub ids: Option<&'a Tensor>,
    /// The states before the first step; zeros if `None`.
    pub initial: Option<&'a State>,
    /// `(B,)`: the steps of each row, at most T; all have T if `None`.
    pub lengths: Option<&'a [usize]>,
    /// `(D, B, P)`: the mask of variational dropout (Gal & Ghahramani, 2016), which multiplies the state
    /// wherever a product reads it, the same at every step. A constant: it gets no gradient.
    pub mask: Option<&'a Tensor>,
    /// Whether `x` is `(T, B, I)`, and the outputs are time-major too.
    pub time_major: bool,
    /// Which states are read, and how far gradients flow back.
    pub unroll: Unroll,
    /// The dtype of products with recurrent weights on a GPU.
    pub recurrent_dtype: RecurrentDType,
}

impl Call<'_> {
    /// From zeros, over whole sequences of one length, batch-first.
    pub fn new(unroll: impl Into<Unroll>) -> Self {
        Self {
            ids: None,
            initial: None,
            lengths: None,
            mask: None,
            time_major: false,
            unroll: unroll.into(),
            recurrent_dtype: RecurrentDType::F32,
        }
    }
}

impl CheckedCall {
    /// Checks a call over whole sequences.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree or T is 0; [`Error::DType`] when dtypes disagree; [`Error::Config`]
    /// when a tensor is on another device, a state is missing, lengths do not fit or memory cannot hold it.
    pub(super) fn new(x: &Tensor, weights: &LayerWeights, call: &Call) -> Result<Self> {
        let sizes = weights.sizes();
        if let Some(ids) = call.ids {
            return Self::of_table(x, ids, weights, call);
        }
        let (order, row, step) = if call.time_major { ("T, B", 1, 0) } else { ("B, T", 0, 1) };
        match *x.dims() {
            [_, _, inputs] if inputs == sizes.input_size && x.dims()[step] > 0 => {
                Self::of(x, [x.dims()[row], x.dims()[step]], weights, call)
            }
            _ => {
                let expected = format!("({order}, {}) with T at least 1", sizes.input_size);
                Err(wrong_shape("x", expected, x))
            }
        }
    }

    /// As [`new`](Self::new), with inputs that are looked up in a table.
    fn of_table(table: &Tensor, ids: &Tensor, weights: &LayerWeights, call: &Call) -> Result<Self> {
        let input_size = weights.sizes().input_size;
        let table_rows = match *table.dims() {
            [rows, inputs] if rows > 0 && inputs == input_size => rows,
            _ => return Err(wrong_shape("x", format!("(V, {input_size}), with ids"), table)),
        };
        let (order, row, step) = if call.time_major { ("T, B", 1, 0) } else { ("B, T", 0, 1) };
        let size = match *ids.dims() {
            [_, _] if ids.dims()[step] > 0 => [ids.dims()[row], ids.dims()[step]],
            _ => return Err(wrong_shape("ids", format!("({order}) with T at least 1"), ids)),
        };
        let numbers = read_ids(ids, table_rows)?;
        Ok(Self { ids: Some(numbers), ..Self::of(table, size, weights, call)? })
    }

    /// Checks a call over one step: `x_t` is `(B, I)`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn step(x_t: &Tensor, weights: &LayerWeights, call: &Call) -> Result<Self> {
        let input_size = weights.sizes().input_size;
        match *x_t.dims() {
            [rows, inputs] if inputs == input_size => Self::of(x_t, [rows, 1], weights, call),
            _ => Err(wrong_shape("x_t", format!("(B, {input_size})"), x_t)),
        }
    }

    fn of(
        x: &Tensor,
        [rows, steps]: [usize; 2],
        weights: &LayerWeights,
        call: &Call,
    ) -> Result<Self> {
        let (cell, dtype) = (weights.cell(), weights.dtype());
        check_dtype("x", x, dtype)?;
        let dims = dims_of(rows, steps, weights.sizes())?;
        let directions = weights.directions().len();
        if let Some(state) = call.initial {
            check_state(&dims, cell, directions, state, dtype)?;
            state.check_depth()?;
        }
        if let Some(lengths) = call.lengths {
            check_lengths(&dims, lengths)?;
        }
        if let Some(mask) = call.mask {
            let expected = [directions, dims.batch_size, dims.output_size];
            if mask.dims() != expected {
                return Err(wrong_shape("mask", format!("{expected:?}"), mask));
            }
            check_dtype("mask", mask, dtype)?;
        }
        let c_0 = call.initial.and_then(|state| state.c.as_ref());
        let others =
            [("h_0", call.initial.map(|state| &state.h)), ("c_0", c_0), ("mask", call.mask)];
        for (name, tensor) in [("x", Some(x))].into_iter().chain(others) {
            if tensor.is_some_and(|tensor| !tensor.device().same_device(weights.device())) {
                return Err(Error::Config(format!(
                    "{OP}: {name} is on another device than the weights"
                )));
            }
        }
        Ok(Self {
            dims,
            ids: None,
            directions,
            time_major: call.time_major,
            unroll: call.unroll,
            recurrent_dtype: call.recurrent_dtype,
            lengths: call.lengths.map(<[usize]>::to_vec),
            mask: call.mask.map(|mask| mask.detach().contiguous()).transpose()?,
            initial: call.initial.cloned(),
        })
    }
}

/// The sizes, if memory can hold them.
fn dims_of(batch_size: usize, seq_len: usize, sizes: WeightSizes) -> Result<SequenceDims> {
    let WeightSizes { input_size, hidden_size, output_size } = sizes;
    let dims = SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size };
    // Space for the largest float, all gates of two directions, and padding.
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

fn check_state(
    dims: &SequenceDims,
    cell: Cell,
    directions: usize,
    state: &State,
    dtype: DType,
) -> Result<()> {
    let SequenceDims { batch_size, hidden_size, output_size, .. } = *dims;
    let expect = |name, tensor: &Tensor, size: usize| {
        if tensor.dims() != [directions, batch_size, size] {
            let expected = format!("({directions}, {batch_size}, {size})");
            return Err(wrong_shape(name, expected, tensor));
        }
        check_dtype(name, tensor, dtype)
    };
    expect("h_0", &state.h, output_size)?;
    match &state.c {
        Some(c) if cell.has_c() => expect("c_0", c, hidden_size),
        Some(_) => Err(Error::Config(format!("{OP}: {} has no state c", cell.name()))),
        None if cell.has_c() => Err(Error::Config(format!("{OP}: lstm needs c_0 beside h_0"))),
        None => Ok(()),
    }
}

fn check_lengths(dims: &SequenceDims, lengths: &[usize]) -> Result<()> {
    let SequenceDims { batch_size, seq_len, .. } = *dims;
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
