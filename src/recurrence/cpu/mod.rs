//! The recurrence on the CPU: chunks of batch rows over threads, and a kernel for each
//! instruction set.
//!
//! Entry points are [`pack_weights`], [`forward_all`], [`forward_last`], [`backward`] and
//! [`unpack_weights`]. They check all lengths, cut the batch into chunks of rows, and call the kernels through the table
//! [`Kernels`] of the chosen instruction set.
//!
//! - `isa`: the instruction set, chosen once
//! - `vector`: what a kernel needs of a register; `avx512 avx2 neon portable`: the registers
//! - `activation`: tanh and relu over registers
//! - `tile`: the innermost loops
//! - `panels`: packed weights
//! - `forward`, `backward`: whole sequences for some rows, on one thread
//! - `workspace`: memory that is used again
//!
//! Limits: sums over steps and rows run in the order of their index, in the precision of the
//! tensors.

// The kernels work on pointers and CPU features; every other module denies unsafe code.
#![allow(unsafe_code)]

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod forward;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panels;
mod portable;
mod tile;
mod vector;
mod workspace;

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Cell, SequenceDims};
use crate::bptt::Window;
use activation::{Activation, Identity, Relu, Tanh};
use backward::{Backward, Kept, Scratch};
use forward::{sections, Checkpoints, Forward};
use panels::{pack_columns, pack_rows, split, unpack_columns, Panels};
use vector::Vector;

pub(crate) use isa::Isa;
pub(crate) use vector::Element;
pub(crate) use workspace::Buffer;

/// What a step ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Tanh,
    Relu,
    /// For dense layers: one step, with nothing before it.
    Identity,
}

impl From<Cell> for Function {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Tanh => Self::Tanh,
            Cell::Relu => Self::Relu,
        }
    }
}

/// A float that has kernels.
pub(crate) trait Float: Element {
    /// The kernels of an instruction set.
    fn kernels(isa: Isa, function: Function) -> Kernels<Self>;
}

macro_rules! float {
    ($elem:ident, $avx512:ident, $avx2:ident, $neon:ident, $portable:ident) => {
        impl Float for $elem {
            fn kernels(isa: Isa, function: Function) -> Kernels<Self> {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(_) => Kernels::of::<avx512::$avx512>(function),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2Fma(_) => Kernels::of::<avx2::$avx2>(function),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => Kernels::of::<neon::$neon>(function),
                    Isa::Portable => Kernels::of::<portable::$portable>(function),
                }
            }
        }
    };
}

float!(f32, F32x16, F32x8, F32x4, F32x4);
float!(f64, F64x8, F64x4, F64x2, F64x2);

/// The kernels of one instruction set and one activation. Exists only where the CPU has the
/// instruction set, as [`Isa`] proves.
#[derive(Clone, Copy)]
pub(crate) struct Kernels<E> {
    /// Elements of a row with its padding.
    padded: fn(usize) -> usize,
    pack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    unpack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    pack_rows: fn(&[E], usize, &mut [E]),
    forward_rows: unsafe fn(&Forward<E>, usize, usize),
    backward_rows: unsafe fn(&Backward<E>, usize, usize, usize, Scratch<E>),
    block_steps: fn(&SequenceDims, usize) -> usize,
    scratch_len: fn(&Backward<E>, usize, usize) -> usize,
}

impl<E: Element> Kernels<E> {
    fn of<V: Vector<Elem = E>>(function: Function) -> Self {
        match function {
            Function::Tanh => Self::with::<V, Tanh>(),
            Function::Relu => Self::with::<V, Relu>(),
            Function::Identity => Self::with::<V, Identity>(),
        }
    }

    fn with<V: Vector<Elem = E>, A: Activation>() -> Self {
        Self {
            padded: |len| Panels::<V>::new(len).padded(),
            pack_columns: pack_columns::<V>,
            unpack_columns: unpack_columns::<V>,
            pack_rows: pack_rows::<V>,
            forward_rows: forward::forward_rows::<V, A>,
            backward_rows: backward::backward_rows::<V, A>,
            block_steps: backward::block_steps::<V>,
            scratch_len: backward::scratch_len::<V>,
        }
    }

    /// Elements of the packed weights.
    pub(crate) fn packed_len(&self, input_size: usize, hidden_size: usize) -> usize {
        (self.padded)(hidden_size) * (1 + input_size + hidden_size)
    }
}

