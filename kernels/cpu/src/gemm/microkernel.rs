//! The innermost loops: tiles of accumulators that stay in registers.
//!
//! A tile is `ROWS` rows of `WIDTH` vector registers. All three kernels add products to it,
//!
//! ```text
//! acc[r][v] += a[r, k] * panel[k * WIDTH + v]      for k in 0..count
//! ```
//!
//! and differ in what they begin and end with:
//!
//! - [`GemmBiasAct`]: `out = f(bias + products)`: a step of the recurrence; without `f`, the gradients
//!   of the inputs and of the initial state
//! - [`GemmActGrad`]: `δ = f'(h) · (grad_h + mask · product)`: a step of a simple cell's reverse sweep
//! - [`RankUpdate`]: sums of `z δ` over samples: the gradients of the weights
//!
//! Each sum runs over `k` in order, in one accumulator, whatever the tile's height: a row's result
//! does not depend on the rows beside it.

// Rows and registers of a tile have numbers, and are counted in every array at once.
#![allow(clippy::needless_range_loop)]
// One contract holds for a whole kernel, that of `Kernel::run`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

use std::marker::PhantomData;

use crate::gemm::layout::Panel;
use crate::simd::math::Activation;
use crate::simd::vector::{Element, Kernel, Vector};
use crate::view::{View, ViewMut};

/// A product to be added to a tile: a matrix whose elements are broadcast, and a panel of packed
/// weights.
#[derive(Clone, Copy)]
pub(crate) struct Accumulate<E> {
    /// `(ROWS, count)` in, at the strides of a row and of `k`.
    pub(crate) a: View<E, 2>,
    /// How many `k`.
    pub(crate) count: usize,
    /// `(count, WIDTH)` registers in.
    pub(crate) panel: View<E, 0>,
}

type Tile<V, const ROWS: usize, const WIDTH: usize> = [[V; WIDTH]; ROWS];

impl<E: Element> Accumulate<E> {
    /// Adds the product to a tile.
    ///
    /// # Safety
    /// The CPU must have the instruction set of `V`; `a` and `panel` must be readable for all elements that
    /// their shapes name.
    #[inline(always)]
    unsafe fn add_to<V: Vector<Elem = E>, const ROWS: usize, const WIDTH: usize>(
        &self,
        acc: &mut Tile<V, ROWS, WIDTH>,
    ) {
        self.a.check_corners(ROWS, self.count);
        let [row_stride, k_stride] = self.a.strides();
        let mut panel = self.panel.ptr(self.count * WIDTH * V::LANES);
        let mut a = self.a.ptr(0);
        for _ in 0..self.count {
            let mut weights = [V::splat(V::Elem::ZERO); WIDTH];
            for v in 0..WIDTH {
                weights[v] = V::load(panel.add(v * V::LANES));
            }
            for r in 0..ROWS {
                let factor = V::splat(*a.offset(r as isize * row_stride));
                for v in 0..WIDTH {
                    acc[r][v] = factor.mul_add(weights[v], acc[r][v]);
                }
            }
            // Both may end up just behind the last element, or, with a stride, further: only
            // computed then, never read.
            a = a.wrapping_offset(k_stride);
            panel = panel.wrapping_add(WIDTH * V::LANES);
        }
    }

    /// A product of nothing.
    pub(crate) fn none() -> Self {
        let nothing = View::new(&[]);
        Self { a: nothing.reshape([0, 0]), count: 0, panel: nothing }
    }
}

/// A register at `from`, of which `count` lanes exist; the others are zero.
///
/// # Safety
/// The CPU must have the instruction set of `V`, and `count` elements, at most `LANES`, must be readable.
#[inline(always)]
pub(crate) unsafe fn load_some<V: Vector>(from: View<V::Elem, 0>, count: usize) -> V {
    let from = from.ptr(count);
    if count == V::LANES {
        V::load(from)
    } else {
        V::load_partial(from, count)
    }
}

/// The first `count` lanes to memory.
///
/// # Safety
/// `count` elements, at most `LANES`, must be writable at `to`, and nobody else may use them.
#[inline(always)]
pub(crate) unsafe fn store_some<V: Vector>(value: V, to: ViewMut<V::Elem, 0>, count: usize) {
    let to = to.ptr(count);
    if count == V::LANES {
        value.store(to);
    } else {
        value.store_partial(to, count);
    }
}

