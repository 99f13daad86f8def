//! The lane abstraction: what a kernel needs of a vector register.
//!
//! The kernels are written once over [`Vector`]; `avx512`, `avx2`, `neon` and `portable` hold its
//! implementations. A method does per lane what its name says, rounded as IEEE 754 says; only
//! [`Vector::mul_add`] and [`Vector::neg_mul_add`] round once where the instruction set can, twice
//! where it cannot.

use std::fmt::Debug;
use std::ops::{Add, Mul};

use crate::simd::math::ExpConstants;

/// A float that kernels compute with.
pub trait Element:
    ExpConstants
    + Copy
    + Send
    + Sync
    + PartialEq
    + PartialOrd
    + Debug
    + Add<Output = Self>
    + Mul<Output = Self>
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// What fresh memory holds in tests.
    #[cfg(debug_assertions)]
    const NAN: Self;
}

impl Element for f32 {
    const ZERO: Self = 0.;
    const ONE: Self = 1.;
    #[cfg(debug_assertions)]
    const NAN: Self = Self::NAN;
}

impl Element for f64 {
    const ZERO: Self = 0.;
    const ONE: Self = 1.;
    #[cfg(debug_assertions)]
    const NAN: Self = Self::NAN;
}

/// A vector register of [`Self::LANES`] elements.
///
/// # Safety
/// All methods need the CPU features of the implementation: call them only inside
/// [`Vector::vectorize`], which kernels are reached through only with an `Isa`, the proof of these features.
/// Pointers must be valid for as many elements as the method reads or writes; no alignment is
/// needed.
pub(crate) trait Vector: Copy {
    /// The element.
    type Elem: Element;
    /// Elements in a register.
    const LANES: usize;
    /// Registers that a tile of accumulators may be wide.
    const NR_REGISTERS: usize;

    /// How many rows a tile of `width` registers may have, so that accumulators, a row of weights
    /// and a broadcast value stay in registers.
    fn mr(width: usize) -> usize;

    /// Runs a kernel in a function of its own that is compiled with the CPU features.
    unsafe fn vectorize<K: Kernel<Self>>(kernel: K);

    /// Has the cache line at `from` fetched; any address will do.
    #[inline(always)]
    unsafe fn prefetch(from: *const Self::Elem) {
        let _ = from;
    }

    unsafe fn splat(value: Self::Elem) -> Self;
    unsafe fn load(from: *const Self::Elem) -> Self;
    unsafe fn store(self, to: *mut Self::Elem);
    /// The first `count < LANES` lanes from memory, the others zero.
    unsafe fn load_partial(from: *const Self::Elem, count: usize) -> Self;
    /// The first `count < LANES` lanes to memory.
    unsafe fn store_partial(self, to: *mut Self::Elem, count: usize);

    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// `self * a + b`.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    /// `b - self * a`.
    unsafe fn neg_mul_add(self, a: Self, b: Self) -> Self;
    /// The smaller of the two; `self` if either is NaN.
    unsafe fn min_or_self(self, other: Self) -> Self;
    /// The larger of the two; `self` if either is NaN.
    unsafe fn max_or_self(self, other: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`; `self` is not negative.
    unsafe fn with_sign_of(self, sign: Self) -> Self;
    /// Zero where `of` is at most zero, `self` elsewhere: also where `of` is NaN.
    unsafe fn unless_at_most_zero(self, of: Self) -> Self;
    /// `2^n`, where `self` is `n`, an integer, plus the exponent's bias and one unit of the largest
    /// power of two that still has room for it: see `ExpConstants::ROUND`.
    unsafe fn pow2_of_biased(self) -> Self;
}

/// Work that is compiled once for each vector type.
pub(crate) trait Kernel<V: Vector> {
    /// Does it.
    ///
    /// # Safety
    /// As the methods of [`Vector`]. Implementations are `#[inline(always)]`, so that they become
    /// part of the function that [`Vector::vectorize`] compiles with the CPU features.
    unsafe fn run(self);
}

/// Methods that are one instruction on two registers.
macro_rules! binary_ops {
    ($($method:ident: $intrinsic:ident),*) => {
        $(
            #[inline(always)]
            unsafe fn $method(self, other: Self) -> Self {
                Self($intrinsic(self.0, other.0))
            }
        )*
    };
}

/// Partial loads and stores by way of the stack, where no instruction masks them.
macro_rules! partial_by_copy {
    ($elem:ty) => {
        #[inline(always)]
        unsafe fn load_partial(from: *const $elem, count: usize) -> Self {
            let mut lanes = [0 as $elem; <Self as Vector>::LANES];
            for (lane, value) in lanes.iter_mut().enumerate().take(count) {
                *value = *from.add(lane);
            }
            Self::load(lanes.as_ptr())
        }
        #[inline(always)]
        unsafe fn store_partial(self, to: *mut $elem, count: usize) {
            let mut lanes = [0 as $elem; <Self as Vector>::LANES];
            self.store(lanes.as_mut_ptr());
            for (lane, value) in lanes.iter().enumerate().take(count) {
                *to.add(lane) = *value;
            }
        }
    };
}

pub(crate) use {binary_ops, partial_by_copy};
