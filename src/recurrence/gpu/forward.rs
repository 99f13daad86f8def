//! The forward sweeps of a layer, at once or in steps.

use candle_core::Tensor;

use super::gemm::Gemm;
use super::launch::{Arg, Args, KernelLaunch};
use super::pass::{written, Direction, Kept, Pass};
use super::plan::{LaunchPlan, LaunchSize};
use super::queue::StepLoop;
use crate::recurrence::SequenceDims;

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

impl Pass {
    /// Runs all directions and writes `outputs`, if they are read, and the final states `[h_n | c_n]`.
    pub(super) fn forward(
        &self,
        outputs: Option<&Tensor>,
        states: &Tensor,
    ) -> candle_core::Result<()> {
        let states = states.detach();
        let kept = self.keeps.then(|| self.alloc_kept(outputs.is_some())).transpose()?;
        if let LaunchPlan::Team { size, launch } = self.forward {
            self.forward_by_teams(outputs, &states, kept.as_ref(), size, launch)?;
        } else {
            for (index, direction) in self.directions.iter().enumerate() {
                let outputs = outputs.map(|outputs| self.outputs_of(outputs, index)).transpose()?;
                let kept = kept.as_ref().map(|kept| kept.direction(index)).transpose()?;
                self.forward_direction(index, direction, outputs, &states, kept.as_ref())?;
            }
        }
        if let Some(kept) = kept {
            // A pass runs forward once.
            let _ = self.kept.set(kept);
        }
        Ok(())
    }

    fn forward_direction(
        &self,
        index: usize,
        direction: &Direction,
        outputs: Option<Tensor>,
        states: &Tensor,
        kept: Option<&Kept>,
    ) -> candle_core::Result<()> {
        let has_c = self.call.cell.has_c();
        let gx = self.alloc_uninit((self.x.dim(0)?, direction.w_ih.dim(0)?))?;
        self.write_inputs(index, &gx)?;
        let sweep = ForwardSweep {
            index,
            direction,
            gx: &gx,
            outputs: outputs.as_ref().or(kept.and_then(|kept| kept.outputs.as_ref())),
            kept,
            h_n: self.state_of(states, index, false)?,
            c_n: if has_c { Some(self.state_of(states, index, true)?) } else { None },
            h_0: self.initial_of(index, false)?,
            c_0: if has_c { self.initial_of(index, true)? } else { None },
            mask: self.mask_of(index)?,
        };
        match self.forward {
            LaunchPlan::Persistent { rows, launch } => {
                self.forward_at_once(&sweep, rows, launch)?
            }
            LaunchPlan::Stepwise { launch } => self.forward_in_steps(&sweep, launch)?,
            LaunchPlan::Team { .. } => candle_core::bail!("teams take all directions at once"),
        }
        Ok(())
    }

    fn forward_at_once(
        &self,
        sweep: &ForwardSweep,
        rows: usize,
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        let mut args: Args = vec![
            ("gx", Arg::In(Some(sweep.gx))),
            ("w_hh", Arg::In(Some(&sweep.direction.w_hh_forward))),
        ];
        self.push_b_hh(&mut args, sweep.direction);
        args.push(("h_0", Arg::In(sweep.h_0.as_ref())));
        if self.call.cell.has_c() {
            args.push(("c_0", Arg::In(sweep.c_0.as_ref())));
        }
        self.push_forward(&mut args, sweep, None);
        args.push(("h_n", Arg::Out(Some(&sweep.h_n))));
        if self.call.cell.has_c() {
            args.push(("c_n", Arg::Out(sweep.c_n.as_ref())));
        }
        self.push_sizes(&mut args, sweep.outputs, ("reverse", sweep.index), None);
        args.push(("rows", Arg::Int(rows)));
        self.gpu.launch(&self.kernel("forward", launch, args))
    }

    fn forward_in_steps(
        &self,
        sweep: &ForwardSweep,
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        let SequenceDims { batch_size, seq_len, hidden_size, .. } = self.call.dims;
        let operand = self.gpu.alloc((batch_size, hidden_size), self.words(), self.x.device())?;
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
            let kernel = format!("step_begin_{}", self.call.recurrent_dtype.suffix());
            self.gpu.launch(&KernelLaunch { kernel, launch, args })?;
        }
        let z_hh = self.alloc_uninit((batch_size, sweep.direction.w_hh.dim(0)?))?;
        let mut args: Args = vec![("gx", Arg::In(Some(sweep.gx))), ("z_hh", Arg::In(Some(&z_hh)))];
        self.push_b_hh(&mut args, sweep.direction);
        let h = Some(("h", &sweep.h_n));
        let c_now = sweep.c_n.as_ref().map(|c_n| ("c_now", c_n));
        self.push_forward(&mut args, sweep, Some([h, c_now, Some(("operand", &operand))]));
        self.push_sizes(&mut args, sweep.outputs, ("reverse", sweep.index), None);
        args.push(("step", Arg::Int(0)));
        let w_hh = sweep.direction.w_hh.t()?;
        self.gpu.run_steps(StepLoop {
            product: Gemm { a: &operand, b: &w_hh, out: &z_hh, adds: false },
            kernel: self.kernel("step_forward", launch, args),
            steps: (0..seq_len).collect(),
        })
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
        if self.call.cell.has_c() {
            args.push(("c", out(sweep.kept.and_then(|kept| kept.c.as_ref()))));
        }
    }
}
