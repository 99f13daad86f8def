//! The backward pass of a group of batch rows, on one thread.
//!
//! One reverse sweep gives δ_t, the gradients of the gates' pre-activations; for a simple cell,
//! `δ_t = f'(h_t) · (∂L/∂h_t + W_hhᵀ δ_{t+1})`. All others are sums of its products:
//!
//! ```text
//! ∂L/∂W_hh = Σ δ_t h_{t-1}ᵀ    ∂L/∂W_ih = Σ δ_t x_tᵀ    ∂L/∂b = Σ δ_t    over rows and steps
//! ∂L/∂x_t  = W_ihᵀ δ_t         ∂L/∂h_0  = W_hhᵀ δ_1
//! ```
//!
//! ```text
//! for each block of steps, the last block first:             its states, kept or computed again
//!     for t in the block, backwards
//!         for each panel of units, for each tile of rows:  W_hhᵀ δ_{t+1}
//!         for each row:                                     δ_t, stored as a row and as samples
//!         for each panel of inputs, if wanted:              ∂L/∂x_t
//!     for each panel of gates, for some rows at a time
//!         for each tile of columns of [1 | x_t | h_{t-1}]:  sums += z δ over the block's samples
//! ```
//!
//! What makes it fast:
//! 1. A simple cell needs only `h` from the forward pass, and its δ are made in the registers of the
//!    product; other cells keep their gates, so that no product is done again.
//! 2. A block's δ stay in the second-level cache until the sums have used them; a panel's δ of a
//!    few rows stay in the first-level cache for all tiles of columns.
//! 3. `x` and `h` are broadcast from where they lie: nothing is transposed, and nothing copied
//!    unless rows differ in length or have masks.
//!
//! Truncation is part of the sweep: each window of steps that gradients share carries δ of its own,
//! from its last step to its first, and the sums see the δ of all windows added up.
//!
//! The sums of a group are added to those of the other groups afterwards, in a fixed order: how
//! many threads there are changes no bit.
//!
//! - `deltas`: δ of a step; - `sums`: the weights' gradients; - `states`: states of a block

mod deltas;
mod states;
mod sums;

use std::marker::PhantomData;
use std::ops::Range;

use super::activation::Identity;
use super::cell::{Cell, Fed, Plan};
use super::forward::{self, Checkpoints, Forward, Initial, Spans, Steps};
use super::panels::{split, Panels};
use super::tile::{dispatch, Affine, Product, Rows};
use super::vector::{Element, Vector};
use crate::bptt::Window;
use crate::recurrence::SequenceDims;
use states::BlockStates;

/// The arguments of a backward pass, lengths checked by whoever made them.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a, E> {
    pub(super) dims: SequenceDims,
    pub(super) plan: Plan,
    /// Through which steps gradients flow together; their losses follow each other up to step T.
    pub(super) windows: &'a [Window],
    /// `(I,)` in.
    pub(super) x: Steps<*const E>,
    pub(super) initial: Initial<E>,
    pub(super) kept: Kept<E>,
    /// `(B, P)` in: the recurrent dropout's mask; or null.
    pub(super) mask: *const E,
    pub(super) spans: Spans,
    /// Weights that the state, the middle value and the input feed, rows packed, in; those of the
    /// input null if `grad_x` is.
    pub(super) w_state: *const E,
    pub(super) w_middle: *const E,
    pub(super) w_input: *const E,
    /// `(P,)` in: gradients of all outputs; or null.
    pub(super) grad_outputs: Steps<*const E>,
    /// `(B, P)` and `(B, H)` in: gradients of the final states; or null.
    pub(super) grad_last_h: *const E,
    pub(super) grad_last_c: *const E,
    /// `(I,)` out, or null: not wanted. Steps that no window reaches are left as they are.
    pub(super) grad_x: Steps<*mut E>,
    /// `(B, P)` and `(B, H)` out, or null: not wanted. Left as they are if no window reaches step 1.
    pub(super) grad_h_0: *mut E,
    pub(super) grad_c_0: *mut E,
}

/// What is left of the states of the forward pass.
#[derive(Clone, Copy)]
pub(super) enum Kept<E> {
    /// All.
    All(BlockStates<E>),
    /// Some, and the packed weights to compute the others with.
    Checkpoints(Checkpoints<E>, *const E),
}

