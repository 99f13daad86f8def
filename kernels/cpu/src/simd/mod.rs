//! Vector registers: one trait, an implementation for each instruction set, and the choice at run time.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod element;
pub(crate) mod isa;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) mod portable;
pub(crate) mod vector;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod wasm;
