//! The fused recurrence as a differentiable Candle op.
//!
//! Custom ops follow each other in the graph, since Candle allows three arguments and one result:
//! `PackWeights` lays the weights out as the kernels read them, and `Layer` takes `x`, a token for the
//! packed weights and the initial states to all outputs or to the final states. Where both are read,
//! `FinalStates` gives the latter beside the former.

use std::sync::{Arc, Mutex, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Shape, Tensor,
};

use super::arguments::wrong_shape;
use super::cpu::{self, BackwardInput, Function, Gradients, Input, Isa, Save, Saved, Wanted};
use super::packed::{Direction, Packable, PackedWeights};
use super::storage::{not_on_cpu, on_cpu, slice};
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
    let dims = SequenceDims::check(x, weights.sizes, weights.dtype(), call.time_major)?;
    let directions = weights.directions();
    let SequenceDims { batch_size, seq_len, hidden_size, output_size, .. } = dims;
    let initial = match call.initial {
        None => None,
        Some(state) => {
            dims.check_state(weights.cell, directions, state, weights.dtype())?;
            Some(join(state)?)
        }
    };
    if let Some(lengths) = call.lengths {
        dims.check_lengths(lengths)?;
    }
    let mask = match call.mask {
        None => None,
        Some(mask) => {
            dims.check_state(
                super::Cell::Tanh,
                directions,
                &State::new(mask.clone()),
                weights.dtype(),
            )?;
            Some(mask.detach().contiguous()?)
        }
    };
    let has_c = weights.cell.has_c();
    let h_len = directions * batch_size * output_size;
    let c_len = if has_c { directions * batch_size * hidden_size } else { 0 };
    let shape = match (call.unroll.read(), call.time_major) {
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
    let (output, shared) = run(x, weights, initial.as_ref(), weights.function, setting)?;
    let (outputs, last) = match call.unroll.read() {
        Outputs::Last => (None, output),
        Outputs::All => {
            let last = output.apply_op1(FinalStates { shared, len: h_len + c_len })?;
            (Some(output), last)
        }
    };
    let state = |tensor: Tensor, size: usize| tensor.reshape((directions, batch_size, size));
    let states = match (has_c, last.rank()) {
        (true, _) => State {
            h: state(last.narrow(0, 0, h_len)?, output_size)?,
            c: Some(state(last.narrow(0, h_len, c_len)?, hidden_size)?),
        },
        (false, 3) => State::new(last),
        (false, _) => State::new(state(last, output_size)?),
    };
    Ok((outputs, states))
}

/// `[h | c]`, flat; h alone as it is.
fn join(state: &State) -> Result<Tensor> {
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
    let dims = SequenceDims::check(x, weights.sizes, weights.dtype(), false)?;
    let SequenceDims { batch_size, seq_len, output_size, .. } = dims;
    let h_0 = one_state(weights, dims, h_0)?;
    let shape = match unroll.read() {
        Outputs::All => Shape::from((batch_size, seq_len, output_size)),
        Outputs::Last => Shape::from((batch_size, output_size)),
    };
    let setting = Setting::plain(dims, shape, unroll);
    Ok(run(x, weights, h_0.as_ref(), weights.function, setting)?.0)
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
    super::arguments::check_dtype("h_0", h_0, weights.dtype())?;
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
    super::arguments::check_dtype("x_t", x_t, weights.dtype())?;
    let dims = SequenceDims::of(batch_size, 1, weights.sizes)?;
    let h = one_state(weights, dims, h)?;
    // Of one step, all outputs are the last.
    let setting = Setting::plain(dims, (batch_size, output_size).into(), Outputs::All.into());
    Ok(run(x_t, weights, h.as_ref(), weights.function, setting)?.0)
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
    super::arguments::check_dtype("x", x, packed.dtype())?;
    let rows = shape.iter().product();
    shape.push(classes);
    let dims = SequenceDims::of(rows, 1, packed.sizes)?;
    let setting = Setting::plain(dims, shape.into(), Outputs::All.into());
    Ok(run(x, packed, None, packed.function, setting)?.0)
}

/// What a pass is, besides its tensors.
struct Setting {
    dims: SequenceDims,
    /// Of the output.
    shape: Shape,
    unroll: Unroll,
    time_major: bool,
    lengths: Option<Vec<usize>>,
    mask: Option<Tensor>,
}

impl Setting {
    fn plain(dims: SequenceDims, shape: Shape, unroll: Unroll) -> Self {
        Self { dims, shape, unroll, time_major: false, lengths: None, mask: None }
    }
}

