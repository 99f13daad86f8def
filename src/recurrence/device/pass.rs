//! The order of launches of a layer, forward and backward.
//!
//! Of a direction, forward: `gx = W_ih x + b` for all steps, one product; then the recurrence, which is
//! one launch where W_hh fits (persistent), else a product and a launch for each step. Backward the same
//! from the other end, and then the gradients of the weights, one product each over all rows and steps:
//! so each is summed in one order, and the bits are the same every time.
//!
//! kernels/README.md has the kernels' arguments and contracts.

use std::sync::{Mutex, OnceLock};

use candle_core::{DType, Device, Shape, Tensor};

use super::super::{Call as LayerCall, Cell, Outputs, SequenceDims, Weights};
use super::node::Slot;
use super::plan::{plan, Launch, LaunchPlan, Sweep, Word};
use super::queue::{Arg, Args, Call, Queue};

/// A layer's pass over a batch of sequences.
pub(super) struct Pass {
    pub(super) queue: Queue,
    pub(super) cell: Cell,
    /// What the kernels' names begin with.
    pub(super) family: &'static str,
    pub(super) word: Word,
    pub(super) dims: SequenceDims,
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
    /// On its way from the final states to the layer.
    pub(super) grad_of_states: Mutex<Option<Tensor>>,
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
    /// Weights as the kernels read them.
    pub(super) fn new(
        weights: &Weights,
        word: Word,
        slot: Slot,
        streams_weights: bool,
    ) -> candle_core::Result<Self> {
        let detached = weights.detach();
        let mut w_hh = detached.w_hh.contiguous()?;
        if word == Word::Bf16 {
            w_hh = w_hh.to_dtype(DType::BF16)?;
        }
        // Where it is read from the device's memory, neighbouring threads read neighbouring numbers.
        let w_hh_forward = if streams_weights { w_hh.t()?.contiguous()? } else { w_hh.clone() };
        Ok(Self {
            w_ih: detached.w_ih.contiguous()?,
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
    /// Keeps the gradient of the final states until the layer asks for it.
    pub(super) fn take_grad_of_states(&self, grad: &Tensor) -> candle_core::Result<()> {
        match self.grad_of_states.lock() {
            Ok(mut waiting) => *waiting = Some(grad.contiguous()?),
            Err(_) => candle_core::bail!("a thread panicked"),
        }
        Ok(())
    }

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
            Word::F32 => DType::F32,
            Word::Bf16 => DType::BF16,
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

    /// Runs all directions and writes `outputs`, if they are read, and the final states `[h_n | c_n]`.
    pub(super) fn forward(
        &self,
        outputs: Option<&Tensor>,
        states: &Tensor,
    ) -> candle_core::Result<()> {
        let states = states.detach();
        for (index, direction) in self.directions.iter().enumerate() {
            let outputs = outputs.map(|outputs| self.outputs_of(outputs, index)).transpose()?;
            self.forward_direction(index, direction, outputs, &states)?;
        }
        Ok(())
    }

    fn forward_direction(
        &self,
        index: usize,
        direction: &Direction,
        outputs: Option<Tensor>,
        states: &Tensor,
    ) -> candle_core::Result<()> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.dims;
        let steps = (batch_size, seq_len, hidden_size);
        let (has_gates, has_c) = (self.has_gates(), self.cell.has_c());
        let mut gx = self.queue.gemm(&self.x, &direction.w_ih.t()?)?;
        gx = self.queue.add_to_rows(&gx, &direction.b_x)?;
        if let (false, Some(b_hh)) = (has_gates, &direction.b_hh) {
            gx = self.queue.add_to_rows(&gx, b_hh)?;
        }
        let kept = match self.keeps {
            false => None,
            true => Some(Kept {
                h_in: self.room(steps)?,
                outputs: match outputs.is_none() && self.reads_outputs() {
                    true => Some(self.room(steps)?),
                    false => None,
                },
                gates: match has_gates {
                    true => Some(self.room((batch_size, seq_len, 4 * hidden_size))?),
                    false => None,
                },
                c: if has_c { Some(self.room(steps)?) } else { None },
            }),
        };
        let kept_ref = kept.as_ref();
        let sweep = ForwardSweep {
            index,
            direction,
            gx: &gx,
            outputs: outputs.as_ref().or(kept_ref.and_then(|kept| kept.outputs.as_ref())),
            kept: kept_ref,
            h_n: self.state_of(states, index, false)?,
            c_n: if has_c { Some(self.state_of(states, index, true)?) } else { None },
            h_0: self.initial_of(index, false)?,
            c_0: if has_c { self.initial_of(index, true)? } else { None },
            mask: self.mask_of(index)?,
        };
        match self.plan(Sweep::Forward)? {
            LaunchPlan::Persistent { rows, launch } => {
                self.forward_at_once(&sweep, rows, launch)?
            }
            LaunchPlan::Stepwise { launch } => self.forward_in_steps(&sweep, launch)?,
        }
        if let Some(kept) = kept {
            // A pass runs forward once.
            let _ = direction.kept.set(kept);
        }
        Ok(())
    }

    fn initial_of(&self, direction: usize, is_c: bool) -> candle_core::Result<Option<Tensor>> {
        self.initial.as_ref().map(|states| self.state_of(states, direction, is_c)).transpose()
    }

    fn mask_of(&self, direction: usize) -> candle_core::Result<Option<Tensor>> {
        self.mask.as_ref().map(|mask| mask.get(direction)).transpose()
    }

    fn plan(&self, sweep: Sweep) -> candle_core::Result<LaunchPlan> {
        plan(self.cell, &self.dims, self.word, sweep, &self.queue.limits())
            .map_err(candle_core::Error::wrap)
    }

    fn forward_at_once(
        &self,
        sweep: &ForwardSweep,
        rows: usize,
        launch: Launch,
    ) -> candle_core::Result<()> {
        let mut args: Args = vec![
            ("gx", Arg::In(Some(sweep.gx))),
            ("w_hh", Arg::In(Some(&sweep.direction.w_hh_forward))),
        ];
        self.push_b_hh(&mut args, sweep.direction);
        args.push(("h_0", Arg::In(sweep.h_0.as_ref())));
        if self.cell.has_c() {
            args.push(("c_0", Arg::In(sweep.c_0.as_ref())));
        }
        self.push_forward(&mut args, sweep, None);
        args.push(("h_n", Arg::Out(Some(&sweep.h_n))));
        if self.cell.has_c() {
            args.push(("c_n", Arg::Out(sweep.c_n.as_ref())));
        }
        self.push_sizes(&mut args, sweep.outputs, sweep.index, None);
        args.push(("rows", Arg::Int(rows)));
        self.launch("forward", launch, args)
    }

    fn forward_in_steps(&self, sweep: &ForwardSweep, launch: Launch) -> candle_core::Result<()> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.dims;
        let operand = room((batch_size, hidden_size), self.words(), self.x.device())?;
        // c first: the operand is that of h.
        let c = sweep.c_n.as_ref().map(|c_n| (&sweep.c_0, None, c_n));
        let h = Some((&sweep.h_0, sweep.mask.as_ref(), &sweep.h_n));
        for (initial, mask, state) in [c, h].into_iter().flatten() {
            let args = vec![
                ("h_0", Arg::In(initial.as_ref())),
                ("mask", Arg::In(mask)),
                ("h", Arg::Out(Some(state))),
                ("operand", Arg::Out(Some(&operand))),
                ("batch_size", Arg::Int(batch_size)),
                ("hidden_size", Arg::Int(hidden_size)),
            ];
            let kernel = format!("step_begin_{}", self.word.suffix());
            self.queue.launch(&Call { kernel, launch, args })?;
        }
        let w_hh = sweep.direction.w_hh.t()?;
        for step in 0..seq_len {
            let z_hh = self.product(&operand, &w_hh)?;
            let mut args: Args =
                vec![("gx", Arg::In(Some(sweep.gx))), ("z_hh", Arg::In(Some(&z_hh)))];
            self.push_b_hh(&mut args, sweep.direction);
            let h = Some(("h", &sweep.h_n));
            let c_now = sweep.c_n.as_ref().map(|c_n| ("c_now", c_n));
            self.push_forward(&mut args, sweep, Some([h, c_now, Some(("operand", &operand))]));
            self.push_sizes(&mut args, sweep.outputs, sweep.index, None);
            args.push(("step", Arg::Int(step)));
            self.launch("step_forward", launch, args)?;
        }
        Ok(())
    }

    /// A product in words, its result in `f32`.
    fn product(&self, operand: &Tensor, w_hh: &Tensor) -> candle_core::Result<Tensor> {
        self.queue.gemm(operand, w_hh)?.to_dtype(DType::F32)
    }

    fn push_b_hh<'a>(&self, args: &mut Args<'a>, direction: &'a Direction) {
        if self.has_gates() {
            args.push(("b_hh", Arg::In(direction.b_hh.as_ref())));
        }
    }

