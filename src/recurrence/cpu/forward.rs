//! The forward pass of some batch rows over all steps, on one thread.
//!
//! ```text
//! for t in 0..T
//!     for each panel of units
//!         for each tile of rows
//!             h_t = f(b + W_ih x_t + W_hh h_{t-1})     in registers, stored once
//! ```
//!
//! What makes it fast:
//! 1. Batch rows are independent, so rows go through all steps on their thread, with no barrier.
//! 2. Input projection, recurrence, bias and activation share the registers of a tile.
//! 3. A panel of weights is read once a step for all rows of the thread: above the second-level
//!    cache that is what counts; below, it does no harm.

use std::marker::PhantomData;

use super::activation::Activation;
use super::panels::{split, Panels};
use super::tile::{dispatch, Affine, Product, Rows};
use super::vector::{Element, Vector};

/// The arguments of a forward pass, lengths checked by whoever made them.
///
/// Rows of `x`, `h_0` and `states` lie `*_row` elements apart.
#[derive(Clone, Copy)]
pub(super) struct Forward<E> {
    pub(super) steps: usize,
    pub(super) input_size: usize,
    pub(super) hidden_size: usize,
    /// Rows of `(steps, I)` in.
    pub(super) x: *const E,
    pub(super) x_row: usize,
    /// Rows of `(H,)` in, or null: zeros.
    pub(super) h_0: *const E,
    pub(super) h_0_row: usize,
    /// `[b | W_ih | W_hh]`, columns packed, in.
    pub(super) weights: *const E,
    /// Rows of `(slots, H)` out: the state of step t in slot `t % slots`.
    pub(super) states: *mut E,
    pub(super) states_row: usize,
    /// All steps, or at least 2.
    pub(super) slots: usize,
    pub(super) checkpoints: Checkpoints<E>,
}

/// States that are kept for the backward pass to compute the others from.
#[derive(Clone, Copy)]
pub(super) struct Checkpoints<E> {
    /// `(B, count, H)`: the states after `every`, `2 · every`, ... steps; or null: none are kept.
    pub(super) at: *mut E,
    pub(super) every: usize,
    pub(super) count: usize,
}

impl<E> Checkpoints<E> {
    /// None.
    pub(super) const NONE: Self = Self { at: std::ptr::null_mut(), every: usize::MAX, count: 0 };

    /// How many there are in a sequence.
    pub(super) fn count(every: usize, seq_len: usize) -> usize {
        (seq_len - 1) / every
    }
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows.
unsafe impl<E: Send + Sync> Sync for Forward<E> {}

/// Runs rows `first..first + rows`.
///
/// # Safety
/// The CPU must have V's features; all pointers must be valid for the sizes in `args`, and no
/// other thread may touch these rows of `states` and `checkpoints`.
pub(super) unsafe fn forward_rows<V: Vector, A: Activation>(
    args: &Forward<V::Elem>,
    first: usize,
    rows: usize,
) {
    let Forward { input_size, hidden_size, states_row, checkpoints, .. } = *args;
    let panels = Panels::<V>::new(hidden_size);
    let depth = 1 + input_size + hidden_size;
    for t in 0..args.steps {
        let state =
            |r: usize, t: usize| args.states.add(r * states_row + t % args.slots * hidden_size);
        for panel in panels.iter() {
            let wide = panel.wide::<V>();
            let bias = args.weights.add(panel.at * depth);
            let w_ih = bias.add(wide);
            let w_hh = w_ih.add(input_size * wide);
            let tiles = rows.div_ceil(V::tile_height(panel.width));
            for tile in 0..tiles {
                let (r, height) = split(rows, tiles, tile);
                let r = first + r;
                let x = Product {
                    a: args.x.add(r * args.x_row + t * input_size),
                    row_stride: args.x_row,
                    k_stride: 1,
                    count: input_size,
                    panel: w_ih,
                };
                let h = match t.checked_sub(1) {
                    Some(before) => Product {
                        a: state(r, before),
                        row_stride: states_row,
                        k_stride: 1,
                        count: hidden_size,
                        panel: w_hh,
                    },
                    None if args.h_0.is_null() => Product::none(),
                    None => Product {
                        a: args.h_0.add(r * args.h_0_row),
                        row_stride: args.h_0_row,
                        k_stride: 1,
                        count: hidden_size,
                        panel: w_hh,
                    },
                };
                let out = Rows { at: state(r, t).add(panel.at), stride: states_row };
                dispatch!(V, height, panel.width, |ROWS, WIDTH| Affine::<V, A, ROWS, WIDTH> {
                    bias,
                    products: [x, h],
                    out,
                    last: panel.last,
                    activation: PhantomData,
                });
            }
        }
        let done = t + 1;
        if !checkpoints.at.is_null() && done % checkpoints.every == 0 && done < args.steps {
            for r in first..first + rows {
                let slot = r * checkpoints.count + done / checkpoints.every - 1;
                let to = checkpoints.at.add(slot * hidden_size);
                std::ptr::copy_nonoverlapping(state(r, t), to, hidden_size);
            }
        }
    }
}

/// Where `[b | W_ih | W_hh]` begin among the columns of packed weights, and how many columns they
/// have.
pub(super) fn sections(input_size: usize, hidden_size: usize) -> [(usize, usize); 3] {
    [(0, 1), (1, input_size), (1 + input_size, hidden_size)]
}

impl<E: Element> Product<E> {
    /// A product of nothing.
    pub(super) fn none() -> Self {
        let null = std::ptr::null();
        Self { a: null, row_stride: 0, k_stride: 0, count: 0, panel: null }
    }
}
