//! The pointwise part of a step, row by row, for cells that are not simple: [`Cell`]'s methods over
//! the registers of a row.

use std::marker::PhantomData;

use crate::cells::cell::{Before, Cell, GradAfter, MAX_GATES};
use crate::gemm::microkernel::{load_some, store_some};
use crate::simd::vector::{Element, Kernel, Vector};

/// Runs `unit(at, count)` for a row of `units` elements, a register at a time: the elements
/// `at..at + count`, of which there are fewer than lanes only at the end.
macro_rules! for_each_register {
    ($v:ty, $units:expr, |$at:ident, $count:ident| $body:expr) => {{
        let whole = $units / <$v>::LANES * <$v>::LANES;
        let mut $at = 0;
        while $at < whole {
            let $count = <$v>::LANES;
            $body;
            $at += <$v>::LANES;
        }
        if $units > whole {
            let $count = $units - whole;
            $body;
        }
    }};
}

/// Elements of a row, or zeros if null.
#[inline(always)]
unsafe fn load_or_zero<V: Vector>(row: *const V::Elem, at: usize, count: usize) -> V {
    if row.is_null() {
        V::splat(V::Elem::ZERO)
    } else {
        load_some(row.add(at), count)
    }
}

#[inline(always)]
unsafe fn load_gates<V: Vector, C: Cell>(
    gates: *const V::Elem,
    units: usize,
    at: usize,
    count: usize,
) -> [V; MAX_GATES] {
    let mut values = [V::splat(V::Elem::ZERO); MAX_GATES];
    for (gate, value) in values.iter_mut().enumerate().take(C::GATES) {
        *value = load_some(gates.add(gate * units + at), count);
    }
    values
}

#[inline(always)]
unsafe fn store_gates<V: Vector, C: Cell>(
    values: [V; MAX_GATES],
    gates: *mut V::Elem,
    units: usize,
    at: usize,
    count: usize,
) {
    for (gate, value) in values.into_iter().enumerate().take(C::GATES) {
        store_some(value, gates.add(gate * units + at), count);
    }
}

/// States before a step, of one row; zeros where null.
#[derive(Clone, Copy)]
pub(crate) struct BeforeRow<E> {
    pub(crate) h: *const E,
    pub(crate) h_in: *const E,
    pub(crate) c: *const E,
}

impl<E: Element> BeforeRow<E> {
    #[inline(always)]
    unsafe fn load<V: Vector<Elem = E>, C: Cell>(&self, at: usize, count: usize) -> Before<V> {
        let c = if C::HAS_C { load_or_zero(self.c, at, count) } else { V::splat(E::ZERO) };
        // A projected state has another size, and takes no part.
        // SAFETY: as this function's caller says, rows are null or valid for `count` elements at `at`.
        let of = |row| unsafe {
            if C::HAS_DIRECT {
                load_or_zero(row, at, count)
            } else {
                V::splat(E::ZERO)
            }
        };
        Before { h: of(self.h), h_in: of(self.h_in), c }
    }
}

/// A step of one row: [`Cell::forward`].
pub(crate) struct ForwardRow<V: Vector, C> {
    /// H.
    pub(crate) units: usize,
    /// `(A, H)` in|out.
    pub(crate) gates: *mut V::Elem,
    pub(crate) before: BeforeRow<V::Elem>,
    /// `(H,)` out: the state, or the inner value.
    pub(crate) h: *mut V::Elem,
    /// `(H,)` out, if the cell has it; may be the one before.
    pub(crate) c: *mut V::Elem,
    pub(crate) cell: PhantomData<C>,
}

impl<V: Vector, C: Cell> Kernel<V> for ForwardRow<V, C> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { units, gates, before, h, c, .. } = self;
        for_each_register!(V, units, |at, count| {
            let mut values = load_gates::<V, C>(gates, units, at, count);
            let after = C::forward(&mut values, before.load::<V, C>(at, count));
            store_gates::<V, C>(values, gates, units, at, count);
            store_some(after.h, h.add(at), count);
            if C::HAS_C {
                store_some(after.c, c.add(at), count);
            }
        });
    }
}

/// The end of a step of one row, after its second product: [`Cell::forward_inner`].
pub(crate) struct InnerRow<V: Vector, C> {
    pub(crate) units: usize,
    /// `(A, H)` in|out.
    pub(crate) gates: *mut V::Elem,
    /// `(H,)` in, before the step; zeros if null.
    pub(crate) before: *const V::Elem,
    /// `(H,)` out.
    pub(crate) h: *mut V::Elem,
    pub(crate) cell: PhantomData<C>,
}

impl<V: Vector, C: Cell> Kernel<V> for InnerRow<V, C> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { units, gates, before, h, .. } = self;
        for_each_register!(V, units, |at, count| {
            let mut values = load_gates::<V, C>(gates, units, at, count);
            let state = C::forward_inner(&mut values, load_or_zero(before, at, count));
            store_gates::<V, C>(values, gates, units, at, count);
            store_some(state, h.add(at), count);
        });
    }
}

