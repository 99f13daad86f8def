//! The order of launches of a layer, forward and backward.
//!
//! Of a direction, forward: `gx = W_ih x + b` for all steps, the biases and one product; then the recurrence, which is
//! one launch where W_hh fits into one block (persistent) or several (teams), else a product and a launch for
//! each step. Backward the same
//! from the other end, and then the gradients of the weights, one product each over all rows and steps:
//! so each is summed in one order, and the bits are the same every time.
//!
//! - `forward`, `backward`: the sweeps; `direction_slices`: tensors of one direction, or by teams of all of them, which
//!   are launched at once
//!
//! kernels/gpu/README.md has the kernels' arguments and contracts.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Shape, Tensor};

use super::super::call::CheckedCall;
use super::super::grad_mailbox::{CallId, WeightGrads};
use super::super::graph::{Exchange, HeldWeights};
use super::super::{Cell, SequenceDims, Weights};
use super::copy::walk;
use super::device::Gpu;
use super::launch::{Arg, Args, KernelLaunch};
use super::plan::{LaunchPlan, LaunchSize, RecurrentDType, Sweep};
use super::team_plan::POLLS;

/// A layer's pass over a batch of sequences.
pub(super) struct Pass {
    pub(super) gpu: Gpu,
    pub(super) cell: Cell,
    pub(super) call: CheckedCall,
    /// What the kernels' names begin with.
    pub(super) family: &'static str,
    /// How its sweeps are launched.
    pub(super) forward: LaunchPlan,
    pub(super) backward: LaunchPlan,
    /// The steps of a segment of truncation; 0 for none.
    pub(super) segment: usize,
    /// Whether there will be a backward pass.
    pub(super) keeps: bool,
    /// `(B,)`, `u32`.
    pub(super) lengths: Option<Tensor>,
    /// `(B·T, I)`, zero behind the rows' ends.
    pub(super) x: Tensor,
    /// `(biases, B·T)`, where there will be a backward pass: products with it sum rows. The forward pass writes it.
    pub(super) ones: Option<Tensor>,
    /// `[h_0 | c_0]`, any shape.
    pub(super) initial: Option<Tensor>,
    pub(super) directions: Vec<Arc<Direction>>,
    pub(super) kept: OnceLock<Kept>,
    pub(super) call_id: CallId,
    pub(super) exchange: Exchange,
}

/// Neighbouring directions that are launched together.
pub(super) type DirectionRange = Range<usize>;

/// The weights of a direction.
pub(super) struct Direction {
    pub(super) w_ih: Tensor,
    /// `(G·H, H)`, in the recurrent dtype; forward as the kernels read it.
    pub(super) w_hh: Tensor,
    pub(super) w_hh_forward: Tensor,
    /// What the forward pass copies into `w_hh` before it reads it.
    pub(super) copied: Option<Tensor>,
    /// `(G·H,)`, added to the product with x.
    pub(super) b_x: Tensor,
    /// `(G·H,)`, of cells whose kernels take it.
    pub(super) b_hh: Option<Tensor>,
    /// The number of biases that variables hold.
    pub(super) biases: usize,
    /// The gradients of w_ih, w_hh and the biases: each call has weights nodes of its own, and so is the only one.
    pub(super) mailbox: WeightGrads<[Tensor; 3]>,
}

