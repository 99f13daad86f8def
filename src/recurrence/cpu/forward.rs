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
use crate::recurrence::SequenceDims;

/// The arguments of a forward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(super) struct Forward<E> {
    pub(super) dims: SequenceDims,
    /// `(B, T, I)` in.
    pub(super) x: *const E,
    /// `(B, H)` in, or null: zeros.
    pub(super) h_0: *const E,
    /// `[b | W_ih | W_hh]`, columns packed, in.
    pub(super) weights: *const E,
    /// `(B, slots, H)` out: the state of step t in slot `t % slots`.
    pub(super) states: *mut E,
    /// T keeps all states, 2 is the least.
    pub(super) slots: usize,
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows of `states`.
unsafe impl<E: Sync> Sync for Forward<E> {}

/// Runs rows `first..first + rows`.
///
/// # Safety
/// The CPU must have V's features; all pointers must be valid for the sizes in `dims`, and no
/// other thread may touch these rows of `states`.
pub(super) unsafe fn forward_rows<V: Vector, A: Activation>(
    args: &Forward<V::Elem>,
    first: usize,
    rows: usize,
) {
    let SequenceDims { seq_len, input_size, hidden_size, .. } = args.dims;
    let panels = Panels::<V>::new(hidden_size);
    let depth = 1 + input_size + hidden_size;
    let row_stride = args.slots * hidden_size;
    for t in 0..seq_len {
        let state =
            |r: usize, t: usize| args.states.add(r * row_stride + t % args.slots * hidden_size);
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
                    a: args.x.add((r * seq_len + t) * input_size),
                    row_stride: seq_len * input_size,
                    k_stride: 1,
                    count: input_size,
                    panel: w_ih,
                };
                let h = match t.checked_sub(1) {
                    Some(before) => Product {
                        a: state(r, before),
                        row_stride,
                        k_stride: 1,
                        count: hidden_size,
                        panel: w_hh,
                    },
                    None if args.h_0.is_null() => Product::none(),
                    None => Product {
                        a: args.h_0.add(r * hidden_size),
                        row_stride: hidden_size,
                        k_stride: 1,
                        count: hidden_size,
                        panel: w_hh,
                    },
                };
                let out = Rows { at: state(r, t).add(panel.at), stride: row_stride };
                dispatch!(V, height, panel.width, |ROWS, WIDTH| Affine::<V, A, ROWS, WIDTH> {
                    bias,
                    products: [x, h],
                    out,
                    last: panel.last,
                    activation: PhantomData,
                });
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
