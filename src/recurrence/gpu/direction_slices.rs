//! Slices of a layer's tensors, in place: of the directions that a launch runs over, one, or by teams all.

use candle_core::Tensor;

use super::gemm::Gemm;
use super::pass::{Direction, DirectionRange, Kept, Pass};
use super::plan::LaunchPlan;

impl Kept {
    /// What a part's sweeps write and read.
    pub(super) fn part(&self, part: &DirectionRange) -> candle_core::Result<Self> {
        let of = |tensor: &Tensor| tensor.narrow(0, part.start, part.len());
        let units = self.h_in.dim(3)?;
        let outputs = self.outputs.as_ref();
        Ok(Self {
            h_in: of(&self.h_in)?,
            outputs: outputs
                .map(|all| all.narrow(2, part.start * units, part.len() * units))
                .transpose()?,
            gates: self.gates.as_ref().map(of).transpose()?,
            c: self.c.as_ref().map(of).transpose()?,
        })
    }
}

impl Pass {
    /// The parts that a sweep launches one after the other.
    pub(super) fn parts(&self, plan: &LaunchPlan) -> Vec<DirectionRange> {
        let count = self.directions.len();
        let at_once = if matches!(plan, LaunchPlan::Team { .. }) { count } else { 1 };
        (0..count).step_by(at_once).map(|first| first..first + at_once).collect()
    }

    /// A part's h or c, `(n, B, H)`, flat, of `[h | c]`; `None` of none, and for c of a cell that has none.
    pub(super) fn state_of(
        &self,
        states: Option<&Tensor>,
        part: &DirectionRange,
        is_c: bool,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(states) = states.filter(|_| !is_c || self.cell.has_c()) else { return Ok(None) };
        let len = self.call.dims.batch_size * self.call.dims.hidden_size;
        let first = part.start + if is_c { self.directions.len() } else { 0 };
        states.flatten_all()?.narrow(0, first * len, part.len() * len).map(Some)
    }

    /// A part of the outputs or their gradient, `(B, T, n·H)`, in place.
    pub(super) fn outputs_of(
        &self,
        outputs: Option<&Tensor>,
        part: &DirectionRange,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(outputs) = outputs else { return Ok(None) };
        let units = self.call.dims.hidden_size;
        let outputs = outputs.detach().narrow(2, part.start * units, part.len() * units)?;
        Ok(Some(if self.call.time_major { outputs.transpose(0, 1)? } else { outputs }))
    }

    /// A part of the mask, `(n, B, H)`.
    pub(super) fn mask_of(&self, part: &DirectionRange) -> candle_core::Result<Option<Tensor>> {
        self.call.mask.as_ref().map(|mask| mask.narrow(0, part.start, part.len())).transpose()
    }

    /// A part's tensor of each direction, one behind the other; `None` where they have none.
    pub(super) fn joined<'a>(
        &'a self,
        part: &DirectionRange,
        of: impl Fn(&'a Direction) -> Option<&'a Tensor>,
    ) -> candle_core::Result<Option<Tensor>> {
        let directions = self.directions[part.clone()].iter();
        let tensors: Vec<&Tensor> = directions.filter_map(|direction| of(direction)).collect();
        (!tensors.is_empty()).then(|| self.gpu.joined(&tensors)).transpose()
    }

    /// `W_ih x + b` of a part's directions beside each other, `(B·T, n·G·H)`; before it the directions' own `w_hh`.
    pub(super) fn inputs_of(&self, part: &DirectionRange) -> candle_core::Result<Tensor> {
        let width = self.cell.gates() * self.call.dims.hidden_size;
        let gx = self.alloc_uninit((self.x.dim(0)?, part.len() * width))?;
        for (column, index) in part.clone().enumerate() {
            let (direction, to) = (&self.directions[index], gx.narrow(1, column * width, width)?);
            let b_hh = direction.b_hh.as_ref().filter(|_| !self.has_gates());
            // They are written once.
            let ones = self.ones.as_ref().filter(|_| index == 0);
            let copied = direction.copied.as_ref().map(|from| [from, &direction.w_hh]);
            self.gpu.write_biases([Some(&direction.b_x), b_hh], &to, ones, copied)?;
            self.gpu.gemm(&Gemm { a: &self.x, b: &direction.w_ih.t()?, out: &to, adds: true })?;
        }
        Ok(gx)
    }
}
