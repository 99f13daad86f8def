//! Activations over vector registers, and their derivatives by the output.
//!
//! `tanh` in `f32` is `x P(x²) / Q(x²)` with degrees 4 and 4, fitted for the least largest
//! relative error on ±9.02 (2.2e-8, below half a unit in the last place) with `P(0) = Q(0) = 1`,
//! so that small and denormal values come out as they went in. From 9.02 on the result is 1.
//!
//! `tanh` in `f64` is `e / (e + 2)` with `e = exp(2|x|) - 1 = 2^k (1 + p(r)) - 1`, where
//! `2|x| = k ln 2 + r`, and `p` is the Taylor polynomial of degree 14.
//!
//! Both are odd to the bit, at most 1 in magnitude, and NaN where the input is.

use super::vector::{Element, Vector};

/// A recurrent activation and its derivative.
pub(crate) trait Activation {
    /// `f(z)`.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn apply<V: Vector>(z: V) -> V;

    /// `grad · f'(z)`, by way of `h = f(z)`.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn backward<V: Vector>(h: V, grad: V) -> V;
}

/// `tanh(z)`; `f' = 1 - h²`.
pub(crate) struct Tanh;

impl Activation for Tanh {
    #[inline(always)]
    unsafe fn apply<V: Vector>(z: V) -> V {
        z.tanh()
    }

    #[inline(always)]
    unsafe fn backward<V: Vector>(h: V, grad: V) -> V {
        h.mul(grad).neg_mul_add(h, grad)
    }
}

/// `max(z, 0)`; `f' = 0` where `h = 0`, else 1.
pub(crate) struct Relu;

/// `z`: what the gradients of inputs and initial state end with.
pub(crate) struct Identity;

impl Activation for Relu {
    #[inline(always)]
    unsafe fn apply<V: Vector>(z: V) -> V {
        z.max_or_self(V::splat(V::Elem::ZERO))
    }

    #[inline(always)]
    unsafe fn backward<V: Vector>(h: V, grad: V) -> V {
        grad.unless_at_most_zero(h)
    }
}

impl Activation for Identity {
    #[inline(always)]
    unsafe fn apply<V: Vector>(z: V) -> V {
        z
    }

    #[inline(always)]
    unsafe fn backward<V: Vector>(_h: V, grad: V) -> V {
        grad
    }
}

/// Where `tanh` in `f32` has reached 1.
const SATURATION_F32: f32 = 9.02;
const P: [f32; 4] = [0.133_829_07, 0.003_497_719_4, 2.064_014_6e-5, 1.339_031_9e-8];
const Q: [f32; 4] = [0.467_162_29, 0.025_885_356, 0.000_328_894_6, 7.792_707_9e-7];

/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(crate) unsafe fn tanh_f32<V: Vector<Elem = f32>>(x: V) -> V {
    let limit = V::splat(SATURATION_F32);
    let magnitude = x.abs().min_or_self(limit);
    let y = magnitude.mul(magnitude);
    let mut p = V::splat(P[3]);
    let mut q = V::splat(Q[3]);
    for i in [2, 1, 0] {
        p = p.mul_add(y, V::splat(P[i]));
        q = q.mul_add(y, V::splat(Q[i]));
    }
    let one = V::splat(1.);
    let p = p.mul_add(y, one).mul(magnitude);
    let q = q.mul_add(y, one);
    // Rounding may lift the quotient above 1.
    p.div(q).min_or_self(one).with_sign_of(x)
}

/// Vectors of `f64` that can make powers of two, for their `tanh`.
pub(crate) trait Pow2: Vector<Elem = f64> {
    /// `2^n`, where `biased` holds `n + 1023 + 2^52` and `n` is an integer in `-1022..=1023`.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn pow2(biased: Self) -> Self;
}

/// Where `tanh` in `f64` has reached 1.
const SATURATION_F64: f64 = 20.;
/// ln 2 in two parts: the first has 32 trailing zero bits, so that `k` times it is exact.
const LN_2: [f64; 2] = [0.693_146_705_627_441_4, 4.749_325_039_031_672_6e-7];
/// `1 / n!`.
const INVERSE_FACTORIALS: [f64; 15] = {
    let mut inverse = [1.; 15];
    let (mut n, mut factorial) = (1, 1.);
    while n < 15 {
        factorial *= n as f64;
        inverse[n] = 1. / factorial;
        n += 1;
    }
    inverse
};

/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(crate) unsafe fn tanh_f64<V: Pow2>(x: V) -> V {
    // Adding it rounds to an integer, whose bits are then the lowest of the mantissa.
    const ROUND: f64 = (1u64 << 52) as f64 + 1023.;
    let magnitude = x.abs().min_or_self(V::splat(SATURATION_F64));
    let double = magnitude.add(magnitude);
    let biased = double.mul_add(V::splat(std::f64::consts::LOG2_E), V::splat(ROUND));
    let k = biased.sub(V::splat(ROUND));
    let r = k.neg_mul_add(V::splat(LN_2[0]), double);
    let r = k.neg_mul_add(V::splat(LN_2[1]), r);
    // (exp(r) - 1 - r) / r², by Horner's rule.
    let mut p = V::splat(INVERSE_FACTORIALS[14]);
    for n in (2..14).rev() {
        p = p.mul_add(r, V::splat(INVERSE_FACTORIALS[n]));
    }
    let p = p.mul(r).mul_add(r, r);
    let power = V::pow2(biased);
    let one = V::splat(1.);
    let e = power.mul_add(p, power.sub(one));
    let quotient = e.div(e.add(V::splat(2.)));
    quotient.min_or_self(one).with_sign_of(x)
}
