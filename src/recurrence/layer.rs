//! The way into the recurrence: arguments are checked once, and a backend runs the layer.

use candle_core::{DType, Device, Shape, Tensor};

use super::call::{Call, CheckedCall};
use super::gpu::device::Gpu;
use super::gpu::plan::{kernel_family, RecurrentDType};
use super::grad_mailbox::LayerResult;
use super::graph::{ResultShapes, Results};
use super::storage::runs_on_cpu;
use super::{composed, gpu, Cell, LayerWeights, Outputs, State};
use crate::{Error, Result};

/// The implementation that runs a layer.
enum Backend {
    /// One op on the kernels of this CPU.
    Fused,
    /// One op on the kernels of a GPU.
    Gpu(Gpu),
    /// Candle's own ops, step by step.
    Composed,
}

impl Backend {
    fn of(weights: &LayerWeights, call: &CheckedCall) -> Result<Self> {
        let has_projection = weights.directions()[0].w_hr.is_some();
        let (cell, dtype, device) = (weights.cell(), weights.dtype(), weights.device());
        if let Some(gpu) = gpu_of(cell, has_projection, dtype, device)? {
            return Ok(Self::Gpu(gpu));
        }
        if call.recurrent_dtype != RecurrentDType::F32 {
            return Err(no_gpu(call.recurrent_dtype));
        }
        Ok(if runs_on_cpu(device) { Self::Fused } else { Self::Composed })
    }
}

/// The GPU whose kernels run a layer, if there is one.
fn gpu_of(cell: Cell, has_projection: bool, dtype: DType, device: &Device) -> Result<Option<Gpu>> {
    if dtype == DType::F32 && has_gpu_kernels(cell, has_projection) {
        Gpu::of(device)
    } else {
        Ok(None)
    }
}

fn no_gpu(recurrent_dtype: RecurrentDType) -> Error {
    let name = recurrent_dtype.name();
    Error::Config(format!(
        "recurrent products in {name} are for f32 layers of cells with GPU kernels, on a GPU: take f32 products here"
    ))
}

/// Checks that layers of a cell without a projection can run with recurrent products of such a dtype.
///
/// # Errors
/// [`Error::Config`] when they cannot; [`Error::Device`] when the device does not answer.
pub(crate) fn check_recurrent_dtype(
    cell: Cell,
    dtype: DType,
    device: &Device,
    recurrent_dtype: RecurrentDType,
) -> Result<()> {
    if recurrent_dtype == RecurrentDType::F32 {
        return Ok(());
    }
    match gpu_of(cell, false, dtype, device)? {
        Some(gpu) => gpu::check_precision(recurrent_dtype, &gpu.limits()),
        None => Err(no_gpu(recurrent_dtype)),
    }
}

/// Whether GPUs have kernels for a cell, with a projection or without one.
pub(crate) fn has_gpu_kernels(cell: Cell, has_projection: bool) -> bool {
    kernel_family(cell, has_projection).is_ok()
}

/// Runs a layer over whole sequences.
///
/// On the CPU, and on NVIDIA and Apple GPUs for `f32` weights of tanh, relu, GRU and LSTM without a projection, it
/// is one differentiable op. Elsewhere it is composed from Candle's own ops, step by step.
///
/// - `x`: `(B, T, I)`, the inputs; `(T, B, I)` if the call is time-major; a table `(V, I)` if it has ids
/// - `weights`: the same at every step
/// - `call`: initial states, lengths, mask, and what is read
/// - returns the outputs, `(B, T, D·P)` or `(T, B, D·P)`, if all are read, forward before backward,
///   and zero behind the end of a row; and the final states, each row's at its own end
///
/// A direction that runs backwards in time begins at each row's own end. Gradients are those of each
/// row alone, whatever `x` holds behind its end.
///
/// On the CPU the op keeps for the backward pass, in bytes (`f32`; twice that in `f64`), `4·D·B·T` times: P for
/// h, unless the outputs hold it; H for an LSTM's c; and the gates, 4·H for [`Cell::Lstm`] and [`Cell::Gru`], 3·H
/// for [`Cell::GruResetBefore`] and [`Cell::MinimalGru`], none for the others. It keeps nothing if no argument
/// needs a gradient; recomputed states ([`Unroll::recomputing`]) take about 1/√T of that. On a GPU it keeps a copy of
/// the weights, which an optimizer's step before the backward pass must not change, and `4·D·B·T` times: H for the
/// operand of the recurrent product; H for the outputs, unless they are all read, of tanh, relu and GRU; H for an
/// LSTM's c; and 4·H for the gates of LSTM and GRU. Once more `4·B·T·I` where `x` had to be copied: with lengths, or
/// time-major. Where a loss reads both the outputs and the final states, it waits once for the device.
///
/// The result and all gradients have the same bits for any number of threads, and on one device every time.
///
/// Gradients of the weights and of both results go beside Candle's graph, each to the backward pass that
/// made it (docs/design.md): threads may share packed weights, each with a graph and a backward pass of
/// its own, and after a pass that failed the next one is right or returns an error.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree or `T == 0`; [`Error::DType`] unless all tensors have the dtype of the
/// weights; [`Error::Config`] when a tensor is on another device than the weights, a state is missing or lengths do
/// not fit; on a GPU, for windows of truncation that are not segments, recomputed states, a batch without rows, and
/// sizes beyond 2^31 - 1; [`Error::Device`] when the device fails.
///
/// # Source
/// Elman (1990), "Finding Structure in Time"; Werbos (1990), "Backpropagation Through Time: What
/// It Does and How to Do It"; Schuster & Paliwal (1997), "Bidirectional Recurrent Neural Networks";
/// those of the cells stand with [`Cell`].
///
/// [`Unroll::recomputing`]: super::Unroll::recomputing
#[doc(alias = "static_rnn")]
#[doc(alias = "dynamic_rnn")]
#[doc(alias = "bidirectional_dynamic_rnn")]
pub fn run_layer(
    x: &Tensor,
    weights: &LayerWeights,
    call: &Call,
) -> Result<(Option<Tensor>, State)> {
    let (x, call) = inputs(x, CheckedCall::new(x, weights, call)?)?;
    run(&x, weights, call, false)
}

