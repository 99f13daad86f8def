//! A step on a GPU: one launch for up to five parameters.

use candle_core::backprop::GradStore;
use candle_core::Tensor;

use super::{Adam, Coefficients, Moments, Parameter};
use crate::recurrence::gpu::plan::LaunchSize;
use crate::recurrence::gpu::{Arg, Gpu, KernelLaunch};
use crate::{Error, Result};

/// The names of a kernel's arguments for a parameter, its gradient, its moments and its size.
const SLOTS: [[&str; 4]; 5] = [
    ["param_0", "grad_0", "moments_0", "count_0"],
    ["param_1", "grad_1", "moments_1", "count_1"],
    ["param_2", "grad_2", "moments_2", "count_2"],
    ["param_3", "grad_3", "moments_3", "count_3"],
    ["param_4", "grad_4", "moments_4", "count_4"],
];

/// The GPU that moves a variable.
pub(super) fn gpu_of(var: &Tensor) -> Result<Gpu> {
    Gpu::of(var.device())?
        .ok_or_else(|| Error::Device("adam: the variables are on another device now".into()))
}

impl Adam {
    /// Moves the variables that a kernel moves and whose own step this is.
    ///
    /// - `kept`: the step's coefficients, where they are in the GPU's memory already
    pub(super) fn launch(
        &self,
        grads: &GradStore,
        own: u64,
        c: &Coefficients,
        kept: Option<&Tensor>,
    ) -> Result<()> {
        let mut ready = Vec::new();
        for Parameter { var, moments, skipped } in self.parameters.values() {
            if let (Moments::Kernel(moments), Some(grad)) = (moments, grads.get(var)) {
                if self.step - skipped == own {
                    ready.push((var.as_tensor(), grad.contiguous()?, moments));
                }
            }
        }
        let Some((first, ..)) = ready.first() else { return Ok(()) };
        let gpu = gpu_of(first)?;
        let coefficients = match kept {
            Some(kept) => kept.clone(),
            None => gpu.upload(&c.numbers(), first.device())?,
        };
        for some in ready.chunks(SLOTS.len()) {
            let mut args = Vec::with_capacity(4 * SLOTS.len() + 1);
            let mut count = 0;
            for (slot, names) in SLOTS.iter().enumerate() {
                let of = some.get(slot);
                let (var, grad, moments) = (of.map(|o| o.0), of.map(|o| &o.1), of.map(|o| o.2));
                let size = var.map_or(0, Tensor::elem_count);
                count += size;
                args.push((names[0], var.map_or(Arg::Out(None), Arg::InOut)));
                args.push((names[1], Arg::In(grad)));
                args.push((names[2], moments.map_or(Arg::Out(None), Arg::InOut)));
                args.push((names[3], Arg::Int(size)));
            }
            args.push(("coefficients", Arg::In(Some(&coefficients))));
            let launch = LaunchSize::of_numbers(count);
            gpu.launch(&KernelLaunch { kernel: "adam_f32".into(), launch, args })?;
        }
        Ok(())
    }
}
