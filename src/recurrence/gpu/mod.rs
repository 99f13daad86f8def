//! The recurrence on devices: kernels of `kernels/gpu/`, launched for whole sequences.
//!
//! The way of the data, forward and back:
//!
//! - [`run`] puts a layer into Candle's graph;
//! - `pass` holds what the sweeps need and launches them; `forward`, `backward` say which kernels run in which order,
//!   over one direction, or over all where several blocks hold the recurrent weights together (`direction_slices`);
//! - [`plan`] says how many blocks and threads a launch has, and with how much shared memory; `team_plan` of teams;
//! - `rows` copies matrices, by launches of `copy`, and writes biases; `gemm` is a product as cuBLAS is asked for it;
//! - `scalar_node` is what other ops than layers put into the graph;
//! - `alarm` is the word that kernels set when their blocks gave up waiting for each other;
//! - `record` is what a GPU records once and runs again, `cuda_graph` the same of CUDA;
//! - `device` is a GPU, `launch` and `queue` what launches and devices have in common, `cuda` and `metal` hand them to the driver;
//!   `cuda_kernels` loads the compiled kernels, `open` makes a device on which launches cost the host least.
//!
//! In tests there are two devices more: `tests::emulator` executes the same launches on the CPU, `tests::counted`
//! counts what is asked of the driver.
#![allow(unsafe_code)]

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod cuda_graph;
#[cfg(feature = "cuda")]
mod cuda_kernels;
#[cfg(feature = "metal")]
mod metal;
#[cfg_attr(not(any(test, feature = "cuda")), allow(dead_code))]
pub(in crate::recurrence) mod alarm;
mod backward;
mod copy;
pub(super) mod device;
mod direction_slices;
mod forward;
#[cfg_attr(not(any(test, feature = "cuda")), allow(dead_code))]
pub(in crate::recurrence) mod gemm;
mod limits;
pub(super) mod open;
mod pass;
pub(crate) mod plan;
mod precision;
mod record;
mod rows;
mod scalar_node;
mod team_plan;
#[cfg_attr(not(any(test, feature = "cuda", feature = "metal")), allow(dead_code))]
pub(in crate::recurrence) mod launch;
#[cfg_attr(not(any(test, feature = "cuda", feature = "metal")), allow(dead_code))]
pub(in crate::recurrence) mod queue;
#[cfg(any(test, feature = "metal"))]
pub(in crate::recurrence) mod source;

use std::sync::Arc;

use candle_core::Tensor;

use super::call::CheckedCall;
pub(crate) use super::graph::ArgumentGrads;
use super::graph::{add_layer, add_weights, ResultShapes, Results};
use super::{LayerWeights, SequenceDims};
use crate::{Error, Result};
pub(crate) use device::{recorder, Gpu};
use launch::DriverCall;
pub(crate) use launch::{Arg, Args, KernelLaunch};
use pass::{Direction, Pass};
use plan::{RecurrentDType, Sweep};
pub(crate) use record::{Recorder, Recording};
pub(crate) use scalar_node::{ScalarNode, ScalarOp};

