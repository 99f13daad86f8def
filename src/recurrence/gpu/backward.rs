//! The node of a layer: the backward sweeps, at once or in steps, and the gradients of its weights.

use candle_core::{CpuStorage, Shape, Tensor};

use super::gemm::Gemm;
use super::launch::{taken, Arg, Args, DriverCall, KernelLaunch};
use super::pass::{Direction, DirectionRange, Kept, Pass};
use super::plan::{LaunchPlan, LaunchSize, Sweep};
use super::queue::StepLoop;
use crate::recurrence::grad_mailbox::LayerResult;
use crate::recurrence::graph::{ArgumentGrads, Exchange, LayerPass, Reached};
use crate::recurrence::{Cell, SequenceDims};

/// The tensors of a backward sweep over some directions.
struct BackwardSweep {
    part: DirectionRange,
    w_hh: Option<Tensor>,
    kept: Kept,
    outputs: Option<Tensor>,
    grad_outputs: Option<Tensor>,
    grad_h_n: Option<Tensor>,
    grad_c_n: Option<Tensor>,
    h_0: Option<Tensor>,
    c_0: Option<Tensor>,
    mask: Option<Tensor>,
    /// The gradients of the pre-activations, `(n, B, T, G·H)`.
    delta_x: Tensor,
    /// Of the hidden side, where it differs.
    delta_h: Option<Tensor>,
    grad_h_0: Option<Tensor>,
    grad_c_0: Option<Tensor>,
}

impl LayerPass for Pass {
    const NAME: &'static str = "rnn-gpu-layer";

    /// In tests alone: there a GPU is emulated on the CPU.
    fn result(&self, _: LayerResult, shape: &Shape) -> candle_core::Result<CpuStorage> {
        self.gpu.note(DriverCall::Allocation);
        Ok(CpuStorage::F32(vec![f32::NAN; shape.elem_count()]))
    }

    fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Leaves the gradients of the weights in the mailbox of their node.
    fn backward(
        &self,
        x: &Tensor,
        weights_edge: &Tensor,
        initial: Option<&Tensor>,
        reached: Reached,
    ) -> candle_core::Result<ArgumentGrads> {
        let SequenceDims { batch_size, seq_len, input_size, .. } = self.call.dims;
        let grad_initial = initial.map(|initial| self.alloc_uninit(initial.shape())).transpose()?;
        let mut grad_x: Option<Tensor> = None;
        for part in self.parts(&self.backward) {
            let sweep = self.backward_part(part, &reached, grad_initial.as_ref())?;
            for (place, index) in sweep.part.clone().enumerate() {
                // Rows, `(B·T, G·H)`.
                let deltas = |all: &Tensor| all.get(place)?.flatten_to(1);
                let delta_x = deltas(&sweep.delta_x)?;
                let direction = &self.directions[index];
                if weights_edge.track_op() {
                    let delta_h = sweep.delta_h.as_ref().map(deltas).transpose()?;
                    self.store_weight_grads(index, direction, &delta_x, delta_h.as_ref())?;
                }
                if x.track_op() {
                    let sum = match grad_x.take() {
                        Some(sum) => sum,
                        None => self.alloc_uninit((batch_size * seq_len, input_size))?,
                    };
                    let (a, b) = (&delta_x, &direction.w_ih);
                    self.gpu.gemm(&Gemm { a, b, out: &sum, adds: index > 0 })?;
                    grad_x = Some(sum);
                }
            }
        }
        let grad_x = match grad_x {
            None => None,
            Some(rows) => {
                let batch_first = rows.reshape((batch_size, seq_len, input_size))?;
                Some(if self.call.time_major {
                    self.gpu.contiguous(&batch_first.transpose(0, 1)?)?
                } else {
                    batch_first
                })
            }
        };
        // Nobody reads the gradient of the edge.
        let grad_edge = weights_edge.track_op().then(|| weights_edge.detach());
        Ok((grad_x, grad_edge, grad_initial))
    }
}

