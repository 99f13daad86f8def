//! WebAssembly's fixed-width SIMD: registers of 128 bits, which the program is compiled for or not.
//!
//! A program for a web page is downloaded before it runs: tiles are one row of one register, so that each kernel is
//! there once.

use std::arch::wasm32::*;

use crate::simd::vector::{impl_vector, partial_by_copy, Kernel, Vector};

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
        impl_vector! {
            $name: $lanes x $elem, tiles 1 by |_width| 1,
            splat(value) => $splat(value);
            load(from) => v128_load(from.cast());
            store(self, to) => v128_store(to.cast(), self.0);
            add(self, other) => $add(self.0, other.0);
            sub(self, other) => $sub(self.0, other.0);
            mul(self, other) => $mul(self.0, other.0);
            div(self, other) => $div(self.0, other.0);
            mul_add(self, a, b) => $add($mul(self.0, a.0), b.0);
            neg_mul_add(self, a, b) => $sub(b.0, $mul(self.0, a.0));
            min_or_self(self, other) => $pmin(self.0, other.0);
            max_or_self(self, other) => $pmax(self.0, other.0);
            abs(self) => $abs(self.0);
            with_sign_of(self, sign) => v128_bitselect(sign.0, self.0, $sign_bit);
            unless_at_most_zero(self, of) => v128_andnot(self.0, $le(of.0, $splat(0.)));
            pow2_of_biased(self) => $shift_left(self.0, $exponent);
            { partial_by_copy!($elem); }
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
