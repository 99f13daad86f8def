//! The innermost loops: tiles of accumulators that stay in registers.
//!
//! A tile is `ROWS` rows of `WIDTH` vector registers. All three kernels add products to it,
//!
//! ```text
//! acc[r][v] += a[r * row_stride + k * k_stride] * panel[k * WIDTH + v]      for k in 0..count
//! ```
//!
//! and differ in what they begin and end with:
//!
//! - [`GemmBiasAct`]: `out = f(bias + products)`: a step of the recurrence; without `f`, the gradients
//!   of the inputs and of the initial state
//! - [`GemmActGrad`]: `δ = f'(h) · (grad_h + mask · product)`: a step of a simple cell's reverse sweep
//! - [`RankUpdate`]: sums of `z δ` over packed_deltas: the gradients of the weights
//!
//! Each sum runs over `k` in order, in one accumulator, whatever the tile's height: a row's result
//! does not depend on the rows beside it.

// Strided and registers of a tile have elements, and are counted in every array at once.
#![allow(clippy::needless_range_loop)]

use crate::simd::math::Activation;
use crate::simd::vector::{Element, Kernel, Vector};
use std::marker::PhantomData;

/// A factor of products: rows of elements to be broadcast, and a panel of packed weights.
#[derive(Clone, Copy)]
pub(crate) struct Accumulate<E> {
    /// The number for row 0 and `k = 0`.
    pub(crate) a: *const E,
    /// From a row to the next.
    pub(crate) row_stride: usize,
    /// From `k` to `k + 1`; backwards if it is a negative number, wrapped.
    pub(crate) k_stride: usize,
    /// How many `k`.
    pub(crate) count: usize,
    /// `(count, WIDTH)` registers.
    pub(crate) panel: *const E,
}

type Tile<V, const ROWS: usize, const WIDTH: usize> = [[V; WIDTH]; ROWS];

impl<E: crate::simd::vector::Element> Accumulate<E> {
    /// Adds the product to a tile.
    ///
    /// # Safety
    /// `a` and `panel` must be valid for all elements that the formula names.
    #[inline(always)]
    unsafe fn add_to<V: Vector<Elem = E>, const ROWS: usize, const WIDTH: usize>(
        &self,
        acc: &mut Tile<V, ROWS, WIDTH>,
    ) {
        let (mut a, mut panel) = (self.a, self.panel);
        for _ in 0..self.count {
            let mut weights = [V::splat(V::Elem::ZERO); WIDTH];
            for v in 0..WIDTH {
                weights[v] = V::load(panel.add(v * V::LANES));
            }
            for r in 0..ROWS {
                let factor = V::splat(*a.add(r * self.row_stride));
                for v in 0..WIDTH {
                    acc[r][v] = factor.mul_add(weights[v], acc[r][v]);
                }
            }
            // Both may end up just behind the last element, or, with a stride, further: only
            // computed then, never read.
            a = a.wrapping_add(self.k_stride);
            panel = panel.wrapping_add(WIDTH * V::LANES);
        }
    }

    /// A product of nothing.
    pub(crate) fn none() -> Self {
        let null = std::ptr::null();
        Self { a: null, row_stride: 0, k_stride: 0, count: 0, panel: null }
    }
}

/// A tile in memory: rows of `valid` elements, of which only the last register may be partial.
#[derive(Clone, Copy)]
pub(crate) struct Strided<P> {
    /// The first element of row 0.
    pub(crate) at: P,
    /// From a row to the next.
    pub(crate) stride: usize,
}

/// The first `count` lanes from memory, the others zero.
#[inline(always)]
pub(crate) unsafe fn load_some<V: Vector>(from: *const V::Elem, count: usize) -> V {
    if count == V::LANES {
        V::load(from)
    } else {
        V::load_partial(from, count)
    }
}

/// The first `count` lanes to memory.
#[inline(always)]
pub(crate) unsafe fn store_some<V: Vector>(value: V, to: *mut V::Elem, count: usize) {
    if count == V::LANES {
        value.store(to);
    } else {
        value.store_partial(to, count);
    }
}