/// The weights of a layer, or their gradients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightSlices<'a, E> {
    /// `(H, I)`.
    pub(crate) w_ih: &'a [E],
    /// `(H, H)`.
    pub(crate) w_hh: &'a [E],
    /// `(H,)`.
    pub(crate) b: &'a [E],
}

/// Packs the weights for a forward pass: [`Kernels::packed_len`] elements.
pub(crate) fn pack_weights<E: Element>(kernels: &Kernels<E>, weights: WeightSlices<E>) -> Vec<E> {
    let hidden_size = weights.b.len();
    let input_size = weights.w_ih.len() / hidden_size;
    let depth = 1 + input_size + hidden_size;
    let mut packed = vec![E::ZERO; kernels.packed_len(input_size, hidden_size)];
    let matrices = [weights.b, weights.w_ih, weights.w_hh];
    for (matrix, (first, columns)) in matrices.into_iter().zip(sections(input_size, hidden_size)) {
        (kernels.pack_columns)(matrix, columns, depth, first, &mut packed);
    }
    packed
}

/// Takes packed gradients apart: those of `W_ih`, `W_hh` and `b`.
pub(crate) fn unpack_weights<E: Element>(
    kernels: &Kernels<E>,
    packed: &[E],
    input_size: usize,
    hidden_size: usize,
) -> [Vec<E>; 3] {
    let [b, w_ih, w_hh] = sections(input_size, hidden_size).map(|(first, columns)| {
        let mut matrix = vec![E::ZERO; columns * hidden_size];
        let depth = 1 + input_size + hidden_size;
        (kernels.unpack_columns)(packed, columns, depth, first, &mut matrix);
        matrix
    });
    [w_ih, w_hh, b]
}

/// Below so many floating-point operations threads cost more than they bring.
const MIN_PARALLEL_FLOPS: usize = 1_000_000;

/// Runs `work(index, first, size)` for the parts of `0..n`, in any order, on rayon's threads.
///
/// A thread of the pool that calls this takes parts at once, while others are still waking up; any
/// other thread sleeps meanwhile: with one thread more than cores, idle threads that look for work
/// take time from those that have it. Which thread takes which part is left to chance, so that a
/// thread that loses its core delays one part and no more.
fn for_each_part(
    n: usize,
    parts: usize,
    parallel: bool,
    work: impl Fn(usize, usize, usize) + Sync,
) {
    let next = AtomicUsize::new(0);
    let take_parts = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= parts {
            break;
        }
        let (first, size) = split(n, parts, index);
        work(index, first, size);
    };
    let threads = if parallel { rayon::current_num_threads().min(parts) } else { 1 };
    if threads < 2 {
        return take_parts();
    }
    rayon::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| take_parts());
        }
        take_parts();
    });
}

fn is_large(dims: &SequenceDims) -> bool {
    let SequenceDims { batch_size, seq_len, input_size, hidden_size } = *dims;
    2 * batch_size * seq_len * hidden_size * (input_size + hidden_size) > MIN_PARALLEL_FLOPS
}

/// Rows that a thread should have together, so that a tile is full and weights are read seldom.
const MIN_ROWS: usize = 5;
/// Above this, weights do not stay in the second-level cache: a thread takes all its rows at once.
const MAX_SHARED_WEIGHTS: usize = 512 << 10;

/// What a forward pass reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardInput<'a, E> {
    pub(crate) dims: SequenceDims,
    /// `(B, T, I)`.
    pub(crate) x: &'a [E],
    /// `(B, H)`, zeros if `None`.
    pub(crate) h_0: Option<&'a [E]>,
    /// From [`pack_weights`].
    pub(crate) weights: &'a [E],
}

/// Runs the recurrence and returns the states of all steps, `(B, T, H)`.
///
/// # Panics
/// When a slice's length does not fit.
pub(crate) fn forward_all<E: Element>(kernels: &Kernels<E>, input: ForwardInput<E>) -> Vec<E> {
    let SequenceDims { batch_size, seq_len, hidden_size, .. } = input.dims;
    let len = batch_size * seq_len * hidden_size;
    let mut states = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, and the forward pass writes every state before it returns.
    unsafe {
        forward_into(kernels, input, states.as_mut_ptr(), seq_len, Checkpoints::NONE);
        states.set_len(len);
    }
    states
}