impl<E> Kept<E> {
    pub(super) fn all(h: Steps<*const E>, c: Steps<*const E>, gates: Steps<*const E>) -> Self {
        Self::All(BlockStates { h, c, gates })
    }
}

// SAFETY: the pointers of one pass are shared by threads that write disjoint rows.
unsafe impl<E: Send + Sync> Sync for Backward<'_, E> {}

impl<E> Backward<'_, E> {
    /// Whether rows differ in length, or have masks.
    fn is_carried(&self) -> bool {
        !(self.spans.lengths.is_null() && self.mask.is_null())
    }

    /// The state before a step of a row.
    unsafe fn h_before(&self, states: &BlockStates<E>, row: usize, step: usize) -> *const E {
        if step == self.spans.of(row).0 {
            self.initial.h(row)
        } else {
            states.h.get(row, step.wrapping_sub(1))
        }
    }
}

/// What a group of rows computes in.
#[derive(Clone, Copy)]
pub(super) struct Scratch<E> {
    /// Packed, out: the group's part of the weights' gradients; or null: not wanted.
    pub(super) sums: *mut E,
    /// [`scratch_len`] elements.
    pub(super) memory: *mut E,
}

/// Bytes of δ that stay in the second-level cache.
const BLOCK_BYTES: usize = 256 << 10;
/// Samples that a block has at least, if there are so many: each block reads and writes the sums.
const BLOCK_SAMPLES: usize = 256;
/// The same where the sums, of this many bytes at least, do not stay in the second-level cache.
const LARGE_BLOCK_SAMPLES: usize = 1024;
const LARGE_SUMS: usize = 2 << 20;