#[inline(always)]
unsafe fn load_register<V: Vector>(from: *const V::Elem, v: usize, width: usize, last: usize) -> V {
    load_some(from.add(v * V::LANES), if v + 1 < width { V::LANES } else { last })
}

#[inline(always)]
unsafe fn store_register<V: Vector>(
    value: V,
    to: *mut V::Elem,
    v: usize,
    width: usize,
    last: usize,
) {
    store_some(value, to.add(v * V::LANES), if v + 1 < width { V::LANES } else { last });
}

/// `out = f(bias + Σ products)`; with `ADDS`, `out = f(out + Σ products)`.
pub(crate) struct GemmBiasAct<V: Vector, A, const ADDS: bool, const ROWS: usize, const WIDTH: usize>
{
    /// `WIDTH` registers; zero if null. Not read with `ADDS`.
    pub(crate) bias: *const V::Elem,
    pub(crate) products: [Accumulate<V::Elem>; 2],
    pub(crate) out: Strided<*mut V::Elem>,
    /// Elements of the last register that exist in `out`.
    pub(crate) last: usize,
    pub(crate) activation: PhantomData<A>,
}

impl<V: Vector, A: Activation, const ADDS: bool, const ROWS: usize, const WIDTH: usize> Kernel<V>
    for GemmBiasAct<V, A, ADDS, ROWS, WIDTH>
{
    #[inline(always)]
    unsafe fn run(self) {
        let zero = V::splat(V::Elem::ZERO);
        let mut acc = [[zero; WIDTH]; ROWS];
        if ADDS {
            for r in 0..ROWS {
                let out = self.out.at.add(r * self.out.stride);
                for v in 0..WIDTH {
                    acc[r][v] = load_register(out.cast_const(), v, WIDTH, self.last);
                }
            }
        } else if !self.bias.is_null() {
            for v in 0..WIDTH {
                let bias = V::load(self.bias.add(v * V::LANES));
                for r in 0..ROWS {
                    acc[r][v] = bias;
                }
            }
        }
        self.products[0].add_to(&mut acc);
        self.products[1].add_to(&mut acc);
        for r in 0..ROWS {
            let out = self.out.at.add(r * self.out.stride);
            for v in 0..WIDTH {
                store_register(A::apply(acc[r][v]), out, v, WIDTH, self.last);
            }
        }
    }
}

/// `δ = f'(h) · (grad_h + mask · product)`.
pub(crate) struct GemmActGrad<V: Vector, A, const ROWS: usize, const WIDTH: usize> {
    /// δ of the step after this one, times the recurrent weights.
    pub(crate) product: Accumulate<V::Elem>,
    /// The gradient that reaches this step's output from outside; none if null.
    pub(crate) grad_h: Strided<*const V::Elem>,
    /// The recurrent dropout's mask; none if null.
    pub(crate) mask: Strided<*const V::Elem>,
    pub(crate) h: Strided<*const V::Elem>,
    /// Where δ goes, row after row, whole registers.
    pub(crate) delta: Strided<*mut V::Elem>,
    /// Where δ goes a second time, as panels for [`RankUpdate`].
    pub(crate) packed_deltas: Strided<*mut V::Elem>,
    /// Whether it is added to what is there: the δ of another window.
    pub(crate) adds: bool,
    /// Elements of the last register that exist in `h`, `grad_h` and `mask`.
    pub(crate) last: usize,
    pub(crate) activation: PhantomData<A>,
}