impl HeldWeights for Direction {
    const EDGE: (&'static [usize], DType) = (&[1], DType::F32);

    fn gradients(&self, _: &Tensor) -> candle_core::Result<[Tensor; 3]> {
        match self.mailbox.take_of_one_call()? {
            Some(grads) => Ok(grads),
            None => candle_core::bail!("rnn-weights: no gradients came from the layer"),
        }
    }
}

/// What a forward pass keeps, each `(D, B, T, ..)`; or a part's, `(n, B, T, ..)`.
pub(super) struct Kept {
    pub(super) h_in: Tensor,
    /// `(B, T, D·H)`, of cells whose backward reads them; none where the layer's own outputs are read.
    pub(super) outputs: Option<Tensor>,
    pub(super) gates: Option<Tensor>,
    pub(super) c: Option<Tensor>,
}

impl Direction {
    /// Weights as the kernels read them: copies of what a backward pass will read, which an optimizer's step
    /// before it must not change.
    ///
    /// - `keeps`: whether there will be a backward pass, and whether it will reach x
    pub(super) fn new(
        gpu: &Gpu,
        weights: &Weights,
        recurrent_dtype: RecurrentDType,
        [keeps, reaches_x]: [bool; 2],
    ) -> candle_core::Result<Self> {
        let detached = weights.detach();
        let own = |weight: &Tensor, is_read: bool| {
            if is_read {
                gpu.copied(weight)
            } else {
                gpu.contiguous(weight)
            }
        };
        let is_f32 = recurrent_dtype != RecurrentDType::Bf16;
        // The launch that writes the biases copies it too.
        let copied =
            (is_f32 && keeps && detached.w_hh.is_contiguous()).then(|| detached.w_hh.clone());
        let w_hh = match &copied {
            Some(w_hh) => gpu.alloc(w_hh.shape(), DType::F32, w_hh.device())?,
            None if is_f32 => own(&detached.w_hh, keeps)?,
            None => gpu.cast(&gpu.contiguous(&detached.w_hh)?, DType::BF16)?,
        };
        // Where it is read from the device's memory, neighbouring threads read neighbouring numbers.
        let w_hh_forward = if gpu.limits().streams_weights {
            if is_f32 {
                gpu.copied(&detached.w_hh.t()?)?
            } else {
                w_hh.t()?.contiguous()?
            }
        } else {
            w_hh.clone()
        };
        Ok(Self {
            w_ih: own(&detached.w_ih, keeps && reaches_x)?,
            w_hh,
            w_hh_forward,
            copied,
            b_x: gpu.contiguous(&detached.b_ih)?,
            biases: 1 + usize::from(detached.b_hh.is_some()),
            // Kernels get an address, so the numbers have to follow each other.
            b_hh: detached.b_hh.map(|b_hh| gpu.contiguous(&b_hh)).transpose()?,
            mailbox: WeightGrads::default(),
        })
    }
}

/// The lengths of rows as the kernels read them.
pub(super) fn lengths(
    gpu: &Gpu,
    call: &CheckedCall,
    device: &Device,
) -> candle_core::Result<Option<Tensor>> {
    let Some(lengths) = &call.lengths else { return Ok(None) };
    let lengths: Vec<u32> = lengths.iter().map(|length| *length as u32).collect();
    gpu.upload(&lengths, device).map(Some)
}

/// The inputs as rows `(B·T, I)`, zero behind the rows' ends: products reach there, where `x` may hold
/// anything.
pub(super) fn rows_of(
    gpu: &Gpu,
    x: &Tensor,
    call: &CheckedCall,
    lengths: Option<&Tensor>,
) -> candle_core::Result<Tensor> {
    let SequenceDims { batch_size, seq_len, input_size, .. } = call.dims;
    let x = x.detach();
    let x = if call.time_major { x.transpose(0, 1)? } else { x };
    let rows = (batch_size * seq_len, input_size);
    if lengths.is_none() && x.is_contiguous() {
        return x.reshape(rows);
    }
    let copy = gpu.alloc(x.shape(), DType::F32, x.device())?;
    gpu.copy(&x, &copy, lengths)?;
    copy.reshape(rows)
}

/// Memory for the ones that a backward pass sums rows with: a row for each bias.
pub(super) fn ones(
    gpu: &Gpu,
    keeps: bool,
    directions: &[Arc<Direction>],
    call: &CheckedCall,
    device: &Device,
) -> candle_core::Result<Option<Tensor>> {
    let biases = directions.iter().map(|direction| direction.biases).max();
    let shape = (biases.unwrap_or(1), call.dims.batch_size * call.dims.seq_len);
    keeps.then(|| gpu.alloc(shape, DType::F32, device)).transpose()
}

impl Pass {
    pub(super) fn has_gates(&self) -> bool {
        self.family != "rnn"
    }

    /// Whether backward reads the outputs, rather than what is kept of gates and c.
    pub(super) fn reads_outputs(&self) -> bool {
        self.family != "lstm"
    }

    /// What the forward pass kept.
    pub(super) fn kept(&self) -> candle_core::Result<&Kept> {
        match self.kept.get() {
            Some(kept) => Ok(kept),
            None => candle_core::bail!("backward without states from forward"),
        }
    }

    pub(super) fn words(&self) -> DType {
        match self.call.recurrent_dtype {
            RecurrentDType::F32 | RecurrentDType::Tf32 => DType::F32,
            RecurrentDType::Bf16 => DType::BF16,
        }
    }

