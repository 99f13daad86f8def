//! WebAssembly's fixed-width SIMD: registers of 128 bits, which the program is compiled for or not.
//!
//! A program for a web page is downloaded before it runs: tiles are one row of one register, so that each kernel is
//! there once.

use std::arch::wasm32::*;

use crate::simd::vector::{partial_by_copy, Kernel, Vector};

/// 4 `f32`.
#[derive(Clone, Copy)]
pub(crate) struct WasmF32(v128);

/// 2 `f64`.
#[derive(Clone, Copy)]
pub(crate) struct WasmF64(v128);

macro_rules! vector {
    (
        $name:ident: $lanes:literal x $elem:ty, exponent at $exponent:literal,
        $splat:ident $add:ident $sub:ident $mul:ident $div:ident $abs:ident $pmin:ident $pmax:ident $le:ident,
        $sign_bit:expr, $shift_left:ident
    ) => {
        impl Vector for $name {
            type Elem = $elem;
            const LANES: usize = $lanes;
            const NR_REGISTERS: usize = 1;

            #[inline(always)]
            fn mr(_width: usize) -> usize {
                1
            }

            unsafe fn vectorize<K: Kernel<Self>>(kernel: K) {
                // SAFETY: as the caller says.
                unsafe { kernel.run() };
            }

            #[inline(always)]
            unsafe fn splat(value: $elem) -> Self {
                Self($splat(value))
            }
            #[inline(always)]
            fn fill(self, value: $elem) -> Self {
                Self($splat(value))
            }
            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: as the caller says.
                unsafe { Self(v128_load(from.cast())) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: as the caller says.
                unsafe { v128_store(to.cast(), self.0) };
            }

            partial_by_copy!($elem);

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self($add(self.0, other.0))
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Self($sub(self.0, other.0))
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                Self($mul(self.0, other.0))
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                Self($div(self.0, other.0))
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                self.mul(a).add(b)
            }
            #[inline(always)]
            fn neg_mul_add(self, a: Self, b: Self) -> Self {
                b.sub(self.mul(a))
            }
            #[inline(always)]
            fn min_or_self(self, other: Self) -> Self {
                Self($pmin(self.0, other.0))
            }
            #[inline(always)]
            fn max_or_self(self, other: Self) -> Self {
                Self($pmax(self.0, other.0))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self($abs(self.0))
            }
            #[inline(always)]
            fn with_sign_of(self, sign: Self) -> Self {
                Self(v128_bitselect(sign.0, self.0, $sign_bit))
            }
            #[inline(always)]
            fn unless_at_most_zero(self, of: Self) -> Self {
                Self(v128_andnot(self.0, $le(of.0, $splat(0.))))
            }
            #[inline(always)]
            fn pow2_of_biased(self) -> Self {
                Self($shift_left(self.0, $exponent))
            }
        }
    };
}

vector! {
    WasmF32: 4 x f32, exponent at 23,
    f32x4_splat f32x4_add f32x4_sub f32x4_mul f32x4_div f32x4_abs f32x4_pmin f32x4_pmax f32x4_le,
    u32x4_splat(1 << 31), i32x4_shl
}

vector! {
    WasmF64: 2 x f64, exponent at 52,
    f64x2_splat f64x2_add f64x2_sub f64x2_mul f64x2_div f64x2_abs f64x2_pmin f64x2_pmax f64x2_le,
    u64x2_splat(1 << 63), i64x2_shl
}
