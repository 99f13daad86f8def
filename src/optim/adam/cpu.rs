//! A step on the CPU: one pass over a parameter, its gradient and its moments.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout};
use rayon::prelude::*;

use super::Coefficients;

/// Elements that several threads share; fewer are done before another thread is awake.
const PARALLEL: usize = 1 << 16;
/// The elements that a thread takes at once.
const PART: usize = 1 << 14;

/// One pass over a parameter, its gradient and its moments.
pub(super) struct FusedStep<'a> {
    pub(super) moments: RefCell<Pair<'a>>,
    pub(super) c: &'a Coefficients,
}

/// Both moments of a parameter, in its dtype.
pub(super) enum Pair<'a> {
    F32(&'a mut [f32], &'a mut [f32]),
    F64(&'a mut [f64], &'a mut [f64]),
}

impl InplaceOp2 for FusedStep<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        var: &mut CpuStorage,
        var_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (Some(at), Some(grad_at)) =
            (var_layout.contiguous_offsets(), grad_layout.contiguous_offsets())
        else {
            candle_core::bail!("adam: parameter and gradient must be contiguous");
        };
        // The same pass for both dtypes.
        macro_rules! pass {
            ($type:ty, $var:ident, $grad:ident, $m:ident, $v:ident) => {{
                let (var, grad) = (&mut $var[at.0..at.1], &$grad[grad_at.0..grad_at.1]);
                if [grad.len(), $m.len(), $v.len()] != [var.len(); 3] {
                    candle_core::bail!("adam: the gradient has another size than its parameter");
                }
                let (beta1, beta2) = (self.c.beta1 as $type, self.c.beta2 as $type);
                let (rest1, rest2) = ((1. - self.c.beta1) as $type, (1. - self.c.beta2) as $type);
                let step_size = self.c.step_size as $type;
                let correction = self.c.bias_correction2_sqrt as $type;
                let (eps, keep) = (self.c.eps as $type, self.c.keep as $type);
                let pass =
                    |(var, grad, m, v): (&mut [$type], &[$type], &mut [$type], &mut [$type])| {
                        let moments = m.iter_mut().zip(v.iter_mut());
                        for ((x, g), (m, v)) in var.iter_mut().zip(grad).zip(moments) {
                            *m = beta1 * *m + rest1 * g;
                            *v = beta2 * *v + rest2 * g * g;
                            *x = keep * *x - step_size * *m / (v.sqrt() / correction + eps);
                        }
                    };
                if var.len() < PARALLEL {
                    pass((var, grad, &mut $m[..], &mut $v[..]));
                } else {
                    let parts = var.par_chunks_mut(PART).zip(grad.par_chunks(PART));
                    let moments = $m.par_chunks_mut(PART).zip($v.par_chunks_mut(PART));
                    parts.zip(moments).for_each(|((var, grad), (m, v))| pass((var, grad, m, v)));
                }
            }};
        }
        match (&mut *self.moments.borrow_mut(), var, grad) {
            (Pair::F32(m, v), CpuStorage::F32(var), CpuStorage::F32(grad)) => {
                pass!(f32, var, grad, m, v)
            }
            (Pair::F64(m, v), CpuStorage::F64(var), CpuStorage::F64(grad)) => {
                pass!(f64, var, grad, m, v)
            }
            _ => candle_core::bail!("adam: parameter and gradient must have the same dtype"),
        }
        Ok(())
    }
}
