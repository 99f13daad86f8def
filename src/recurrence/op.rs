//! The recurrence as functions over tensors: arguments are checked, and the op runs.

use candle_core::{Shape, Tensor};

use super::arguments::{check_dtype, dims, wrong_shape};
use super::layer_op::{run, run_both, Setting};
use super::packed::PackedWeights;
use super::{Call, Outputs, SequenceDims, State, Unroll, WeightSizes};
use crate::{Error, Result};

/// Runs a layer over whole sequences as one differentiable op, on the CPU, in one direction or in
/// both.
///
/// - `x`: `(B, T, I)`, the inputs; `(T, B, I)` if the call is time-major
/// - `weights`: the same at every step
/// - `call`: initial states, lengths, mask, and what is read
/// - returns the outputs, `(B, T, D·P)` or `(T, B, D·P)`, if all are read, forward before backward,
///   and zero behind the end of a row; and the final states, each row's at its own end
///
/// A direction that runs backwards in time begins at each row's own end. Gradients are those of each
/// row alone, whatever `x` holds behind its end.
///
/// Keeps for the backward pass, in bytes (`f32`; twice that in `f64`), `4·D·B·T` times: P for h,
/// unless the outputs hold it; H for an LSTM's c; and the gates, 4·H for [`Cell::Lstm`] and
/// [`Cell::Gru`], 3·H for [`Cell::GruResetBefore`] and [`Cell::MinimalGru`], none for the others.
/// Nothing is kept if no argument needs a gradient; states that are computed again
/// ([`Unroll::recomputing`]) take about 1/√T of that.
///
/// The result and all gradients have the same bits for any number of threads.
///
/// Gradients of packed weights and of both results go beside Candle's graph, each to the backward pass that
/// made it (docs/design.md): threads may share packed weights, each with a graph and a backward pass of
/// its own, and after a pass that failed the next one is right or returns an error.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree or `T == 0`; [`Error::DType`] unless all are `f32` or all
/// `f64`; [`Error::Config`] when a tensor is not on the CPU, a state is missing or lengths do not
/// fit.
///
/// # Source
/// Elman (1990), "Finding Structure in Time"; Werbos (1990), "Backpropagation Through Time: What
/// It Does and How to Do It"; Schuster & Paliwal (1997), "Bidirectional Recurrent Neural Networks";
/// those of the cells stand with [`Cell`].
///
/// [`Cell`]: super::Cell
/// [`Cell::Lstm`]: super::Cell::Lstm
/// [`Cell::Gru`]: super::Cell::Gru
/// [`Cell::GruResetBefore`]: super::Cell::GruResetBefore
/// [`Cell::MinimalGru`]: super::Cell::MinimalGru
#[doc(alias = "dynamic_rnn")]
#[doc(alias = "bidirectional_dynamic_rnn")]
pub fn run_layer(
    x: &Tensor,
    weights: &PackedWeights,
    call: &Call,
) -> Result<(Option<Tensor>, State)> {
    let dims = dims::check(x, weights.sizes, weights.dtype(), call.time_major)?;
    let directions = weights.directions();
    let SequenceDims { batch_size, seq_len, hidden_size, output_size, .. } = dims;
    let initial = match call.initial {
        None => None,
        Some(state) => {
            dims::check_state(&dims, weights.cell, directions, state, weights.dtype())?;
            state.check_depth()?;
            Some(join(state)?)
        }
    };
    if let Some(lengths) = call.lengths {
        dims::check_lengths(&dims, lengths)?;
    }
    let mask = match call.mask {
        None => None,
        Some(mask) => {
            dims::check_mask(&dims, directions, mask, weights.dtype())?;
            Some(mask.detach().contiguous()?)
        }
    };
    let has_c = weights.cell.has_c();
    let h_len = directions * batch_size * output_size;
    let c_len = if has_c { directions * batch_size * hidden_size } else { 0 };
    let shape = match (call.unroll.outputs(), call.time_major) {
        (Outputs::All, false) => Shape::from((batch_size, seq_len, directions * output_size)),
        (Outputs::All, true) => Shape::from((seq_len, batch_size, directions * output_size)),
        (Outputs::Last, _) if has_c => Shape::from(h_len + c_len),
        (Outputs::Last, _) => Shape::from((directions, batch_size, output_size)),
    };
    let setting = Setting {
        dims,
        shape,
        unroll: call.unroll,
        time_major: call.time_major,
        lengths: call.lengths.map(<[usize]>::to_vec),
        mask,
    };
    let (outputs, last) = match call.unroll.outputs() {
        Outputs::Last => (None, run(x, weights, initial.as_ref(), weights.function, setting)?),
        Outputs::All => {
            let states_len = h_len + c_len;
            let [outputs, last] = run_both(x, weights, initial.as_ref(), setting, states_len)?;
            (Some(outputs), last)
        }
    };
    let state = |tensor: Tensor, size: usize| tensor.reshape((directions, batch_size, size));
    let states = match (has_c, last.rank()) {
        (true, _) => State::from_parts(
            state(last.narrow(0, 0, h_len)?, output_size)?,
            Some(state(last.narrow(0, h_len, c_len)?, hidden_size)?),
        ),
        (false, 3) => State::new(last),
        (false, _) => State::new(state(last, output_size)?),
    };
    Ok((outputs, states.after(call.initial)))
}

