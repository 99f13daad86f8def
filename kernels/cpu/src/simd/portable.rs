//! Any CPU: small arrays, which the compiler may keep in the registers of its baseline.
//!
//! Products are rounded before they are added: a fused multiply-add without hardware for it is a
//! slow library call.

use crate::simd::vector::{Kernel, Vector};

/// `N` elements.
#[derive(Clone, Copy)]
pub(crate) struct Array<E, const N: usize>([E; N]);

/// 4 `f32`.
pub(crate) type PortableF32 = Array<f32, 4>;
/// 2 `f64`.
pub(crate) type PortableF64 = Array<f64, 2>;

impl<E: Copy, const N: usize> Array<E, N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(E, E) -> E) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

macro_rules! vector {
    ($elem:ident, $lanes:literal, $exponent:literal) => {
        impl Vector for Array<$elem, $lanes> {
            type Elem = $elem;
            const LANES: usize = $lanes;
            const NR_REGISTERS: usize = 2;

            #[inline(always)]
            fn mr(_width: usize) -> usize {
                // Of 16 registers 8 accumulate: without fused multiply-add a product needs one too.
                4
            }

            unsafe fn vectorize<K: Kernel<Self>>(kernel: K) {
                // SAFETY: as the caller says.
                unsafe { kernel.run() };
            }

            #[inline(always)]
            unsafe fn splat(value: $elem) -> Self {
                Self([value; $lanes])
            }
            #[inline(always)]
            fn fill(self, value: $elem) -> Self {
                Self([value; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: as the caller says.
                unsafe { Self(from.cast::<[$elem; $lanes]>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: as the caller says.
                unsafe { to.cast::<[$elem; $lanes]>().write_unaligned(self.0) };
            }
            crate::simd::vector::partial_by_copy!($elem);
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.zip(other, |a, b| a + b)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.zip(other, |a, b| a - b)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.zip(other, |a, b| a * b)
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self.zip(other, |a, b| a / b)
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
                self.zip(other, |a, b| if b < a { b } else { a })
            }
            #[inline(always)]
            fn max_or_self(self, other: Self) -> Self {
                self.zip(other, |a, b| if b > a { b } else { a })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0.map($elem::abs))
            }
            #[inline(always)]
            fn with_sign_of(self, sign: Self) -> Self {
                self.zip(sign, $elem::copysign)
            }
            #[inline(always)]
            fn unless_at_most_zero(self, of: Self) -> Self {
                self.zip(of, |value, of| if of <= 0. { 0. } else { value })
            }
            #[inline(always)]
            fn pow2_of_biased(self) -> Self {
                Self(self.0.map(|value| $elem::from_bits(value.to_bits() << $exponent)))
            }
        }
    };
}

vector!(f32, 4, 23);
vector!(f64, 2, 52);
