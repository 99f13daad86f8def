//! The sweeps of teams: one launch for all directions and steps, forward and backward.
//!
//! What blocks hand each other, forward what the recurrent weights are multiplied by, backward the deltas of the
//! hidden side, is armed by a launch before.

use candle_core::Tensor;

use super::backward::Deltas;
use super::copy::walk;
use super::launch::{Arg, Args, KernelLaunch};
use super::pass::{Direction, Kept, Pass};
use super::plan::{LaunchSize, RecurrentDType};
use super::team_plan::{TeamSize, POLLS};
use crate::recurrence::graph::Reached;
use crate::recurrence::{Cell, SequenceDims};

impl Pass {
    /// Runs all directions and writes what `forward` writes.
    pub(super) fn forward_by_teams(
        &self,
        outputs: Option<&Tensor>,
        states: &Tensor,
        kept: Option<&Kept>,
        size: TeamSize,
        launch: LaunchSize,
    ) -> candle_core::Result<()> {
        let has_c = self.call.cell.has_c();
        let gx = self.inputs_of_all()?;
        let w_hh = self.joined(|direction| Some(&direction.w_hh))?;
        let b_hh = self.joined(|direction| direction.b_hh.as_ref())?;
        let h_in = match kept {
            Some(kept) => kept.h_in.clone(),
            None => self.alloc_steps(self.call.dims.hidden_size)?,
        };
        self.arm(&h_in)?;
        let outputs = match outputs {
            Some(outputs) => Some(self.all_outputs(outputs)?),
            None => kept.and_then(|kept| kept.outputs.clone()),
        };
        let (h_0, h_n) = (self.all_initial(false)?, self.all_states(states, false)?);
        let c_0 = if has_c { self.all_initial(true)? } else { None };
        let c_n = if has_c { Some(self.all_states(states, true)?) } else { None };
        let mut args: Args = vec![("gx", Arg::In(Some(&gx))), ("w_hh", Arg::In(w_hh.as_ref()))];
        if self.has_gates() {
            args.push(("b_hh", Arg::In(b_hh.as_ref())));
        }
        args.push(("h_0", Arg::In(h_0.as_ref())));
        if has_c {
            args.push(("c_0", Arg::In(c_0.as_ref())));
        }
        args.extend([
            ("lengths", Arg::In(self.lengths.as_ref())),
            ("mask", Arg::In(self.call.mask.as_ref())),
            ("outputs", Arg::Out(outputs.as_ref())),
            ("h_in", Arg::InOut(&h_in)),
        ]);
        if self.has_gates() {
            args.push(("gates", Arg::Out(kept.and_then(|kept| kept.gates.as_ref()))));
        }
        if has_c {
            args.push(("c", Arg::Out(kept.and_then(|kept| kept.c.as_ref()))));
        }
        args.push(("h_n", Arg::Out(Some(&h_n))));
        if has_c {
            args.push(("c_n", Arg::Out(c_n.as_ref())));
        }
        self.launch_teams("forward", launch, args, outputs.as_ref(), None, size)
    }

    /// The deltas of all directions, one after the other; writes the gradients of the initial states.
    pub(super) fn backward_by_teams(
        &self,
        reached: &Reached,
        grad_initial: Option<&Tensor>,
        size: TeamSize,
        launch: LaunchSize,
    ) -> candle_core::Result<Vec<Deltas>> {
        let kept = self.kept()?;
        let has_c = self.call.cell.has_c();
        let of = |states: Option<&Tensor>, is_c: bool| match states {
            Some(states) if !is_c || has_c => self.all_states(states, is_c).map(Some),
            _ => Ok::<_, candle_core::Error>(None),
        };
        let w_hh = self.joined(|direction| Some(&direction.w_hh))?;
        let outputs = match reached.outputs {
            Some(outputs) => Some(self.all_outputs(outputs)?),
            None => kept.outputs.clone(),
        };
        let grad_outputs = reached.grad_outputs.as_ref();
        let grad_outputs = grad_outputs.map(|grad| self.all_outputs(grad)).transpose()?;
        let grad_states = reached.grad_states.as_ref();
        let (grad_h_n, grad_c_n) = (of(grad_states, false)?, of(grad_states, true)?);
        let (grad_h_0, grad_c_0) = (of(grad_initial, false)?, of(grad_initial, true)?);
        let h_0 = self.all_initial(false)?;
        let c_0 = if has_c { self.all_initial(true)? } else { None };
        let width = self.call.cell.gates() * self.call.dims.hidden_size;
        let delta_x = self.alloc_steps(width)?;
        let delta_h =
            if self.call.cell == Cell::Gru { Some(self.alloc_steps(width)?) } else { None };
        self.arm(delta_h.as_ref().unwrap_or(&delta_x))?;
        let mut args: Args = vec![("w_hh", Arg::In(w_hh.as_ref()))];
        if self.reads_outputs() {
            args.push(("outputs", Arg::In(outputs.as_ref())));
        }
        if self.has_gates() {
            args.push(("gates", Arg::In(kept.gates.as_ref())));
        }
        if self.call.cell == Cell::Gru {
            args.push(("h_0", Arg::In(h_0.as_ref())));
        }
        if has_c {
            args.push(("c", Arg::In(kept.c.as_ref())));
            args.push(("c_0", Arg::In(c_0.as_ref())));
        }
        args.extend([
            ("lengths", Arg::In(self.lengths.as_ref())),
            ("mask", Arg::In(self.call.mask.as_ref())),
            ("grad_outputs", Arg::In(grad_outputs.as_ref())),
            ("grad_h_n", Arg::In(grad_h_n.as_ref())),
        ]);
        if has_c {
            args.push(("grad_c_n", Arg::In(grad_c_n.as_ref())));
        }
        match &delta_h {
            None => args.push(("delta_x", Arg::InOut(&delta_x))),
            Some(delta_h) => args
                .extend([("delta_x", Arg::Out(Some(&delta_x))), ("delta_h", Arg::InOut(delta_h))]),
        }
        args.push(("grad_h_0", Arg::Out(grad_h_0.as_ref())));
        if has_c {
            args.push(("grad_c_0", Arg::Out(grad_c_0.as_ref())));
        }
        let segment = Some(self.segment);
        self.launch_teams("backward", launch, args, outputs.as_ref(), segment, size)?;
        let rows = |deltas: &Tensor, index| deltas.get(index)?.flatten_to(1);
        let deltas = (0..self.directions.len()).map(|index| {
            let h = delta_h.as_ref().map(|delta_h| rows(delta_h, index)).transpose()?;
            Ok(Deltas { x: rows(&delta_x, index)?, h })
        });
        deltas.collect()
    }