/// `x` may have any shape with the elements of `(B, T, I)`, and the output gets the one that is
/// asked for: a reshape would be a node of the graph, with a pass over memory of its own. So may
/// `initial`.
fn run(
    x: &Tensor,
    weights: &PackedWeights,
    initial: Option<&Tensor>,
    function: Function,
    setting: Setting,
) -> Result<(Tensor, Arc<Shared>)> {
    let x = x.contiguous()?;
    if std::iter::once(&x).chain(initial).any(|tensor| !tensor.device().is_cpu()) {
        return Err(not_on_cpu());
    }
    let tracked = [&x, &weights.token].into_iter().chain(initial).any(Tensor::track_op);
    let save = match (tracked, setting.unroll.recomputes()) {
        (false, _) => Save::None,
        (true, false) => Save::All,
        (true, true) => Save::Checkpoints,
    };
    let shared = Arc::new(Shared::default());
    let op = Layer {
        setting,
        function,
        isa: weights.isa,
        save,
        directions: weights.directions.clone(),
        shared: shared.clone(),
    };
    let output = match initial {
        None => x.apply_op2(&weights.token, op)?,
        Some(initial) => x.apply_op3(&weights.token, initial, op)?,
    };
    Ok((output, shared))
}

/// What the ops of one layer share.
#[derive(Default)]
struct Shared {
    saved: OnceLock<SavedStates>,
    /// Final states, where the output does not hold them.
    last: OnceLock<CpuStorage>,
    /// Their gradient, on its way from [`FinalStates`] to [`Layer`].
    grad_last: Mutex<Option<Tensor>>,
}

/// Saved states of either dtype.
enum SavedStates {
    F32(Saved<f32>),
    F64(Saved<f64>),
}

/// The dtypes that states are saved in.
trait Saveable: Packable {
    fn wrap(states: Saved<Self>) -> SavedStates;
    fn unwrap(saved: &SavedStates) -> Option<&Saved<Self>>;
}

macro_rules! saveable {
    ($elem:ident, $variant:ident) => {
        impl Saveable for $elem {
            fn wrap(states: Saved<Self>) -> SavedStates {
                SavedStates::$variant(states)
            }
            fn unwrap(saved: &SavedStates) -> Option<&Saved<Self>> {
                match saved {
                    SavedStates::$variant(states) => Some(states),
                    _ => None,
                }
            }
        }
    };
}

saveable!(f32, F32);
saveable!(f64, F64);

/// `(x, token of the weights, initial states)` to all outputs or to final states; without initial states,
/// from zeros.
struct Layer {
    setting: Setting,
    function: Function,
    isa: Isa,
    /// What backward will need.
    save: Save,
    /// The weights, by direction.
    directions: Vec<Arc<Direction>>,
    shared: Arc<Shared>,
}

/// A tensor's numbers.
macro_rules! numbers {
    ($elem:ty, $tensor:expr, $guard:ident) => {{
        $guard = $tensor.storage_and_layout();
        slice::<$elem>(on_cpu(&$guard.0, $guard.1)?)?
    }};
}

impl Layer {
    const NAME: &str = "rnn-layer";

    /// The weights for the forward pass, by direction.
    fn weights<E: Saveable>(&self) -> candle_core::Result<Vec<&[E]>> {
        self.directions
            .iter()
            .map(|direction| Ok(direction.numbers::<E>()?.forward.as_slice()))
            .collect()
    }