/// States that the backward pass needs and nobody else sees.
pub(crate) enum SavedStates<E> {
    /// None: there will be no backward pass.
    None,
    /// `(B, T, H)`.
    All(Buffer<E>),
    /// `(B, count, H)`: those at the ends of blocks of steps.
    Checkpoints(Buffer<E>),
}

/// Which states are to be saved for a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Save {
    None,
    All,
    Checkpoints,
}

/// Runs the recurrence and returns the last states, `(B, H)`, and those that are to be saved.
///
/// # Panics
/// When a slice's length does not fit.
pub(crate) fn forward_last<E: Element>(
    kernels: &Kernels<E>,
    input: ForwardInput<E>,
    save: Save,
) -> (Vec<E>, SavedStates<E>) {
    let SequenceDims { batch_size, seq_len, hidden_size, .. } = input.dims;
    let slots = if save == Save::All { seq_len } else { seq_len.min(2) };
    let mut states = Buffer::new(batch_size * slots * hidden_size);
    let mut checkpoints = None;
    let mut to = Checkpoints::NONE;
    if save == Save::Checkpoints {
        let every = Groups::new(kernels, &input.dims).block_steps;
        let count = Checkpoints::<E>::count(every, seq_len);
        let buffer = checkpoints.insert(Buffer::new(batch_size * count * hidden_size));
        to = Checkpoints { at: buffer.as_mut_ptr(), every, count };
    }
    // SAFETY: both buffers have the sizes that `slots` and `count` say.
    unsafe { forward_into(kernels, input, states.as_mut_ptr(), slots, to) };
    let slot = (seq_len - 1) % slots;
    let mut last = Vec::with_capacity(batch_size * hidden_size);
    for of_row in states.chunks_exact(slots * hidden_size) {
        last.extend_from_slice(&of_row[slot * hidden_size..][..hidden_size]);
    }
    let saved = match (save, checkpoints) {
        (Save::All, _) => SavedStates::All(states),
        (_, Some(checkpoints)) => SavedStates::Checkpoints(checkpoints),
        _ => SavedStates::None,
    };
    (last, saved)
}

/// # Safety
/// `states` must be valid for writing `B * slots * H` elements, where there must be T slots or at
/// least 2, and `checkpoints` for what it says.
unsafe fn forward_into<E: Element>(
    kernels: &Kernels<E>,
    input: ForwardInput<E>,
    states: *mut E,
    slots: usize,
    checkpoints: Checkpoints<E>,
) {
    let ForwardInput { dims, x, h_0, weights } = input;
    let SequenceDims { batch_size, seq_len, input_size, hidden_size } = dims;
    if batch_size == 0 {
        return;
    }
    assert_eq!(x.len(), batch_size * seq_len * input_size);
    assert_eq!(weights.len(), kernels.packed_len(input_size, hidden_size));
    assert!(h_0.is_none_or(|h_0| h_0.len() == batch_size * hidden_size));
    let args = Forward {
        steps: seq_len,
        input_size,
        hidden_size,
        x: x.as_ptr(),
        x_row: seq_len * input_size,
        h_0: h_0.map_or(std::ptr::null(), <[E]>::as_ptr),
        h_0_row: hidden_size,
        weights: weights.as_ptr(),
        states,
        states_row: slots * hidden_size,
        slots,
        checkpoints,
    };
    // Rows do not depend on each other, so how they are cut changes no bit.
    let per_thread = if size_of_val(weights) > MAX_SHARED_WEIGHTS { 1 } else { 4 };
    let chunks = (per_thread * rayon::current_num_threads()).min(batch_size.div_ceil(MIN_ROWS));
    for_each_part(batch_size, chunks, is_large(&dims), |_, first, rows| {
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; lengths were checked
        // above; the parts are disjoint rows.
        unsafe { (kernels.forward_rows)(&args, first, rows) }
    });
}

