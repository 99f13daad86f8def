//! Long short-term memory, gates in the order `i f g o`.
//!
//! ```text
//! i, f, o = σ(..)    g = tanh(..)    c_t = f ⊙ c_{t-1} + i ⊙ g    h_t = o ⊙ tanh(c_t)
//! ```
//!
//! With a projection, `h_t = W_hr (o ⊙ tanh(c_t))`: a second product in the same step. Kept: the
//! four gates.

use crate::cells::cell::{
    After, Before, Cell, GateBlock, GradBefore, ReverseStep, Source, WeightRows, MAX_GATES,
};
use crate::simd::math::{sigmoid, sigmoid_backward, tanh, tanh_backward, Identity};
use crate::simd::vector::{Element, Vector};

const GATES: GateBlock = GateBlock {
    rows: WeightRows::Gates { first: 0, count: 4 },
    input: true,
    source: Source::State,
};

/// LSTM (Hochreiter & Schmidhuber, 1997, with the forget gate of Gers et al., 2000).
pub(crate) struct Lstm;

impl Cell for Lstm {
    type InTile = Identity;
    const HAS_C: bool = true;
    const GATE_BLOCKS: &'static [GateBlock] = &[GATES];

    #[inline(always)]
    fn forward<V: Vector>(gates: &mut [V; MAX_GATES], before: Before<V>) -> After<V> {
        let [i, f, g, o] = *gates;
        let (i, f, g, o) = (sigmoid(i), sigmoid(f), tanh(g), sigmoid(o));
        *gates = [i, f, g, o];
        let c = f.mul_add(before.c, i.mul(g));
        After { h: o.mul(tanh(c)), c }
    }

    #[inline(always)]
    fn backward<V: Vector>(step: ReverseStep<V>) -> GradBefore<V> {
        let ReverseStep { gates: [i, f, g, o], before, c, grad, .. } = step;
        let tanh_c = tanh(c);
        let grad_o = grad.h.mul(tanh_c);
        let grad_c = grad.c.add(tanh_backward(tanh_c, grad.h.mul(o)));
        GradBefore {
            delta: [
                sigmoid_backward(i, grad_c.mul(g)),
                sigmoid_backward(f, grad_c.mul(before.c)),
                tanh_backward(g, grad_c.mul(i)),
                sigmoid_backward(o, grad_o),
            ],
            h: grad.h.fill(V::Elem::ZERO),
            c: grad_c.mul(f),
            inner: o.mul(tanh_c),
        }
    }
}

/// LSTM with a projection (Sak et al., 2014, section 2).
pub(crate) struct ProjectedLstm;

impl Cell for ProjectedLstm {
    type InTile = Identity;
    const HAS_C: bool = true;
    const GATE_BLOCKS: &'static [GateBlock] =
        &[GATES, GateBlock { rows: WeightRows::Projection, input: false, source: Source::Inner }];

    #[inline(always)]
    fn forward<V: Vector>(gates: &mut [V; MAX_GATES], before: Before<V>) -> After<V> {
        Lstm::forward(gates, before)
    }

    #[inline(always)]
    fn backward<V: Vector>(mut step: ReverseStep<V>) -> GradBefore<V> {
        // The state of the cell's own making is the inner value.
        step.grad.h = step.grad.inner;
        Lstm::backward(step)
    }
}
