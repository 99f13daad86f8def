//! The recurrence on devices: kernels of `kernels/gpu/`, launched for whole sequences.
//!
//! The way of the data, forward and back:
//!
//! - [`run_layer`] checks the arguments and puts the nodes into Candle's graph (`node`);
//! - `pass` says which kernels run in which order, and what is handed to them;
//! - [`plan`] says how many blocks and threads a launch has, and with how much shared memory;
//! - `queue` is what launches have in common, `cuda` and `metal` hand them to the driver.
//!
//! In tests there is one device more, `tests::emulator`: the same launches, executed on the CPU.
#![allow(unsafe_code)]

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "metal")]
mod metal;
mod node;
mod pass;
pub mod plan;
#[cfg_attr(not(any(test, feature = "cuda", feature = "metal")), allow(dead_code))]
pub(in crate::recurrence) mod queue;
#[cfg(any(test, feature = "metal"))]
pub(in crate::recurrence) mod source;

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};

use super::arguments::dims;
use super::mailbox::LayerResult;
use super::op::join;
use super::{Call, Cell, Outputs, SequenceDims, State, Weights};
use crate::{Error, Result};
use node::{LayerNode, ResultNode, Slot, WeightsNode};
use pass::{Direction, Pass};
use plan::{kernel_family, RecurrentDType, Sweep};
pub(crate) use queue::{Arg, Call as KernelCall, Queue};

/// Whether the CPU's kernels are to be used for tensors there.
pub(crate) fn is_for_cpu_kernels(device: &Device) -> bool {
    #[cfg(test)]
    if super::tests::emulator::is_on() {
        return false;
    }
    device.is_cpu()
}

/// Whether kernels of this crate run such a layer on the device of its weights; where they do not, it is
/// composed of Candle's ops by [`unrolled`](super::unrolled).
pub(crate) fn has_kernels(cell: Cell, weights: &Weights) -> Result<bool> {
    Ok(kernel_family(cell, weights.w_hr.is_some()).is_ok()
        && weights.w_ih.dtype() == DType::F32
        && Queue::of(weights.w_ih.device())?.is_some())
}