/// Gradients that reach the outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GradOutputs<'a, E> {
    /// `(B, T, H)`: of all states.
    All(&'a [E]),
    /// `(B, H)`: of the last state.
    Last(&'a [E]),
}

/// What a backward pass finds of the forward pass's states.
#[derive(Clone, Copy, Debug)]
pub(crate) enum States<'a, E> {
    /// `(B, T, H)`.
    All(&'a [E]),
    /// From [`SavedStates::Checkpoints`].
    Checkpoints(&'a [E]),
}

/// What a backward pass needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackwardInput<'a, E> {
    pub(crate) dims: SequenceDims,
    /// `(B, T, I)`.
    pub(crate) x: &'a [E],
    /// `(B, H)`, zeros if `None`.
    pub(crate) h_0: Option<&'a [E]>,
    /// From the forward pass.
    pub(crate) states: States<'a, E>,
    /// Through which steps gradients flow together.
    pub(crate) windows: &'a [Window],
    /// From [`pack_weights`].
    pub(crate) weights: &'a [E],
    /// `(H, I)`.
    pub(crate) w_ih: &'a [E],
    /// `(H, H)`.
    pub(crate) w_hh: &'a [E],
    pub(crate) grad: GradOutputs<'a, E>,
}

/// Which gradients are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) weights: bool,
    pub(crate) x: bool,
    pub(crate) h_0: bool,
}

/// The gradients of a loss.
#[derive(Clone, Debug)]
pub(crate) struct Gradients<E> {
    /// Of the weights, packed: for [`unpack_weights`]; if wanted.
    pub(crate) weights: Option<Vec<E>>,
    /// `(B, T, I)`, if wanted.
    pub(crate) x: Option<Vec<E>>,
    /// `(B, H)`, if wanted.
    pub(crate) h_0: Option<Vec<E>>,
}

/// Bytes that the groups' parts of the weight gradients may take together, beyond two groups.
const MAX_SUMS: usize = 4 << 20;
/// Rows of a group, if there are enough.
const GROUP_ROWS: usize = 25;

/// How a batch is cut into groups of rows that sum their weight gradients apart, and their steps
/// into blocks. Part of the result, as it fixes the order of summation: it depends on the sizes
/// alone.
#[derive(Clone, Copy, Debug)]
struct Groups {
    count: usize,
    block_steps: usize,
}

impl Groups {
    fn new<E: Element>(kernels: &Kernels<E>, dims: &SequenceDims) -> Self {
        let sums = kernels.packed_len(dims.input_size, dims.hidden_size) * size_of::<E>();
        let most = (MAX_SUMS / sums).max(2);
        // Even, so that two threads, and nearly so that four, get the same share.
        let wanted = dims.batch_size.div_ceil(GROUP_ROWS).next_multiple_of(2);
        let count = wanted.min(most).min(dims.batch_size.div_ceil(MIN_ROWS)).max(1);
        let largest = dims.batch_size.div_ceil(count).max(1);
        Self { count, block_steps: (kernels.block_steps)(dims, largest) }
    }
}

