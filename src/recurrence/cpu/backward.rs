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
//! for each block of steps, the last block first:             its states, kept or computed again
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
//! Truncation is part of the sweep: each window of steps that gradients share carries δ of its own,
//! from its last step to its first, and the sums see the δ of all windows added up.
//!
//! The sums of a group are added to those of the other groups afterwards, in a fixed order: how
//! many threads there are changes no bit.

use std::marker::PhantomData;
use std::ops::Range;

use super::activation::{Activation, Identity};
use super::forward::{forward_rows, Checkpoints, Forward};
use super::panels::{split, Panel, Panels};
use super::tile::{dispatch, Affine, Delta, Outer, Product, Rows};
use super::vector::{Element, Vector};
use crate::bptt::Window;
use crate::recurrence::SequenceDims;

/// The arguments of a backward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a, E> {
    pub(super) dims: SequenceDims,
    /// Through which steps gradients flow together; their losses follow each other up to step T.
    pub(super) windows: &'a [Window],
    /// `(B, T, I)` in.
    pub(super) x: *const E,
    /// `(B, H)` in, or null: zeros.
    pub(super) h_0: *const E,
    pub(super) states: Kept<E>,
    /// `W_hh`, rows packed, in.
    pub(super) w_hh: *const E,
    /// `W_ih`, rows packed, in, or null if `grad_x` is.
    pub(super) w_ih: *const E,
    /// `(B, T, H)` in: gradients of all states; or null.
    pub(super) grad_states: *const E,
    /// `(B, H)` in: the gradient of the last state alone; or null.
    pub(super) grad_last: *const E,
    /// `(B, T, I)` out, or null: not wanted. Steps that no window reaches are left as they are.
    pub(super) grad_x: *mut E,
    /// `(B, H)` out, or null: not wanted. Left as it is if no window reaches step 1.
    pub(super) grad_h_0: *mut E,
}

