//! The recurrence step by step, composed from Candle's ops: the tutorial's `static_rnn`.
//!
//! Candle's autograd differentiates it, so it trains on every device, and it is short enough to be
//! read. Each step is a handful of graph nodes, which makes it slow.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::call::CheckedCall;
use super::{Cell, LayerWeights, Outputs, SequenceDims, State, Unroll, Weights};
use crate::{Error, Result};

/// Runs a layer whose arguments were checked.
///
/// # Errors
/// [`Error::Config`] for truncation and states that are recomputed, which this form does not have.
#[doc(alias = "static_rnn")]
pub(super) fn run(
    x: &Tensor,
    weights: &LayerWeights,
    call: &CheckedCall,
) -> Result<(Option<Tensor>, State)> {
    if call.unroll != Unroll::new(call.unroll.outputs()) {
        return Err(Error::Config(
            "composed of Candle's ops, gradients are not truncated, and states not computed again"
                .into(),
        ));
    }
    // (T, B, I), so that the inputs of a step lie together.
    let mut x = if call.time_major { x.clone() } else { x.transpose(0, 1)?.contiguous()? };
    if let Some(lengths) = &call.lengths {
        // Whatever is behind the rows' ends, NaN too, would reach the gradients of the weights as a factor of
        // gradients that are zero.
        let exists = exists(lengths, 0..call.dims.seq_len, x.device())?;
        x = exists.broadcast_as(x.shape())?.where_cond(&x, &x.zeros_like()?)?;
    }
    // Candle's products read their arguments again in backward: an optimizer's step before it must not change
    // them.
    let copies: Vec<Weights> =
        weights.directions().iter().map(Weights::tracked_copy).collect::<Result<_>>()?;
    let (mut outputs, mut h_n, mut c_n) = (Vec::new(), Vec::new(), Vec::new());
    let cell = weights.cell();
    for (direction, weights) in copies.iter().enumerate() {
        let (of_steps, h, c) = run_direction(&x, cell, weights, call, direction)?;
        outputs.push(Tensor::stack(&of_steps, if call.time_major { 0 } else { 1 })?);
        h_n.push(h);
        c_n.extend(c);
    }
    let outputs = match call.unroll.outputs() {
        Outputs::All => Some(Tensor::cat(&outputs, 2)?),
        Outputs::Last => None,
    };
    let c = if cell.has_c() { Some(Tensor::stack(&c_n, 0)?) } else { None };
    Ok((outputs, State::from_parts(Tensor::stack(&h_n, 0)?, c).after(call.initial.as_ref())))
}

/// `(steps, B, 1)`: 1 where rows of some lengths have a step, else 0.
fn exists(lengths: &[usize], steps: Range<usize>, device: &Device) -> Result<Tensor> {
    let shape = (steps.len(), lengths.len(), 1);
    let flags = steps.flat_map(|t| lengths.iter().map(move |len| u8::from(t < *len)));
    Ok(Tensor::from_vec(flags.collect(), shape, device)?)
}

type DirectionResults = (Vec<Tensor>, Tensor, Option<Tensor>);

/// Runs one direction over `x` `(T, B, I)`; the outputs stand in the order of time.
fn run_direction(
    x: &Tensor,
    cell: Cell,
    weights: &Weights,
    call: &CheckedCall,
    direction: usize,
) -> Result<DirectionResults> {
    let SequenceDims { batch_size, seq_len, hidden_size, output_size, .. } = call.dims;
    let zeros = |size| Tensor::zeros((batch_size, size), x.dtype(), x.device());
    let of = |states: &Tensor| states.get(direction);
    let mask = call.mask.as_ref().map(of).transpose()?;
    let (mut h, mut c) = match &call.initial {
        Some(State { h, c, .. }) => (of(h)?, c.as_ref().map(of).transpose()?),
        None if cell.has_c() => (zeros(output_size)?, Some(zeros(hidden_size)?)),
        None => (zeros(output_size)?, None),
    };
    let is_reversed = direction == 1;
    let mut outputs = Vec::with_capacity(seq_len);
    for step in 0..seq_len {
        let t = if is_reversed { seq_len - 1 - step } else { step };
        let x_t = x.get(t)?;
        let (mut h_t, mut c_t) = step_of(&x_t, cell, weights, &h, c.as_ref(), mask.as_ref())?;
        let mut output = h_t.clone();
        if let Some(lengths) = &call.lengths {
            let takes_part = exists(lengths, t..t + 1, x.device())?.squeeze(0)?;
            // Not by products, which what lies behind a row's end would reach as NaN.
            let keep = |new: &Tensor, old: &Tensor| -> Result<Tensor> {
                Ok(takes_part.broadcast_as(new.shape())?.where_cond(new, old)?)
            };
            output = keep(&output, &output.zeros_like()?)?;
            h_t = keep(&h_t, &h)?;
            c_t = match (&c_t, &c) {
                (Some(new), Some(old)) => Some(keep(new, old)?),
                _ => None,
            };
        }
        outputs.push(output);
        (h, c) = (h_t, c_t);
    }
    if is_reversed {
        outputs.reverse();
    }
    Ok((outputs, h, c))
}

