//! The minimal gated unit: a GRU whose one gate forgets and resets.
//!
//! ```text
//! f = σ(..)    n = tanh(W_in x_t + b_in + f ⊙ (W_hn h_{t-1} + b_hn))    h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n
//! ```
//!
//! The gate acts after the product, as in cuDNN's GRU. Kept: `n f q`, `q = W_hn h_{t-1} + b_hn`.

use crate::cells::cell::{
    After, Before, Cell, GateBlock, GradBefore, ReverseStep, Source, WeightRows, MAX_GATES,
};
use crate::simd::math::{sigmoid, sigmoid_backward, tanh, tanh_backward, Identity};
use crate::simd::vector::{Element, Vector};

/// The rows of the gate, and of the candidate.
const F: WeightRows = WeightRows::Gates { first: 0, count: 1 };
const N: WeightRows = WeightRows::Gates { first: 1, count: 1 };

/// Minimal gated unit (Zhou et al., 2016).
pub(crate) struct MinimalGru;

impl Cell for MinimalGru {
    type InTile = Identity;
    const HAS_DIRECT: bool = true;
    const GATE_BLOCKS: &'static [GateBlock] = &[
        GateBlock { rows: N, input: true, source: Source::Nothing },
        GateBlock { rows: F, input: true, source: Source::State },
        GateBlock { rows: N, input: false, source: Source::State },
    ];

    #[inline(always)]
    fn forward<V: Vector>(gates: &mut [V; MAX_GATES], before: Before<V>) -> After<V> {
        let [n, f, q, unused] = *gates;
        let f = sigmoid(f);
        let n = tanh(f.mul_add(q, n));
        *gates = [n, f, q, unused];
        After { h: f.mul_add(n.sub(before.h), before.h), c: before.c }
    }

    #[inline(always)]
    fn backward<V: Vector>(step: ReverseStep<V>) -> GradBefore<V> {
        let ReverseStep { gates: [n, f, q, _], before, grad, .. } = step;
        let delta_n = tanh_backward(n, grad.h.mul(f));
        let grad_f = delta_n.mul_add(q, grad.h.mul(n.sub(before.h)));
        GradBefore {
            delta: [
                delta_n,
                sigmoid_backward(f, grad_f),
                delta_n.mul(f),
                grad.h.fill(V::Elem::ZERO),
            ],
            h: f.neg_mul_add(grad.h, grad.h),
            c: grad.c,
            inner: before.h,
        }
    }
}
