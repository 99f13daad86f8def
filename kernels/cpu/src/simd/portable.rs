//! Any CPU: small arrays, which the compiler may keep in the registers of its baseline.
//!
//! Products are rounded before they are added: a fused multiply-add without hardware for it is a
//! slow library call.

use crate::simd::vector::{impl_vector, partial_by_copy, Kernel, Vector};

/// `N` elements.
#[derive(Clone, Copy)]
pub(crate) struct Array<E, const N: usize>([E; N]);

/// 4 `f32`.
pub(crate) type PortableF32 = Array<f32, 4>;
/// 2 `f64`.
pub(crate) type PortableF64 = Array<f64, 2>;

impl<E: Copy, const N: usize> Array<E, N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(E, E) -> E) -> [E; N] {
        std::array::from_fn(|lane| f(self.0[lane], other.0[lane]))
    }
}

macro_rules! vector {
    ($elem:ident, $lanes:literal, $exponent:literal) => {
        impl_vector! {
            // Of 16 registers 8 accumulate: without fused multiply-add a product needs one too.
            Array<$elem, $lanes>: $lanes x $elem, tiles 2 by |_width| 4,
            splat(value) => [value; $lanes];
            load(from) => from.cast::<[$elem; $lanes]>().read_unaligned();
            store(self, to) => to.cast::<[$elem; $lanes]>().write_unaligned(self.0);
            add(self, other) => self.zip(other, |a, b| a + b);
            sub(self, other) => self.zip(other, |a, b| a - b);
            mul(self, other) => self.zip(other, |a, b| a * b);
            div(self, other) => self.zip(other, |a, b| a / b);
            mul_add(self, a, b) => self.mul(a).add(b).0;
            neg_mul_add(self, a, b) => b.sub(self.mul(a)).0;
            min_or_self(self, other) => self.zip(other, |a, b| if b < a { b } else { a });
            max_or_self(self, other) => self.zip(other, |a, b| if b > a { b } else { a });
            abs(self) => self.0.map($elem::abs);
            with_sign_of(self, sign) => self.zip(sign, $elem::copysign);
            unless_at_most_zero(self, of) =>
                self.zip(of, |value, of| if of <= 0. { 0. } else { value });
            pow2_of_biased(self) =>
                self.0.map(|value| $elem::from_bits(value.to_bits() << $exponent));
            { partial_by_copy!($elem); }
        }
    };
}

vector!(f32, 4, 23);
vector!(f64, 2, 52);