/// One step.
///
/// - `x_t`: `(B, I)`
/// - `h`, `c`: `(B, P)` and `(B, H)`, the states before the step; zeros if `None`
/// - returns the states after the step
///
/// # Errors
/// [`Error::Candle`] when the sizes do not fit.
#[cfg(test)]
pub(super) fn step(
    x_t: &Tensor,
    cell: Cell,
    weights: &Weights,
    h: Option<&Tensor>,
    c: Option<&Tensor>,
) -> Result<(Tensor, Option<Tensor>)> {
    let zeros;
    let h = match h {
        Some(h) => h,
        None => {
            let shape = (x_t.dim(0)?, weights.w_hh.dim(1)?);
            zeros = Tensor::zeros(shape, x_t.dtype(), x_t.device())?;
            &zeros
        }
    };
    step_of(x_t, cell, weights, h, c, None)
}

fn step_of(
    x_t: &Tensor,
    cell: Cell,
    weights: &Weights,
    h: &Tensor,
    c: Option<&Tensor>,
    mask: Option<&Tensor>,
) -> Result<(Tensor, Option<Tensor>)> {
    let h_in = match mask {
        Some(mask) => (h * mask)?,
        None => h.clone(),
    };
    let hidden_size = weights.w_ih.dim(0)? / cell.gates();
    let from_x = x_t.matmul(&weights.w_ih.t()?)?.broadcast_add(&weights.b_ih)?;
    let mut from_h = h_in.matmul(&weights.w_hh.t()?)?;
    if let Some(b_hh) = &weights.b_hh {
        from_h = from_h.broadcast_add(b_hh)?;
    }
    let gate = |z: &Tensor, index: usize| z.narrow(1, index * hidden_size, hidden_size);
    let both = |index: usize| gate(&from_x, index)? + gate(&from_h, index)?;
    let sigmoid = |z: Tensor| candle_nn::ops::sigmoid(&z);
    // b + (a - b) · g
    let between = |a: &Tensor, b: &Tensor, g: &Tensor| b + ((a - b)? * g)?;
    Ok(match cell {
        Cell::Tanh => ((from_x + from_h)?.tanh()?, None),
        Cell::Relu => ((from_x + from_h)?.relu()?, None),
        Cell::Gru => {
            let (r, z) = (sigmoid(both(0)?)?, sigmoid(both(1)?)?);
            let n = (gate(&from_x, 2)? + (r * gate(&from_h, 2)?)?)?.tanh()?;
            (between(h, &n, &z)?, None)
        }
        Cell::GruResetBefore => {
            let (r, z) = (sigmoid(both(0)?)?, sigmoid(both(1)?)?);
            let w_hn = weights.w_hh.narrow(0, 2 * hidden_size, hidden_size)?;
            let mut n = (gate(&from_x, 2)? + (r * &h_in)?.matmul(&w_hn.t()?)?)?;
            if let Some(b_hh) = &weights.b_hh {
                n = n.broadcast_add(&b_hh.narrow(0, 2 * hidden_size, hidden_size)?)?;
            }
            (between(h, &n.tanh()?, &z)?, None)
        }
        Cell::Lstm => {
            let (i, f, o) = (sigmoid(both(0)?)?, sigmoid(both(1)?)?, sigmoid(both(3)?)?);
            let mut c_t = (i * both(2)?.tanh()?)?;
            if let Some(c) = c {
                c_t = (c_t + (f * c)?)?;
            }
            let mut h_t = (o * c_t.tanh()?)?;
            if let Some(w_hr) = &weights.w_hr {
                h_t = h_t.matmul(&w_hr.t()?)?;
            }
            (h_t, Some(c_t))
        }
        Cell::MinimalGru => {
            let f = sigmoid(both(0)?)?;
            let n = (gate(&from_x, 1)? + (&f * gate(&from_h, 1)?)?)?.tanh()?;
            (between(&n, h, &f)?, None)
        }
    })
}
