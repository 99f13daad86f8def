//! The floats that kernels compute with.

use std::fmt::Debug;
use std::ops::{Add, Mul};

/// A float that kernels compute with.
pub trait Element:
    Copy
    + Send
    + Sync
    + PartialEq
    + PartialOrd
    + Debug
    + Add<Output = Self>
    + Mul<Output = Self>
    + 'static
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The value of fresh memory in tests.
    #[cfg(any(debug_assertions, feature = "poison"))]
    const NAN: Self;

    // For `tanh` and `sigmoid`.

    /// From here on `tanh` is 1.
    const SATURATION: Self;
    /// Beyond this magnitude, `exp` has no exponent left.
    const EXP_LIMIT: Self;
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

impl Element for f32 {
    const ZERO: Self = 0.;
    const ONE: Self = 1.;
    #[cfg(any(debug_assertions, feature = "poison"))]
    const NAN: Self = Self::NAN;
    const SATURATION: Self = 9.02;
    const EXP_LIMIT: Self = 87.;
    const LOG2_E: Self = std::f32::consts::LOG2_E;
    const LN_2: [Self; 2] = [0.693_145_75, 1.428_606_8e-6];
    const ROUND: Self = (1 << 23) as f32 + 127.;
    const TWO: Self = 2.;
    const Q: &'static [Self] =
        &[0.499_999_97, 0.166_665_43, 0.041_667_2, 0.008_366_547_5, 0.001_388_251_7];
}

impl Element for f64 {
    const ZERO: Self = 0.;
    const ONE: Self = 1.;
    #[cfg(any(debug_assertions, feature = "poison"))]
    const NAN: Self = Self::NAN;
    const SATURATION: Self = 20.;
    const EXP_LIMIT: Self = 708.;
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
