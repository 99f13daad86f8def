//! The fused recurrence as a differentiable Candle op.
//!
//! Two custom ops follow each other in the graph, since Candle allows three arguments at most:
//! `PackWeights(W_ih, W_hh, b)` lays the weights out as the kernels read them, and
//! `RnnSequence(x, packed, h_0)` runs the sequence. Backward, the latter gives the gradients of
//! its three arguments and the former takes those of the packed weights apart.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor, WithDType};

use super::cpu::{
    self, BackwardInput, Float, ForwardInput, Function, GradOutputs, Gradients, Isa, Save,
    SavedStates, States, Wanted,
};
use super::packed::PackedWeights;
use super::storage::{not_on_cpu, on_cpu, slice};
use super::{Cell, Outputs, SequenceDims, Unroll};
use crate::Result;

/// Runs a recurrence over whole sequences as one differentiable op, on the CPU.
///
/// `h_t = f(W_ih x_t + b + W_hh h_{t-1})` for `t = 1..=T`, from `h_0`.
///
/// - `x`: `(B, T, I)`, the inputs, batch-first
/// - `weights`: the same at every step
/// - `h_0`: `(B, H)`, the state before the first step; zeros if `None`
/// - `unroll`: [`Outputs::All`] returns `h`, `(B, T, H)`; [`Outputs::Last`] returns `h_T`,
///   `(B, H)`; an [`Unroll`] also says how far gradients flow back, and which states are kept
///
/// Keeps only `h` for backward: `4·B·T·H` bytes in `f32`, and with [`Outputs::Last`] nothing when
/// no argument needs a gradient. A batch without rows gives an output without rows, and gradients
/// of zero for the weights.
///
/// The result and all gradients have the same bits for any number of threads.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when sizes disagree or `T == 0`; [`Error::DType`](crate::Error::DType) unless all are `f32` or all
/// `f64`; [`Error::Config`](crate::Error::Config) when a tensor is not on the CPU.
///
/// # Source
/// Elman (1990), "Finding Structure in Time"; Werbos (1990), "Backpropagation Through Time: What
/// It Does and How to Do It".
pub fn rnn_sequence(
    x: &Tensor,
    weights: &PackedWeights,
    h_0: Option<&Tensor>,
    cell: Cell,
    unroll: impl Into<Unroll>,
) -> Result<Tensor> {
    let unroll = unroll.into();
    let dims = weights.dims(x, h_0)?;
    let SequenceDims { batch_size, seq_len, hidden_size, .. } = dims;
    let shape = match unroll.read {
        Outputs::All => Shape::from((batch_size, seq_len, hidden_size)),
        Outputs::Last => Shape::from((batch_size, hidden_size)),
    };
    run(x, weights, h_0, cell.into(), unroll, dims, shape)
}

/// `x` may have any shape with the elements of `(B, T, I)`, and the output gets the one that is
/// asked for: a reshape would be a node of the graph, with a pass over memory of its own.
fn run(
    x: &Tensor,
    weights: &PackedWeights,
    h_0: Option<&Tensor>,
    function: Function,
    unroll: Unroll,
    dims: SequenceDims,
    shape: Shape,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let h_0 = h_0.map(Tensor::contiguous).transpose()?;
    for tensor in std::iter::once(&x).chain(&h_0) {
        if !tensor.device().is_cpu() {
            return Err(not_on_cpu());
        }
    }
    let tracked = [&x, &weights.packed].into_iter().chain(&h_0).any(Tensor::track_op);
    let save = match (tracked, unroll.recompute) {
        (false, _) => Save::None,
        (true, false) => Save::All,
        (true, true) => Save::Checkpoints,
    };
    let op = RnnSequence {
        dims,
        shape,
        function,
        unroll,
        isa: weights.isa,
        save,
        w_ih: weights.w_ih.clone(),
        w_hh: weights.w_hh.clone(),
        saved: OnceLock::new(),
    };
    Ok(match &h_0 {
        None => x.apply_op2(&weights.packed, op)?,
        Some(h_0) => x.apply_op3(&weights.packed, h_0, op)?,
    })
}