/// Runs a layer over whole sequences and returns the final h alone, forward beside backward: `(B, D·P)`.
///
/// # Errors
/// As [`run_layer`].
pub(crate) fn last(x: &Tensor, weights: &LayerWeights, call: &Call) -> Result<Tensor> {
    let (x, call) = inputs(x, CheckedCall::new(x, weights, call)?)?;
    let x = &x;
    let is_one_state = call.directions == 1 && !weights.cell().has_c();
    let backend = Backend::of(weights, &call)?;
    if is_one_state && !matches!(backend, Backend::Composed) {
        // Without a node of the graph for the shape.
        let shape = Shape::from((call.dims.batch_size, call.dims.output_size));
        let shapes = ResultShapes::Only(LayerResult::FinalStates, shape);
        let results = match backend {
            Backend::Gpu(gpu) => gpu::run(x, weights, call, shapes, gpu)?,
            _ => weights.packed(false)?.layer().run(x, call, shapes)?,
        };
        return Ok(results.one());
    }
    let (_, State { h, .. }) = run(x, weights, call, false)?;
    let (directions, batch_size, size) = h.dims3()?;
    Ok(if directions == 1 {
        h.squeeze(0)?
    } else {
        h.transpose(0, 1)?.reshape((batch_size, directions * size))?
    })
}

/// Runs one step of a layer that runs forward in time.
///
/// - `x_t`: `(B, I)`
/// - `state`: h `(1, B, P)` and, for an LSTM, c `(1, B, H)`, before the step; zeros if `None`
/// - returns the states after the step
///
/// # Errors
/// As [`run_layer`].
pub(crate) fn step(x_t: &Tensor, weights: &LayerWeights, state: Option<&State>) -> Result<State> {
    // The output of a step is the final h: where there is no c, one tensor is both.
    let read = if weights.cell().has_c() { Outputs::Last } else { Outputs::All };
    let call = Call { initial: state, ..Call::new(read) };
    let call = CheckedCall::step(x_t, weights, &call)?;
    Ok(run(x_t, weights, call, true)?.1)
}

/// The inputs that a backend reads: the kernels of this CPU look them up where their table has few rows; else they are
/// looked up here.
fn inputs(x: &Tensor, call: CheckedCall) -> Result<(Tensor, CheckedCall)> {
    let reads_table = |ids: &Vec<u32>| runs_on_cpu(x.device()) && 2 * x.dims()[0] <= ids.len();
    if call.ids.as_ref().is_some_and(reads_table) {
        return Ok((x.clone(), call));
    }
    call.looked_up(x)
}

fn run(
    x: &Tensor,
    weights: &LayerWeights,
    call: CheckedCall,
    is_step: bool,
) -> Result<(Option<Tensor>, State)> {
    let backend = Backend::of(weights, &call)?;
    if is_step && !matches!(backend, Backend::Fused) {
        // The CPU's kernels read `(B, I)` as `(B, 1, I)`.
        return run(&x.unsqueeze(1)?, weights, call, false);
    }
    let (initial, has_c) = (call.initial.clone(), weights.cell().has_c());
    let sizes = call.state_shapes();
    let states = states_shape(&sizes, has_c);
    let shapes = match call.unroll.outputs() {
        Outputs::Last => ResultShapes::Only(LayerResult::FinalStates, states),
        Outputs::All if is_step => ResultShapes::Only(LayerResult::Outputs, states),
        Outputs::All => ResultShapes::Both(Shape::from(&call.outputs_shape()[..]), states),
    };
    let results = match backend {
        Backend::Fused => weights.packed(is_step)?.layer().run(x, call, shapes)?,
        Backend::Gpu(gpu) => gpu::run(x, weights, call, shapes, gpu)?,
        Backend::Composed => return composed::run(x, weights, &call),
    };
    let (outputs, states) = match results {
        Results::Only(states) => (None, states),
        Results::Both { outputs, states } => (Some(outputs), states),
    };
    Ok((outputs, split(&states, &sizes, has_c)?.after(initial.as_ref())))
}

/// The shape of the final states in a backend's result: h_n `(D, B, P)`, or `[h_n | c_n]`, flat.
fn states_shape([h, c]: &[[usize; 3]; 2], has_c: bool) -> Shape {
    if has_c {
        Shape::from(h.iter().product::<usize>() + c.iter().product::<usize>())
    } else {
        Shape::from(&h[..])
    }
}

/// The final states in a backend's result.
fn split(states: &Tensor, [h, c]: &[[usize; 3]; 2], has_c: bool) -> Result<State> {
    if !has_c {
        return Ok(State::new(states.clone()));
    }
    let h_len = h.iter().product();
    let h = states.narrow(0, 0, h_len)?.reshape(&h[..])?;
    let c = states.narrow(0, h_len, states.elem_count() - h_len)?.reshape(&c[..])?;
    Ok(State::from_parts(h, Some(c)))
}