/// The number of lanes that exist of register `v` of `width`, whose last has `last`.
#[inline(always)]
fn lanes<V: Vector>(v: usize, width: usize, last: usize) -> usize {
    if v + 1 < width {
        V::LANES
    } else {
        last
    }
}

/// `out = f(bias + Σ products)`; with `ADDS`, `out = f(out + Σ products)`.
struct GemmBiasAct<V: Vector, A, const ADDS: bool> {
    /// `WIDTH` registers in, zero if absent. Not read with `ADDS`.
    bias: Option<View<V::Elem, 0>>,
    products: [Accumulate<V::Elem>; 2],
    /// `ROWS` rows out, `WIDTH` registers less what `last` lacks.
    out: ViewMut<V::Elem, 1>,
    /// Elements of the last register that exist in `out`.
    last: usize,
    activation: PhantomData<A>,
}

impl<V: Vector, A: Activation, const ADDS: bool> TileKernel<V> for GemmBiasAct<V, A, ADDS> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize, const WIDTH: usize>(&self) {
        let zero = V::splat(V::Elem::ZERO);
        let mut acc = [[zero; WIDTH]; ROWS];
        if ADDS {
            for r in 0..ROWS {
                let out = self.out.row(r).as_view();
                for v in 0..WIDTH {
                    acc[r][v] = load_some(out.add(v * V::LANES), lanes::<V>(v, WIDTH, self.last));
                }
            }
        } else if let Some(bias) = self.bias {
            for v in 0..WIDTH {
                let bias = V::load(bias.add(v * V::LANES).ptr(V::LANES));
                for r in 0..ROWS {
                    acc[r][v] = bias;
                }
            }
        }
        self.products[0].add_to(&mut acc);
        self.products[1].add_to(&mut acc);
        for r in 0..ROWS {
            let out = self.out.row(r);
            for v in 0..WIDTH {
                let count = lanes::<V>(v, WIDTH, self.last);
                store_some(A::apply(acc[r][v]), out.add(v * V::LANES), count);
            }
        }
    }
}

/// `δ = f'(h) · (grad_h + mask · product)`.
pub(crate) struct GemmActGrad<V: Vector, A> {
    /// δ of the step after this one, times the recurrent weights.
    pub(crate) product: Accumulate<V::Elem>,
    /// The gradient that reaches this step's output from outside.
    pub(crate) grad_h: Option<View<V::Elem, 1>>,
    /// The recurrent dropout's mask.
    pub(crate) mask: Option<View<V::Elem, 1>>,
    pub(crate) h: View<V::Elem, 1>,
    /// Where δ goes, row after row, whole registers.
    pub(crate) delta: ViewMut<V::Elem, 1>,
    /// Where δ goes a second time, as panels for [`RankUpdate`].
    pub(crate) packed_deltas: ViewMut<V::Elem, 1>,
    /// Whether it is added to what is there: the δ of another window.
    pub(crate) adds: bool,
    /// Elements of the last register that exist in `h`, `grad_h` and `mask`.
    pub(crate) last: usize,
    pub(crate) activation: PhantomData<A>,
}

impl<V: Vector, A: Activation> TileKernel<V> for GemmActGrad<V, A> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize, const WIDTH: usize>(&self) {
        let mut acc = [[V::splat(V::Elem::ZERO); WIDTH]; ROWS];
        self.product.add_to(&mut acc);
        for r in 0..ROWS {
            for v in 0..WIDTH {
                let (at, count) = (v * V::LANES, lanes::<V>(v, WIDTH, self.last));
                let mut grad = acc[r][v];
                if let Some(mask) = self.mask {
                    grad = grad.mul(load_some(mask.row(r).add(at), count));
                }
                if let Some(grad_h) = self.grad_h {
                    grad = grad.add(load_some(grad_h.row(r).add(at), count));
                }
                let h = load_some::<V>(self.h.row(r).add(at), count);
                let delta = A::backward(h, grad);
                delta.store(self.delta.row(r).add(at).ptr(V::LANES));
                let packed = self.packed_deltas.row(r).add(at).ptr(V::LANES);
                let sum = if self.adds { V::load(packed).add(delta) } else { delta };
                sum.store(packed);
            }
        }
    }
}

