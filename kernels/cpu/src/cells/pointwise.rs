//! The pointwise part of a step, row by row, for cells that are not simple: [`Cell`]'s methods over
//! the registers of a row.

// One contract holds for a whole kernel, that of `Kernel::run`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

use std::marker::PhantomData;

use crate::cells::cell::{Before, Cell, GradAfter, ReverseStep, MAX_GATES};
use crate::gemm::microkernel::{load_some, store_some};
use crate::simd::vector::{Element, Kernel, Vector};
use crate::view::{View, ViewMut};

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

/// `count` elements of a row from `at` on, or zeros if there is no row.
///
/// # Safety
/// The CPU must have the instruction set of `V`, and these elements must be readable.
#[inline(always)]
unsafe fn load_or_zero<V: Vector>(row: Option<View<V::Elem, 0>>, at: usize, count: usize) -> V {
    match row {
        Some(row) => load_some(row.add(at), count),
        None => V::splat(V::Elem::ZERO),
    }
}

/// `count` units of all gates of a row `(A, units)`, from unit `at` on.
///
/// # Safety
/// The CPU must have the instruction set of `V`, and these elements must be readable.
#[inline(always)]
unsafe fn load_gates<V: Vector, C: Cell>(
    gates: View<V::Elem, 0>,
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

/// The same to memory.
///
/// # Safety
/// These elements must be writable, and nobody else may use them.
#[inline(always)]
unsafe fn store_gates<V: Vector, C: Cell>(
    values: [V; MAX_GATES],
    gates: ViewMut<V::Elem, 0>,
    units: usize,
    at: usize,
    count: usize,
) {
    for (gate, value) in values.into_iter().enumerate().take(C::GATES) {
        store_some(value, gates.add(gate * units + at), count);
    }
}

/// The states of one row before a step; zeros where absent.
#[derive(Clone, Copy)]
pub(crate) struct BeforeRow<E> {
    pub(crate) h: Option<View<E, 0>>,
    pub(crate) h_in: Option<View<E, 0>>,
    pub(crate) c: Option<View<E, 0>>,
}

impl<E: Element> BeforeRow<E> {
    /// A register of each state, `count` units from unit `at` on.
    ///
    /// # Safety
    /// The CPU must have the instruction set of `V`, and these elements must be readable.
    #[inline(always)]
    unsafe fn load<V: Vector<Elem = E>, C: Cell>(&self, at: usize, count: usize) -> Before<V> {
        let zero = V::splat(E::ZERO);
        let c = if C::HAS_C { load_or_zero(self.c, at, count) } else { zero };
        // A projected state has another size, and takes no part.
        if C::HAS_DIRECT {
            let [h, h_in] = [self.h, self.h_in];
            Before { h: load_or_zero(h, at, count), h_in: load_or_zero(h_in, at, count), c }
        } else {
            Before { h: zero, h_in: zero, c }
        }
    }
}

/// A step of one row: [`Cell::forward`].
pub(crate) struct ForwardRow<V: Vector, C> {
    /// H.
    pub(crate) units: usize,
    /// `(A, H)` in|out.
    pub(crate) gates: ViewMut<V::Elem, 0>,
    pub(crate) before: BeforeRow<V::Elem>,
    /// `(H,)` out: the state, or the inner value.
    pub(crate) h: ViewMut<V::Elem, 0>,
    /// `(H,)` out, if the cell has it; may be the one before.
    pub(crate) c: Option<ViewMut<V::Elem, 0>>,
    pub(crate) cell: PhantomData<C>,
}

impl<V: Vector, C: Cell> Kernel<V> for ForwardRow<V, C> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { units, gates, before, h, c, .. } = self;
        for_each_register!(V, units, |at, count| {
            let mut values = load_gates::<V, C>(gates.as_view(), units, at, count);
            let after = C::forward(&mut values, before.load::<V, C>(at, count));
            store_gates::<V, C>(values, gates, units, at, count);
            store_some(after.h, h.add(at), count);
            if let (true, Some(c)) = (C::HAS_C, c) {
                store_some(after.c, c.add(at), count);
            }
        });
    }
}

/// The end of a step of one row, after its second product: [`Cell::forward_inner`].
pub(crate) struct InnerRow<V: Vector, C> {
    pub(crate) units: usize,
    /// `(A, H)` in|out.
    pub(crate) gates: ViewMut<V::Elem, 0>,
    /// `(H,)` in: the state before the step; zeros if absent.
    pub(crate) before: Option<View<V::Elem, 0>>,
    /// `(H,)` out.
    pub(crate) h: ViewMut<V::Elem, 0>,
    pub(crate) cell: PhantomData<C>,
}

impl<V: Vector, C: Cell> Kernel<V> for InnerRow<V, C> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { units, gates, before, h, .. } = self;
        for_each_register!(V, units, |at, count| {
            let mut values = load_gates::<V, C>(gates.as_view(), units, at, count);
            let state = C::forward_inner(&mut values, load_or_zero(before, at, count));
            store_gates::<V, C>(values, gates, units, at, count);
            store_some(state, h.add(at), count);
        });
    }
}

