//! Activations over vector registers, and their derivatives by the output.
//!
//! # tanh
//!
//! `tanh(x) = e / (e + 2)` with `e = exp(2|x|) - 1`, and the sign of x. An error of e hardly shows
//! where e is large, and small values come out as they went in, denormal ones too. With
//! `2|x| = k ln 2 + r`,
//!
//! ```text
//! e = 2^k (exp(r) - 1) + (2^k - 1),    exp(r) - 1 = r + r² q(r),    |r| <= ln 2 / 2
//! ```
//!
//! where `q` is a polynomial: for `f32` of degree 4, fitted for the least largest relative error of
//! `exp(r) - 1` (1.3e-8, a quarter of a unit in the last place), for `f64` Taylor's of degree 12.
//!
//! It is odd to the bit, at most 1 in magnitude, and NaN where the input is. A quotient of two
//! polynomials in x² needs fewer instructions, but was 5 units off near 1.
//!
//! # σ
//!
//! `σ(x) = 1 / (1 + exp(-x))`, with the same `exp`: small values keep their precision, which they
//! would lose in `(1 + tanh(x / 2)) / 2`. Beyond ±87 (`f32`; ±708 in `f64`) it stays what it is there.

use crate::simd::vector::{Element, Vector};

/// A recurrent activation and its derivative.
pub(crate) trait Activation {
    /// `f(z)`.
    fn apply<V: Vector>(z: V) -> V;

    /// `grad · f'(z)`, by way of `h = f(z)`.
    fn backward<V: Vector>(h: V, grad: V) -> V;
}

/// `tanh(z)`; `f' = 1 - h²`.
pub(crate) struct Tanh;

impl Activation for Tanh {
    #[inline(always)]
    fn apply<V: Vector>(z: V) -> V {
        tanh(z)
    }

    #[inline(always)]
    fn backward<V: Vector>(h: V, grad: V) -> V {
        tanh_backward(h, grad)
    }
}

/// `max(z, 0)`; `f' = 0` where `h = 0`, else 1.
pub(crate) struct Relu;

/// `z`: what the gradients of inputs and initial state end with.
pub(crate) struct Identity;

impl Activation for Relu {
    #[inline(always)]
    fn apply<V: Vector>(z: V) -> V {
        z.max_or_self(z.fill(V::Elem::ZERO))
    }

    #[inline(always)]
    fn backward<V: Vector>(h: V, grad: V) -> V {
        grad.unless_at_most_zero(h)
    }
}

impl Activation for Identity {
    #[inline(always)]
    fn apply<V: Vector>(z: V) -> V {
        z
    }

    #[inline(always)]
    fn backward<V: Vector>(_h: V, grad: V) -> V {
        grad
    }
}

/// `2^k` and `exp(r) - 1`, of which `exp(x) = 2^k + 2^k (exp(r) - 1)`.
#[inline(always)]
fn exp_parts<V: Vector>(x: V) -> (V, V) {
    let round = x.fill(V::Elem::ROUND);
    let biased = x.mul_add(x.fill(V::Elem::LOG2_E), round);
    let k = biased.sub(round);
    let [high, low] = V::Elem::LN_2;
    let r = k.neg_mul_add(x.fill(high), x);
    let r = k.neg_mul_add(x.fill(low), r);
    let mut q = x.fill(V::Elem::ZERO);
    for (index, coefficient) in V::Elem::Q.iter().rev().enumerate() {
        let coefficient = x.fill(*coefficient);
        q = if index == 0 { coefficient } else { q.mul_add(r, coefficient) };
    }
    (biased.pow2_of_biased(), q.mul(r).mul_add(r, r))
}

/// `tanh` of each lane.
#[inline(always)]
pub(crate) fn tanh<V: Vector>(x: V) -> V {
    let magnitude = x.abs().min_or_self(x.fill(V::Elem::SATURATION));
    let (power, p) = exp_parts(magnitude.add(magnitude));
    let e = power.mul_add(p, power.sub(x.fill(V::Elem::ONE)));
    e.div(e.add(x.fill(V::Elem::TWO))).with_sign_of(x)
}

/// `grad · tanh'`, where `tanh` gave `h`.
#[inline(always)]
pub(crate) fn tanh_backward<V: Vector>(h: V, grad: V) -> V {
    h.mul(grad).neg_mul_add(h, grad)
}

/// `σ`, the logistic function, of each lane.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector>(x: V) -> V {
    let (zero, one) = (x.fill(V::Elem::ZERO), x.fill(V::Elem::ONE));
    let limit = x.fill(V::Elem::EXP_LIMIT);
    let negative = zero.sub(x).min_or_self(limit).max_or_self(zero.sub(limit));
    let (power, p) = exp_parts(negative);
    one.div(power.mul_add(p, power).add(one))
}

/// `grad · σ'`, where `σ` gave `s`.
#[inline(always)]
pub(crate) fn sigmoid_backward<V: Vector>(s: V, grad: V) -> V {
    let grad = s.mul(grad);
    s.neg_mul_add(grad, grad)
}
