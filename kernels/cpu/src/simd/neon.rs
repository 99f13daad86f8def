//! NEON: 32 registers of 128 bits; every 64-bit Arm CPU has them.

use std::arch::aarch64::*;

use crate::simd::vector::{impl_vector, partial_by_copy, Kernel, Vector};

/// 4 `f32`.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

/// 2 `f64`.
#[derive(Clone, Copy)]
pub(crate) struct F64x2(float64x2_t);

macro_rules! vector {
    (
        $name:ident: $lanes:literal x $elem:ty, exponent at $exponent:literal,
        $dup:ident $ld1:ident $st1:ident,
        $add:ident $sub:ident $mul:ident $div:ident $fma:ident $fms:ident $abs:ident,
        $bsl:ident $clt:ident $cgt:ident $cle:ident $sign_bit:expr,
        $from_bits:ident $shift_left:ident $to_bits:ident
    ) => {
        impl_vector! {
            // 25 accumulators, 5 registers of weights, 1 broadcast value; or 24, 4 and 1.
            $name: $lanes x $elem, tiles 5 by |width| if width == 5 { 5 } else { 6 },
            #[target_feature(enable = "neon")]
            splat(value) => $dup(value);
            load(from) => $ld1(from);
            store(self, to) => $st1(to, self.0);
            add(self, other) => $add(self.0, other.0);
            sub(self, other) => $sub(self.0, other.0);
            mul(self, other) => $mul(self.0, other.0);
            div(self, other) => $div(self.0, other.0);
            mul_add(self, a, b) => $fma(b.0, self.0, a.0);
            neg_mul_add(self, a, b) => $fms(b.0, self.0, a.0);
            min_or_self(self, other) => $bsl($clt(other.0, self.0), other.0, self.0);
            max_or_self(self, other) => $bsl($cgt(other.0, self.0), other.0, self.0);
            abs(self) => $abs(self.0);
            with_sign_of(self, sign) => $bsl($sign_bit, sign.0, self.0);
            unless_at_most_zero(self, of) => $bsl($cle(of.0, $dup(0.)), $dup(0.), self.0);
            pow2_of_biased(self) => $from_bits($shift_left::<$exponent>($to_bits(self.0)));
            { partial_by_copy!($elem); }
        }
    };
}

vector! {
    F32x4: 4 x f32, exponent at 23,
    vdupq_n_f32 vld1q_f32 vst1q_f32,
    vaddq_f32 vsubq_f32 vmulq_f32 vdivq_f32 vfmaq_f32 vfmsq_f32 vabsq_f32,
    vbslq_f32 vcltq_f32 vcgtq_f32 vcleq_f32 vdupq_n_u32(1 << 31),
    vreinterpretq_f32_s32 vshlq_n_s32 vreinterpretq_s32_f32
}

vector! {
    F64x2: 2 x f64, exponent at 52,
    vdupq_n_f64 vld1q_f64 vst1q_f64,
    vaddq_f64 vsubq_f64 vmulq_f64 vdivq_f64 vfmaq_f64 vfmsq_f64 vabsq_f64,
    vbslq_f64 vcltq_f64 vcgtq_f64 vcleq_f64 vdupq_n_u64(1 << 63),
    vreinterpretq_f64_s64 vshlq_n_s64 vreinterpretq_s64_f64
}