    fn input<'a, E: Saveable>(
        &'a self,
        x: &'a [E],
        weights: &'a [&'a [E]],
        initial: Option<&'a [E]>,
        mask: Option<&'a [E]>,
    ) -> Input<'a, E> {
        Input {
            dims: self.setting.dims,
            directions: self.directions.len(),
            x,
            time_major: self.setting.time_major,
            initial,
            lengths: self.setting.lengths.as_deref(),
            mask,
            weights,
        }
    }

    fn forward<E: Saveable>(
        &self,
        x: (&CpuStorage, &Layout),
        initial: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let weights = self.weights::<E>()?;
        let kernels = E::kernels(self.isa, self.function);
        let guard;
        let mask = match &self.setting.mask {
            None => None,
            Some(mask) => Some(numbers!(E, mask, guard)),
        };
        let initial = initial.map(slice::<E>).transpose()?;
        let input = self.input(slice::<E>(x)?, &weights, initial, mask);
        let wants_outputs = self.setting.unroll.read() == Outputs::All;
        let cpu::Output { outputs, last, saved } =
            cpu::forward(&kernels, input, wants_outputs, self.save);
        // An op runs forward once; a second time would give the same.
        let _ = self.shared.saved.set(E::wrap(saved));
        let output = match outputs {
            None => last,
            Some(outputs) => {
                let _ = self.shared.last.set(E::to_cpu_storage_owned(last));
                outputs
            }
        };
        Ok((E::to_cpu_storage_owned(output), self.setting.shape.clone()))
    }

    fn dispatch_forward(
        &self,
        x: (&CpuStorage, &Layout),
        initial: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match x.0 {
            CpuStorage::F32(_) => self.forward::<f32>(x, initial),
            CpuStorage::F64(_) => self.forward::<f64>(x, initial),
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
        token: &Tensor,
        initial: Option<&Tensor>,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let grad = grad.contiguous()?;
        let reads_all = self.setting.unroll.read() == Outputs::All;
        // What came by way of the final states, in this backward pass and no other.
        let grad_last = match self.shared.grad_last.lock() {
            Ok(mut grad_last) => grad_last.take(),
            Err(_) => None,
        };
        let grad_last = if reads_all { grad_last } else { Some(grad.clone()) };
        let (x_guard, initial_guard, mask_guard);
        let (output_guard, grad_guard, last_guard);
        let initial_slice = match initial {
            None => None,
            Some(initial) => Some(numbers!(E, initial, initial_guard)),
        };
        let mask = match &self.setting.mask {
            None => None,
            Some(mask) => Some(numbers!(E, mask, mask_guard)),
        };
        let weights = self.weights::<E>()?;
        let input = self.input(numbers!(E, x, x_guard), &weights, initial_slice, mask);
        let Some(saved) = self.shared.saved.get().and_then(E::unwrap) else {
            candle_core::bail!("{}: backward without states from forward", Self::NAME)
        };
        let fed = self
            .directions
            .iter()
            .map(|direction| Ok(&direction.numbers::<E>()?.backward))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let windows = self.setting.unroll.truncation().windows(self.setting.dims.seq_len);
        let args = BackwardInput {
            input,
            outputs: match reads_all {
                true => Some(numbers!(E, output, output_guard)),
                false => None,
            },
            saved,
            windows: &windows,
            fed: &fed,
            grad_outputs: match reads_all {
                true => Some(numbers!(E, grad, grad_guard)),
                false => None,
            },
            grad_last: match &grad_last {
                None => None,
                Some(grad_last) => Some(numbers!(E, grad_last, last_guard)),
            },
        };
        let wanted = Wanted {
            weights: token.track_op(),
            x: x.track_op(),
            initial: initial.is_some_and(Tensor::track_op),
        };
        let Gradients { weights: grad_weights, x: grad_x, initial: grad_initial } =
            cpu::backward(&E::kernels(self.isa, self.function), args, wanted);
        let grad_token = match grad_weights {
            None => None,
            Some(grads) => {
                for (direction, grad) in self.directions.iter().zip(grads) {
                    direction.add_grad(grad)?;
                }
                // It counts this call.
                Some(token.ones_like()?)
            }
        };
        let tensor = |grad: Option<Vec<E>>, of: &Tensor| -> candle_core::Result<Option<Tensor>> {
            grad.map(|grad| Tensor::from_vec(grad, of.shape(), &Device::Cpu)).transpose()
        };
        Ok([
            tensor(grad_x, x)?,
            grad_token,
            match initial {
                None => None,
                Some(initial) => tensor(grad_initial, initial)?,
            },
        ])
    }

    fn dispatch_backward(
        &self,
        x: &Tensor,
        token: &Tensor,
        initial: Option<&Tensor>,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, token, initial, output, grad),
            DType::F64 => self.backward::<f64>(x, token, initial, output, grad),
            other => candle_core::bail!("{}: no kernel for {other:?}", Self::NAME),
        }
    }
}

impl CustomOp2 for Layer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        _token: &CpuStorage,
        _token_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.dispatch_forward((x, x_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_token, _] = self.dispatch_backward(x, token, None, output, grad)?;
        Ok((grad_x, grad_token))
    }
}

impl CustomOp3 for Layer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        _token: &CpuStorage,
        _token_layout: &Layout,
        initial: &CpuStorage,
        initial_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.dispatch_forward((x, x_layout), Some((initial, initial_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        initial: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_token, grad_initial] =
            self.dispatch_backward(x, token, Some(initial), output, grad)?;
        Ok((grad_x, grad_token, grad_initial))
    }
}

/// All outputs to the final states, `[h_n | c_n]`. They are no function of the outputs, but were
/// computed together with them: the gradient goes to [`Layer`] by way of what both share, and the
/// outputs get zeros.
struct FinalStates {
    shared: Arc<Shared>,
    len: usize,
}

impl CustomOp1 for FinalStates {
    fn name(&self) -> &'static str {
        "rnn-final-states"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        match self.shared.last.get() {
            Some(last) => Ok((last.clone(), Shape::from(self.len))),
            None => candle_core::bail!("{}: no outputs before them", CustomOp1::name(self)),
        }
    }

    fn bwd(
        &self,
        outputs: &Tensor,
        _last: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        match self.shared.grad_last.lock() {
            Ok(mut grad_last) => *grad_last = Some(grad.contiguous()?),
            Err(_) => candle_core::bail!("{}: a thread panicked", CustomOp1::name(self)),
        }
        let zero = Tensor::zeros((), outputs.dtype(), outputs.device())?;
        Ok(Some(zero.broadcast_as(outputs.shape())?))
    }
}
