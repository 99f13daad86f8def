//! The order of launches of a layer, forward and backward.
//!
//! Of a direction, forward: `gx = W_ih x + b` for all steps, one product; then the recurrence, which is
//! one launch where W_hh fits (persistent), else a product and a launch for each step. Backward the same
//! from the other end, and then the gradients of the weights, one product each over all rows and steps:
//! so each is summed in one order, and the bits are the same every time.
//!
//! - `forward`, `backward`: the sweeps
//!
//! kernels/gpu/README.md has the kernels' arguments and contracts.

mod backward;
mod forward;

use std::sync::OnceLock;

use candle_core::{DType, Device, Shape, Tensor};

use super::super::mailbox::{CallId, ResultGrads};
use super::super::{Call as LayerCall, Cell, Outputs, SequenceDims, Weights};
use super::node::Slot;
use super::plan::{Launch, LaunchPlan, RecurrentDType};
use super::queue::{Arg, Args, Call, Queue};

/// A layer's pass over a batch of sequences.
pub(super) struct Pass {
    pub(super) queue: Queue,
    pub(super) cell: Cell,
    /// What the kernels' names begin with.
    pub(super) family: &'static str,
    pub(super) word: RecurrentDType,
    pub(super) dims: SequenceDims,
    /// How its sweeps are launched.
    pub(super) forward: LaunchPlan,
    pub(super) backward: LaunchPlan,
    /// Steps of a segment of truncation; 0 for none.
    pub(super) segment: usize,
    pub(super) time_major: bool,
    pub(super) read: Outputs,
    /// Whether there will be a backward pass.
    pub(super) keeps: bool,
    /// `(B,)`, `u32`.
    pub(super) lengths: Option<Tensor>,
    /// `(D, B, H)`.
    pub(super) mask: Option<Tensor>,
    /// `(B·T, I)`, zero behind the rows' ends.
    pub(super) x: Tensor,
    /// `[h_0 | c_0]`, any shape.
    pub(super) initial: Option<Tensor>,
    pub(super) directions: Vec<Direction>,
    pub(super) call: CallId,
    /// All outputs without their graph, where they are read.
    pub(super) outputs: OnceLock<Tensor>,
    /// The gradients of the results, on their way to the layer.
    pub(super) grads: ResultGrads,
}

/// The weights of a direction, and what its forward pass keeps.
pub(super) struct Direction {
    w_ih: Tensor,
    /// `(G·H, H)`, in words; forward as the kernels read it.
    w_hh: Tensor,
    w_hh_forward: Tensor,
    /// `(G·H,)`, added to the product with x.
    b_x: Tensor,
    /// `(G·H,)`, of cells whose kernels take it.
    b_hh: Option<Tensor>,
    /// Biases that variables hold.
    biases: usize,
    slot: Slot,
    kept: OnceLock<Kept>,
}

/// What a forward pass keeps of a direction, each `(B, T, ..)`.
struct Kept {
    h_in: Tensor,
    /// Of cells whose backward reads them; none where the layer's own outputs are read.
    outputs: Option<Tensor>,
    gates: Option<Tensor>,
    c: Option<Tensor>,
}

impl Direction {
    /// Weights as the kernels read them: copies, if there will be a backward pass, which an optimizer's step
    /// before it must not change.
    pub(super) fn new(
        weights: &Weights,
        word: RecurrentDType,
        slot: Slot,
        streams_weights: bool,
        keeps: bool,
    ) -> candle_core::Result<Self> {
        let detached = weights.detach();
        let own = |weight: &Tensor| {
            if keeps {
                weight.force_contiguous()
            } else {
                weight.contiguous()
            }
        };
        let w_hh = match word {
            RecurrentDType::F32 => own(&detached.w_hh)?,
            RecurrentDType::Bf16 => detached.w_hh.contiguous()?.to_dtype(DType::BF16)?,
        };
        // Where it is read from the device's memory, neighbouring threads read neighbouring numbers.
        let w_hh_forward = if streams_weights { w_hh.t()?.contiguous()? } else { w_hh.clone() };
        Ok(Self {
            w_ih: own(&detached.w_ih)?,
            w_hh,
            w_hh_forward,
            b_x: detached.b_ih,
            biases: 1 + usize::from(detached.b_hh.is_some()),
            // Kernels get an address, so the numbers have to follow each other.
            b_hh: detached.b_hh.map(|b_hh| b_hh.contiguous()).transpose()?,
            slot,
            kept: OnceLock::new(),
        })
    }
}

/// The lengths of rows as the kernels read them.
pub(super) fn lengths(lengths: &[usize], device: &Device) -> candle_core::Result<Tensor> {
    let numbers = lengths.iter().map(|length| *length as u32).collect();
    Tensor::from_vec(numbers, lengths.len(), device)
}