impl<V: Vector, A: Activation, const ROWS: usize, const WIDTH: usize> Kernel<V>
    for GemmActGrad<V, A, ROWS, WIDTH>
{
    #[inline(always)]
    unsafe fn run(self) {
        let mut acc = [[V::splat(V::Elem::ZERO); WIDTH]; ROWS];
        self.product.add_to(&mut acc);
        for r in 0..ROWS {
            for v in 0..WIDTH {
                let mut grad = acc[r][v];
                if !self.mask.at.is_null() {
                    let mask = self.mask.at.add(r * self.mask.stride);
                    grad = grad.mul(load_register(mask, v, WIDTH, self.last));
                }
                if !self.grad_h.at.is_null() {
                    let grad_h = self.grad_h.at.add(r * self.grad_h.stride);
                    grad = grad.add(load_register(grad_h, v, WIDTH, self.last));
                }
                let h = load_register::<V>(self.h.at.add(r * self.h.stride), v, WIDTH, self.last);
                let delta = A::backward(h, grad);
                delta.store(self.delta.at.add(r * self.delta.stride + v * V::LANES));
                let sample =
                    self.packed_deltas.at.add(r * self.packed_deltas.stride + v * V::LANES);
                let sum = if self.adds { V::load(sample).add(delta) } else { delta };
                sum.store(sample);
            }
        }
    }
}

/// `sums += Σ z δ` over runs of packed_deltas, one run a batch row.
pub(crate) struct RankUpdate<V: Vector, const ROWS: usize, const WIDTH: usize> {
    /// The first run: `a` is the first of `ROWS` neighbouring columns of z, `panel` the first δ.
    pub(crate) run: Accumulate<V::Elem>,
    pub(crate) runs: usize,
    /// From a run's z to the next run's.
    pub(crate) a_stride: usize,
    /// From a run's δ to the next run's.
    pub(crate) panel_stride: usize,
    /// Which packed_deltas of each run count, `(first, count)`, where not all do; or null.
    pub(crate) spans: *const (usize, usize),
    /// `(ROWS, WIDTH)` registers.
    pub(crate) sums: *mut V::Elem,
    /// Whether `sums` holds nothing yet.
    pub(crate) is_first: bool,
}

impl<V: Vector, const ROWS: usize, const WIDTH: usize> Kernel<V> for RankUpdate<V, ROWS, WIDTH> {
    #[inline(always)]
    unsafe fn run(self) {
        let mut acc = [[V::splat(V::Elem::ZERO); WIDTH]; ROWS];
        if !self.is_first {
            for r in 0..ROWS {
                for v in 0..WIDTH {
                    acc[r][v] = V::load(self.sums.add((r * WIDTH + v) * V::LANES));
                }
            }
        }
        let mut run = self.run;
        for index in 0..self.runs {
            if self.spans.is_null() {
                run.add_to(&mut acc);
            } else {
                let (first, count) = *self.spans.add(index);
                let a = run.a.wrapping_add(first.wrapping_mul(run.k_stride));
                let panel = run.panel.wrapping_add(first * WIDTH * V::LANES);
                Accumulate { a, panel, count, ..run }.add_to(&mut acc);
            }
            run.a = run.a.wrapping_add(self.a_stride);
            run.panel = run.panel.wrapping_add(self.panel_stride);
        }
        for r in 0..ROWS {
            for v in 0..WIDTH {
                acc[r][v].store(self.sums.add((r * WIDTH + v) * V::LANES));
            }
        }
    }
}

/// Calls `$kernel::<V, .., ROWS, WIDTH>` for sizes known at run time; tiles that are too large for
/// the registers are not compiled.
macro_rules! dispatch {
    ($v:ty, $rows:expr, $width:expr, |$r:ident, $w:ident| $kernel:expr) => {
        dispatch!(@width $v, $rows, $width, |$r, $w| $kernel, 1 2 3 4 5)
    };
    (@width $v:ty, $rows:expr, $width:expr, |$r:ident, $w:ident| $kernel:expr, $($n:literal)*) => {
        match $width {
            $($n if $n <= <$v as Vector>::NR_REGISTERS => {
                const $w: usize = $n;
                dispatch!(@rows $v, $rows, |$r, $w| $kernel, 1 2 3 4 5 6)
            })*
            width => unreachable!("a tile is {width} registers wide"),
        }
    };
    (@rows $v:ty, $rows:expr, |$r:ident, $w:ident| $kernel:expr, $($n:literal)*) => {
        match $rows {
            $($n if $n <= <$v as Vector>::mr($w) => {
                const $r: usize = $n;
                <$v>::vectorize($kernel)
            })*
            rows => unreachable!("a tile is {rows} rows high"),
        }
    };
}
pub(crate) use dispatch;
