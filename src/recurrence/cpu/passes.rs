//! Whole calls: lengths checked, batches cut into chunks of rows, chunks given to threads.

use super::backward::{Backward, Kept, Scratch};
use super::forward::{Checkpoints, Forward};
use super::kernels::Kernels;
use super::threads::{add_up, for_each_part, is_large, Shared};
use super::vector::Element;
use super::workspace::Buffer;
use crate::bptt::Window;
use crate::recurrence::SequenceDims;

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
        let every = Groups::new(kernels, &input.dims).checkpoint_steps(seq_len);
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
    /// From a checkpoint to the next: whole blocks, about as many steps as there are checkpoints.
    fn checkpoint_steps(&self, seq_len: usize) -> usize {
        let blocks = (seq_len.isqrt() / self.block_steps).max(1);
        blocks * self.block_steps
    }

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

impl<'a, E: Element> BackwardInput<'a, E> {
    /// Checks every length, in a batch that has rows.
    fn check(&self, kernels: &Kernels<E>, checkpoint_steps: usize) {
        let SequenceDims { batch_size, seq_len, input_size, hidden_size } = self.dims;
        let state = batch_size * hidden_size;
        assert_eq!(self.x.len(), batch_size * seq_len * input_size);
        assert!(self.h_0.is_none_or(|h_0| h_0.len() == state));
        assert_eq!(self.weights.len(), kernels.packed_len(input_size, hidden_size));
        assert_eq!(self.w_ih.len(), hidden_size * input_size);
        assert_eq!(self.w_hh.len(), hidden_size * hidden_size);
        match self.states {
            States::All(states) => assert_eq!(states.len(), seq_len * state),
            States::Checkpoints(states) => {
                let count = Checkpoints::<E>::count(checkpoint_steps, seq_len);
                assert_eq!(states.len(), count * state);
            }
        }
        match self.grad {
            GradOutputs::All(grad) => assert_eq!(grad.len(), seq_len * state),
            GradOutputs::Last(grad) => assert_eq!(grad.len(), state),
        }
        assert!(self.windows.iter().all(|window| {
            window.start <= window.losses_from && window.losses_from < window.end
        }));
        let follow = |pair: &[Window]| pair[0].end == pair[1].losses_from;
        assert!(self.windows.windows(2).all(follow));
        assert!(self.windows.last().is_some_and(|last| last.end == seq_len));
    }

    /// The windows that losses are read in: with the last state alone, the last.
    fn windows(&self) -> &'a [Window] {
        match self.grad {
            GradOutputs::All(_) => self.windows,
            GradOutputs::Last(_) => &self.windows[self.windows.len() - 1..],
        }
    }

    fn kept(&self, every: usize) -> Kept<E> {
        match self.states {
            States::All(states) => Kept::All(states.as_ptr()),
            States::Checkpoints(states) => {
                let count = Checkpoints::<E>::count(every, self.dims.seq_len);
                let checkpoints = Checkpoints { at: states.as_ptr().cast_mut(), every, count };
                Kept::Checkpoints(checkpoints, self.weights.as_ptr())
            }
        }
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
    let SequenceDims { batch_size, seq_len, input_size, hidden_size } = input.dims;
    let packed_len = kernels.packed_len(input_size, hidden_size);
    let mut gradients = Gradients {
        weights: wanted.weights.then(|| vec![E::ZERO; packed_len]),
        x: wanted.x.then(|| vec![E::ZERO; batch_size * seq_len * input_size]),
        h_0: wanted.h_0.then(|| vec![E::ZERO; batch_size * hidden_size]),
    };
    if batch_size == 0 {
        return gradients;
    }
    let groups = Groups::new(kernels, &input.dims);
    let Groups { count, block_steps } = groups;
    let checkpoint_steps = groups.checkpoint_steps(seq_len);
    input.check(kernels, checkpoint_steps);
    let pack_rows = |matrix: &[E], columns: usize| {
        let mut packed = Buffer::new((kernels.padded)(columns) * hidden_size);
        (kernels.pack_rows)(matrix, hidden_size, &mut packed);
        packed
    };
    let w_hh = pack_rows(input.w_hh, hidden_size);
    let w_ih = wanted.x.then(|| pack_rows(input.w_ih, input_size));
    let (null, null_mut) = (std::ptr::null(), std::ptr::null_mut());
    let (grad_states, grad_last) = match input.grad {
        GradOutputs::All(grad) => (grad.as_ptr(), null),
        GradOutputs::Last(grad) => (null, grad.as_ptr()),
    };
    let args = Backward {
        dims: input.dims,
        windows: input.windows(),
        x: input.x.as_ptr(),
        h_0: input.h_0.map_or(null, <[E]>::as_ptr),
        states: input.kept(checkpoint_steps),
        w_hh: w_hh.as_ptr(),
        w_ih: w_ih.as_ref().map_or(null, |w_ih| w_ih.as_ptr()),
        grad_states,
        grad_last,
        grad_x: gradients.x.as_mut().map_or(null_mut, Vec::as_mut_ptr),
        grad_h_0: gradients.h_0.as_mut().map_or(null_mut, Vec::as_mut_ptr),
    };
    let parallel = is_large(&input.dims);
    let mut sums = wanted.weights.then(|| Buffer::<E>::new(count * packed_len));
    let sums_of_groups = sums.as_mut().map(|sums| Shared(sums.as_mut_ptr()));
    for_each_part(batch_size, count, parallel, |index, first, rows| {
        let mut deltas = Buffer::new((kernels.scratch_len)(&args, rows, block_steps));
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; `check` saw to all
        // lengths; the parts are disjoint rows, each with sums and scratch of its own.
        unsafe {
            let sums = match &sums_of_groups {
                Some(sums) => sums.at(index * packed_len),
                None => std::ptr::null_mut(),
            };
            let scratch = Scratch { sums, deltas: deltas.as_mut_ptr() };
            (kernels.backward_rows)(&args, first, rows, block_steps, scratch);
        }
    });
    if let (Some(sums), Some(total)) = (&sums, &mut gradients.weights) {
        add_up(sums, total, parallel);
    }
    gradients
}