/// `[h | c]`, flat; h alone as it is.
pub(super) fn join(state: &State) -> Result<Tensor> {
    Ok(match &state.c {
        None => state.h.contiguous()?,
        Some(c) => Tensor::cat(&[&state.h.flatten_all()?, &c.flatten_all()?], 0)?,
    })
}

/// Runs a layer of a cell without a state c, forward in time, over whole sequences: [`run_layer`] for
/// the simplest case.
///
/// - `x`: `(B, T, I)`, the inputs, batch-first
/// - `weights`: the same at every step
/// - `h_0`: `(B, H)`, the state before the first step; zeros if `None`
/// - `unroll`: [`Outputs::All`] returns `h`, `(B, T, H)`; [`Outputs::Last`] returns `h_T`,
///   `(B, H)`; an [`Unroll`] also says how far gradients flow back, and which states are kept
///
/// A batch without rows gives an output without rows, and gradients of zero for the weights.
///
/// # Errors
/// As [`run_layer`]; and [`Error::Config`] for a cell with a state c, or weights of two directions.
#[doc(alias = "static_rnn")]
pub fn rnn_sequence(
    x: &Tensor,
    weights: &PackedWeights,
    h_0: Option<&Tensor>,
    unroll: impl Into<Unroll>,
) -> Result<Tensor> {
    let unroll = unroll.into();
    let dims = dims::check(x, weights.sizes, weights.dtype(), false)?;
    let SequenceDims { batch_size, seq_len, output_size, .. } = dims;
    let h_0 = one_state(weights, dims, h_0)?;
    let shape = match unroll.outputs() {
        Outputs::All => Shape::from((batch_size, seq_len, output_size)),
        Outputs::Last => Shape::from((batch_size, output_size)),
    };
    let setting = Setting::plain(dims, shape, unroll);
    run(x, weights, h_0.as_ref(), weights.function, setting)
}

/// Checks that there is one state h, and its shape.
fn one_state(
    weights: &PackedWeights,
    dims: SequenceDims,
    h_0: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    if weights.cell.has_c() || weights.directions() > 1 {
        return Err(Error::Config(
            "a layer with a state c, or in two directions, runs through run_layer".into(),
        ));
    }
    let Some(h_0) = h_0 else { return Ok(None) };
    let expected = [dims.batch_size, dims.output_size];
    if h_0.dims() != expected {
        return Err(wrong_shape("h_0", format!("({}, {})", expected[0], expected[1]), h_0));
    }
    check_dtype("h_0", h_0, weights.dtype())?;
    Ok(Some(h_0.contiguous()?))
}

/// One step of a cell without a state c, on the CPU.
///
/// - `x_t`: `(B, I)`
/// - `weights`: as for [`rnn_sequence`]
/// - `h`: `(B, H)`, the state before the step; zeros if `None`
/// - returns the state after the step, `(B, H)`; for [`Cell::Tanh`](super::Cell::Tanh) and
///   [`Cell::Relu`](super::Cell::Relu) the only numbers that memory is allocated for
///
/// # Errors
/// As [`rnn_sequence`].
pub fn rnn_step(x_t: &Tensor, weights: &PackedWeights, h: Option<&Tensor>) -> Result<Tensor> {
    let WeightSizes { input_size, output_size, .. } = weights.sizes;
    let batch_size = match *x_t.dims() {
        [batch_size, inputs] if inputs == input_size => batch_size,
        _ => return Err(wrong_shape("x_t", format!("(B, {input_size})"), x_t)),
    };
    check_dtype("x_t", x_t, weights.dtype())?;
    let dims = dims::of(batch_size, 1, weights.sizes)?;
    let h = one_state(weights, dims, h)?;
    // Of one step, all outputs are the last.
    let setting = Setting::plain(dims, (batch_size, output_size).into(), Outputs::All.into());
    run(x_t, weights, h.as_ref(), weights.function, setting)
}

/// A dense layer as one differentiable op, on the CPU: `y = W x + b`.
///
/// It is the recurrence's first and only step from a state of zeros, on the same kernels. Composed
/// from Candle's ops, a small head takes several times as long, forward and backward. For a small
/// head it is meant: recurrent weights of zero, `(C, C)`, are packed along.
///
/// - `x`: `(N, I)` or `(B, T, I)`
/// - `weight`: `(C, I)`, C at most 1,024; `bias`: `(C,)`
/// - returns `(N, C)` or `(B, T, C)`
///
/// # Errors
/// [`Error::Shape`] when sizes disagree; [`Error::DType`] unless all are `f32` or all `f64`;
/// [`Error::Config`] when a tensor is not on the CPU.
pub fn dense(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    dense_packed(x, &PackedWeights::dense(weight, bias)?)
}

/// As [`dense`], with weights that were packed before.
pub(crate) fn dense_packed(x: &Tensor, packed: &PackedWeights) -> Result<Tensor> {
    let WeightSizes { input_size, output_size: classes, .. } = packed.sizes;
    let mut shape = x.dims().to_vec();
    if !matches!(shape.len(), 2 | 3) || shape.pop() != Some(input_size) {
        let expected = format!("(N, {input_size}) or (B, T, {input_size})");
        return Err(wrong_shape("x", expected, x));
    }
    check_dtype("x", x, packed.dtype())?;
    let rows = shape.iter().product();
    shape.push(classes);
    let dims = dims::of(rows, 1, packed.sizes)?;
    let setting = Setting::plain(dims, shape.into(), Outputs::All.into());
    run(x, packed, None, packed.function, setting)
}