/// The inputs as rows `(B·T, I)`, zero behind the rows' ends: products reach there, where `x` may hold
/// anything.
pub(super) fn rows_of(
    x: &Tensor,
    call: &LayerCall,
    dims: &SequenceDims,
) -> candle_core::Result<Tensor> {
    let SequenceDims { batch_size, seq_len, input_size, .. } = *dims;
    let x = x.detach();
    let x = if call.time_major { x.transpose(0, 1)? } else { x };
    let rows = x.contiguous()?.reshape((batch_size * seq_len, input_size))?;
    let Some(lengths) = call.lengths else { return Ok(rows) };
    let exists = lengths.iter().flat_map(|length| (0..seq_len).map(|t| u8::from(t < *length)));
    let exists = Tensor::from_vec(exists.collect(), (batch_size * seq_len, 1), x.device())?;
    exists.broadcast_as(rows.shape())?.where_cond(&rows, &rows.zeros_like()?)
}

/// Memory for numbers that kernels write before anything reads them.
fn room(shape: impl Into<Shape>, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    // SAFETY: floats have no invalid bits, and every number that is read was written before: the kernels'
    // contracts say which they write, and their tests fill such memory with NaN.
    unsafe { Tensor::empty(shape, dtype, device) }
}

/// What a kernel writes: a step writes its part of the tensor.
fn written(tensor: Option<&Tensor>, is_step: bool) -> Arg<'_> {
    match tensor {
        Some(tensor) if is_step => Arg::InOut(tensor),
        tensor => Arg::Out(tensor),
    }
}

impl Pass {
    fn has_gates(&self) -> bool {
        self.family != "rnn"
    }

    /// Whether backward reads the outputs, rather than what is kept of gates and c.
    fn reads_outputs(&self) -> bool {
        self.family != "lstm"
    }

    /// Numbers of a state.
    fn state_len(&self) -> usize {
        self.dims.batch_size * self.dims.hidden_size
    }

    fn words(&self) -> DType {
        match self.word {
            RecurrentDType::F32 => DType::F32,
            RecurrentDType::Bf16 => DType::BF16,
        }
    }

    /// `(B, ..)` memory on the device.
    fn room(&self, shape: impl Into<Shape>) -> candle_core::Result<Tensor> {
        room(shape, DType::F32, self.x.device())
    }

    /// A direction's part, `(B, H)`, of `[h | c]`.
    fn state_of(
        &self,
        states: &Tensor,
        direction: usize,
        is_c: bool,
    ) -> candle_core::Result<Tensor> {
        let len = self.state_len();
        let index = direction + if is_c { self.directions.len() } else { 0 };
        let part = states.flatten_all()?.narrow(0, index * len, len)?;
        part.reshape((self.dims.batch_size, self.dims.hidden_size))
    }

    /// A direction's part of the outputs or their gradient, `(B, T, H)`, in place.
    fn outputs_of(&self, outputs: &Tensor, direction: usize) -> candle_core::Result<Tensor> {
        let units = self.dims.hidden_size;
        let part = outputs.detach().narrow(2, direction * units, units)?;
        if self.time_major {
            part.transpose(0, 1)
        } else {
            Ok(part)
        }
    }

    fn initial_of(&self, direction: usize, is_c: bool) -> candle_core::Result<Option<Tensor>> {
        self.initial.as_ref().map(|states| self.state_of(states, direction, is_c)).transpose()
    }

    fn mask_of(&self, direction: usize) -> candle_core::Result<Option<Tensor>> {
        self.mask.as_ref().map(|mask| mask.get(direction)).transpose()
    }

    /// A product in words, its result in `f32`.
    fn product(&self, operand: &Tensor, w_hh: &Tensor) -> candle_core::Result<Tensor> {
        self.queue.gemm(operand, w_hh)?.to_dtype(DType::F32)
    }

    /// Sizes and flags, which all kernels have behind their tensors.
    fn push_sizes(
        &self,
        args: &mut Args,
        outputs: Option<&Tensor>,
        direction: usize,
        segment: Option<usize>,
    ) {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.dims;
        let strides = match outputs.map(Tensor::stride) {
            Some([row, step, _]) => [*row, *step],
            // Nothing is there that they would count.
            _ => [seq_len * hidden_size, hidden_size],
        };
        args.extend([
            ("batch_size", Arg::Int(batch_size)),
            ("seq_len", Arg::Int(seq_len)),
            ("hidden_size", Arg::Int(hidden_size)),
            ("outputs_row_stride", Arg::Int(strides[0])),
            ("outputs_step_stride", Arg::Int(strides[1])),
            ("reverse", Arg::Int(direction)),
        ]);
        if !self.has_gates() {
            args.push(("function", Arg::Int(usize::from(self.cell == Cell::Relu))));
        }
        if let Some(segment) = segment {
            args.push(("segment", Arg::Int(segment)));
        }
    }

    fn launch(&self, sweep: &str, launch: Launch, args: Args) -> candle_core::Result<()> {
        let kernel = format!("{}_{sweep}_{}", self.family, self.word.suffix());
        self.queue.launch(&Call { kernel, launch, args })
    }
}
