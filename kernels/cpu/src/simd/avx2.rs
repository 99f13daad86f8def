//! AVX2 and FMA: 16 registers of 256 bits.

use std::arch::x86_64::*;

use crate::simd::vector::{binary_ops, partial_by_copy, Kernel, Vector};

/// 8 `f32`.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// 4 `f64`.
#[derive(Clone, Copy)]
pub(crate) struct F64x4(__m256d);

macro_rules! vector {
    (
        $name:ident: $lanes:literal x $elem:ty, exponent at $exponent:literal,
        $set1:ident $loadu:ident $storeu:ident,
        $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident $fnmadd:ident $min:ident $max:ident,
        $and:ident $andnot:ident $or:ident $cmp:ident,
        $from_bits:ident $shift_left:ident $to_bits:ident
    ) => {
        impl Vector for $name {
            type Elem = $elem;
            const LANES: usize = $lanes;
            const NR_REGISTERS: usize = 2;

            #[inline(always)]
            fn mr(_width: usize) -> usize {
                // 12 accumulators, 2 registers of weights, 1 broadcast value.
                6
            }

            #[target_feature(enable = "avx2,fma")]
            unsafe fn vectorize<K: Kernel<Self>>(kernel: K) {
                // SAFETY: as the caller says.
                unsafe { kernel.run() };
            }

            #[inline(always)]
            unsafe fn prefetch(from: *const $elem) {
                // SAFETY: as the caller says.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()); }
            }
            #[inline(always)]
            unsafe fn splat(value: $elem) -> Self {
                // SAFETY: as the caller says.
                unsafe { Self($set1(value)) }
            }
            #[inline(always)]
            fn fill(self, value: $elem) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($set1(value)) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: as the caller says.
                unsafe { Self($loadu(from)) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: as the caller says.
                unsafe { $storeu(to, self.0); }
            }

            partial_by_copy!($elem);
            binary_ops!(add: $add, sub: $sub, mul: $mul, div: $div);

            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($fmadd(self.0, a.0, b.0)) }
            }
            #[inline(always)]
            fn neg_mul_add(self, a: Self, b: Self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($fnmadd(self.0, a.0, b.0)) }
            }
            #[inline(always)]
            fn min_or_self(self, other: Self) -> Self {
                // The instruction gives its second operand where either is NaN.
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($min(other.0, self.0)) }
            }
            #[inline(always)]
            fn max_or_self(self, other: Self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($max(other.0, self.0)) }
            }
            #[inline(always)]
            fn abs(self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($andnot($set1(-0.), self.0)) }
            }
            #[inline(always)]
            fn with_sign_of(self, sign: Self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($or(self.0, $and(sign.0, $set1(-0.)))) }
            }
            #[inline(always)]
            fn unless_at_most_zero(self, of: Self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($and(self.0, $cmp::<_CMP_NLE_UQ>(of.0, $set1(0.)))) }
            }
            #[inline(always)]
            fn pow2_of_biased(self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 and FMA.
                unsafe { Self($from_bits($shift_left::<$exponent>($to_bits(self.0)))) }
            }
        }
    };
}

vector! {
    F32x8: 8 x f32, exponent at 23,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps,
    _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_fnmadd_ps
    _mm256_min_ps _mm256_max_ps,
    _mm256_and_ps _mm256_andnot_ps _mm256_or_ps _mm256_cmp_ps,
    _mm256_castsi256_ps _mm256_slli_epi32 _mm256_castps_si256
}

vector! {
    F64x4: 4 x f64, exponent at 52,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd,
    _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_fmadd_pd _mm256_fnmadd_pd
    _mm256_min_pd _mm256_max_pd,
    _mm256_and_pd _mm256_andnot_pd _mm256_or_pd _mm256_cmp_pd,
    _mm256_castsi256_pd _mm256_slli_epi64 _mm256_castpd_si256
}