/// Steps whose δ are kept at a time, `sample` bytes each, in groups of at most `rows` rows, for sums of
/// `sums` bytes.
pub(super) fn block_steps(dims: &SequenceDims, sample: usize, sums: usize, rows: usize) -> usize {
    let least = if sums < LARGE_SUMS { BLOCK_SAMPLES } else { LARGE_BLOCK_SAMPLES };
    let most = (BLOCK_BYTES / sample).max(least).div_ceil(rows).max(1);
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

/// The parts of a group's memory.
struct Memory<E> {
    /// `(slots, rows, row of δ)`: δ of this step and of the one after it, for every window that
    /// shares a step.
    delta: *mut E,
    next: *mut E,
    /// `(slots, rows, P)` and `(slots, rows, H)`: what else goes from a step to the one before.
    shortcut: *mut E,
    carry_c: *mut E,
    /// `(rows, ..)`: the windows' sums of the above.
    total: *mut E,
    total_shortcut: *mut E,
    total_c: *mut E,
    /// `(rows, P)`: what comes from the products of the step after.
    product: *mut E,
    /// `(rows, P)`: gradients from outside.
    outside: *mut E,
    /// `(rows, H)`: gradients of middle values.
    grad_middle: *mut E,
    /// δ of a block as samples: panel after panel, each `(rows, steps, width)` registers.
    samples: *mut E,
    /// `(rows, block steps, P)` and `(rows, block steps, H)`: what fed the products of a block,
    /// where it does not lie elsewhere.
    inputs: *mut E,
    middle: *mut E,
    /// States of a block, computed again.
    recomputed: *mut E,
    len: usize,
}

impl<E: Element> Memory<E> {
    fn new(args: &Backward<E>, rows: usize, block_steps: usize, base: *mut E) -> Self {
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let Plan { deltas, sample_len, .. } = args.plan;
        let slots = overlap(args.windows);
        let mut len = 0;
        let mut take = |size: usize| {
            let at = base.wrapping_add(len);
            // Whole cache lines.
            len += size.next_multiple_of(64 / size_of::<E>());
            at
        };
        let (row, is_gated) = (row_of_deltas::<E>(deltas), args.plan.deltas > hidden_size);
        let if_gated = |size| if is_gated { size } else { 0 };
        let if_carried = |size| if args.is_carried() { size } else { 0 };
        let if_middle = |size| if args.plan.has_middle() { size } else { 0 };
        Self {
            delta: take(slots * rows * row),
            next: take(slots * rows * row),
            shortcut: take(if_gated(slots * rows * output_size)),
            carry_c: take(if_gated(slots * rows * hidden_size)),
            total: take(rows * row),
            total_shortcut: take(if_gated(rows * output_size)),
            total_c: take(if_gated(rows * hidden_size)),
            product: take(rows * output_size),
            outside: take(rows * output_size),
            grad_middle: take(if_middle(rows * hidden_size)),
            samples: take(block_steps * rows * sample_len),
            inputs: take(if_carried(block_steps * rows * output_size)),
            middle: take(if_middle(block_steps * rows * hidden_size)),
            recomputed: take(states::recomputed_len(args, rows)),
            len,
        }
    }
}

/// Elements from a row of δ to the next: whole cache lines.
fn row_of_deltas<E>(deltas: usize) -> usize {
    deltas.next_multiple_of(64 / size_of::<E>())
}

/// Elements that [`Scratch::memory`] needs for a group of `rows` rows.
pub(super) fn scratch_len<E: Element>(
    args: &Backward<E>,
    rows: usize,
    block_steps: usize,
) -> usize {
    Memory::new(args, rows, block_steps, std::ptr::null_mut()).len
}

/// Runs the group of rows `first..first + rows`, `block_steps` steps at a time.
///
/// # Safety
/// The CPU must have V's features; all pointers must be valid for the sizes in `dims`, those of
/// `scratch` as they say, and no other thread may touch the scratch or these rows.
pub(super) unsafe fn backward_rows<V: Vector, C: Cell>(
    args: &Backward<V::Elem>,
    first: usize,
    rows: usize,
    block_steps: usize,
    scratch: Scratch<V::Elem>,
) {
    let seq_len = args.dims.seq_len;
    let mut memory = Memory::new(args, rows, block_steps, scratch.memory);
    let mut group = Group {
        args,
        first,
        rows,
        row: row_of_deltas::<V::Elem>(args.plan.deltas),
        slots: overlap(args.windows),
        spans: Vec::new(),
    };
    // The windows of step t are `windows[from..to]`.
    let (mut from, mut to) = (args.windows.len(), args.windows.len());
    let reached = args.windows[0].start;
    let mut end = seq_len;
    // States from here on are there, or were computed again.
    let mut computed_from = seq_len;
    while end > reached {
        // Blocks begin at multiples, as checkpoints do, of which each is for several blocks.
        let begin = ((end - 1) / block_steps * block_steps).max(reached);
        let states = group.states::<V, C>(begin, end, &mut computed_from, memory.recomputed);
        let block = Block { begin, end, states };
        for t in (begin..end).rev() {
            while from > 0 && args.windows[from - 1].end > t {
                from -= 1;
            }
            while args.windows[to - 1].start > t {
                to -= 1;
            }
            std::mem::swap(&mut memory.delta, &mut memory.next);
            for window in from..to {
                if C::IS_SIMPLE {
                    group.simple_delta::<V, C>(t, window, window > from, &block, &memory);
                } else {
                    group.gated_delta::<V, C>(t, window, window > from, &block, &memory);
                }
            }
            group.gradients_before::<V, C>(t, from..to, &memory);
        }
        if !scratch.sums.is_null() {
            group.sums::<V>(&block, &memory, scratch.sums);
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
    row: usize,
    /// How many windows share a step, at most.
    slots: usize,
    /// Which samples of a block count, by row.
    spans: Vec<(usize, usize)>,
}

/// Steps that are worked on together.
struct Block<E> {
    begin: usize,
    end: usize,
    states: BlockStates<E>,
}

/// # Safety
/// Every method needs what [`backward_rows`] asks for: it made the group, with pointers that are
/// valid for the sizes in `dims`, and hands out parts of its scratch.
impl<E: Element> Group<'_, E> {
    /// What goes from step `t` to the inputs and to the initial states.
    unsafe fn gradients_before<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        windows: Range<usize>,
        memory: &Memory<E>,
    ) {
        let args = self.args;
        let SequenceDims { input_size, hidden_size, output_size, .. } = args.dims;
        let wants_initial = !(args.grad_h_0.is_null() && args.grad_c_0.is_null());
        if args.grad_x.at.is_null() && !wants_initial {
            return;
        }
        let delta = self.total(memory.delta, self.row, windows.clone(), memory.total);
        if !args.grad_x.at.is_null() {
            let out = Rows { at: args.grad_x.get(self.first, t), stride: args.grad_x.row };
            let fed = args.plan.input_fed;
            self.through_weights::<V>(0..self.rows, t, delta, fed, args.w_input, input_size, out);
        }
        // A row without steps has no δ: it hands its gradient through.
        let begins = |local: usize| {
            let (from, to) = args.spans.of(self.first + local);
            from == t && from < to
        };
        if !wants_initial || !(0..self.rows).any(begins) {
            return;
        }
        let out = Rows { at: memory.product, stride: output_size };
        let fed = args.plan.state_fed;
        self.through_weights::<V>(0..self.rows, t, delta, fed, args.w_state, output_size, out);
        let shortcut = C::HAS_SHORTCUT.then(|| {
            self.total(memory.shortcut, output_size, windows.clone(), memory.total_shortcut)
        });
        let carry_c = C::HAS_C
            .then(|| self.total(memory.carry_c, hidden_size, windows.clone(), memory.total_c));
        for local in (0..self.rows).filter(|local| begins(*local)) {
            let row = self.first + local;
            if !args.grad_h_0.is_null() {
                for unit in 0..output_size {
                    let mut grad = *memory.product.add(local * output_size + unit);
                    if !args.mask.is_null() {
                        grad = grad * *args.mask.add(row * output_size + unit);
                    }
                    if let Some(shortcut) = shortcut {
                        grad = grad + *shortcut.add(local * output_size + unit);
                    }
                    *args.grad_h_0.add(row * output_size + unit) = grad;
                }
            }
            if let (Some(carry), false) = (carry_c, args.grad_c_0.is_null()) {
                let to = args.grad_c_0.add(row * hidden_size);
                std::ptr::copy_nonoverlapping(carry.add(local * hidden_size), to, hidden_size);
            }
        }
    }

    /// The sum of the windows' rows of `len` numbers: where there is one window, its own.
    unsafe fn total(
        &self,
        rows: *const E,
        len: usize,
        windows: Range<usize>,
        total: *mut E,
    ) -> *const E {
        let size = self.rows * len;
        let of = |window: usize| rows.add(window % self.slots * size);
        if windows.len() == 1 {
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

    /// `out = Wᵀ δ`, for some columns of δ and the weights `(fed columns, len)` that they belong to,
    /// rows packed; for tiles that take part in step `t`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn through_weights<V: Vector<Elem = E>>(
        &self,
        rows: Range<usize>,
        t: usize,
        delta: *const E,
        fed: Fed,
        weights: *const E,
        len: usize,
        out: Rows<*mut E>,
    ) {
        for panel in Panels::<V>::new(len).iter() {
            let tiles = rows.len().div_ceil(V::tile_height(panel.width));
            for tile in 0..tiles {
                let (local, height) = split(rows.len(), tiles, tile);
                let local = rows.start + local;
                if !self.args.spans.any(self.first + local, height, t) {
                    continue;
                }
                let product = Product {
                    a: delta.add(local * self.row + fed.at),
                    row_stride: self.row,
                    k_stride: 1,
                    count: fed.len,
                    panel: weights.add(panel.at * fed.len),
                };
                let out = Rows { at: out.at.add(local * out.stride + panel.at), ..out };
                dispatch!(V, height, panel.width, |ROWS, WIDTH| {
                    Affine::<V, Identity, false, ROWS, WIDTH> {
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
}

/// A forward pass that computes states again.
fn forward_again<E: Element>(args: &Backward<E>, weights: *const E) -> Forward<E> {
    Forward {
        dims: args.dims,
        plan: args.plan,
        steps: 0,
        offset: 0,
        ahead: 0,
        x: args.x,
        initial: args.initial,
        weights,
        h: Steps::NONE,
        c: Steps::NONE,
        gates: Steps::NONE,
        mask: args.mask,
        spans: args.spans,
        checkpoints: Checkpoints::NONE,
        last_h: std::ptr::null_mut(),
        last_c: std::ptr::null_mut(),
    }
}

/// Elements of scratch that it needs.
fn forward_again_scratch<E: Element>(args: &Backward<E>, rows: usize) -> usize {
    forward::scratch_len(&forward_again(args, std::ptr::null()), rows)
}