    /// What both forward variants have between the initial and the final states; a step has its own
    /// states there.
    fn push_forward<'a>(
        &'a self,
        args: &mut Args<'a>,
        sweep: &'a ForwardSweep<'a>,
        of_a_step: Option<[Option<(&'static str, &'a Tensor)>; 3]>,
    ) {
        let is_step = of_a_step.is_some();
        let out = |tensor| written(tensor, is_step);
        args.push(("lengths", Arg::In(self.lengths.as_ref())));
        args.push(("mask", Arg::In(sweep.mask.as_ref())));
        for (name, tensor) in of_a_step.into_iter().flatten().flatten() {
            args.push((name, Arg::InOut(tensor)));
        }
        args.push(("outputs", out(sweep.outputs)));
        args.push(("h_in", out(sweep.kept.map(|kept| &kept.h_in))));
        if self.has_gates() {
            args.push(("gates", out(sweep.kept.and_then(|kept| kept.gates.as_ref()))));
        }
        if self.cell.has_c() {
            args.push(("c", out(sweep.kept.and_then(|kept| kept.c.as_ref()))));
        }
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

    /// The gradients of x, of the token and of the initial states, as far as they are asked for; those
    /// of the weights go where the token's node looks for them.
    ///
    /// `output` is the layer's result, `grad` its gradient.
    pub(super) fn backward(
        &self,
        x: &Tensor,
        token: &Tensor,
        initial: Option<&Tensor>,
        output: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let SequenceDims { batch_size, seq_len, input_size, .. } = self.dims;
        let grad = grad.contiguous()?;
        let waiting = match self.grad_of_states.lock() {
            Ok(mut waiting) => waiting.take(),
            Err(_) => candle_core::bail!("a thread panicked"),
        };
        let (outputs, grad_outputs, grad_states) = match self.read {
            Outputs::All => (Some(output), Some(&grad), waiting),
            Outputs::Last => (None, None, Some(grad.clone())),
        };
        let grad_initial = match initial {
            Some(initial) => Some(self.room(initial.shape())?),
            None => None,
        };
        let mut grad_x: Option<Tensor> = None;
        for (index, direction) in self.directions.iter().enumerate() {
            let deltas = self.backward_direction(
                index,
                direction,
                outputs.map(|outputs| self.outputs_of(outputs, index)).transpose()?,
                grad_outputs.map(|grad| self.outputs_of(grad, index)).transpose()?,
                grad_states.as_ref(),
                grad_initial.as_ref(),
            )?;
            if token.track_op() {
                self.hand_over_weights(direction, &deltas)?;
            }
            if x.track_op() {
                let part = self.queue.gemm(&deltas.x, &direction.w_ih)?;
                grad_x = Some(match grad_x {
                    None => part,
                    Some(sum) => (sum + part)?,
                });
            }
        }
        let grad_x = match grad_x {
            None => None,
            Some(rows) => {
                let batch_first = rows.reshape((batch_size, seq_len, input_size))?;
                Some(match self.time_major {
                    true => batch_first.transpose(0, 1)?.contiguous()?,
                    false => batch_first,
                })
            }
        };
        let grad_token = if token.track_op() { Some(token.ones_like()?) } else { None };
        Ok([grad_x, grad_token, grad_initial])
    }

    /// Products over all rows and steps: the gradients of a direction's weights.
    fn hand_over_weights(&self, direction: &Direction, deltas: &Deltas) -> candle_core::Result<()> {
        let Some(kept) = direction.kept.get() else {
            candle_core::bail!("backward without states from forward")
        };
        let h_in = kept.h_in.flatten_to(1)?;
        let of_h = deltas.h.as_ref().unwrap_or(&deltas.x);
        let w_ih = self.queue.gemm(&deltas.x.t()?, &self.x)?;
        let w_hh = self.queue.gemm(&of_h.t()?, &h_in)?;
        let b_ih = self.queue.sum_of_rows(&deltas.x)?;
        let biases = match (direction.biases, &deltas.h) {
            (1, _) => b_ih,
            (_, None) => Tensor::cat(&[&b_ih, &b_ih], 0)?,
            (_, Some(h)) => Tensor::cat(&[&b_ih, &self.queue.sum_of_rows(h)?], 0)?,
        };
        match direction.slot.lock() {
            Ok(mut slot) => *slot = Some([w_ih, w_hh, biases]),
            Err(_) => candle_core::bail!("a thread panicked"),
        }
        Ok(())
    }

    fn backward_direction(
        &self,
        index: usize,
        direction: &Direction,
        outputs: Option<Tensor>,
        grad_outputs: Option<Tensor>,
        grad_states: Option<&Tensor>,
        grad_initial: Option<&Tensor>,
    ) -> candle_core::Result<Deltas> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.dims;
        let Some(kept) = direction.kept.get() else {
            candle_core::bail!("backward without states from forward")
        };
        let has_c = self.cell.has_c();
        let of = |states: Option<&Tensor>, is_c: bool| match states {
            Some(states) if !is_c || has_c => Ok(Some(self.state_of(states, index, is_c)?)),
            _ => Ok::<_, candle_core::Error>(None),
        };
        let deltas = (batch_size, seq_len, self.cell.gates() * hidden_size);
        let sweep = BackwardSweep {
            index,
            direction,
            kept,
            outputs: outputs.as_ref().or(kept.outputs.as_ref()),
            grad_outputs: grad_outputs.as_ref(),
            grad_h_n: of(grad_states, false)?,
            grad_c_n: of(grad_states, true)?,
            h_0: self.initial_of(index, false)?,
            c_0: if has_c { self.initial_of(index, true)? } else { None },
            mask: self.mask_of(index)?,
            delta_x: self.room(deltas)?,
            delta_h: if self.cell == Cell::Gru { Some(self.room(deltas)?) } else { None },
            grad_h_0: of(grad_initial, false)?,
            grad_c_0: of(grad_initial, true)?,
        };
        match self.plan(Sweep::Backward)? {
            LaunchPlan::Persistent { rows, launch } => {
                self.backward_at_once(&sweep, rows, launch)?
            }
            LaunchPlan::Stepwise { launch } => self.backward_in_steps(&sweep, launch)?,
        }
        Ok(Deltas {
            x: sweep.delta_x.flatten_to(1)?,
            h: sweep.delta_h.map(|delta_h| delta_h.flatten_to(1)).transpose()?,
        })
    }

    fn backward_at_once(
        &self,
        sweep: &BackwardSweep,
        rows: usize,
        launch: Launch,
    ) -> candle_core::Result<()> {
        // The kernel writes them whoever asks.
        let states = (self.dims.batch_size, self.dims.hidden_size);
        let grad_h_0 = match &sweep.grad_h_0 {
            Some(grad) => grad.clone(),
            None => self.room(states)?,
        };
        let grad_c_0 = match &sweep.grad_c_0 {
            Some(grad) => grad.clone(),
            None => self.room(states)?,
        };
        let mut args: Args = vec![("w_hh", Arg::In(Some(&sweep.direction.w_hh)))];
        self.push_backward(&mut args, sweep, false);
        args.push(("grad_h_0", Arg::Out(Some(&grad_h_0))));
        if self.cell.has_c() {
            args.push(("grad_c_0", Arg::Out(Some(&grad_c_0))));
        }
        self.push_sizes(&mut args, sweep.outputs, sweep.index, Some(self.segment));
        args.push(("rows", Arg::Int(rows)));
        self.launch("backward", launch, args)
    }

    fn backward_in_steps(&self, sweep: &BackwardSweep, launch: Launch) -> candle_core::Result<()> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.dims;
        let gates = self.cell.gates() * hidden_size;
        let operand = room((batch_size, gates), self.words(), self.x.device())?;
        let state = self.room((batch_size, hidden_size))?;
        let mut z: Option<Tensor> = None;
        for step in (0..seq_len).rev() {
            let mut args: Args = vec![("z", Arg::In(z.as_ref()))];
            self.push_backward(&mut args, sweep, true);
            if self.has_gates() {
                args.push(("state", Arg::InOut(&state)));
            }
            args.push(("operand", Arg::Out(Some(&operand))));
            self.push_sizes(&mut args, sweep.outputs, sweep.index, Some(self.segment));
            args.push(("step", Arg::Int(step)));
            self.launch("step_backward", launch, args)?;
            if step > 0 || sweep.grad_h_0.is_some() {
                z = Some(self.product(&operand, &sweep.direction.w_hh)?);
            }
        }
        let past_product = if self.cell == Cell::Gru { Some(&state) } else { None };
        if let Some(grad_h_0) = &sweep.grad_h_0 {
            let mask = sweep.mask.as_ref();
            self.end(z.as_ref(), past_product, sweep.grad_h_n.as_ref(), mask, grad_h_0, launch)?;
        }
        if let Some(grad_c_0) = &sweep.grad_c_0 {
            self.end(Some(&state), None, sweep.grad_c_n.as_ref(), None, grad_c_0, launch)?;
        }
        Ok(())
    }

    /// The gradient of an initial state, behind the last of the steps.
    fn end(
        &self,
        z: Option<&Tensor>,
        state: Option<&Tensor>,
        grad_n: Option<&Tensor>,
        mask: Option<&Tensor>,
        grad_0: &Tensor,
        launch: Launch,
    ) -> candle_core::Result<()> {
        let args = vec![
            ("z", Arg::In(z)),
            ("state", Arg::In(state)),
            ("grad_n", Arg::In(grad_n)),
            ("lengths", Arg::In(self.lengths.as_ref())),
            ("mask", Arg::In(mask)),
            ("grad_0", Arg::Out(Some(grad_0))),
            ("batch_size", Arg::Int(self.dims.batch_size)),
            ("hidden_size", Arg::Int(self.dims.hidden_size)),
        ];
        self.queue.launch(&Call { kernel: "step_end_f32".into(), launch, args })
    }

    /// What both backward variants have in common.
    fn push_backward<'a>(
        &'a self,
        args: &mut Args<'a>,
        sweep: &'a BackwardSweep<'a>,
        is_step: bool,
    ) {
        if self.reads_outputs() {
            args.push(("outputs", Arg::In(sweep.outputs)));
        }
        if self.has_gates() {
            args.push(("gates", Arg::In(sweep.kept.gates.as_ref())));
        }
        if self.cell == Cell::Gru {
            args.push(("h_0", Arg::In(sweep.h_0.as_ref())));
        }
        if self.cell.has_c() {
            args.push(("c", Arg::In(sweep.kept.c.as_ref())));
            args.push(("c_0", Arg::In(sweep.c_0.as_ref())));
        }
        args.push(("lengths", Arg::In(self.lengths.as_ref())));
        args.push(("mask", Arg::In(sweep.mask.as_ref())));
        args.push(("grad_outputs", Arg::In(sweep.grad_outputs)));
        args.push(("grad_h_n", Arg::In(sweep.grad_h_n.as_ref())));
        if self.cell.has_c() {
            args.push(("grad_c_n", Arg::In(sweep.grad_c_n.as_ref())));
        }
        args.push(("delta_x", written(Some(&sweep.delta_x), is_step)));
        if let Some(delta_h) = &sweep.delta_h {
            args.push(("delta_h", written(Some(delta_h), is_step)));
        }
    }
}

/// The tensors of a forward sweep.
struct ForwardSweep<'a> {
    index: usize,
    direction: &'a Direction,
    gx: &'a Tensor,
    outputs: Option<&'a Tensor>,
    kept: Option<&'a Kept>,
    h_n: Tensor,
    c_n: Option<Tensor>,
    h_0: Option<Tensor>,
    c_0: Option<Tensor>,
    mask: Option<Tensor>,
}

/// The tensors of a backward sweep.
struct BackwardSweep<'a> {
    index: usize,
    direction: &'a Direction,
    kept: &'a Kept,
    outputs: Option<&'a Tensor>,
    grad_outputs: Option<&'a Tensor>,
    grad_h_n: Option<Tensor>,
    grad_c_n: Option<Tensor>,
    h_0: Option<Tensor>,
    c_0: Option<Tensor>,
    mask: Option<Tensor>,
    delta_x: Tensor,
    delta_h: Option<Tensor>,
    grad_h_0: Option<Tensor>,
    grad_c_0: Option<Tensor>,
}

/// The gradients of the pre-activations, as rows `(B·T, G·H)`.
struct Deltas {
    x: Tensor,
    /// Of the hidden side, where it differs.
    h: Option<Tensor>,
}
