//! The backward pass of a group of batch rows, on one thread.
//!
//! One reverse sweep gives `δ_t = f'(h_t) · (∂L/∂h_t + W_hhᵀ δ_{t+1})`, the gradient of the
//! pre-activations. All others are sums of its products:
//!
//! ```text
//! ∂L/∂W_hh = Σ δ_t h_{t-1}ᵀ    ∂L/∂W_ih = Σ δ_t x_tᵀ    ∂L/∂b = Σ δ_t    over rows and steps
//! ∂L/∂x_t  = W_ihᵀ δ_t         ∂L/∂h_0  = W_hhᵀ δ_1
//! ```
//!
//! ```text
//! for each block of steps, the last block first
//!     for t in the block, backwards
//!         for each panel of units, for each tile of rows:  δ_t, stored row by row and as samples
//!         for each panel of inputs, if wanted:              ∂L/∂x_t
//!     for each panel of units, for some rows at a time
//!         for each tile of columns of [1 | x_t | h_{t-1}]:  sums += z δ over the block's samples
//! ```
//!
//! What makes it fast:
//! 1. Only `h` is needed from the forward pass: `tanh' = 1 - h²`.
//! 2. A block's δ stay in the second-level cache until the sums have used them; a panel's δ of a
//!    few rows stay in the first-level cache for all tiles of columns.
//! 3. `x` and `h` are broadcast from where they lie: nothing is transposed or copied.
//!
//! The sums of a group are added to those of the other groups afterwards, in a fixed order: how
//! many threads there are changes no bit.

use std::marker::PhantomData;

use super::activation::{Activation, Identity};
use super::panels::{split, Panel, Panels};
use super::tile::{dispatch, Affine, Delta, Outer, Product, Rows};
use super::vector::{Element, Vector};
use crate::recurrence::SequenceDims;

/// The arguments of a backward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(super) struct Backward<E> {
    pub(super) dims: SequenceDims,
    /// `(B, T, I)` in.
    pub(super) x: *const E,
    /// `(B, H)` in, or null: zeros.
    pub(super) h_0: *const E,
    /// `(B, T, H)` in: the states of all steps.
    pub(super) states: *const E,
    /// `W_hh`, rows packed, in.
    pub(super) w_hh: *const E,
    /// `W_ih`, rows packed, in, or null if `grad_x` is.
    pub(super) w_ih: *const E,
    /// `(B, T, H)` in: gradients of all states; or null.
    pub(super) grad_states: *const E,
    /// `(B, H)` in: the gradient of the last state alone; or null.
    pub(super) grad_last: *const E,
    /// `(B, T, I)` out, or null: not wanted.
    pub(super) grad_x: *mut E,
    /// `(B, H)` out, or null: not wanted.
    pub(super) grad_h_0: *mut E,
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows.
unsafe impl<E: Sync> Sync for Backward<E> {}

/// What a group of rows computes in.
#[derive(Clone, Copy)]
pub(super) struct Scratch<E> {
    /// `[b | W_ih | W_hh]`, columns packed, out: the group's part of the gradients; or null: not
    /// wanted.
    pub(super) sums: *mut E,
    /// [`scratch_len`] elements.
    pub(super) deltas: *mut E,
}

/// Bytes of δ that stay in the second-level cache.
const BLOCK_BYTES: usize = 256 << 10;
/// Samples that a block has at least, if there are so many: each block reads and writes the sums.
const BLOCK_SAMPLES: usize = 256;
/// Bytes of a panel's δ that stay in the first-level cache.
const SUB_BYTES: usize = 24 << 10;

/// Steps whose δ are kept at a time.
fn block_steps<V: Vector>(dims: &SequenceDims, rows: usize) -> usize {
    let row = Panels::<V>::new(dims.hidden_size).padded() * size_of::<V::Elem>();
    (BLOCK_BYTES / row).max(BLOCK_SAMPLES).div_ceil(rows).clamp(1, dims.seq_len)
}

/// Elements that [`Scratch::deltas`] needs for a group of `rows` rows.
pub(super) fn scratch_len<V: Vector>(dims: &SequenceDims, rows: usize) -> usize {
    let padded = Panels::<V>::new(dims.hidden_size).padded();
    (2 + block_steps::<V>(dims, rows)) * rows * padded
}