/// Runs a layer over whole sequences on an NVIDIA or Apple GPU, as [`run_layer`](super::run_layer) does on
/// the CPU, with weights of one direction or of two.
///
/// The arguments are those of [`run_layer`](super::run_layer); recurrent weights are rounded to `word`
/// for the products, states are `f32`, and sums are as [`RecurrentDType`] says. Keeps for the backward pass, in
/// bytes, once the weights, and `4·D·B·T` times: H for what the recurrent weights are multiplied with; H for the outputs, unless
/// they are all read, of tanh, relu and GRU; H for an LSTM's c; and 4·H for the gates of LSTM and GRU. Once more `4·B·T·I`
/// where `x` had to be copied: with lengths, or time-major.
///
/// The backward pass reads a copy of the weights that the forward pass made: an optimizer's step between them
/// changes nothing. Where a loss reads both the outputs and the final states, it waits once for the device.
///
/// The same call gives the same bits every time. In `x`, and so in the gradients of the weights, nothing
/// behind a row's end counts.
///
/// # Errors
/// As [`run_layer`](super::run_layer); [`Error::Device`] when the tensors are on a device without
/// kernels, or it fails; [`Error::DType`] unless all tensors are `f32`; [`Error::Config`] for a cell
/// without device kernels ([`kernel_family`]), windows of truncation that are not segments, states that
/// are to be computed again, a batch without rows, and sizes beyond what kernels count to, 2^31 - 1.
pub fn run_layer(
    x: &Tensor,
    cell: Cell,
    directions: &[&Weights],
    call: &Call,
    word: RecurrentDType,
) -> Result<(Option<Tensor>, State)> {
    let family = kernel_family(cell, directions.iter().any(|weights| weights.w_hr.is_some()))?;
    let dims = check(x, cell, directions, call)?;
    let Some(queue) = Queue::of(x.device())? else {
        return Err(Error::Device(format!(
            "no kernels for {:?} in this build: on the CPU take PackedWeights, for a GPU build with the \
             feature cuda or metal",
            x.device().location()
        )));
    };
    let Some(segment) = call.unroll.truncation().segment_len() else {
        return Err(Error::Config(
            "on a device gradients are cut at segments only: give segments, or run on the CPU"
                .into(),
        ));
    };
    // One that is not shorter than the sequence cuts nothing.
    let segment = if segment < dims.seq_len { segment } else { 0 };
    let limits = queue.limits();
    let forward = plan::plan(cell, &dims, word, Sweep::Forward, &limits)?;
    let backward = plan::plan(cell, &dims, word, Sweep::Backward, &limits)?;
    let (mut tokens, mut slots) = (Vec::new(), Vec::new());
    for weights in directions {
        let slot = Slot::default();
        let node = WeightsNode { slot: slot.clone() };
        let [w_ih, w_hh] = [weights.w_ih.contiguous()?, weights.w_hh.contiguous()?];
        tokens.push(w_ih.apply_op3(&w_hh, &biases(weights)?, node)?);
        slots.push(slot);
    }
    let token = match tokens.len() {
        1 => tokens.remove(0),
        _ => Tensor::cat(&tokens, 0)?,
    };
    let initial = call.initial.map(join).transpose()?;
    let tracked = [x, &token].into_iter().chain(&initial).any(Tensor::track_op);
    let numbers = directions.iter().zip(slots).map(|(weights, slot)| {
        Direction::new(weights, word, slot, limits.streams_weights, tracked)
    });
    let pass = Arc::new(Pass {
        cell,
        family,
        word,
        dims,
        forward,
        backward,
        segment,
        time_major: call.time_major,
        read: call.unroll.outputs(),
        keeps: tracked,
        lengths: call.lengths.map(|lengths| pass::lengths(lengths, x.device())).transpose()?,
        mask: call.mask.map(|mask| mask.detach().contiguous()).transpose()?,
        x: pass::rows_of(x, call, &dims)?,
        initial: initial.as_ref().map(Tensor::detach),
        directions: numbers.collect::<candle_core::Result<_>>()?,
        call: Default::default(),
        outputs: Default::default(),
        grads: Default::default(),
        queue,
    });
    let (outputs, state) = run(x, &token, initial.as_ref(), pass)?;
    Ok((outputs, state.after(call.initial)))
}

/// Puts the nodes into the graph, and fills them.
fn run(
    x: &Tensor,
    token: &Tensor,
    initial: Option<&Tensor>,
    pass: Arc<Pass>,
) -> Result<(Option<Tensor>, State)> {
    let SequenceDims { batch_size, seq_len, hidden_size, .. } = pass.dims;
    let (directions, has_c) = (pass.directions.len(), pass.cell.has_c());
    let count = directions * batch_size * hidden_size;
    let len = if has_c { 2 * count } else { count };
    let shape = match pass.read {
        Outputs::All => LayerNode::edge(),
        Outputs::Last => Shape::from(len),
    };
    let node = LayerNode { pass: pass.clone(), shape };
    let x = x.contiguous()?;
    let result = match initial {
        None => x.apply_op2(token, node)?,
        Some(initial) => x.apply_op3(token, initial, node)?,
    };
    let (outputs, states) = match pass.read {
        Outputs::Last => (None, result),
        Outputs::All => {
            let width = directions * hidden_size;
            let shape = match pass.time_major {
                false => Shape::from((batch_size, seq_len, width)),
                true => Shape::from((seq_len, batch_size, width)),
            };
            let node = |of, shape| ResultNode { pass: pass.clone(), of, shape };
            let outputs = result.apply_op1(node(LayerResult::Outputs, shape))?;
            let states = result.apply_op1(node(LayerResult::FinalStates, Shape::from(len)))?;
            let _ = pass.outputs.set(outputs.detach());
            (Some(outputs), states)
        }
    };
    pass.forward(outputs.as_ref(), &states)?;
    let of = |first: usize| -> candle_core::Result<Tensor> {
        states.narrow(0, first, count)?.reshape((directions, batch_size, hidden_size))
    };
    let c = if has_c { Some(of(count)?) } else { None };
    Ok((outputs, State::from_parts(of(0)?, c)))
}