    /// `W_ih x + b` of all directions beside each other, `(B·T, D·G·H)`.
    fn inputs_of_all(&self) -> candle_core::Result<Tensor> {
        let width = self.call.cell.gates() * self.call.dims.hidden_size;
        let gx = self.alloc_uninit((self.x.dim(0)?, self.directions.len() * width))?;
        for index in 0..self.directions.len() {
            self.write_inputs(index, &gx.narrow(1, index * width, width)?)?;
        }
        Ok(gx)
    }

    /// A tensor of all directions, one behind the other; `None` where they have none.
    fn joined<'a>(
        &'a self,
        part: impl Fn(&'a Direction) -> Option<&'a Tensor>,
    ) -> candle_core::Result<Option<Tensor>> {
        let parts: Vec<&Tensor> = self.directions.iter().filter_map(|of| part(of)).collect();
        (!parts.is_empty()).then(|| self.gpu.joined(&parts)).transpose()
    }

    /// `(D, B, T, width)` memory on the device.
    fn alloc_steps(&self, width: usize) -> candle_core::Result<Tensor> {
        let SequenceDims { batch_size, seq_len, .. } = self.call.dims;
        self.alloc_uninit((self.directions.len(), batch_size, seq_len, width))
    }

    /// All directions' part, `(D, B, H)`, of `[h | c]`.
    fn all_states(&self, states: &Tensor, is_c: bool) -> candle_core::Result<Tensor> {
        let SequenceDims { batch_size, hidden_size, .. } = self.call.dims;
        let directions = self.directions.len();
        let len = directions * self.state_len();
        let part = states.flatten_all()?.narrow(0, if is_c { len } else { 0 }, len)?;
        part.reshape((directions, batch_size, hidden_size))
    }

    fn all_initial(&self, is_c: bool) -> candle_core::Result<Option<Tensor>> {
        self.initial.as_ref().map(|states| self.all_states(states, is_c)).transpose()
    }

    /// The outputs or their gradient, `(B, T, D·H)`, in place.
    fn all_outputs(&self, outputs: &Tensor) -> candle_core::Result<Tensor> {
        let outputs = outputs.detach();
        if self.call.time_major {
            outputs.transpose(0, 1)
        } else {
            Ok(outputs)
        }
    }

    /// Marks all words as those that nobody has written yet.
    fn arm(&self, words: &Tensor) -> candle_core::Result<()> {
        let width = words.dim(3)?;
        let rows = words.elem_count() / width.max(1);
        let launch = walk(words.elem_count(), &self.gpu.limits());
        let args = vec![
            ("words", Arg::Out(Some(words))),
            ("rows", Arg::Int(rows)),
            ("width", Arg::Int(width)),
        ];
        self.gpu.launch(&KernelLaunch { kernel: "team_arm_f32".into(), launch, args })
    }

    fn launch_teams<'a>(
        &self,
        sweep: &str,
        launch: LaunchSize,
        mut args: Args<'a>,
        outputs: Option<&Tensor>,
        segment: Option<usize>,
        size: TeamSize,
    ) -> candle_core::Result<()> {
        args.push(("alarm", Arg::Alarm));
        let directions = ("directions", self.directions.len());
        self.push_sizes(&mut args, outputs, directions, segment);
        args.extend([
            ("members", Arg::Int(size.members)),
            ("rows", Arg::Int(size.rows)),
            ("group", Arg::Int(size.group)),
            ("polls", Arg::Int(POLLS)),
        ]);
        let prefix = if size.products == RecurrentDType::F32 { "team" } else { "mma" };
        let kernel = format!("{prefix}_{}_{sweep}_{}", self.family, size.products.name());
        self.gpu.launch(&KernelLaunch { kernel, launch, args })
    }
}