/// Runs the group of rows `first..first + rows`.
///
/// # Safety
/// The CPU must have V's features; all pointers must be valid for the sizes in `dims`, those of
/// `scratch` as they say, and no other thread may touch the scratch or these rows.
pub(super) unsafe fn backward_rows<V: Vector, A: Activation>(
    args: &Backward<V::Elem>,
    first: usize,
    rows: usize,
    scratch: Scratch<V::Elem>,
) {
    let SequenceDims { seq_len, hidden_size, .. } = args.dims;
    let padded = Panels::<V>::new(hidden_size).padded();
    let group = Group { args, first, rows, padded };
    let block = block_steps::<V>(&args.dims, rows);
    // δ of two steps, row by row, and of a block, as samples.
    let mut delta = scratch.deltas;
    let mut next = delta.add(rows * padded);
    let samples = next.add(rows * padded);
    let mut end = seq_len;
    while end > 0 {
        let begin = end.saturating_sub(block);
        for t in (begin..end).rev() {
            std::mem::swap(&mut delta, &mut next);
            let samples = Samples { at: samples, steps: end - begin, step: t - begin };
            group.delta::<V, A>(t, next, delta, samples);
            if !args.grad_x.is_null() {
                group.grad_x::<V>(t, delta);
            }
        }
        if !scratch.sums.is_null() {
            group.sums::<V>(begin, end, samples, scratch.sums);
        }
        end = begin;
    }
    if !args.grad_h_0.is_null() {
        group.grad_h_0::<V>(delta);
    }
}

/// Rows that go through all steps together.
struct Group<'a, E> {
    args: &'a Backward<E>,
    first: usize,
    rows: usize,
    /// Elements of a row of δ.
    padded: usize,
}

/// δ as [`Outer`] reads it: panel after panel, each `(rows, steps, width)` registers.
#[derive(Clone, Copy)]
struct Samples<E> {
    at: *mut E,
    /// Steps of the block.
    steps: usize,
    /// The step within the block.
    step: usize,
}

