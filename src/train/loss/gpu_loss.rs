//! Softmax cross-entropy on a GPU, of logits and of a dense head: forward one launch, two for many rows, and backward one.

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};

use super::gpu_plan::{HeadPlan, LogitsPlan};
use crate::recurrence::deliver;
use crate::recurrence::gpu::plan::{LaunchSize, STEP_BLOCK};
use crate::recurrence::gpu::{Arg, Args, ArgumentGrads, Gpu, KernelLaunch, ScalarNode, ScalarOp};
use crate::Result;

/// How much each row's loss counts.
pub(super) enum RowWeights<'a> {
    /// All the same.
    All(f64),
    /// `(N,)`: a row of weight 0 is not read.
    Each(&'a [f64]),
}

impl<'a> RowWeights<'a> {
    /// As `weights` has them.
    pub(super) fn of(weights: &'a [f64]) -> Self {
        match weights {
            [first, others @ ..] if others.iter().all(|weight| weight == first) => {
                Self::All(*first)
            }
            weights => Self::Each(weights),
        }
    }

    fn of_all(&self) -> f64 {
        match self {
            Self::All(weight) => *weight,
            Self::Each(_) => 0.,
        }
    }
}

/// The GPU whose kernels compute losses of a tensor, if there is one.
pub(super) fn gpu_of(tensor: &Tensor) -> Result<Option<Gpu>> {
    if tensor.dtype() != DType::F32 {
        return Ok(None);
    }
    Gpu::of(tensor.device())
}

/// `(N,)`, `f32`, on a device.
fn upload(numbers: &[f64], device: &Device) -> candle_core::Result<Tensor> {
    let numbers: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
    Tensor::new(numbers, device)
}

fn launch(gpu: &Gpu, kernel: &str, launch: LaunchSize, args: Args) -> candle_core::Result<()> {
    gpu.launch(&KernelLaunch { kernel: kernel.into(), launch, args })
}

/// Memory for the gradient of the logits, if somebody will ask for it.
fn alloc_deltas(
    gpu: &Gpu,
    shape: &Shape,
    like: &Tensor,
    is_tracked: bool,
) -> Result<Option<Tensor>> {
    let deltas = is_tracked.then(|| gpu.alloc(shape.clone(), DType::F32, like.device()));
    Ok(deltas.transpose()?)
}

/// Makes the forward launch of `of_blocks`, which is given memory for the sum of each block, and adds these up into `loss`.
fn launch_sums(
    gpu: &Gpu,
    blocks: usize,
    loss: &Tensor,
    of_blocks: impl FnOnce(&Tensor) -> candle_core::Result<()>,
) -> Result<()> {
    let loss = loss.detach();
    if blocks == 1 {
        return Ok(of_blocks(&loss)?);
    }
    let losses = gpu.alloc(blocks, DType::F32, loss.device())?;
    of_blocks(&losses)?;
    let size = LaunchSize { grid: 1, block: STEP_BLOCK, shared_bytes: 4 * STEP_BLOCK };
    let args = vec![
        ("losses", Arg::In(Some(&losses))),
        ("loss", Arg::Out(Some(&loss))),
        ("count", Arg::Int(blocks)),
    ];
    Ok(launch(gpu, "loss_sum_f32", size, args)?)
}

/// The weighted sum of the losses of rows of logits.
///
/// - `logits`: `(N, C)`, `f32`, on `gpu`
/// - `labels`: `(N / steps,)`, `u32`; one that is not below C makes the loss NaN
/// - `smoothing`: of the labels; `class_weights`: `(C,)`
pub(super) fn loss_of_logits(
    gpu: Gpu,
    logits: &Tensor,
    labels: &Tensor,
    steps: usize,
    weights: RowWeights<'_>,
    smoothing: f64,
    class_weights: Option<&[f64]>,
) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    let (logits, labels) = (logits.contiguous()?, labels.contiguous()?);
    let deltas = alloc_deltas(&gpu, logits.shape(), &logits, logits.track_op())?;
    let of_rows = match weights {
        RowWeights::All(_) => None,
        RowWeights::Each(weights) => Some(upload(weights, logits.device())?),
    };
    let of_classes = class_weights.map(|weights| upload(weights, logits.device())).transpose()?;
    let op = Arc::new(LogitsLoss { gpu, deltas });
    // A node has three arguments.
    let loss = logits.apply_op3(&logits, &logits, ScalarNode(op.clone()))?;
    let plan = LogitsPlan::new(rows, classes);
    launch_sums(&op.gpu, plan.launch.grid, &loss, |losses| {
        let args = vec![
            ("logits", Arg::In(Some(&logits))),
            ("labels", Arg::In(Some(&labels))),
            ("weights", Arg::In(of_rows.as_ref())),
            ("class_weights", Arg::In(of_classes.as_ref())),
            ("losses", Arg::Out(Some(losses))),
            ("deltas", Arg::Out(op.deltas.as_ref())),
            ("rows", Arg::Int(rows)),
            ("classes", Arg::Int(classes)),
            ("steps", Arg::Int(steps)),
            ("tile", Arg::Int(plan.tile)),
            ("lanes", Arg::Int(plan.lanes)),
            ("weight", Arg::Float(weights.of_all())),
            ("smoothing", Arg::Float(smoothing)),
        ];
        launch(&op.gpu, "loss_forward_f32", plan.launch, args)
    })?;
    Ok(loss)
}