/// The gradient of one row's state: `outside + last + mask · product + direct`, where each of them
/// may be absent for zeros.
#[derive(Clone, Copy)]
pub(crate) struct GradRow<E> {
    /// The gradient of the output.
    pub(crate) outside: Option<View<E, 0>>,
    /// The gradient of the final state.
    pub(crate) last: Option<View<E, 0>>,
    /// By way of the next step's products.
    pub(crate) product: Option<View<E, 0>>,
    pub(crate) mask: Option<View<E, 0>>,
    /// By the next step's other ways.
    pub(crate) direct: Option<View<E, 0>>,
}

impl<E: Element> GradRow<E> {
    /// No gradient.
    pub(crate) const NONE: Self =
        Self { outside: None, last: None, product: None, mask: None, direct: None };

    /// A register of the sum, `count` elements from `at` on.
    ///
    /// # Safety
    /// The CPU must have the instruction set of `V`, and these elements must be readable.
    #[inline(always)]
    unsafe fn load<V: Vector<Elem = E>>(&self, at: usize, count: usize) -> V {
        let mut sum = load_or_zero::<V>(self.product, at, count);
        if let Some(mask) = self.mask {
            sum = sum.mul(load_some(mask.add(at), count));
        }
        for term in [self.direct, self.outside, self.last].into_iter().flatten() {
            sum = sum.add(load_some(term.add(at), count));
        }
        sum
    }
}

/// The first half of the reverse of a step with an inner value: its state's gradient, and
/// [`Cell::inner_delta`].
pub(crate) struct InnerDelta<V: Vector, C> {
    /// P.
    pub(crate) units: usize,
    /// `(A, H)` in; a projection has none.
    pub(crate) gates: Option<View<V::Elem, 0>>,
    /// H.
    pub(crate) stride: usize,
    pub(crate) grad: GradRow<V::Elem>,
    /// `(P,)` out: the gradient of the state.
    pub(crate) grad_h: ViewMut<V::Elem, 0>,
    /// `(P,)` out: δ of the columns that the inner value feeds.
    pub(crate) delta: ViewMut<V::Elem, 0>,
    pub(crate) cell: PhantomData<C>,
}

impl<V: Vector, C: Cell> Kernel<V> for InnerDelta<V, C> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { units, gates, stride, grad, grad_h, delta, .. } = self;
        for_each_register!(V, units, |at, count| {
            let sum = grad.load::<V>(at, count);
            store_some(sum, grad_h.add(at), count);
            let of_gate = match gates {
                Some(gates) => C::inner_delta(&load_gates::<V, C>(gates, stride, at, count), sum),
                None => sum,
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
    pub(crate) gates: View<V::Elem, 0>,
    pub(crate) before: BeforeRow<V::Elem>,
    /// `(H,)` in: the state after the step, if the cell has it.
    pub(crate) c: Option<View<V::Elem, 0>>,
    pub(crate) grad_h: GradRow<V::Elem>,
    /// `(H,)` in: the recurrent dropout's mask.
    pub(crate) mask: Option<View<V::Elem, 0>>,
    /// `(H,)` in: gradients of the state c, by way of the next step and of the final state.
    pub(crate) grad_c: [Option<View<V::Elem, 0>>; 2],
    /// `(H,)` in: the gradient of the inner value, if there is one.
    pub(crate) grad_inner: Option<View<V::Elem, 0>>,
    /// `(A, H)` out.
    pub(crate) delta: ViewMut<V::Elem, 0>,
    /// `(H,)` out: what goes to the step before by other ways than products; may be `grad_h`'s
    /// direct, and `grad_c`'s first.
    pub(crate) direct: Option<ViewMut<V::Elem, 0>>,
    pub(crate) carry_c: Option<ViewMut<V::Elem, 0>>,
    /// `(H,)` out: the inner value, if there is one.
    pub(crate) inner: Option<ViewMut<V::Elem, 0>>,
    /// The row of gates that is read next, so that it is there by then.
    pub(crate) next_gates: Option<View<V::Elem, 0>>,
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
                c = load_or_zero(self.c, at, count);
                let [carried, last] = self.grad_c;
                grad.c = load_or_zero::<V>(carried, at, count);
                if let Some(last) = last {
                    grad.c = grad.c.add(load_some(last.add(at), count));
                }
            }
            let mask = match self.mask {
                Some(mask) => load_some(mask.add(at), count),
                None => one,
            };
            if let Some(grad_inner) = self.grad_inner {
                grad.inner = load_some(grad_inner.add(at), count);
            }
            let values = load_gates::<V, C>(gates, units, at, count);
            if let Some(next) = self.next_gates {
                for gate in 0..C::GATES {
                    V::prefetch(next.add(gate * units + at).ptr(0));
                }
            }
            let before = before.load::<V, C>(at, count);
            let back = C::backward(ReverseStep { gates: values, before, c, mask, grad });
            store_gates::<V, C>(back.delta, self.delta, units, at, count);
            if let (true, Some(direct)) = (C::HAS_DIRECT, self.direct) {
                store_some(back.h, direct.add(at), count);
            }
            if let (true, Some(carry_c)) = (C::HAS_C, self.carry_c) {
                store_some(back.c, carry_c.add(at), count);
            }
            if let Some(inner) = self.inner {
                store_some(back.inner, inner.add(at), count);
            }
        });
    }
}