/// What is left of the states of the forward pass.
#[derive(Clone, Copy)]
pub(super) enum Kept<E> {
    /// `(B, T, H)` in: all.
    All(*const E),
    /// Some, and the weights `[b | W_ih | W_hh]`, columns packed, to compute the others with.
    Checkpoints(Checkpoints<E>, *const E),
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows.
unsafe impl<E: Send + Sync> Sync for Backward<'_, E> {}

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

/// Steps whose δ are kept at a time, in groups of at most `rows` rows.
pub(super) fn block_steps<V: Vector>(dims: &SequenceDims, rows: usize) -> usize {
    let row = Panels::<V>::new(dims.hidden_size).padded() * size_of::<V::Elem>();
    let most = (BLOCK_BYTES / row).max(BLOCK_SAMPLES).div_ceil(rows).max(1);
    // As many as that allows, but of one size.
    dims.seq_len.div_ceil(dims.seq_len.div_ceil(most))
}

/// How many windows share a step, at most.
fn overlap(windows: &[Window]) -> usize {
    let sharing = |(index, window): (usize, &Window)| {
        windows[index..].iter().take_while(|later| later.start < window.end).count()
    };
    windows.iter().enumerate().map(sharing).max().unwrap_or(1)
}

/// Elements that [`Scratch::deltas`] needs for a group of `rows` rows.
pub(super) fn scratch_len<V: Vector>(
    args: &Backward<V::Elem>,
    rows: usize,
    block_steps: usize,
) -> usize {
    let hidden_size = args.dims.hidden_size;
    let padded = Panels::<V>::new(hidden_size).padded();
    let states = match args.states {
        Kept::All(_) => 0,
        Kept::Checkpoints(checkpoints, _) => (1 + checkpoints.every) * hidden_size,
    };
    rows * ((2 * overlap(args.windows) + 1 + block_steps) * padded + states)
}

/// Runs the group of rows `first..first + rows`, `block_steps` steps at a time.
///
/// # Safety
/// The CPU must have V's features; all pointers must be valid for the sizes in `dims`, those of
/// `scratch` as they say, and no other thread may touch the scratch or these rows.
pub(super) unsafe fn backward_rows<V: Vector, A: Activation>(
    args: &Backward<V::Elem>,
    first: usize,
    rows: usize,
    block_steps: usize,
    scratch: Scratch<V::Elem>,
) {
    let SequenceDims { seq_len, hidden_size, .. } = args.dims;
    let padded = Panels::<V>::new(hidden_size).padded();
    let size = rows * padded;
    let slots = overlap(args.windows);
    // δ of this step and the one after it, row by row, for every window that shares a step; their
    // sum; δ of a block as samples; states of a block.
    let mut delta = scratch.deltas;
    let mut next = delta.add(slots * size);
    let total = next.add(slots * size);
    let samples = total.add(size);
    let recomputed = samples.add(block_steps * size);
    let group = Group { args, first, rows, padded, slots };
    // The windows of step t are `windows[from..to]`.
    let (mut from, mut to) = (args.windows.len(), args.windows.len());
    let reached = args.windows[0].start;
    let mut end = seq_len;
    // States from here on are there, or were computed again.
    let mut computed_from = seq_len;
    while end > reached {
        // Blocks begin at multiples, as checkpoints do, of which each is for several blocks.
        let begin = ((end - 1) / block_steps * block_steps).max(reached);
        let states = group.states::<V, A>(begin, end, &mut computed_from, recomputed);
        for t in (begin..end).rev() {
            while from > 0 && args.windows[from - 1].end > t {
                from -= 1;
            }
            while args.windows[to - 1].start > t {
                to -= 1;
            }
            std::mem::swap(&mut delta, &mut next);
            let samples = Samples { at: samples, steps: end - begin, step: t - begin };
            for window in from..to {
                let slot = window % slots * size;
                let (next, delta) = (next.add(slot), delta.add(slot));
                group.delta::<V, A>(t, window, window > from, states, next, delta, samples);
            }
            let total = group.total(delta, from..to, total);
            if !args.grad_x.is_null() {
                group.grad_x::<V>(t, total);
            }
            if t == 0 && !args.grad_h_0.is_null() {
                group.grad_h_0::<V>(total);
            }
        }
        if !scratch.sums.is_null() {
            group.sums::<V>(begin, end, states, samples, scratch.sums);
        }
        end = begin;
    }
}

/// Rows that go through all steps together.
struct Group<'a, E> {
    args: &'a Backward<'a, E>,
    first: usize,
    rows: usize,
    /// Elements of a row of δ.
    padded: usize,
    /// How many windows share a step, at most.
    slots: usize,
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

/// States of a block, for the rows of a group.
#[derive(Clone, Copy)]
struct States<E> {
    /// The state of the group's first row at the block's first step; that of the step before it,
    /// if there is one, lies before it.
    at: *const E,
    /// From a row to the next.
    row: usize,
}

/// # Safety
/// Every method needs what [`backward_rows`] asks for: it made the group, with pointers that are
/// valid for the sizes in `dims`, and hands out parts of its scratch.
impl<E: Element> Group<'_, E> {
    /// The states of the steps `begin..end`: from the forward pass, or computed again, together with
    /// those of all steps since the checkpoint before, from which the next blocks find theirs.
    unsafe fn states<V: Vector<Elem = E>, A: Activation>(
        &self,
        begin: usize,
        end: usize,
        computed_from: &mut usize,
        recomputed: *mut E,
    ) -> States<E> {
        let Backward { dims, x, h_0, .. } = *self.args;
        let SequenceDims { seq_len, input_size, hidden_size, .. } = dims;
        let (checkpoints, weights) = match self.args.states {
            Kept::All(states) => {
                let at = states.add((self.first * seq_len + begin) * hidden_size);
                return States { at, row: seq_len * hidden_size };
            }
            Kept::Checkpoints(checkpoints, weights) => (checkpoints, weights),
        };
        let begins = begin / checkpoints.every * checkpoints.every;
        let row = (1 + checkpoints.every) * hidden_size;
        let states = States { at: recomputed.add((1 + begin - begins) * hidden_size), row };
        if begin >= *computed_from {
            return states;
        }
        *computed_from = begins;
        let from_h_0 = begins == 0;
        for local in 0..self.rows {
            let r = self.first + local;
            let before = match (from_h_0, h_0.is_null()) {
                (true, true) => continue,
                (true, false) => h_0.add(r * hidden_size),
                _ => {
                    let slot = r * checkpoints.count + begins / checkpoints.every - 1;
                    checkpoints.at.add(slot * hidden_size)
                }
            };
            std::ptr::copy_nonoverlapping(before, recomputed.add(local * row), hidden_size);
        }
        let forward = Forward {
            steps: end - begins,
            input_size,
            hidden_size,
            x: x.add((self.first * seq_len + begins) * input_size),
            x_row: seq_len * input_size,
            h_0: if from_h_0 && h_0.is_null() { std::ptr::null() } else { recomputed },
            h_0_row: row,
            weights,
            states: recomputed.add(hidden_size),
            states_row: row,
            slots: checkpoints.every,
            checkpoints: Checkpoints::NONE,
        };
        forward_rows::<V, A>(&forward, 0, self.rows);
        states
    }

