//! Gated recurrent units.
//!
//! ```text
//! r, z = σ(..)    n = tanh(W_in x_t + b_in + r ⊙ q)    h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}
//! ```
//!
//! With the reset *after* the product, as cuDNN and PyTorch have it, `q = W_hn h_{t-1} + b_hn`: all
//! products of a step are one. With the reset *before* it, as Cho et al. wrote, `n` is
//! `tanh(W_in x_t + b_n + W_hn (r ⊙ h_{t-1}))`: a second product. Kept: `n r z`, and `q` if there is
//! one.

use crate::cells::cell::{
    After, Before, Cell, GateBlock, GradBefore, ReverseStep, Source, WeightRows, MAX_GATES,
};
use crate::simd::math::{sigmoid, sigmoid_backward, tanh, tanh_backward, Identity};
use crate::simd::vector::{Element, Vector};

/// The candidate's rows of the weights, behind those of `r` and `z`.
const N: WeightRows = WeightRows::Gates { first: 2, count: 1 };
const R_Z: WeightRows = WeightRows::Gates { first: 0, count: 2 };

/// GRU, reset after the product.
pub(crate) struct Gru;

impl Cell for Gru {
    type InTile = Identity;
    const HAS_DIRECT: bool = true;
    const GATE_BLOCKS: &'static [GateBlock] = &[
        GateBlock { rows: N, input: true, source: Source::Nothing },
        GateBlock { rows: R_Z, input: true, source: Source::State },
        GateBlock { rows: N, input: false, source: Source::State },
    ];

    #[inline(always)]
    fn forward<V: Vector>(gates: &mut [V; MAX_GATES], before: Before<V>) -> After<V> {
        let [n, r, z, q] = *gates;
        let (r, z) = (sigmoid(r), sigmoid(z));
        let n = tanh(r.mul_add(q, n));
        *gates = [n, r, z, q];
        After { h: z.mul_add(before.h.sub(n), n), c: before.c }
    }

    #[inline(always)]
    fn backward<V: Vector>(step: ReverseStep<V>) -> GradBefore<V> {
        let ReverseStep { gates: [n, r, z, q], before, grad, .. } = step;
        let delta_n = tanh_backward(n, z.neg_mul_add(grad.h, grad.h));
        let delta_z = sigmoid_backward(z, grad.h.mul(before.h.sub(n)));
        let delta_r = sigmoid_backward(r, delta_n.mul(q));
        GradBefore {
            delta: [delta_n, delta_r, delta_z, delta_n.mul(r)],
            h: grad.h.mul(z),
            c: grad.c,
            inner: before.h,
        }
    }
}

/// GRU, reset before the product (Cho et al., 2014).
pub(crate) struct GruResetBefore;

impl Cell for GruResetBefore {
    type InTile = Identity;
    const HAS_DIRECT: bool = true;
    const GATE_BLOCKS: &'static [GateBlock] = &[
        GateBlock { rows: N, input: true, source: Source::Inner },
        GateBlock { rows: R_Z, input: true, source: Source::State },
    ];

    #[inline(always)]
    fn forward<V: Vector>(gates: &mut [V; MAX_GATES], before: Before<V>) -> After<V> {
        let [n, r, z, unused] = *gates;
        let (r, z) = (sigmoid(r), sigmoid(z));
        *gates = [n, r, z, unused];
        After { h: r.mul(before.h_in), c: before.c }
    }

    #[inline(always)]
    fn forward_inner<V: Vector>(gates: &mut [V; MAX_GATES], h: V) -> V {
        let [n, _, z, _] = *gates;
        let n = tanh(n);
        gates[0] = n;
        z.mul_add(h.sub(n), n)
    }

    #[inline(always)]
    fn inner_delta<V: Vector>(gates: &[V; MAX_GATES], grad_h: V) -> V {
        let [n, _, z, _] = *gates;
        tanh_backward(n, z.neg_mul_add(grad_h, grad_h))
    }

    #[inline(always)]
    fn backward<V: Vector>(step: ReverseStep<V>) -> GradBefore<V> {
        let ReverseStep { gates: [n, r, z, _], before, mask, grad, .. } = step;
        let delta_z = sigmoid_backward(z, grad.h.mul(before.h.sub(n)));
        let delta_r = sigmoid_backward(r, grad.inner.mul(before.h_in));
        let through_reset = grad.inner.mul(r).mul(mask);
        GradBefore {
            delta: [
                Self::inner_delta(&step.gates, grad.h),
                delta_r,
                delta_z,
                grad.h.fill(V::Elem::ZERO),
            ],
            h: grad.h.mul_add(z, through_reset),
            c: grad.c,
            inner: r.mul(before.h_in),
        }
    }
}