/// Computes the gradients that are wanted.
///
/// # Panics
/// When a slice's length does not fit.
pub(crate) fn backward<E: Element>(
    kernels: &Kernels<E>,
    input: BackwardInput<E>,
    wanted: Wanted,
) -> Gradients<E> {
    let BackwardInput { dims, x, h_0, states, windows, weights, w_ih, w_hh, grad } = input;
    let SequenceDims { batch_size, seq_len, input_size, hidden_size } = dims;
    let (outputs, state) = (batch_size * seq_len * hidden_size, batch_size * hidden_size);
    let packed_len = kernels.packed_len(input_size, hidden_size);
    let mut grad_x = wanted.x.then(|| vec![E::ZERO; batch_size * seq_len * input_size]);
    let mut grad_h_0 = wanted.h_0.then(|| vec![E::ZERO; state]);
    let mut grad_weights = wanted.weights.then(|| vec![E::ZERO; packed_len]);
    if batch_size == 0 {
        return Gradients { weights: grad_weights, x: grad_x, h_0: grad_h_0 };
    }
    assert_eq!(x.len(), batch_size * seq_len * input_size);
    assert!(h_0.is_none_or(|h_0| h_0.len() == state));
    assert_eq!(weights.len(), packed_len);
    assert_eq!(w_ih.len(), hidden_size * input_size);
    assert_eq!(w_hh.len(), hidden_size * hidden_size);
    assert!(windows.last().is_some_and(|last| last.end == seq_len));
    let groups = Groups::new(kernels, &dims);
    let states = match states {
        States::All(states) => {
            assert_eq!(states.len(), outputs);
            Kept::All(states.as_ptr())
        }
        States::Checkpoints(checkpoints) => {
            let count = Checkpoints::<E>::count(groups.block_steps, seq_len);
            assert_eq!(checkpoints.len(), batch_size * count * hidden_size);
            let at = checkpoints.as_ptr().cast_mut();
            let checkpoints = Checkpoints { at, every: groups.block_steps, count };
            Kept::Checkpoints(checkpoints, weights.as_ptr())
        }
    };
    let (grad_states, grad_last) = match grad {
        GradOutputs::All(grad) => {
            assert_eq!(grad.len(), outputs);
            (grad.as_ptr(), std::ptr::null())
        }
        GradOutputs::Last(grad) => {
            assert_eq!(grad.len(), state);
            (std::ptr::null(), grad.as_ptr())
        }
    };
    // A loss at the last step alone belongs to the last window.
    let windows = match grad {
        GradOutputs::All(_) => windows,
        GradOutputs::Last(_) => &windows[windows.len() - 1..],
    };
    let pack_rows = |matrix: &[E], columns: usize| {
        let mut packed = Buffer::new((kernels.padded)(columns) * hidden_size);
        (kernels.pack_rows)(matrix, hidden_size, &mut packed);
        packed
    };
    let w_hh = pack_rows(w_hh, hidden_size);
    let w_ih = wanted.x.then(|| pack_rows(w_ih, input_size));
    let args = Backward {
        dims,
        windows,
        x: x.as_ptr(),
        h_0: h_0.map_or(std::ptr::null(), <[E]>::as_ptr),
        states,
        w_hh: w_hh.as_ptr(),
        w_ih: w_ih.as_ref().map_or(std::ptr::null(), |w_ih| w_ih.as_ptr()),
        grad_states,
        grad_last,
        grad_x: grad_x.as_mut().map_or(std::ptr::null_mut(), |grad| grad.as_mut_ptr()),
        grad_h_0: grad_h_0.as_mut().map_or(std::ptr::null_mut(), |grad| grad.as_mut_ptr()),
    };
    let mut sums = wanted.weights.then(|| Buffer::<E>::new(groups.count * packed_len));
    let sums_of_groups = sums.as_mut().map(|sums| Shared(sums.as_mut_ptr()));
    for_each_part(batch_size, groups.count, is_large(&dims), |index, first, rows| {
        let block_steps = groups.block_steps;
        let mut deltas = Buffer::new((kernels.scratch_len)(&args, rows, block_steps));
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; lengths were checked
        // above; the parts are disjoint rows, each with sums and scratch of its own.
        unsafe {
            let sums = match &sums_of_groups {
                Some(sums) => sums.at(index * packed_len),
                None => std::ptr::null_mut(),
            };
            let scratch = Scratch { sums, deltas: deltas.as_mut_ptr() };
            (kernels.backward_rows)(&args, first, rows, block_steps, scratch);
        }
    });
    if let (Some(sums), Some(grad_weights)) = (&sums, &mut grad_weights) {
        add_up(sums, grad_weights, is_large(&dims));
    }
    Gradients { weights: grad_weights, x: grad_x, h_0: grad_h_0 }
}

/// A pointer that threads share, for disjoint parts.
struct Shared<E>(*mut E);

// SAFETY: whoever uses it keeps to a part of its own.
unsafe impl<E: Send> Sync for Shared<E> {}

impl<E> Shared<E> {
    /// # Safety
    /// `offset` must be within the memory behind the pointer.
    unsafe fn at(&self, offset: usize) -> *mut E {
        self.0.add(offset)
    }
}

/// `total[i] = Σ terms[group][i]`, the groups in order.
fn add_up<E: Element>(terms: &[E], total: &mut [E], parallel: bool) {
    const PIECE: usize = 4096;
    let len = total.len();
    let shared = Shared(total.as_mut_ptr());
    let parts = if terms.len() > len { len.div_ceil(PIECE) } else { 1 };
    for_each_part(len, parts, parallel, |_, first, size| {
        // SAFETY: the parts are disjoint ranges of `total`.
        let total = unsafe { std::slice::from_raw_parts_mut(shared.at(first), size) };
        for group in terms.chunks_exact(len) {
            for (sum, term) in total.iter_mut().zip(&group[first..]) {
                *sum = *sum + *term;
            }
        }
    });
}
