//! The backward sweeps of a layer, at once or in steps, and the gradients of its weights.

use candle_core::Tensor;

use super::gemm::Gemm;
use super::launch::{Arg, Args, KernelLaunch};
use super::pass::{written, Direction, Kept, Pass};
use super::plan::{LaunchPlan, LaunchSize};
use super::queue::StepLoop;
use crate::recurrence::graph::{ArgumentGrads, Reached};
use crate::recurrence::{Cell, SequenceDims};

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
pub(super) struct Deltas {
    pub(super) x: Tensor,
    /// Of the hidden side, where it differs.
    pub(super) h: Option<Tensor>,
}

impl Pass {
    /// The gradients of x, of the weights edge and of the initial states, as far as they are asked for; those
    /// of the weights go into the mailbox of their node.
    ///
    /// `reached` holds the gradients of the results.
    pub(super) fn argument_grads(
        &self,
        x: &Tensor,
        weights_edge: &Tensor,
        initial: Option<&Tensor>,
        reached: Reached,
    ) -> candle_core::Result<ArgumentGrads> {
        let SequenceDims { batch_size, seq_len, input_size, .. } = self.call.dims;
        let grad_initial = match initial {
            Some(initial) => Some(self.alloc_uninit(initial.shape())?),
            None => None,
        };
        let mut of_teams = Vec::new();
        if let LaunchPlan::Team { size, launch } = self.backward {
            of_teams = self.backward_by_teams(&reached, grad_initial.as_ref(), size, launch)?;
        }
        let mut of_teams = of_teams.into_iter();
        let mut grad_x: Option<Tensor> = None;
        for (index, direction) in self.directions.iter().enumerate() {
            let deltas = match of_teams.next() {
                Some(deltas) => deltas,
                None => {
                    self.backward_direction(index, direction, &reached, grad_initial.as_ref())?
                }
            };
            if weights_edge.track_op() {
                self.store_weight_grads(index, direction, &deltas)?;
            }
            if x.track_op() {
                let sum = match grad_x.take() {
                    Some(sum) => sum,
                    None => self.alloc_uninit((batch_size * seq_len, input_size))?,
                };
                let (a, b) = (&deltas.x, &direction.w_ih);
                self.gpu.gemm(&Gemm { a, b, out: &sum, adds: index > 0 })?;
                grad_x = Some(sum);
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
        Ok([grad_x, grad_edge, grad_initial])
    }

    /// Products over all rows and steps: the gradients of a direction's weights.
    fn store_weight_grads(
        &self,
        index: usize,
        direction: &Direction,
        deltas: &Deltas,
    ) -> candle_core::Result<()> {
        let h_in = self.kept()?.h_in.get(index)?.flatten_to(1)?;
        let of_h = deltas.h.as_ref().unwrap_or(&deltas.x);
        let Some(ones) = &self.ones else {
            candle_core::bail!("backward without ones from forward")
        };
        let product = |a: &Tensor, b: &Tensor| {
            let out = self.alloc_uninit((a.dim(0)?, b.dim(1)?))?;
            self.gpu.gemm(&Gemm { a, b, out: &out, adds: false })?;
            Ok::<_, candle_core::Error>(out)
        };
        let w_ih = product(&deltas.x.t()?, &self.x)?;
        let w_hh = product(&of_h.t()?, &h_in)?;
        let biases = match (direction.biases, &deltas.h) {
            (2, Some(of_h)) => {
                // The two differ.
                let one = ones.narrow(0, 0, 1)?;
                let both = self.alloc_uninit((2, of_h.dim(1)?))?;
                for (row, deltas) in [&deltas.x, of_h].into_iter().enumerate() {
                    let out = &both.narrow(0, row, 1)?;
                    self.gpu.gemm(&Gemm { a: &one, b: deltas, out, adds: false })?;
                }
                both
            }
            (biases, _) => product(&ones.narrow(0, 0, biases)?, &deltas.x)?,
        };
        let grads = [w_ih, w_hh, biases.flatten_all()?];
        direction.mailbox.add(&self.call_id, 0, grads, |_, _| {
            candle_core::bail!("two calls with the weights of one")
        })
    }

    fn backward_direction(
        &self,
        index: usize,
        direction: &Direction,
        reached: &Reached,
        grad_initial: Option<&Tensor>,
    ) -> candle_core::Result<Deltas> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.call.dims;
        let kept = self.kept()?.direction(index)?;
        let outputs = reached.outputs.map(|all| self.outputs_of(all, index)).transpose()?;
        let grad_outputs = reached.grad_outputs.as_ref();
        let grad_outputs = grad_outputs.map(|all| self.outputs_of(all, index)).transpose()?;
        let grad_states = reached.grad_states.as_ref();
        let has_c = self.call.cell.has_c();
        let of = |states: Option<&Tensor>, is_c: bool| match states {
            Some(states) if !is_c || has_c => Ok(Some(self.state_of(states, index, is_c)?)),
            _ => Ok::<_, candle_core::Error>(None),
        };
        let deltas = (batch_size, seq_len, self.call.cell.gates() * hidden_size);
        let sweep = BackwardSweep {
            index,
            direction,
            kept: &kept,
            outputs: outputs.as_ref().or(kept.outputs.as_ref()),
            grad_outputs: grad_outputs.as_ref(),
            grad_h_n: of(grad_states, false)?,
            grad_c_n: of(grad_states, true)?,
            h_0: self.initial_of(index, false)?,
            c_0: if has_c { self.initial_of(index, true)? } else { None },
            mask: self.mask_of(index)?,
            delta_x: self.alloc_uninit(deltas)?,
            delta_h: if self.call.cell == Cell::Gru {
                Some(self.alloc_uninit(deltas)?)
            } else {
                None
            },
            grad_h_0: of(grad_initial, false)?,
            grad_c_0: of(grad_initial, true)?,
        };
        match self.backward {
            LaunchPlan::Persistent { rows, launch } => {
                self.backward_at_once(&sweep, rows, launch)?
            }
            LaunchPlan::Stepwise { launch } => self.backward_in_steps(&sweep, launch)?,
            LaunchPlan::Team { .. } => candle_core::bail!("teams take all directions at once"),
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
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        // The kernel writes them whoever asks.
        let states = (self.call.dims.batch_size, self.call.dims.hidden_size);
        let grad_h_0 = match &sweep.grad_h_0 {
            Some(grad) => grad.clone(),
            None => self.alloc_uninit(states)?,
        };
        let grad_c_0 = match &sweep.grad_c_0 {
            Some(grad) => grad.clone(),
            None => self.alloc_uninit(states)?,
        };
        let mut args: Args = vec![("w_hh", Arg::In(Some(&sweep.direction.w_hh)))];
        self.push_backward(&mut args, sweep, false);
        args.push(("grad_h_0", Arg::Out(Some(&grad_h_0))));
        if self.call.cell.has_c() {
            args.push(("grad_c_0", Arg::Out(Some(&grad_c_0))));
        }
        let reverse = ("reverse", sweep.index);
        self.push_sizes(&mut args, sweep.outputs, reverse, Some(self.segment));
        args.push(("rows", Arg::Int(rows)));
        self.gpu.launch(&self.kernel("backward", launch, args))
    }

    fn backward_in_steps(
        &self,
        sweep: &BackwardSweep,
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.call.dims;
        let gates = self.call.cell.gates() * hidden_size;
        let states = (batch_size, hidden_size);
        let operand = self.gpu.alloc((batch_size, gates), self.words(), self.x.device())?;
        let (state, z) = (self.alloc_uninit(states)?, self.alloc_uninit(states)?);
        let product = || Gemm { a: &operand, b: &sweep.direction.w_hh, out: &z, adds: false };
        let kernel = |z, step| {
            let mut args: Args = vec![("z", Arg::In(z))];
            self.push_backward(&mut args, sweep, true);
            if self.has_gates() {
                args.push(("state", Arg::InOut(&state)));
            }
            args.push(("operand", Arg::Out(Some(&operand))));
            let reverse = ("reverse", sweep.index);
            self.push_sizes(&mut args, sweep.outputs, reverse, Some(self.segment));
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
        let past_product = if self.call.cell == Cell::Gru { Some(&state) } else { None };
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
        if self.call.cell == Cell::Gru {
            args.push(("h_0", Arg::In(sweep.h_0.as_ref())));
        }
        if self.call.cell.has_c() {
            args.push(("c", Arg::In(sweep.kept.c.as_ref())));
            args.push(("c_0", Arg::In(sweep.c_0.as_ref())));
        }
        args.push(("lengths", Arg::In(self.lengths.as_ref())));
        args.push(("mask", Arg::In(sweep.mask.as_ref())));
        args.push(("grad_outputs", Arg::In(sweep.grad_outputs)));
        args.push(("grad_h_n", Arg::In(sweep.grad_h_n.as_ref())));
        if self.call.cell.has_c() {
            args.push(("grad_c_n", Arg::In(sweep.grad_c_n.as_ref())));
        }
        args.push(("delta_x", written(Some(&sweep.delta_x), is_step)));
        if let Some(delta_h) = &sweep.delta_h {
            args.push(("delta_h", written(Some(delta_h), is_step)));
        }
    }
}