impl Pass {
    /// Products over all rows and steps: the gradients of a direction's weights.
    fn store_weight_grads(
        &self,
        index: usize,
        direction: &Direction,
        delta_x: &Tensor,
        delta_h: Option<&Tensor>,
    ) -> candle_core::Result<()> {
        let h_in = self.kept()?.h_in.get(index)?.flatten_to(1)?;
        let of_h = delta_h.unwrap_or(delta_x);
        let Some(ones) = &self.ones else {
            candle_core::bail!("backward without ones from forward")
        };
        let product = |a: &Tensor, b: &Tensor| {
            let out = self.alloc_uninit((a.dim(0)?, b.dim(1)?))?;
            self.gpu.gemm(&Gemm { a, b, out: &out, adds: false })?;
            Ok::<_, candle_core::Error>(out)
        };
        let w_ih = product(&delta_x.t()?, &self.x)?;
        let w_hh = product(&of_h.t()?, &h_in)?;
        let biases = match (direction.biases, delta_h) {
            (2, Some(of_h)) => {
                // The two differ.
                let one = ones.narrow(0, 0, 1)?;
                let both = self.alloc_uninit((2, of_h.dim(1)?))?;
                for (row, deltas) in [delta_x, of_h].into_iter().enumerate() {
                    let out = &both.narrow(0, row, 1)?;
                    self.gpu.gemm(&Gemm { a: &one, b: deltas, out, adds: false })?;
                }
                both
            }
            (biases, _) => product(&ones.narrow(0, 0, biases)?, delta_x)?,
        };
        let grads = [w_ih, w_hh, biases.flatten_all()?];
        direction.mailbox.add(&self.call_id, 0, grads, |_, _| {
            candle_core::bail!("two calls with the weights of one")
        })
    }

    /// Runs a sweep, which writes the deltas and the gradients of the initial states.
    fn backward_part(
        &self,
        part: DirectionRange,
        reached: &Reached,
        grad_initial: Option<&Tensor>,
    ) -> candle_core::Result<BackwardSweep> {
        let kept = self.kept()?.part(&part)?;
        let outputs = self.outputs_of(reached.outputs, &part)?;
        let (grad_outputs, grad_states) =
            (reached.grad_outputs.as_ref(), reached.grad_states.as_ref());
        let initial = self.initial.as_ref();
        let width = self.cell.gates() * self.call.dims.hidden_size;
        let is_gru = self.cell == Cell::Gru;
        let mut sweep = BackwardSweep {
            w_hh: self.joined(&part, |direction| Some(&direction.w_hh))?,
            outputs: outputs.or_else(|| kept.outputs.clone()),
            grad_outputs: self.outputs_of(grad_outputs, &part)?,
            grad_h_n: self.state_of(grad_states, &part, false)?,
            grad_c_n: self.state_of(grad_states, &part, true)?,
            h_0: self.state_of(initial, &part, false)?,
            c_0: self.state_of(initial, &part, true)?,
            mask: self.mask_of(&part)?,
            delta_x: self.alloc_steps(&part, width)?,
            delta_h: is_gru.then(|| self.alloc_steps(&part, width)).transpose()?,
            grad_h_0: self.state_of(grad_initial, &part, false)?,
            grad_c_0: self.state_of(grad_initial, &part, true)?,
            kept,
            part,
        };
        match self.backward {
            LaunchPlan::Stepwise { launch } => {
                self.backward_in_steps(&sweep, launch)?;
                return Ok(sweep);
            }
            LaunchPlan::Team { .. } => {
                self.arm(Some(sweep.delta_h.as_ref().unwrap_or(&sweep.delta_x)))?;
            }
            LaunchPlan::Persistent { .. } if sweep.grad_h_0.is_none() => {
                // The kernel writes them whoever asks.
                let states = (self.call.dims.batch_size, self.call.dims.hidden_size);
                sweep.grad_h_0 = Some(self.alloc_uninit(states)?);
                let has_c = self.cell.has_c();
                sweep.grad_c_0 = has_c.then(|| self.alloc_uninit(states)).transpose()?;
            }
            LaunchPlan::Persistent { .. } => {}
        }
        let args = self.backward_args(&sweep, None);
        self.launch_at_once(Sweep::Backward, &sweep.part, args, sweep.outputs.as_ref())?;
        Ok(sweep)
    }