    /// Memory for what a forward pass keeps; `has_outputs`: whether the layer's own outputs are read.
    pub(super) fn alloc_kept(&self, has_outputs: bool) -> candle_core::Result<Kept> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.call.dims;
        let directions = self.directions.len();
        let alloc = |is_kept: bool, width: usize| {
            let shape = (directions, batch_size, seq_len, width);
            is_kept.then(|| self.alloc_uninit(shape)).transpose()
        };
        let keeps_outputs = !has_outputs && self.reads_outputs();
        let outputs = (batch_size, seq_len, directions * hidden_size);
        Ok(Kept {
            h_in: self.alloc_uninit((directions, batch_size, seq_len, hidden_size))?,
            outputs: keeps_outputs.then(|| self.alloc_uninit(outputs)).transpose()?,
            gates: alloc(self.has_gates(), 4 * hidden_size)?,
            c: alloc(self.cell.has_c(), hidden_size)?,
        })
    }

    /// `(B, ..)` memory on the device.
    pub(super) fn alloc_uninit(&self, shape: impl Into<Shape>) -> candle_core::Result<Tensor> {
        self.gpu.alloc(shape, DType::F32, self.x.device())
    }

    /// `(n, B, T, width)` memory on the device for a part's directions.
    pub(super) fn alloc_steps(
        &self,
        part: &DirectionRange,
        width: usize,
    ) -> candle_core::Result<Tensor> {
        let SequenceDims { batch_size, seq_len, .. } = self.call.dims;
        self.alloc_uninit((part.len(), batch_size, seq_len, width))
    }

    /// Marks all words of `(n, B, T, width)` as those that nobody has written yet.
    pub(super) fn arm(&self, words: Option<&Tensor>) -> candle_core::Result<()> {
        let count = words.map_or(0, Tensor::elem_count);
        let width = words.map_or(Ok(0), |words| words.dim(3))?;
        let args = vec![
            ("words", Arg::Out(words)),
            ("rows", Arg::Int(count / width.max(1))),
            ("width", Arg::Int(width)),
        ];
        let launch = walk(count, &self.gpu.limits());
        self.gpu.launch(&KernelLaunch { kernel: "team_arm_f32".into(), launch, args })
    }

    /// Launches a sweep over all steps of a part's directions.
    ///
    /// - `args`: the tensors that its kernel takes
    pub(super) fn launch_at_once(
        &self,
        sweep: Sweep,
        part: &DirectionRange,
        mut args: Args,
        outputs: Option<&Tensor>,
    ) -> candle_core::Result<()> {
        let (name, plan, segment) = match sweep {
            Sweep::Forward => ("forward", self.forward, None),
            Sweep::Backward => ("backward", self.backward, Some(self.segment)),
        };
        let call = match plan {
            LaunchPlan::Persistent { rows, launch } => {
                self.push_sizes(&mut args, outputs, ("reverse", part.start), segment);
                args.push(("rows", Arg::Int(rows)));
                self.kernel(name, launch, args)
            }
            LaunchPlan::Team { size, launch } => {
                args.push(("alarm", Arg::Alarm));
                self.push_sizes(&mut args, outputs, ("directions", part.len()), segment);
                args.extend([
                    ("members", Arg::Int(size.members)),
                    ("rows", Arg::Int(size.rows)),
                    ("group", Arg::Int(size.group)),
                    ("polls", Arg::Int(POLLS)),
                ]);
                let prefix = if size.products == RecurrentDType::F32 { "team" } else { "mma" };
                let kernel = format!("{prefix}_{}_{name}_{}", self.family, size.products.name());
                KernelLaunch { kernel, launch, args }
            }
            LaunchPlan::Stepwise { .. } => candle_core::bail!("steps are launched one by one"),
        };
        self.gpu.launch(&call)
    }

    /// Sizes and flags, which all kernels have behind their tensors; `directions` is the direction, or of
    /// a kernel that takes all how many there are.
    pub(super) fn push_sizes(
        &self,
        args: &mut Args,
        outputs: Option<&Tensor>,
        directions: (&'static str, usize),
        segment: Option<usize>,
    ) {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.call.dims;
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
            (directions.0, Arg::Int(directions.1)),
        ]);
        if !self.has_gates() {
            args.push(("function", Arg::Int(usize::from(self.cell == Cell::Relu))));
        }
        if let Some(segment) = segment {
            args.push(("segment", Arg::Int(segment)));
        }
    }

    /// A launch of one of the cell's kernels.
    pub(super) fn kernel<'a>(
        &self,
        sweep: &str,
        launch: LaunchSize,
        args: Args<'a>,
    ) -> KernelLaunch<'a> {
        let kernel = format!("{}_{sweep}_{}", self.family, self.call.recurrent_dtype.suffix());
        KernelLaunch { kernel, launch, args }
    }
}
