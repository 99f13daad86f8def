//! Activations over vector registers, and their derivatives by the output.
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
        tanh(z)
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

/// What `tanh` needs to know of an element.
pub(crate) trait TanhConstants: Sized + 'static {
    /// From here on `tanh` is 1.
    const SATURATION: Self;
    /// `log2(e)`.
    const LOG2_E: Self;
    /// ln 2 in two parts, the first of so few bits that `k` times it is exact.
    const LN_2: [Self; 2];
    /// Adding it rounds to an integer, which together with the exponent's bias is then in the
    /// lowest bits of the mantissa.
    const ROUND: Self;
    /// 2.
    const TWO: Self;
    /// Coefficients of `q`, the constant first.
    const Q: &'static [Self];
}

impl TanhConstants for f32 {
    const SATURATION: Self = 9.02;
    const LOG2_E: Self = std::f32::consts::LOG2_E;
    const LN_2: [Self; 2] = [0.693_145_75, 1.428_606_8e-6];
    const ROUND: Self = (1 << 23) as f32 + 127.;
    const TWO: Self = 2.;
    const Q: &'static [Self] =
        &[0.499_999_97, 0.166_665_43, 0.041_667_2, 0.008_366_547_5, 0.001_388_251_7];
}

impl TanhConstants for f64 {
    const SATURATION: Self = 20.;
    const LOG2_E: Self = std::f64::consts::LOG2_E;
    const LN_2: [Self; 2] = [0.693_146_705_627_441_4, 4.749_325_039_031_673e-7];
    const ROUND: Self = (1u64 << 52) as f64 + 1023.;
    const TWO: Self = 2.;
    /// `1 / n!` from n = 2 on.
    const Q: &'static [Self] = &{
        let mut inverse = [0.; 13];
        let (mut n, mut factorial) = (0, 1.);
        while n < 13 {
            factorial *= (n + 2) as f64;
            inverse[n] = 1. / factorial;
            n += 1;
        }
        inverse
    };
}

/// `tanh` of each lane.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(crate) unsafe fn tanh<V: Vector>(x: V) -> V {
    let magnitude = x.abs().min_or_self(V::splat(V::Elem::SATURATION));
    let double = magnitude.add(magnitude);
    let round = V::splat(V::Elem::ROUND);
    let biased = double.mul_add(V::splat(V::Elem::LOG2_E), round);
    let k = biased.sub(round);
    let [high, low] = V::Elem::LN_2;
    let r = k.neg_mul_add(V::splat(high), double);
    let r = k.neg_mul_add(V::splat(low), r);
    let mut q = V::splat(V::Elem::ZERO);
    for (index, coefficient) in V::Elem::Q.iter().rev().enumerate() {
        let coefficient = V::splat(*coefficient);
        q = if index == 0 { coefficient } else { q.mul_add(r, coefficient) };
    }
    let p = q.mul(r).mul_add(r, r);
    let power = biased.pow2_of_biased();
    let e = power.mul_add(p, power.sub(V::splat(V::Elem::ONE)));
    e.div(e.add(V::splat(V::Elem::TWO))).with_sign_of(x)
}