impl<E: Element> Group<'_, E> {
    /// `δ_t`, from the step after it.
    unsafe fn delta<V: Vector<Elem = E>, A: Activation>(
        &self,
        t: usize,
        next: *const E,
        delta: *mut E,
        samples: Samples<E>,
    ) {
        let args = self.args;
        let SequenceDims { seq_len, hidden_size, .. } = args.dims;
        let is_last = t + 1 == seq_len;
        for panel in Panels::<V>::new(hidden_size).iter() {
            let wide = panel.wide::<V>();
            let tiles = self.rows.div_ceil(V::tile_height(panel.width));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                let r = self.first + local;
                let at_step = (r * seq_len + t) * hidden_size + panel.at;
                let stride = seq_len * hidden_size;
                let product = Product {
                    a: next.add(local * self.padded),
                    row_stride: self.padded,
                    k_stride: 1,
                    count: if is_last { 0 } else { hidden_size },
                    panel: args.w_hh.add(panel.at * hidden_size),
                };
                let grad_h = if !args.grad_states.is_null() {
                    Rows { at: args.grad_states.add(at_step), stride }
                } else if is_last {
                    Rows { at: args.grad_last.add(r * hidden_size + panel.at), stride: hidden_size }
                } else {
                    Rows { at: std::ptr::null(), stride: 0 }
                };
                let h = Rows { at: args.states.add(at_step), stride };
                let sample = (local * samples.steps + samples.step) * wide;
                let samples = Rows {
                    at: samples.at.add(panel.at * self.rows * samples.steps + sample),
                    stride: samples.steps * wide,
                };
                let delta =
                    Rows { at: delta.add(local * self.padded + panel.at), stride: self.padded };
                dispatch!(V, height, panel.width, |ROWS, WIDTH| Delta::<V, A, ROWS, WIDTH> {
                    product,
                    grad_h,
                    h,
                    delta,
                    samples,
                    last: panel.last,
                    activation: PhantomData,
                });
            }
        }
    }

    /// `∂L/∂x_t = W_ihᵀ δ_t`.
    unsafe fn grad_x<V: Vector<Elem = E>>(&self, t: usize, delta: *const E) {
        let SequenceDims { seq_len, input_size, .. } = self.args.dims;
        let out = Rows {
            at: self.args.grad_x.add((self.first * seq_len + t) * input_size),
            stride: seq_len * input_size,
        };
        self.through_weights::<V>(delta, self.args.w_ih, input_size, out);
    }

    /// `∂L/∂h_0 = W_hhᵀ δ_1`.
    unsafe fn grad_h_0<V: Vector<Elem = E>>(&self, delta: *const E) {
        let hidden_size = self.args.dims.hidden_size;
        let out =
            Rows { at: self.args.grad_h_0.add(self.first * hidden_size), stride: hidden_size };
        self.through_weights::<V>(delta, self.args.w_hh, hidden_size, out);
    }

    /// `out = Wᵀ δ`, for `weights` `(H, len)` with rows packed.
    unsafe fn through_weights<V: Vector<Elem = E>>(
        &self,
        delta: *const E,
        weights: *const E,
        len: usize,
        out: Rows<*mut E>,
    ) {
        let hidden_size = self.args.dims.hidden_size;
        for panel in Panels::<V>::new(len).iter() {
            let tiles = self.rows.div_ceil(V::tile_height(panel.width));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                let product = Product {
                    a: delta.add(local * self.padded),
                    row_stride: self.padded,
                    k_stride: 1,
                    count: hidden_size,
                    panel: weights.add(panel.at * hidden_size),
                };
                let out = Rows { at: out.at.add(local * out.stride + panel.at), ..out };
                dispatch!(V, height, panel.width, |ROWS, WIDTH| {
                    Affine::<V, Identity, ROWS, WIDTH> {
                        bias: std::ptr::null(),
                        products: [product, Product::none()],
                        out,
                        last: panel.last,
                        activation: PhantomData,
                    }
                });
            }
        }
    }

    /// Adds the samples of the steps `begin..end` to the gradients of the weights.
    unsafe fn sums<V: Vector<Elem = E>>(
        &self,
        begin: usize,
        end: usize,
        samples: *const E,
        sums: *mut E,
    ) {
        let args = self.args;
        let SequenceDims { seq_len, input_size, hidden_size, .. } = args.dims;
        let depth = 1 + input_size + hidden_size;
        let steps = end - begin;
        for panel in Panels::<V>::new(hidden_size).iter() {
            let wide = panel.wide::<V>();
            let samples = samples.add(panel.at * self.rows * steps);
            let sums = sums.add(panel.at * depth);
            let rows_together = (SUB_BYTES / (steps * wide * size_of::<E>())).max(1);
            for local in (0..self.rows).step_by(rows_together) {
                let r = self.first + local;
                let outer = OuterProduct {
                    panel,
                    delta: samples.add(local * steps * wide),
                    row: steps * wide,
                    rows: rows_together.min(self.rows - local),
                };
                let is_first = end == seq_len && local == 0;
                let one = &V::Elem::ONE;
                let columns = Columns { at: one, count: 1, step: 0, row: 0 };
                outer.add_to::<V>(columns, 0..steps, sums, is_first);
                let columns = Columns {
                    at: args.x.add((r * seq_len + begin) * input_size),
                    count: input_size,
                    step: input_size,
                    row: seq_len * input_size,
                };
                let sums_ih = sums.add(wide);
                outer.add_to::<V>(columns, 0..steps, sums_ih, is_first);
                // The state before step `begin` is that of the step before, or the initial one.
                let sums_hh = sums_ih.add(input_size * wide);
                let own = usize::from(begin == 0);
                let columns = Columns {
                    at: args.states.add((r * seq_len + begin + own - 1) * hidden_size),
                    count: hidden_size,
                    step: hidden_size,
                    row: seq_len * hidden_size,
                };
                outer.add_to::<V>(columns, own..steps, sums_hh, is_first);
                if begin == 0 && !args.h_0.is_null() {
                    let at = args.h_0.add(r * hidden_size);
                    let columns = Columns { at, count: hidden_size, step: 0, row: hidden_size };
                    outer.add_to::<V>(columns, 0..1, sums_hh, false);
                }
            }
        }
    }
}

/// Columns of z, one value a sample.
struct Columns<E> {
    /// Column 0 of the first sample.
    at: *const E,
    count: usize,
    /// From a step to the next.
    step: usize,
    /// From a row to the next.
    row: usize,
}

/// The samples of some rows in one panel.
struct OuterProduct<E> {
    panel: Panel,
    delta: *const E,
    /// From a row's δ to the next row's.
    row: usize,
    rows: usize,
}

impl<E: Element> OuterProduct<E> {
    /// Adds `z δ` over the given steps to `sums`, or puts it there if it is the first.
    unsafe fn add_to<V: Vector<Elem = E>>(
        &self,
        columns: Columns<E>,
        steps: std::ops::Range<usize>,
        sums: *mut E,
        is_first: bool,
    ) {
        let wide = self.panel.wide::<V>();
        let tiles = columns.count.div_ceil(V::tile_height(self.panel.width));
        for tile in 0..tiles {
            let (column, height) = split(columns.count, tiles, tile);
            let run = Product {
                a: columns.at.add(column),
                row_stride: 1,
                k_stride: columns.step,
                count: steps.len(),
                panel: self.delta.add(steps.start * wide),
            };
            let sums = sums.add(column * wide);
            dispatch!(V, height, self.panel.width, |ROWS, WIDTH| Outer::<V, ROWS, WIDTH> {
                run,
                runs: self.rows,
                a_stride: columns.row,
                panel_stride: self.row,
                sums,
                is_first,
            });
        }
    }
}