    /// `δ_t` of a window, from the step after it; `adds` it to the samples if it is not the first.
    #[allow(clippy::too_many_arguments)]
    unsafe fn delta<V: Vector<Elem = E>, A: Activation>(
        &self,
        t: usize,
        window: usize,
        adds: bool,
        states: States<E>,
        next: *const E,
        delta: *mut E,
        samples: Samples<E>,
    ) {
        let args = self.args;
        let SequenceDims { seq_len, hidden_size, .. } = args.dims;
        let window = args.windows[window];
        for panel in Panels::<V>::new(hidden_size).iter() {
            let wide = panel.wide::<V>();
            let tiles = self.rows.div_ceil(V::tile_height(panel.width));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                let r = self.first + local;
                let product = Product {
                    a: next.add(local * self.padded),
                    row_stride: self.padded,
                    k_stride: 1,
                    count: if t + 1 == window.end { 0 } else { hidden_size },
                    panel: args.w_hh.add(panel.at * hidden_size),
                };
                let grad_h = if t < window.losses_from {
                    Rows { at: std::ptr::null(), stride: 0 }
                } else if !args.grad_states.is_null() {
                    let at = args.grad_states.add((r * seq_len + t) * hidden_size + panel.at);
                    Rows { at, stride: seq_len * hidden_size }
                } else if t + 1 == seq_len {
                    Rows { at: args.grad_last.add(r * hidden_size + panel.at), stride: hidden_size }
                } else {
                    Rows { at: std::ptr::null(), stride: 0 }
                };
                let h = states.at.add(local * states.row + samples.step * hidden_size + panel.at);
                let h = Rows { at: h, stride: states.row };
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
                    adds,
                    last: panel.last,
                    activation: PhantomData,
                });
            }
        }
    }

    /// The sum of the windows' δ, row by row: where there is one window, its own.
    unsafe fn total(&self, delta: *const E, windows: Range<usize>, total: *mut E) -> *const E {
        let size = self.rows * self.padded;
        let of = |window: usize| delta.add(window % self.slots * size);
        let wanted = !(self.args.grad_x.is_null() && self.args.grad_h_0.is_null());
        if windows.len() == 1 || !wanted {
            return of(windows.start);
        }
        std::ptr::copy_nonoverlapping(of(windows.start), total, size);
        for window in windows.skip(1) {
            for index in 0..size {
                *total.add(index) = *total.add(index) + *of(window).add(index);
            }
        }
        total
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
        states: States<E>,
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
                let at = states.at.add(local * states.row + own * hidden_size).sub(hidden_size);
                let columns =
                    Columns { at, count: hidden_size, step: hidden_size, row: states.row };
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

/// # Safety
/// As the methods of [`Group`], whose samples these are.
impl<E: Element> OuterProduct<E> {
    /// Adds `z δ` over the given steps to `sums`, or puts it there if it is the first.
    unsafe fn add_to<V: Vector<Elem = E>>(
        &self,
        columns: Columns<E>,
        steps: Range<usize>,
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
