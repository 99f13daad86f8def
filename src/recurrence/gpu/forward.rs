//! The forward sweeps of a layer, at once or in steps.

use candle_core::Tensor;

use super::gemm::Gemm;
use super::launch::{taken, Arg, Args, KernelLaunch};
use super::pass::{DirectionRange, Kept, Pass};
use super::plan::{LaunchPlan, LaunchSize, Sweep};
use super::queue::StepLoop;
use crate::recurrence::SequenceDims;

/// The tensors of a forward sweep over some directions.
struct ForwardSweep {
    part: DirectionRange,
    gx: Tensor,
    w_hh: Option<Tensor>,
    b_hh: Option<Tensor>,
    outputs: Option<Tensor>,
    /// What the recurrent weights are multiplied by: kept, or what teams hand each other.
    h_in: Option<Tensor>,
    kept: Option<Kept>,
    h_n: Option<Tensor>,
    c_n: Option<Tensor>,
    h_0: Option<Tensor>,
    c_0: Option<Tensor>,
    mask: Option<Tensor>,
}

impl Pass {
    /// Runs all directions and writes `outputs`, if they are read, and the final states `[h_n | c_n]`.
    pub(super) fn forward(
        &self,
        outputs: Option<&Tensor>,
        states: &Tensor,
    ) -> candle_core::Result<()> {
        let kept = self.keeps.then(|| self.alloc_kept(outputs.is_some())).transpose()?;
        for part in self.parts(&self.forward) {
            let sweep = self.forward_sweep(part, outputs, &states.detach(), kept.as_ref())?;
            if let LaunchPlan::Stepwise { launch } = self.forward {
                self.forward_in_steps(&sweep, launch)?;
            } else {
                if matches!(self.forward, LaunchPlan::Team { .. }) {
                    self.arm(sweep.h_in.as_ref())?;
                }
                let args = self.forward_args(&sweep, None);
                self.launch_at_once(Sweep::Forward, &sweep.part, args, sweep.outputs.as_ref())?;
            }
        }
        if let Some(kept) = kept {
            // A pass runs forward once.
            let _ = self.kept.set(kept);
        }
        Ok(())
    }

    fn forward_sweep(
        &self,
        part: DirectionRange,
        outputs: Option<&Tensor>,
        states: &Tensor,
        kept: Option<&Kept>,
    ) -> candle_core::Result<ForwardSweep> {
        let kept = kept.map(|kept| kept.part(&part)).transpose()?;
        let h_in = match &kept {
            Some(kept) => Some(kept.h_in.clone()),
            None if matches!(self.forward, LaunchPlan::Team { .. }) => {
                Some(self.alloc_steps(&part, self.call.dims.hidden_size)?)
            }
            None => None,
        };
        let (initial, own) = (self.initial.as_ref(), kept.as_ref());
        Ok(ForwardSweep {
            gx: self.inputs_of(&part)?,
            w_hh: self.joined(&part, |direction| Some(&direction.w_hh_forward))?,
            b_hh: self.joined(&part, |direction| direction.b_hh.as_ref())?,
            outputs: self
                .outputs_of(outputs, &part)?
                .or_else(|| own.and_then(|kept| kept.outputs.clone())),
            h_in,
            h_n: self.state_of(Some(states), &part, false)?,
            c_n: self.state_of(Some(states), &part, true)?,
            h_0: self.state_of(initial, &part, false)?,
            c_0: self.state_of(initial, &part, true)?,
            mask: self.mask_of(&part)?,
            kept,
            part,
        })
    }

    fn forward_in_steps(
        &self,
        sweep: &ForwardSweep,
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.call.dims;
        let operand = &self.gpu.alloc((batch_size, hidden_size), self.words(), self.x.device())?;
        // c first: the operand is that of h.
        let c = (&sweep.c_0, None, &sweep.c_n);
        let h = (&sweep.h_0, sweep.mask.as_ref(), &sweep.h_n);
        for (initial, mask, state) in [c, h].into_iter().filter(|(_, _, state)| state.is_some()) {
            let args = vec![
                ("h_0", Arg::In(initial.as_ref())),
                ("mask", Arg::In(mask)),
                ("h", Arg::Out(state.as_ref())),
                ("operand", Arg::Out(Some(operand))),
                ("batch_size", Arg::Int(batch_size)),
                ("hidden_size", Arg::Int(hidden_size)),
            ];
            let kernel = format!("step_begin_{}", self.call.recurrent_dtype.suffix());
            self.gpu.launch(&KernelLaunch { kernel, launch, args })?;
        }
        let w_hh = &self.directions[sweep.part.start].w_hh;
        let z_hh = &self.alloc_uninit((batch_size, w_hh.dim(0)?))?;
        let mut args = self.forward_args(sweep, Some((z_hh, operand)));
        self.push_sizes(&mut args, sweep.outputs.as_ref(), ("reverse", sweep.part.start), None);
        args.push(("step", Arg::Int(0)));
        self.gpu.run_steps(StepLoop {
            product: Gemm { a: operand, b: &w_hh.t()?, out: z_hh, adds: false },
            kernel: self.kernel("step_forward", launch, args),
            steps: (0..seq_len).collect(),
        })
    }

    /// The tensors that a forward kernel takes, of the whole sweep or of a step.
    ///
    /// - `step`: the recurrent product, and its factor in the next step
    fn forward_args<'a>(
        &'a self,
        sweep: &'a ForwardSweep,
        step: Option<(&'a Tensor, &'a Tensor)>,
    ) -> Args<'a> {
        let ForwardSweep { part: _, gx, w_hh, b_hh, outputs, h_in, kept, h_n, c_n, h_0, c_0, mask } =
            sweep;
        let (has_gates, has_c) = (self.has_gates(), self.cell.has_c());
        let (at_once, is_step) = (step.is_none(), step.is_some());
        let is_team = matches!(self.forward, LaunchPlan::Team { .. });
        let (z_hh, operand) = step.unzip();
        let of = |tensor: &'a Option<Tensor>| Arg::In(tensor.as_ref());
        // A step writes its part of a tensor.
        let out = |tensor| Arg::written(tensor, is_step);
        let kept = kept.as_ref();
        taken([
            (true, "gx", Arg::In(Some(gx))),
            (at_once, "w_hh", of(w_hh)),
            (is_step, "z_hh", Arg::In(z_hh)),
            (has_gates, "b_hh", of(b_hh)),
            (at_once, "h_0", of(h_0)),
            (at_once && has_c, "c_0", of(c_0)),
            (true, "lengths", of(&self.lengths)),
            (true, "mask", of(mask)),
            (is_step, "h", out(h_n.as_ref())),
            (is_step && has_c, "c_now", out(c_n.as_ref())),
            (is_step, "operand", out(operand)),
            (true, "outputs", out(outputs.as_ref())),
            (true, "h_in", Arg::written(h_in.as_ref(), is_step || is_team)),
            (has_gates, "gates", out(kept.and_then(|kept| kept.gates.as_ref()))),
            (has_c, "c", out(kept.and_then(|kept| kept.c.as_ref()))),
            (at_once, "h_n", out(h_n.as_ref())),
            (at_once && has_c, "c_n", out(c_n.as_ref())),
        ])
    }
}