/// Checks sizes, dtypes and devices.
fn check(x: &Tensor, cell: Cell, directions: &[&Weights], call: &Call) -> Result<SequenceDims> {
    let (1 | 2, Some(first)) = (directions.len(), directions.first()) else {
        let number = directions.len();
        return Err(Error::Config(format!("a layer has 1 or 2 directions, got {number}")));
    };
    let sizes = first.check(cell)?;
    for weights in directions {
        if weights.check(cell)? != sizes {
            return Err(Error::Config("the directions of a layer differ in size".into()));
        }
        for (name, tensor) in weights.tensors().chain([("x", x)]) {
            if tensor.dtype() != DType::F32 {
                return Err(Error::DType {
                    op: "recurrence on a device",
                    tensor: name.into(),
                    expected: "f32 (f64 runs on the CPU)",
                    actual: tensor.dtype().as_str().into(),
                });
            }
            if !tensor.device().same_device(x.device()) {
                return Err(Error::Config(format!("{name} is on another device than x")));
            }
        }
    }
    let dims = dims::check(x, sizes, DType::F32, call.time_major)?;
    if let Some(state) = call.initial {
        dims::check_state(&dims, cell, directions.len(), state, DType::F32)?;
        state.check_depth()?;
    }
    if let Some(lengths) = call.lengths {
        dims::check_lengths(&dims, lengths)?;
    }
    let states = call.initial.into_iter().flat_map(|state| [Some(&state.h), state.c.as_ref()]);
    for tensor in states.flatten().chain(call.mask) {
        if !tensor.device().same_device(x.device()) {
            let what = "initial states and mask must be on the device of x";
            return Err(Error::Config(what.into()));
        }
    }
    if let Some(mask) = call.mask {
        dims::check_mask(&dims, directions.len(), mask, DType::F32)?;
    }
    if call.unroll.recomputes() {
        return Err(Error::Config(
            "states are computed again on the CPU only: on a device all are kept".into(),
        ));
    }
    check_counts(&dims, directions.len())?;
    if dims.batch_size == 0 {
        return Err(Error::Config("a batch on a device needs at least one row".into()));
    }
    Ok(dims)
}

/// Kernels have 32 bits for a size or a stride.
fn check_counts(dims: &SequenceDims, directions: usize) -> Result<()> {
    let SequenceDims { batch_size, seq_len, hidden_size, .. } = *dims;
    let width = directions.saturating_mul(hidden_size);
    for (name, count) in [
        ("a row of the outputs", seq_len.saturating_mul(width)),
        ("a step of the outputs", batch_size.saturating_mul(width)),
        ("the units of a batch", batch_size.saturating_mul(hidden_size)),
    ] {
        if i32::try_from(count).is_err() {
            return Err(Error::Config(format!(
                "{name} hold {count} numbers, kernels count to {}: make the batch smaller or the sequences \
                 shorter, or run on the CPU",
                i32::MAX
            )));
        }
    }
    Ok(())
}

/// `[b_ih | b_hh]`: an op has three arguments at most.
fn biases(weights: &Weights) -> candle_core::Result<Tensor> {
    match &weights.b_hh {
        None => weights.b_ih.contiguous(),
        Some(b_hh) => Tensor::cat(&[&weights.b_ih, b_hh], 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_what_kernels_count_to_are_refused_in_words() {
        let dims = |batch_size, seq_len, hidden_size| SequenceDims {
            batch_size,
            seq_len,
            input_size: 1,
            hidden_size,
            output_size: hidden_size,
        };
        assert!(check_counts(&dims(1 << 15, 1 << 15, 1 << 15), 1).is_ok());
        for (dims, directions) in [
            (dims(1 << 16, 1, 1 << 15), 1),
            (dims(1, 1 << 16, 1 << 15), 1),
            (dims(1, 1 << 15, 1 << 15), 2),
            (dims(usize::MAX, usize::MAX, usize::MAX), 2),
        ] {
            let error = check_counts(&dims, directions).unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error:?}");
            assert!(error.to_string().contains("kernels count to 2147483647"), "{error}");
        }
    }
}
