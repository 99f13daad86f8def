//! AVX-512: 32 registers of 512 bits, masked loads and stores.

use std::arch::x86_64::*;

use crate::simd::vector::{impl_vector, Kernel, Vector};

/// 16 `f32`.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

/// 8 `f64`.
#[derive(Clone, Copy)]
pub(crate) struct F64x8(__m512d);

macro_rules! vector {
    (
        $name:ident: $lanes:literal x $elem:ty, mask $mask:ty, exponent at $exponent:literal,
        $set1:ident $loadu:ident $storeu:ident $maskz_loadu:ident $mask_storeu:ident,
        $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident $fnmadd:ident $min:ident $max:ident,
        $abs:ident $and:ident $or:ident $cmp_mask:ident $maskz_mov:ident,
        $from_bits:ident $shift_left:ident $to_bits:ident
    ) => {
        impl_vector! {
            // 25 accumulators, 5 registers of weights, 1 broadcast value; or 24, 4 and 1.
            $name: $lanes x $elem, tiles 5 by |width| if width == 5 { 5 } else { 6 },
            #[target_feature(enable = "avx512f,avx512dq")]
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
            abs(self) => $abs(self.0);
            with_sign_of(self, sign) => $or(self.0, $and(sign.0, $set1(-0.)));
            unless_at_most_zero(self, of) =>
                $maskz_mov($cmp_mask::<_CMP_NLE_UQ>(of.0, $set1(0.)), self.0);
            pow2_of_biased(self) => $from_bits($shift_left::<$exponent>($to_bits(self.0)));
            {
                #[inline(always)]
                unsafe fn load_partial(from: *const $elem, count: usize) -> Self {
                    // SAFETY: as the caller says.
                    unsafe { Self($maskz_loadu(((1u32 << count) - 1) as $mask, from)) }
                }
                #[inline(always)]
                unsafe fn store_partial(self, to: *mut $elem, count: usize) {
                    // SAFETY: as the caller says.
                    unsafe { $mask_storeu(to, ((1u32 << count) - 1) as $mask, self.0); }
                }
            }
        }
    };
}

vector! {
    F32x16: 16 x f32, mask __mmask16, exponent at 23,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_maskz_loadu_ps _mm512_mask_storeu_ps,
    _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps _mm512_fmadd_ps _mm512_fnmadd_ps
    _mm512_min_ps _mm512_max_ps,
    _mm512_abs_ps _mm512_and_ps _mm512_or_ps _mm512_cmp_ps_mask _mm512_maskz_mov_ps,
    _mm512_castsi512_ps _mm512_slli_epi32 _mm512_castps_si512
}

vector! {
    F64x8: 8 x f64, mask __mmask8, exponent at 52,
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_maskz_loadu_pd _mm512_mask_storeu_pd,
    _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd _mm512_fmadd_pd _mm512_fnmadd_pd
    _mm512_min_pd _mm512_max_pd,
    _mm512_abs_pd _mm512_and_pd _mm512_or_pd _mm512_cmp_pd_mask _mm512_maskz_mov_pd,
    _mm512_castsi512_pd _mm512_slli_epi64 _mm512_castpd_si512
}