/// One step of a recurrence, on the CPU: `f(W_ih x_t + b + W_hh h)`.
///
/// - `x_t`: `(B, I)`
/// - `weights`: as for [`rnn_sequence`]
/// - `h`: `(B, H)`, the state before the step; zeros if `None`
/// - returns the state after the step, `(B, H)`, the only numbers that memory is allocated for
///
/// # Errors
/// As [`rnn_sequence`].
pub fn rnn_step(
    x_t: &Tensor,
    weights: &PackedWeights,
    h: Option<&Tensor>,
    cell: Cell,
) -> Result<Tensor> {
    let (input_size, hidden_size) = (weights.input_size(), weights.hidden_size());
    let batch_size = match *x_t.dims() {
        [batch_size, inputs] if inputs == input_size => batch_size,
        _ => return Err(super::wrong_shape("x_t", format!("(B, {input_size})"), x_t)),
    };
    let dims = SequenceDims { batch_size, seq_len: 1, input_size, hidden_size };
    dims.check_arguments(weights.dtype(), x_t, h)?;
    // Of one step, all outputs are the last.
    let shape = (batch_size, hidden_size).into();
    run(x_t, weights, h, cell.into(), Outputs::All.into(), dims, shape)
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
/// [`Error::Shape`](crate::Error::Shape) when sizes disagree; [`Error::DType`](crate::Error::DType) unless all are `f32` or all `f64`;
/// [`Error::Config`](crate::Error::Config) when a tensor is not on the CPU.
pub fn dense(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    dense_packed(x, &PackedWeights::dense(weight, bias)?)
}

/// As [`dense`], with weights that were packed before.
pub(crate) fn dense_packed(x: &Tensor, packed: &PackedWeights) -> Result<Tensor> {
    let (input_size, classes) = (packed.input_size(), packed.hidden_size());
    let mut shape = x.dims().to_vec();
    if !matches!(shape.len(), 2 | 3) || shape.pop() != Some(input_size) {
        let expected = format!("(N, {input_size}) or (B, T, {input_size})");
        return Err(super::wrong_shape("x", expected, x));
    }
    let rows = shape.iter().product();
    shape.push(classes);
    let dims = SequenceDims { batch_size: rows, seq_len: 1, input_size, hidden_size: classes };
    dims.check_arguments(packed.dtype(), x, None)?;
    run(x, packed, None, Function::Identity, Outputs::All.into(), dims, shape.into())
}

/// `(x, packed weights, h_0)` to outputs; without `h_0`, from zeros.
struct RnnSequence {
    dims: SequenceDims,
    /// Of the output.
    shape: Shape,
    function: Function,
    unroll: Unroll,
    isa: Isa,
    /// What backward will need, where the output does not hold it.
    save: Save,
    w_ih: Tensor,
    w_hh: Tensor,
    saved: OnceLock<Saved>,
}

/// Saved states of either dtype.
enum Saved {
    F32(SavedStates<f32>),
    F64(SavedStates<f64>),
}

/// The dtypes that states are saved in.
trait Saveable: Float + WithDType {
    fn wrap(states: SavedStates<Self>) -> Saved;
    fn unwrap(saved: &Saved) -> Option<&SavedStates<Self>>;
}

macro_rules! saveable {
    ($elem:ident, $variant:ident) => {
        impl Saveable for $elem {
            fn wrap(states: SavedStates<Self>) -> Saved {
                Saved::$variant(states)
            }
            fn unwrap(saved: &Saved) -> Option<&SavedStates<Self>> {
                match saved {
                    Saved::$variant(states) => Some(states),
                    _ => None,
                }
            }
        }
    };
}

saveable!(f32, F32);
saveable!(f64, F64);

impl RnnSequence {
    const NAME: &str = "rnn-sequence";

    fn forward<E: Saveable>(
        &self,
        x: (&CpuStorage, &Layout),
        weights: (&CpuStorage, &Layout),
        h_0: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let dims = self.dims;
        let kernels = E::kernels(self.isa, self.function);
        let (x, weights, h_0) =
            (slice::<E>(x)?, slice::<E>(weights)?, h_0.map(slice::<E>).transpose()?);
        let input = ForwardInput { dims, x, h_0, weights };
        let output = match self.unroll.read {
            Outputs::All => cpu::forward_all(&kernels, input),
            Outputs::Last => {
                let (last, states) = cpu::forward_last(&kernels, input, self.save);
                // An op runs forward once; a second time would give the same.
                let _ = self.saved.set(E::wrap(states));
                last
            }
        };
        Ok((E::to_cpu_storage_owned(output), self.shape.clone()))
    }

    fn dispatch_forward(
        &self,
        x: (&CpuStorage, &Layout),
        weights: (&CpuStorage, &Layout),
        h_0: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match x.0 {
            CpuStorage::F32(_) => self.forward::<f32>(x, weights, h_0),
            CpuStorage::F64(_) => self.forward::<f64>(x, weights, h_0),
            other => candle_core::bail!(
                "{}: no kernel for {:?}",
                Self::NAME,
                BackendStorage::dtype(other)
            ),
        }
    }

    fn backward<E: Saveable>(
        &self,
        x: &Tensor,
        weights: &Tensor,
        h_0: Option<&Tensor>,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let SequenceDims { batch_size, hidden_size, .. } = self.dims;
        let grad = grad.contiguous()?;
        let tensors = [x, weights, &self.w_ih, &self.w_hh, output, &grad];
        let guards = tensors.map(Tensor::storage_and_layout);
        let mut slices = [&[][..]; 6];
        for (slice_of, (storage, layout)) in slices.iter_mut().zip(&guards) {
            *slice_of = slice::<E>(on_cpu(storage, layout)?)?;
        }
        let [x_slice, packed, w_ih, w_hh, output, grad_output] = slices;
        let h_0_guard = h_0.map(Tensor::storage_and_layout);
        let h_0_slice = match &h_0_guard {
            Some((storage, layout)) => Some(slice::<E>(on_cpu(storage, layout)?)?),
            None => None,
        };
        let saved = self.saved.get().and_then(E::unwrap);
        let (states, grad) = match (self.unroll.read, saved) {
            (Outputs::All, _) => (States::All(output), GradOutputs::All(grad_output)),
            (Outputs::Last, Some(SavedStates::All(states))) => {
                (States::All(states), GradOutputs::Last(grad_output))
            }
            (Outputs::Last, Some(SavedStates::Checkpoints(states))) => {
                (States::Checkpoints(states), GradOutputs::Last(grad_output))
            }
            (Outputs::Last, _) => {
                candle_core::bail!("{}: backward without states from forward", Self::NAME)
            }
        };
        let windows = self.unroll.truncation.windows(self.dims.seq_len);
        let input = BackwardInput {
            dims: self.dims,
            x: x_slice,
            h_0: h_0_slice,
            states,
            windows: &windows,
            weights: packed,
            w_ih,
            w_hh,
            grad,
        };
        let wanted = Wanted {
            weights: weights.track_op(),
            x: x.track_op(),
            h_0: h_0.is_some_and(Tensor::track_op),
        };
        let Gradients { weights: grad_weights, x: grad_x, h_0: grad_h_0 } =
            cpu::backward(&E::kernels(self.isa, self.function), input, wanted);
        let tensor = |grad: Option<Vec<E>>, shape: Shape| -> candle_core::Result<Option<Tensor>> {
            grad.map(|grad| Tensor::from_vec(grad, shape, x.device())).transpose()
        };
        let packed_len = weights.elem_count();
        Ok((
            tensor(grad_x, x.shape().clone())?,
            tensor(grad_weights, packed_len.into())?,
            tensor(grad_h_0, (batch_size, hidden_size).into())?,
        ))
    }

    fn dispatch_backward(
        &self,
        x: &Tensor,
        weights: &Tensor,
        h_0: Option<&Tensor>,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, weights, h_0, output, grad),
            DType::F64 => self.backward::<f64>(x, weights, h_0, output, grad),
            other => candle_core::bail!("{}: no kernel for {other:?}", Self::NAME),
        }
    }
}

impl CustomOp2 for RnnSequence {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.dispatch_forward((x, x_layout), (weights, weights_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad_x, grad_weights, _) = self.dispatch_backward(x, weights, None, output, grad)?;
        Ok((grad_x, grad_weights))
    }
}

impl CustomOp3 for RnnSequence {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        h_0: &CpuStorage,
        h_0_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.dispatch_forward((x, x_layout), (weights, weights_layout), Some((h_0, h_0_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        h_0: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.dispatch_backward(x, weights, Some(h_0), output, grad)
    }
}
