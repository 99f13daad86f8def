//! AVX2 and FMA: 16 registers of 256 bits.

use std::arch::x86_64::*;

use crate::simd::vector::{impl_vector, partial_by_copy, Kernel, Vector};

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
        impl_vector! {
            // 12 accumulators, 2 registers of weights, 1 broadcast value.
            $name: $lanes x $elem, tiles 2 by |_width| 6,
            #[target_feature(enable = "avx2,fma")]
            splat(value) => $set1(value);
            load(from) => $loadu(from);
            store(self, to) => $storeu(to, self.0);
            add(self, other) => $add(self.0, other.0);
            sub(self, other) => $sub(self.0, other.0);
            mul(self, other) => $mul(self.0, other.0);
            div(self, other) => $div(self.0, other.0);
            mul_add(self, a, b) => $fmadd(self.0, a.0, b.0);
            neg_mul_add(self, a, b) => $fnmadd(self.0, a.0, b.0);
            // The instruction gives its second operand where either is NaN.
            min_or_self(self, other) => $min(other.0, self.0);
            max_or_self(self, other) => $max(other.0, self.0);
            abs(self) => $andnot($set1(-0.), self.0);
            with_sign_of(self, sign) => $or(self.0, $and(sign.0, $set1(-0.)));
            unless_at_most_zero(self, of) => $and(self.0, $cmp::<_CMP_NLE_UQ>(of.0, $set1(0.)));
            pow2_of_biased(self) => $from_bits($shift_left::<$exponent>($to_bits(self.0)));
            { partial_by_copy!($elem); }
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
