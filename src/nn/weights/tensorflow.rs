//! Cells of TensorFlow 1: `BasicRNNCell`, `BasicLSTMCell` and `GRUCell`.
//!
//! Each has one joined kernel `(I + H, G·H)`, used as `[x_t, h_{t-1}] · kernel`: its first I rows are
//! the input's, the other H the state's. In a checkpoint its name ends in `kernel`, that of the bias
//! in `bias`. `f16` and `bf16` become `f32`; where one tensor is `f64`, all become `f64`.

use candle_core::Tensor;

use super::checks::{gates, in_order, Checks};
use crate::recurrence::Weights;
use crate::{Error, Result};

/// The weights of a `tf.nn.rnn_cell.BasicRNNCell`, for [`Cell::Tanh`](crate::recurrence::Cell::Tanh),
/// or for [`Cell::Relu`](crate::recurrence::Cell::Relu) if that is its activation.
///
/// - `kernel`: `(I + H, H)`
/// - `bias`: `(H,)`
/// - `input_size`: I
///
/// They are new tensors: gradients flow back to those given here, but later changes of these do not
/// show.
///
/// # Errors
/// [`Error::Weight`] for a tensor with another shape or dtype, or with a value that is NaN or
/// infinite.
///
/// # Source
/// tensorflow 1.15, `python/ops/rnn_cell_impl.py`, `BasicRNNCell.call`.
#[doc(alias = "BasicRNNCell")]
pub fn from_tensorflow_rnn(kernel: &Tensor, bias: &Tensor, input_size: usize) -> Result<Weights> {
    let checks = Checks::of([kernel, bias]);
    let [w_ih, w_hh] = halves(&checks, "kernel", kernel, 1, input_size)?;
    let bias = checks.shape("bias", bias, &[w_ih.dim(0)?])?;
    Ok(Weights::new(w_ih.force_contiguous()?, w_hh.force_contiguous()?, bias.copy()?))
}

/// The weights of a `tf.nn.rnn_cell.BasicLSTMCell`, or of an `LSTMCell` without peepholes and
/// projection, for [`Cell::Lstm`](crate::recurrence::Cell::Lstm).
///
/// - `kernel`: `(I + H, 4·H)`, gates `i j f o`, where `j` is the `g` of this crate
/// - `bias`: `(4·H,)`
/// - `input_size`: I
/// - `forget_bias`: what the cell adds to the forget gate's bias whenever it runs; 1 if its maker said
///   nothing. It is not in the file, and is added to the bias here.
///
/// They are new tensors: gradients flow back to those given here, but later changes of these do not
/// show.
///
/// # Errors
/// [`Error::Weight`] for a tensor with another shape or dtype, or with a value that is NaN or
/// infinite; [`Error::Config`] for a `forget_bias` that is.
///
/// # Source
/// tensorflow 1.15, `python/ops/rnn_cell_impl.py`, `BasicLSTMCell.call`.
#[doc(alias = "BasicLSTMCell")]
#[doc(alias = "LSTMCell")]
#[doc(alias = "LSTMBlockCell")]
pub fn from_tensorflow_lstm(
    kernel: &Tensor,
    bias: &Tensor,
    input_size: usize,
    forget_bias: f64,
) -> Result<Weights> {
    // i j f o
    const ORDER: [usize; 4] = [0, 2, 1, 3];
    if !forget_bias.is_finite() {
        return Err(Error::Config(format!("forget_bias must be finite, got {forget_bias}")));
    }
    let checks = Checks::of([kernel, bias]);
    let [w_ih, w_hh] = halves(&checks, "kernel", kernel, ORDER.len(), input_size)?;
    let bias = checks.shape("bias", bias, &[w_ih.dim(0)?])?;
    let mut biases = gates(&bias, &ORDER)?;
    biases[1] = (&biases[1] + forget_bias)?;
    Ok(Weights::new(in_order(&w_ih, &ORDER)?, in_order(&w_hh, &ORDER)?, Tensor::cat(&biases, 0)?))
}

/// The weights of a `tf.nn.rnn_cell.GRUCell`, for
/// [`Cell::GruResetBefore`](crate::recurrence::Cell::GruResetBefore).
///
/// - `gates_kernel`: `(I + H, 2·H)`, `gates/kernel` in a checkpoint; gates `r u`, where `u` is the `z`
///   of this crate
/// - `gates_bias`: `(2·H,)`, `gates/bias`
/// - `candidate_kernel`: `(I + H, H)`, `candidate/kernel`
/// - `candidate_bias`: `(H,)`, `candidate/bias`
/// - `input_size`: I
///
/// They are new tensors: gradients flow back to those given here, but later changes of these do not
/// show.
///
/// # Errors
/// [`Error::Weight`] for a tensor with another shape or dtype, or with a value that is NaN or
/// infinite.
///
/// # Source
/// tensorflow 1.15, `python/ops/rnn_cell_impl.py`, `GRUCell.call`: reset before the product, and
/// `new_h = u * state + (1 - u) * c`.
#[doc(alias = "GRUCell")]
#[doc(alias = "GRUBlockCell")]
pub fn from_tensorflow_gru(
    gates_kernel: &Tensor,
    gates_bias: &Tensor,
    candidate_kernel: &Tensor,
    candidate_bias: &Tensor,
    input_size: usize,
) -> Result<Weights> {
    let checks = Checks::of([gates_kernel, gates_bias, candidate_kernel, candidate_bias]);
    let [gates_ih, gates_hh] = halves(&checks, "gates/kernel", gates_kernel, 2, input_size)?;
    let rows = gates_ih.dim(0)?;
    let gates_bias = checks.shape("gates/bias", gates_bias, &[rows])?;
    let shape = [gates_kernel.dim(0)?, rows / 2];
    checks.shape("candidate/kernel", candidate_kernel, &shape)?;
    let [candidate_ih, candidate_hh] =
        halves(&checks, "candidate/kernel", candidate_kernel, 1, input_size)?;
    let candidate_bias = checks.shape("candidate/bias", candidate_bias, &[rows / 2])?;
    Ok(Weights::new(
        Tensor::cat(&[gates_ih, candidate_ih], 0)?,
        Tensor::cat(&[gates_hh, candidate_hh], 0)?,
        Tensor::cat(&[gates_bias, candidate_bias], 0)?,
    ))
}

/// Checks a joined kernel of so many gates, and returns views of it: `W_ih`, `(G·H, I)`, and `W_hh`,
/// `(G·H, H)`.
fn halves(
    checks: &Checks,
    name: &str,
    kernel: &Tensor,
    gates: usize,
    input_size: usize,
) -> Result<[Tensor; 2]> {
    let units = match *kernel.dims() {
        [rows, columns]
            if input_size > 0
                && columns % gates == 0
                && rows.checked_sub(input_size) == Some(columns / gates) =>
        {
            columns / gates
        }
        _ => 0,
    };
    let columns = if gates == 1 { "H".to_string() } else { format!("{gates}·H") };
    let expected = format!("({input_size} + H, {columns}), I and H at least 1");
    let kernel = checks.tensor(name, kernel, units > 0, &expected)?;
    let by_row = kernel.t()?;
    Ok([by_row.narrow(1, 0, input_size)?, by_row.narrow(1, input_size, units)?])
}