    fn backward_in_steps(
        &self,
        sweep: &BackwardSweep,
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.call.dims;
        let gates = self.cell.gates() * hidden_size;
        let states = (batch_size, hidden_size);
        let operand = self.gpu.alloc((batch_size, gates), self.words(), self.x.device())?;
        let (state, z) = (self.alloc_uninit(states)?, self.alloc_uninit(states)?);
        let w_hh = &self.directions[sweep.part.start].w_hh;
        let product = || Gemm { a: &operand, b: w_hh, out: &z, adds: false };
        let kernel = |z, step| {
            let mut args = self.backward_args(sweep, Some((z, &state, &operand)));
            let reverse = ("reverse", sweep.part.start);
            self.push_sizes(&mut args, sweep.outputs.as_ref(), reverse, Some(self.segment));
            args.push(("step", Arg::Int(step)));
            self.kernel("step_backward", launch, args)
        };
        // Nothing arrives at the last step.
        self.gpu.launch(&kernel(None, seq_len - 1))?;
        self.gpu.run_steps(StepLoop {
            product: product(),
            kernel: kernel(Some(&z), 0),
            steps: (0..seq_len - 1).rev().collect(),
        })?;
        if sweep.grad_h_0.is_some() {
            self.gpu.gemm(&product())?;
        }
        let past_product = if self.cell == Cell::Gru { Some(&state) } else { None };
        if let Some(grad_h_0) = &sweep.grad_h_0 {
            let mask = sweep.mask.as_ref();
            self.end(Some(&z), past_product, sweep.grad_h_n.as_ref(), mask, grad_h_0, launch)?;
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
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        let args = vec![
            ("z", Arg::In(z)),
            ("state", Arg::In(state)),
            ("grad_n", Arg::In(grad_n)),
            ("lengths", Arg::In(self.lengths.as_ref())),
            ("mask", Arg::In(mask)),
            ("grad_0", Arg::Out(Some(grad_0))),
            ("batch_size", Arg::Int(self.call.dims.batch_size)),
            ("hidden_size", Arg::Int(self.call.dims.hidden_size)),
        ];
        self.gpu.launch(&KernelLaunch { kernel: "step_end_f32".into(), launch, args })
    }

    /// The tensors that a backward kernel takes, of the whole sweep or of a step.
    ///
    /// - `step`: the recurrent product, none at the last step, where nothing arrives; what goes from a step to the one
    ///   before by other ways; and the product's factor in the next step
    fn backward_args<'a>(
        &'a self,
        sweep: &'a BackwardSweep,
        step: Option<(Option<&'a Tensor>, &'a Tensor, &'a Tensor)>,
    ) -> Args<'a> {
        let (has_gates, has_c) = (self.has_gates(), self.cell.has_c());
        let (at_once, is_step) = (step.is_none(), step.is_some());
        let (is_team, is_gru) =
            (matches!(self.backward, LaunchPlan::Team { .. }), sweep.delta_h.is_some());
        let z = step.and_then(|(z, ..)| z);
        let (state, operand) = step.map(|(_, state, operand)| (state, operand)).unzip();
        let of = |tensor: &'a Option<Tensor>| Arg::In(tensor.as_ref());
        // A step writes its part of a tensor, and teams read what they hand each other.
        let delta_x = Arg::written(Some(&sweep.delta_x), is_step || is_team && !is_gru);
        let delta_h = Arg::written(sweep.delta_h.as_ref(), is_step || is_team);
        taken([
            (at_once, "w_hh", of(&sweep.w_hh)),
            (is_step, "z", Arg::In(z)),
            (self.reads_outputs(), "outputs", of(&sweep.outputs)),
            (has_gates, "gates", of(&sweep.kept.gates)),
            (is_gru, "h_0", of(&sweep.h_0)),
            (has_c, "c", of(&sweep.kept.c)),
            (has_c, "c_0", of(&sweep.c_0)),
            (true, "lengths", of(&self.lengths)),
            (true, "mask", of(&sweep.mask)),
            (true, "grad_outputs", of(&sweep.grad_outputs)),
            (true, "grad_h_n", of(&sweep.grad_h_n)),
            (has_c, "grad_c_n", of(&sweep.grad_c_n)),
            (true, "delta_x", delta_x),
            (is_gru, "delta_h", delta_h),
            (at_once, "grad_h_0", Arg::Out(sweep.grad_h_0.as_ref())),
            (at_once && has_c, "grad_c_0", Arg::Out(sweep.grad_c_0.as_ref())),
            (is_step && has_gates, "state", Arg::written(state, true)),
            (is_step, "operand", Arg::Out(operand)),
        ])
    }
}