/// The gradient of one row's state: `outside + last + mask · product + direct`, where each of them
/// may be null for zeros.
#[derive(Clone, Copy)]
pub(crate) struct GradRow<E> {
    /// Of the output.
    pub(crate) outside: *const E,
    /// Of the final state.
    pub(crate) last: *const E,
    /// By way of the next step's products.
    pub(crate) product: *const E,
    pub(crate) mask: *const E,
    /// By the next step's other ways.
    pub(crate) direct: *const E,
}

impl<E: Element> GradRow<E> {
    #[inline(always)]
    unsafe fn load<V: Vector<Elem = E>>(&self, at: usize, count: usize) -> V {
        let mut sum = load_or_zero::<V>(self.product, at, count);
        if !self.mask.is_null() {
            sum = sum.mul(load_some(self.mask.add(at), count));
        }
        for term in [self.direct, self.outside, self.last] {
            if !term.is_null() {
                sum = sum.add(load_some(term.add(at), count));
            }
        }
        sum
    }
}

/// The first half of the reverse of a step with an inner value: its state's gradient, and
/// [`Cell::inner_delta`].
pub(crate) struct InnerDelta<V: Vector, C> {
    /// P.
    pub(crate) units: usize,
    /// `(A, H)` in, or null: a projection has none.
    pub(crate) gates: *const V::Elem,
    /// H.
    pub(crate) stride: usize,
    pub(crate) grad: GradRow<V::Elem>,
    /// `(P,)` out: the gradient of the state.
    pub(crate) grad_h: *mut V::Elem,
    /// `(P,)` out: δ of the columns that the inner value feeds.
    pub(crate) delta: *mut V::Elem,
    pub(crate) cell: PhantomData<C>,
}

impl<V: Vector, C: Cell> Kernel<V> for InnerDelta<V, C> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { units, gates, stride, grad, grad_h, delta, .. } = self;
        for_each_register!(V, units, |at, count| {
            let sum = grad.load::<V>(at, count);
            store_some(sum, grad_h.add(at), count);
            let of_gate = if gates.is_null() {
                sum
            } else {
                C::inner_delta(&load_gates::<V, C>(gates, stride, at, count), sum)
            };
            store_some(of_gate, delta.add(at), count);
        });
    }
}

/// The reverse of a step of one row: [`Cell::backward`].
pub(crate) struct BackwardRow<V: Vector, C> {
    /// H.
    pub(crate) units: usize,
    /// `(A, H)` in.
    pub(crate) gates: *const V::Elem,
    pub(crate) before: BeforeRow<V::Elem>,
    /// `(H,)` in: the state after the step, if the cell has it.
    pub(crate) c: *const V::Elem,
    pub(crate) grad_h: GradRow<V::Elem>,
    /// `(H,)` in: the recurrent dropout's mask, or null.
    pub(crate) mask: *const V::Elem,
    /// `(H,)` in: gradients of the state c, by way of the next step and of the final state; or null.
    pub(crate) grad_c: [*const V::Elem; 2],
    /// `(H,)` in: of the inner value; or null.
    pub(crate) grad_inner: *const V::Elem,
    /// `(A, H)` out.
    pub(crate) delta: *mut V::Elem,
    /// `(H,)` out: what goes to the step before by other ways than products; may be `grad_h`'s
    /// direct, and `grad_c`'s first.
    pub(crate) direct: *mut V::Elem,
    pub(crate) carry_c: *mut V::Elem,
    /// `(H,)` out: the inner value, or null.
    pub(crate) inner: *mut V::Elem,
    /// The row of gates that is read next, so that it is there by then.
    pub(crate) next_gates: *const V::Elem,
    pub(crate) cell: PhantomData<C>,
}

impl<V: Vector, C: Cell> Kernel<V> for BackwardRow<V, C> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { units, gates, before, grad_h, .. } = self;
        let (zero, one) = (V::splat(V::Elem::ZERO), V::splat(V::Elem::ONE));
        for_each_register!(V, units, |at, count| {
            let mut grad = GradAfter { h: zero, c: zero, inner: zero };
            grad.h = grad_h.load::<V>(at, count);
            let mut c = zero;
            if C::HAS_C {
                c = load_some(self.c.add(at), count);
                let [carried, last] = self.grad_c;
                grad.c = load_or_zero::<V>(carried, at, count);
                if !last.is_null() {
                    grad.c = grad.c.add(load_some(last.add(at), count));
                }
            }
            let mask = if self.mask.is_null() { one } else { load_some(self.mask.add(at), count) };
            if !self.grad_inner.is_null() {
                grad.inner = load_some(self.grad_inner.add(at), count);
            }
            let values = load_gates::<V, C>(gates, units, at, count);
            for gate in 0..C::GATES {
                V::prefetch(self.next_gates.wrapping_add(gate * units + at));
            }
            let back = C::backward(&values, before.load::<V, C>(at, count), c, mask, grad);
            store_gates::<V, C>(back.delta, self.delta, units, at, count);
            if C::HAS_DIRECT {
                store_some(back.h, self.direct.add(at), count);
            }
            if C::HAS_C {
                store_some(back.c, self.carry_c.add(at), count);
            }
            if !self.inner.is_null() {
                store_some(back.inner, self.inner.add(at), count);
            }
        });
    }
}
