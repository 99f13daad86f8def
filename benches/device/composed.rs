//! A layer composed from Candle's ops, step by step, as a user of plain Candle writes it: what fused layers are timed beside.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;
use candle_rnn::recurrence::{Cell, Weights};

/// The outputs of a layer from zero states, `(B, T, H)`, differentiable.
///
/// - `x`: `(B, T, I)`
pub(crate) fn outputs(cell: Cell, weights: &Weights, x: &Tensor) -> Result<Tensor> {
    // The inputs of a step lie together.
    let x = x.transpose(0, 1)?.contiguous()?;
    let (seq_len, batch_size, _) = x.dims3()?;
    let (w_ih, w_hh) = (weights.w_ih.t()?, weights.w_hh.t()?);
    let units = w_hh.dim(0)?;
    let mut h = Tensor::zeros((batch_size, units), x.dtype(), x.device())?;
    let mut c = h.clone();
    let mut outputs = Vec::with_capacity(seq_len);
    for t in 0..seq_len {
        let from_x = x.get(t)?.matmul(&w_ih)?.broadcast_add(&weights.b_ih)?;
        let mut from_h = h.matmul(&w_hh)?;
        if let Some(b_hh) = &weights.b_hh {
            from_h = from_h.broadcast_add(b_hh)?;
        }
        let gate = |z: &Tensor, index: usize| z.narrow(1, index * units, units);
        let both = |index| gate(&from_x, index)? + gate(&from_h, index)?;
        h = match cell {
            Cell::Tanh => (from_x + from_h)?.tanh()?,
            Cell::Gru => {
                let (r, z) = (sigmoid(&both(0)?)?, sigmoid(&both(1)?)?);
                let n = (gate(&from_x, 2)? + (r * gate(&from_h, 2)?)?)?.tanh()?;
                (&n + ((h - &n)? * z)?)?
            }
            Cell::Lstm => {
                let (i, f, o) = (sigmoid(&both(0)?)?, sigmoid(&both(1)?)?, sigmoid(&both(3)?)?);
                c = ((f * c)? + (i * both(2)?.tanh()?)?)?;
                (o * c.tanh()?)?
            }
            cell => candle_core::bail!("no {} is composed here", cell.name()),
        };
        outputs.push(h.clone());
    }
    Tensor::stack(&outputs, 1)
}