/// `(N, C)` logits to the weighted sum of their losses.
struct LogitsLoss {
    gpu: Gpu,
    /// `(N, C)`: the gradient of the logits, if somebody will ask for it.
    deltas: Option<Tensor>,
}

fn kept(deltas: &Option<Tensor>) -> candle_core::Result<&Tensor> {
    match deltas {
        Some(deltas) => Ok(deltas),
        None => candle_core::bail!("cross-entropy: backward of what was not tracked forward"),
    }
}

impl ScalarOp for LogitsLoss {
    const NAME: &'static str = "cross-entropy";

    fn argument_grads(
        &self,
        [logits, ..]: [&Tensor; 3],
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGrads> {
        let deltas = kept(&self.deltas)?;
        let grad_logits = self.gpu.alloc(logits.shape().clone(), DType::F32, logits.device())?;
        let count = logits.elem_count();
        let args = vec![
            ("deltas", Arg::In(Some(deltas))),
            ("grad", Arg::In(Some(grad))),
            ("grad_logits", Arg::Out(Some(&grad_logits))),
            ("count", Arg::Int(count)),
        ];
        launch(&self.gpu, "loss_backward_f32", LaunchSize::of_numbers(count), args)?;
        Ok((deliver(logits, grad_logits)?, None, None))
    }
}

/// The mean loss of the rows that a dense head reads, where it is small enough for the kernels.
///
/// - `h`: `(N, F)`; `weight`: `(C, F)`; `bias`: `(C,)`
/// - `labels`: `(N,)`, `u32`; one that is not below C makes the loss NaN
pub(super) fn loss_of_head(
    h: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    labels: &Tensor,
    smoothing: f64,
) -> Result<Option<Tensor>> {
    let (rows, features) = h.dims2()?;
    let classes = weight.dim(0)?;
    let Some(gpu) = gpu_of(h)? else { return Ok(None) };
    let Some(plan) = HeadPlan::new(rows, classes, &gpu.limits()) else { return Ok(None) };
    let [h, weight, bias, labels] =
        [h.contiguous()?, weight.contiguous()?, bias.contiguous()?, labels.contiguous()?];
    let is_tracked = [&h, &weight, &bias].into_iter().any(Tensor::track_op);
    let deltas = alloc_deltas(&gpu, &Shape::from((rows, classes)), &h, is_tracked)?;
    let op = Arc::new(HeadLoss { gpu, deltas });
    let loss = h.apply_op3(&weight, &bias, ScalarNode(op.clone()))?;
    launch_sums(&op.gpu, plan.launch.grid, &loss, |losses| {
        let args = vec![
            ("h", Arg::In(Some(&h))),
            ("w", Arg::In(Some(&weight))),
            ("bias", Arg::In(Some(&bias))),
            ("labels", Arg::In(Some(&labels))),
            ("losses", Arg::Out(Some(losses))),
            ("deltas", Arg::Out(op.deltas.as_ref())),
            ("rows", Arg::Int(rows)),
            ("features", Arg::Int(features)),
            ("classes", Arg::Int(classes)),
            ("tile", Arg::Int(plan.tile)),
            ("weight", Arg::Float(1. / rows as f64)),
            ("smoothing", Arg::Float(smoothing)),
        ];
        launch(&op.gpu, "loss_head_forward_f32", plan.launch, args)
    })?;
    Ok(Some(loss))
}

/// `(h, weight, bias)` of a dense head to the mean loss of its logits.
struct HeadLoss {
    gpu: Gpu,
    /// `(N, C)`: the gradient of the logits, if somebody will ask for it.
    deltas: Option<Tensor>,
}

impl ScalarOp for HeadLoss {
    const NAME: &'static str = "head-cross-entropy";

    fn argument_grads(
        &self,
        [h, weight, bias]: [&Tensor; 3],
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGrads> {
        let deltas = kept(&self.deltas)?;
        let (rows, features) = h.dims2()?;
        let classes = weight.dim(0)?;
        let alloc = |like: &Tensor| self.gpu.alloc(like.shape().clone(), DType::F32, like.device());
        let grad_h = h.track_op().then(|| alloc(h)).transpose()?;
        let [grad_w, grad_bias] = [alloc(weight)?, alloc(bias)?];
        let args = vec![
            ("h", Arg::In(Some(h))),
            ("w", Arg::In(Some(weight))),
            ("deltas", Arg::In(Some(deltas))),
            ("grad", Arg::In(Some(grad))),
            ("grad_h", Arg::Out(grad_h.as_ref())),
            ("grad_w", Arg::Out(Some(&grad_w))),
            ("grad_bias", Arg::Out(Some(&grad_bias))),
            ("rows", Arg::Int(rows)),
            ("features", Arg::Int(features)),
            ("classes", Arg::Int(classes)),
        ];
        let numbers = classes * (features + 1) + rows * features;
        launch(&self.gpu, "loss_head_backward_f32", LaunchSize::of_numbers(numbers), args)?;
        let returned = |arg: &Tensor, grad: Option<Tensor>| match grad {
            Some(grad) if arg.track_op() => deliver(arg, grad),
            _ => Ok(None),
        };
        Ok((
            returned(h, grad_h)?,
            returned(weight, Some(grad_w))?,
            returned(bias, Some(grad_bias))?,
        ))
    }
}
