//! The lane abstraction: what a kernel needs of a vector register.
//!
//! The kernels are written once over [`Vector`]; `avx512`, `avx2`, `neon`, `wasm` and `portable` hold its
//! implementations. An arithmetic method does per lane what its name says, rounded as IEEE 754 says; only
//! [`Vector::mul_add`] and [`Vector::neg_mul_add`] round once where the instruction set can, twice
//! where it cannot.

pub(crate) use crate::simd::element::Element;

/// A vector register of [`Self::LANES`] elements.
///
/// A value exists only where the CPU has the instruction set of the implementation: the methods that
/// make one from nothing are unsafe, and what is computed from values is safe. All of them become
/// part of the function that [`Vector::vectorize`] compiles with the CPU features.
pub(crate) trait Vector: Copy {
    /// The element.
    type Elem: Element;
    /// The number of elements in a register.
    const LANES: usize;
    /// The number of registers that a tile of accumulators may be wide.
    const NR_REGISTERS: usize;

    /// The number of rows that a tile of `registers` registers may have, so that accumulators, a row
    /// of weights and a broadcast value stay in registers.
    fn mr(registers: usize) -> usize;

    /// Runs a kernel in a function of its own that is compiled with the CPU features.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this type, as an `Isa` proves, and the kernel's views must
    /// be valid for what [`Kernel::run`] says that they are used for.
    unsafe fn vectorize<K: Kernel<Self>>(kernel: K);

    /// Has the cache line at `from` fetched, where an instruction does that; any address will do.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this type.
    #[inline(always)]
    unsafe fn prefetch(from: *const Self::Elem) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every such CPU has the instruction, which reads nothing.
        unsafe {
            use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
            _mm_prefetch::<_MM_HINT_T0>(from.cast());
        }
        let _ = from;
    }

    /// A register that holds `value` in every lane.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this type.
    unsafe fn splat(value: Self::Elem) -> Self;
    /// A register from memory, which need not be aligned.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this type, and `LANES` elements must be readable at `from`.
    unsafe fn load(from: *const Self::Elem) -> Self;
    /// The register to memory, which need not be aligned.
    ///
    /// # Safety
    /// `LANES` elements must be writable at `to`.
    unsafe fn store(self, to: *mut Self::Elem);
    /// The first `count < LANES` lanes from memory, the others zero.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this type, and `count` elements must be readable at `from`.
    unsafe fn load_partial(from: *const Self::Elem, count: usize) -> Self;
    /// The first `count < LANES` lanes to memory.
    ///
    /// # Safety
    /// `count` elements must be writable at `to`.
    unsafe fn store_partial(self, to: *mut Self::Elem, count: usize);

    /// A register that holds `value` in every lane, whatever is in this one.
    #[inline(always)]
    fn fill(self, value: Self::Elem) -> Self {
        // SAFETY: a value exists only where the CPU has its instruction set.
        unsafe { Self::splat(value) }
    }
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * a + b`.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// `b - self * a`.
    fn neg_mul_add(self, a: Self, b: Self) -> Self;
    /// The smaller of the two; `self` if either is NaN.
    fn min_or_self(self, other: Self) -> Self;
    /// The larger of the two; `self` if either is NaN.
    fn max_or_self(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`; `self` is not negative.
    fn with_sign_of(self, sign: Self) -> Self;
    /// Zero where `of` is at most zero, `self` elsewhere: also where `of` is NaN.
    fn unless_at_most_zero(self, of: Self) -> Self;
    /// `2^n`, where `self` is `n`, an integer, plus the exponent's bias and one unit of the largest
    /// power of two that still has room for it: see `Element::ROUND`.
    fn pow2_of_biased(self) -> Self;
}

/// Work that is compiled once for each vector type.
pub(crate) trait Kernel<V: Vector> {
    /// Does it. Implementations are `#[inline(always)]`, so that they become part of the function that
    /// [`Vector::vectorize`] compiles with the CPU features.
    ///
    /// # Safety
    /// The CPU must have the instruction set of `V`. The memory behind the kernel's views must be alive, as
    /// large as the kernel's fields say, and initialised where it is read; nobody else may use what is
    /// written, nor write what is read.
    unsafe fn run(self);
}

/// [`Vector`] for a type around one register: its sizes, and what each method makes of bare registers.
macro_rules! impl_vector {
    (
        $vector:ty: $lanes:literal x $elem:ty, tiles $registers:literal by |$width:ident| $rows:expr,
        $(#[$features:meta])?
        splat($value:ident) => $splat:expr;
        load($from:ident) => $load:expr;
        store($this:ident, $to:ident) => $store:expr;
        $($method:ident($self:ident $(, $other:ident)*) => $result:expr;)*
        { $($partial:tt)* }
    ) => {
        impl Vector for $vector {
            type Elem = $elem;
            const LANES: usize = $lanes;
            const NR_REGISTERS: usize = $registers;

            #[inline(always)]
            fn mr($width: usize) -> usize {
                $rows
            }

            $(#[$features])?
            unsafe fn vectorize<K: Kernel<Self>>(kernel: K) {
                // SAFETY: as the caller says.
                unsafe { kernel.run() };
            }

            #[inline(always)]
            #[allow(unused_unsafe)]
            unsafe fn splat($value: $elem) -> Self {
                // SAFETY: as the caller says.
                unsafe { Self($splat) }
            }
            #[inline(always)]
            #[allow(unused_unsafe)]
            unsafe fn load($from: *const $elem) -> Self {
                // SAFETY: as the caller says.
                unsafe { Self($load) }
            }
            #[inline(always)]
            #[allow(unused_unsafe)]
            unsafe fn store($this, $to: *mut $elem) {
                // SAFETY: as the caller says.
                unsafe { $store };
            }
            $($partial)*
            $(
                #[inline(always)]
                #[allow(unused_unsafe)]
                fn $method($self $(, $other: Self)*) -> Self {
                    // SAFETY: a value exists only where the CPU has its instruction set.
                    unsafe { Self($result) }
                }
            )*
        }
    };
}

/// Partial loads and stores by way of the stack, where no instruction masks them.
macro_rules! partial_by_copy {
    ($elem:ty) => {
        #[inline(always)]
        unsafe fn load_partial(from: *const $elem, count: usize) -> Self {
            let mut lanes = [0 as $elem; <Self as Vector>::LANES];
            for (lane, value) in lanes.iter_mut().enumerate().take(count) {
                // SAFETY: there are `count` elements, as the caller says.
                *value = unsafe { *from.add(lane) };
            }
            // SAFETY: the array has all lanes, and the CPU the instruction set, as the caller says.
            unsafe { Self::load(lanes.as_ptr()) }
        }
        #[inline(always)]
        unsafe fn store_partial(self, to: *mut $elem, count: usize) {
            let mut lanes = [0 as $elem; <Self as Vector>::LANES];
            // SAFETY: the array has all lanes.
            unsafe { self.store(lanes.as_mut_ptr()) };
            for (lane, value) in lanes.iter().enumerate().take(count) {
                // SAFETY: there are `count` elements, as the caller says.
                unsafe { *to.add(lane) = *value };
            }
        }
    };
}

pub(crate) use {impl_vector, partial_by_copy};