/// Runs a layer whose arguments were checked.
///
/// The recurrent weights are rounded to the call's dtype for the products; states are `f32`, and sums are as
/// [`RecurrentDType`](plan::RecurrentDType) says.
///
/// - `shapes`: of the final states, and of all outputs if they are read
///
/// # Errors
/// [`Error::Config`] for tf32 without tensor cores, windows of truncation that are not segments, recomputed states, a batch without rows, and
/// sizes beyond what kernels count to, 2^31 - 1; [`Error::Device`] when the device fails.
pub(super) fn run(
    x: &Tensor,
    weights: &LayerWeights,
    call: CheckedCall,
    shapes: ResultShapes,
    gpu: Gpu,
) -> Result<Results> {
    check(&call)?;
    let Some(segment) = call.unroll.truncation().segment_len() else {
        return Err(Error::Config(
            "on a device gradients are cut at segments only: give segments, or run on the CPU"
                .into(),
        ));
    };
    // A segment that is not shorter than the sequence cuts nothing.
    let segment = if segment < call.dims.seq_len { segment } else { 0 };
    let (cell, limits) = (weights.cell(), gpu.limits());
    check_precision(call.recurrent_dtype, &limits)?;
    let [forward, backward] = [Sweep::Forward, Sweep::Backward].map(|sweep| {
        plan::plan(cell, &call.dims, call.directions, call.recurrent_dtype, sweep, &limits)
    });
    let (forward, backward) = (forward?, backward?);
    let initial = call.joined_initial()?;
    let is_tracked = |tensor: &Tensor| tensor.track_op();
    let weight_tensors = weights.directions().iter().flat_map(|weights| weights.tensors());
    let keeps = weight_tensors.map(|(_, tensor)| tensor).chain([x]).chain(&initial).any(is_tracked);
    let directions = weights.directions().iter().map(|weights| {
        Direction::new(&gpu, weights, call.recurrent_dtype, [keeps, x.track_op()]).map(Arc::new)
    });
    let directions = directions.collect::<candle_core::Result<Vec<_>>>()?;
    let tensors = weights.directions().iter().map(|weights| weights.as_arguments());
    let tensors = tensors.collect::<candle_core::Result<Vec<_>>>()?;
    let weights_edge = add_weights(tensors.into_iter().zip(&directions))?;
    note_graph(&gpu, weights, &shapes);
    let lengths = pass::lengths(&gpu, &call, x.device())?;
    let pass = Arc::new(Pass {
        cell,
        family: plan::kernel_family(cell, false)?,
        forward,
        backward,
        segment,
        keeps,
        x: pass::rows_of(&gpu, x, &call, lengths.as_ref())?,
        ones: pass::ones(&gpu, keeps, &directions, &call, x.device())?,
        lengths,
        initial: initial.as_ref().map(Tensor::detach),
        directions,
        kept: Default::default(),
        call_id: Default::default(),
        exchange: Default::default(),
        gpu,
        call,
    });
    let results = add_layer(x, &weights_edge, initial.as_ref(), &pass, shapes)?;
    match &results {
        Results::Only(states) => pass.forward(None, states)?,
        Results::Both { outputs, states } => pass.forward(Some(outputs), states)?,
    }
    Ok(results)
}

/// Checks that a GPU has what a precision needs.
pub(super) fn check_precision(
    recurrent_dtype: RecurrentDType,
    limits: &plan::DeviceLimits,
) -> Result<()> {
    if recurrent_dtype == RecurrentDType::Tf32 && !limits.has_tensor_cores {
        return Err(Error::Config(
            "products in tf32 need an NVIDIA GPU of compute capability 8.0 or later, and this one is none: take \
             f32 or bf16"
                .into(),
        ));
    }
    Ok(())
}

/// Notes what the layer's nodes ask the driver for beside their results: an edge of zeros for each direction, biases one
/// behind the other where there are two, and the edge to both results.
fn note_graph(gpu: &Gpu, weights: &LayerWeights, shapes: &ResultShapes) {
    for direction in weights.directions() {
        gpu.note(DriverCall::Allocation);
        gpu.note(DriverCall::Fill);
        if direction.b_hh.is_some() {
            gpu.note(DriverCall::Allocation);
            gpu.note(DriverCall::Copy);
            gpu.note(DriverCall::Copy);
        }
    }
    if let ResultShapes::Both(..) = shapes {
        gpu.note(DriverCall::Allocation);
    }
}

/// Checks what only the device's kernels ask for.
fn check(call: &CheckedCall) -> Result<()> {
    if call.unroll.recomputes() {
        return Err(Error::Config(
            "states are computed again on the CPU only: on a device all are kept".into(),
        ));
    }
    check_counts(&call.dims, call.directions)?;
    if call.dims.batch_size == 0 {
        return Err(Error::Config("a batch on a device needs at least one row".into()));
    }
    Ok(())
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