/// `sums += Σ z δ` over runs of samples, one run a batch row.
pub(crate) struct RankUpdate<'a, V: Vector> {
    /// Columns of z in: `ROWS` that are neighbours, at the strides of a run and of a sample.
    pub(crate) z: View<V::Elem, 2>,
    /// δ in: `(samples, WIDTH)` registers, at the stride of a run.
    pub(crate) deltas: View<V::Elem, 1>,
    /// How many runs.
    pub(crate) runs: usize,
    /// The samples of a run.
    pub(crate) samples: usize,
    /// Which samples of each run count, `(first, count)`, where not all do.
    pub(crate) spans: Option<&'a [(usize, usize)]>,
    /// `(ROWS, WIDTH)` registers in|out.
    pub(crate) sums: ViewMut<V::Elem, 0>,
    /// Whether `sums` holds nothing yet.
    pub(crate) is_first: bool,
}

impl<V: Vector> TileKernel<V> for RankUpdate<'_, V> {
    #[inline(always)]
    unsafe fn run<const ROWS: usize, const WIDTH: usize>(&self) {
        let sums = self.sums.ptr(ROWS * WIDTH * V::LANES);
        let mut acc = [[V::splat(V::Elem::ZERO); WIDTH]; ROWS];
        if !self.is_first {
            for r in 0..ROWS {
                for v in 0..WIDTH {
                    acc[r][v] = V::load(sums.add((r * WIDTH + v) * V::LANES));
                }
            }
        }
        let [_, sample_stride] = self.z.strides();
        for run in 0..self.runs {
            let (first, count) = match self.spans {
                Some(spans) => spans[run],
                None => (0, self.samples),
            };
            let a = self.z.at(run, first).reshape([1, sample_stride]);
            let panel = self.deltas.row(run).add(first * WIDTH * V::LANES);
            Accumulate { a, count, panel }.add_to(&mut acc);
        }
        for r in 0..ROWS {
            for v in 0..WIDTH {
                acc[r][v].store(sums.add((r * WIDTH + v) * V::LANES));
            }
        }
    }
}

/// A kernel of a tile.
pub(crate) trait TileKernel<V: Vector> {
    /// Does what the kernel is for on `ROWS` rows of `WIDTH` registers; `#[inline(always)]`, as [`Kernel::run`] is.
    ///
    /// # Safety
    /// As for [`Kernel::run`].
    unsafe fn run<const ROWS: usize, const WIDTH: usize>(&self);
}

/// A kernel of a tile whose size is known.
struct OfSize<'a, K, const ROWS: usize, const WIDTH: usize>(&'a K);

impl<V: Vector, K: TileKernel<V>, const ROWS: usize, const WIDTH: usize> Kernel<V>
    for OfSize<'_, K, ROWS, WIDTH>
{
    #[inline(always)]
    unsafe fn run(self) {
        self.0.run::<ROWS, WIDTH>();
    }
}

/// Runs a kernel on a tile of a size that is known at run time. Tiles that are too large for the registers are not
/// compiled. A function of its own, so that not every caller has all sizes.
///
/// # Safety
/// As for [`Vector::vectorize`].
#[inline(never)]
pub(crate) unsafe fn run_tile<V: Vector, K: TileKernel<V>>(rows: usize, width: usize, kernel: &K) {
    macro_rules! of_width {
        ($($n:literal)*) => {
            match width {
                $($n if $n <= V::NR_REGISTERS => of_rows!($n, 1 2 3 4 5 6),)*
                _ => unreachable!("a tile is {width} registers wide"),
            }
        };
    }
    macro_rules! of_rows {
        ($width:literal, $($n:literal)*) => {
            match rows {
                $($n if $n <= V::mr($width) => V::vectorize(OfSize::<K, $n, $width>(kernel)),)*
                _ => unreachable!("a tile is {rows} rows high"),
            }
        };
    }
    of_width!(1 2 3 4 5)
}

/// Runs [`GemmBiasAct`] on `height` rows of a panel.
///
/// # Safety
/// As for [`Vector::vectorize`].
#[inline(always)]
pub(crate) unsafe fn gemm<V: Vector, A: Activation, const ADDS: bool>(
    height: usize,
    panel: &Panel,
    bias: Option<View<V::Elem, 0>>,
    products: [Accumulate<V::Elem>; 2],
    out: ViewMut<V::Elem, 1>,
) {
    let kernel = GemmBiasAct::<V, A, ADDS> {
        bias,
        products,
        out,
        last: panel.last,
        activation: PhantomData,
    };
    run_tile(height, panel.registers, &kernel);
}
