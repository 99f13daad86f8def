//! Weights of Keras layers: `SimpleRNN`, `GRU` and `LSTM`.

use candle_core::Tensor;

use super::checks::{in_order, Checks};
use crate::recurrence::{Cell, Weights};
use crate::{Error, Result};

/// The weights of a Keras layer, as its `get_weights()` has them, in one direction.
///
/// - `cell`: [`Cell::Tanh`] or [`Cell::Relu`] for `SimpleRNN` with that activation; [`Cell::Gru`] for
///   `GRU`, [`Cell::GruResetBefore`] for `GRU(reset_after=False)`; [`Cell::Lstm`] for `LSTM`
/// - `kernel`: `(I, G·H)`, used as `x_t · kernel`; gates `z r h` of a GRU, `i f c o` of an LSTM
/// - `recurrent_kernel`: `(H, G·H)`, used as `h_{t-1} · recurrent_kernel`
/// - `bias`: `(G·H,)`; of [`Cell::Gru`] `(2, 3·H)`, the input's and then the state's; `None` for
///   `use_bias=False`: zeros
///
/// The layer must have Keras's default activations, tanh and sigmoid (or relu, see above): Keras 1
/// had another by default, `hard_sigmoid`.
///
/// The weights are transposed, and their gates are put in the order of [`Cell`]: gradients flow back
/// to the tensors given here, but later changes of these do not show. `f16` and `bf16` become `f32`;
/// where one tensor is `f64`, all become `f64`.
///
/// Of `Bidirectional`, convert `forward_layer` and `backward_layer` by themselves;
/// [`stack_from`](super::stack_from) makes layers of them.
///
/// # Errors
/// [`Error::Config`] for a cell that Keras does not have; [`Error::Weight`] for a tensor with another
/// shape or dtype, or with a value that is NaN or infinite.
///
/// # Source
/// keras 3.15.1, `keras/src/layers/rnn/{simple_rnn,gru,lstm}.py`.
#[doc(alias = "SimpleRNN")]
#[doc(alias = "reset_after")]
#[doc(alias = "recurrent_kernel")]
#[doc(alias = "get_weights")]
pub fn from_keras(
    cell: Cell,
    kernel: &Tensor,
    recurrent_kernel: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Weights> {
    let order: &[usize] = match cell {
        Cell::Tanh | Cell::Relu => &[0],
        // z r h
        Cell::Gru | Cell::GruResetBefore => &[1, 0, 2],
        Cell::Lstm => &[0, 1, 2, 3],
        Cell::MinimalGru => {
            return Err(Error::Config(format!("keras has no {}", cell.name())));
        }
    };
    let checks = Checks::of([kernel, recurrent_kernel].into_iter().chain(bias));
    let units = match *kernel.dims() {
        [inputs, columns] if inputs > 0 && columns % order.len() == 0 => columns / order.len(),
        _ => 0,
    };
    let columns = match order.len() {
        1 => "H".to_string(),
        gates => format!("{gates}·H"),
    };
    let expected = format!("(I, {columns}), I and H at least 1");
    let kernel = checks.tensor("kernel", kernel, units > 0, &expected)?;
    let rows = order.len() * units;
    let recurrent_kernel = checks.shape("recurrent_kernel", recurrent_kernel, &[units, rows])?;
    let (b_ih, b_hh) = match bias {
        None => (Tensor::zeros(rows, kernel.dtype(), kernel.device())?, None),
        Some(bias) if cell == Cell::Gru => {
            let bias = checks.shape("bias", bias, &[2, rows])?;
            (in_order(&bias.get(0)?, order)?, Some(in_order(&bias.get(1)?, order)?))
        }
        Some(bias) => {
            let bias = checks.shape("bias", bias, &[rows])?;
            (in_order(&bias, order)?, None)
        }
    };
    Ok(Weights {
        w_ih: in_order(&kernel.t()?, order)?,
        w_hh: in_order(&recurrent_kernel.t()?, order)?,
        b_ih,
        b_hh,
        w_hr: None,
    })
}
