//! Whole calls: lengths checked, batches cut into chunks of rows, chunks given to threads.

use super::backward::{self, Backward, Kept, Scratch};
use super::cell::Plan;
use super::forward::{self, Checkpoints, Forward, Initial, Spans, Steps};
use super::kernels::{FedWeights, Kernels};
use super::panels::split;
use super::threads::{add_up, for_each, is_large, Shared};
use super::vector::Element;
use super::workspace::Buffer;
use crate::bptt::Window;
use crate::recurrence::SequenceDims;

/// Rows that a thread should have together, so that a tile is full and weights are read seldom.
const MIN_ROWS: usize = 5;
/// Above this, weights do not stay in the second-level cache: a thread takes all its rows at once.
const MAX_SHARED_WEIGHTS: usize = 512 << 10;

/// Above this, weights come from memory at every step: those of the inputs are used for several steps
/// at once.
const MAX_CACHED_WEIGHTS: usize = 8 << 20;
const STEPS_AHEAD: usize = 8;

/// What both passes read. D is the number of directions: the second runs backwards in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a, E> {
    pub(crate) dims: SequenceDims,
    /// D: 1 or 2.
    pub(crate) directions: usize,
    /// `(B, T, I)`, or `(T, B, I)`.
    pub(crate) x: &'a [E],
    /// Whether `x` and outputs have the time first.
    pub(crate) time_major: bool,
    /// `[h_0 | c_0]`, `(D, B, P)` and `(D, B, H)`, the latter if the cell has it; zeros if `None`.
    pub(crate) initial: Option<&'a [E]>,
    /// `(B,)`: steps of every row, at most T; or all have T.
    pub(crate) lengths: Option<&'a [usize]>,
    /// `(D, B, P)`: the recurrent dropout's mask.
    pub(crate) mask: Option<&'a [E]>,
    /// What [`pack_weights`](super::pack_weights) gives, by direction.
    pub(crate) weights: &'a [&'a [E]],
}

/// Which states are to be saved for a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Save {
    None,
    All,
    Checkpoints,
}

/// States that the backward pass needs and nobody else sees. B and T are in the order of the
/// recurrence.
pub(crate) struct Saved<E> {
    pub(crate) save: Save,
    /// `(D, B, T, P)`, unless outputs hold it; or `(D, B, count, P)`: checkpoints.
    h: Buffer<E>,
    /// `(D, T, B, H)`, if the cell has it; or `(D, B, count, H)`.
    c: Buffer<E>,
    /// `(D, T, B, A·H)`, unless the cell is simple or there are checkpoints.
    gates: Buffer<E>,
}

/// What a forward pass gives.
pub(crate) struct Output<E> {
    /// `(B, T, D·P)`, or `(T, B, D·P)`, if they were asked for; zero behind the end of a row.
    pub(crate) outputs: Option<Vec<E>>,
    /// `[h_n | c_n]`, `(D, B, P)` and `(D, B, H)`.
    pub(crate) last: Vec<E>,
    pub(crate) saved: Saved<E>,
}

impl<E: Element> Input<'_, E> {
    fn check(&self, kernels: &Kernels<E>, plan: &Plan) {
        let SequenceDims { batch_size, seq_len, input_size, .. } = self.dims;
        assert!(matches!(self.directions, 1 | 2) && seq_len > 0);
        assert_eq!(self.x.len(), batch_size * seq_len * input_size);
        assert_eq!(self.weights.len(), self.directions);
        assert!(self.weights.iter().all(|weights| weights.len() == plan.packed_len));
        let states = self.states_len(kernels);
        assert!(self.initial.is_none_or(|initial| initial.len() == states));
        assert!(self.lengths.is_none_or(|lengths| {
            lengths.len() == batch_size && lengths.iter().all(|len| *len <= seq_len)
        }));
        assert!(self.mask.is_none_or(|mask| mask.len() == self.h_len()));
    }

    /// Elements of final h of all directions.
    fn h_len(&self) -> usize {
        self.directions * self.dims.batch_size * self.dims.output_size
    }

    /// Elements of final states.
    fn states_len(&self, kernels: &Kernels<E>) -> usize {
        let c = self.directions * self.dims.batch_size * self.dims.hidden_size;
        self.h_len() + if kernels.has_c { c } else { 0 }
    }

    /// `(B, T, D, len)` or `(T, B, D, len)` as a direction goes through it.
    fn outer(&self, direction: usize, directions: usize, len: usize) -> (usize, usize, usize) {
        let SequenceDims { batch_size, seq_len, .. } = self.dims;
        let len_of_step = directions * len;
        let (row, step) = match self.time_major {
            true => (len_of_step, batch_size * len_of_step),
            false => (seq_len * len_of_step, len_of_step),
        };
        let at = if directions == 1 { 0 } else { direction * len };
        match direction {
            0 => (at, row, step),
            _ => (at + (seq_len - 1) * step, row, step.wrapping_neg()),
        }
    }

    fn x(&self, direction: usize) -> Steps<*const E> {
        let (at, row, step) = self.outer(direction, 1, self.dims.input_size);
        Steps { at: self.x.as_ptr().wrapping_add(at), row, step, slots: usize::MAX }
    }

    /// `[h | c]` for a direction.
    fn states(&self, kernels: &Kernels<E>, all: Option<&[E]>, direction: usize) -> [*const E; 2] {
        let null = std::ptr::null();
        let SequenceDims { batch_size, hidden_size, output_size, .. } = self.dims;
        let Some(all) = all else { return [null, null] };
        let h = all.as_ptr().wrapping_add(direction * batch_size * output_size);
        let c = all.as_ptr().wrapping_add(self.h_len() + direction * batch_size * hidden_size);
        [h, if kernels.has_c { c } else { null }]
    }

    fn initial(&self, kernels: &Kernels<E>, direction: usize) -> Initial<E> {
        let [h, c] = self.states(kernels, self.initial, direction);
        Initial { h, h_row: self.dims.output_size, c, c_row: self.dims.hidden_size }
    }

    /// The final states of rows without steps are their initial ones, and so are the gradients.
    fn hand_through(&self, kernels: &Kernels<E>, grad_last: &[E], grad_initial: &mut [E]) {
        let SequenceDims { batch_size, hidden_size, output_size, .. } = self.dims;
        let sizes = [Some(output_size), kernels.has_c.then_some(hidden_size)];
        let mut at = 0;
        for size in sizes.into_iter().flatten() {
            for row in 0..self.directions * batch_size {
                if self.lengths.is_some_and(|lengths| lengths[row % batch_size] == 0) {
                    grad_initial[at..at + size].copy_from_slice(&grad_last[at..at + size]);
                }
                at += size;
            }
        }
    }

    fn mask(&self, direction: usize) -> *const E {
        let len = self.dims.batch_size * self.dims.output_size;
        self.mask.map_or(std::ptr::null(), |mask| mask[direction * len..].as_ptr())
    }

    fn spans(&self, direction: usize) -> Spans {
        Spans {
            lengths: self.lengths.map_or(std::ptr::null(), <[usize]>::as_ptr),
            seq_len: self.dims.seq_len,
            reverse: direction == 1,
        }
    }
}

/// `(D, T, B, len)` or `(D, 1, B, len)` in the recurrence's order.
fn inner<E>(at: *mut E, direction: usize, slots: usize, rows: usize, len: usize) -> Steps<*mut E> {
    Steps { at: at.wrapping_add(direction * slots * rows * len), row: len, step: rows * len, slots }
}

impl<E> Steps<*mut E> {
    fn cast_const(self) -> Steps<*const E> {
        let Self { at, row, step, slots } = self;
        Steps { at: at.cast_const(), row, step, slots }
    }
}

/// Runs the recurrence.
///
/// # Panics
/// When a slice's length does not fit.
pub(crate) fn forward<E: Element>(
    kernels: &Kernels<E>,
    input: Input<E>,
    wants_outputs: bool,
    save: Save,
) -> Output<E> {
    let plan = kernels.plan(&input.dims);
    input.check(kernels, &plan);
    let directions = input.directions;
    let SequenceDims { batch_size, seq_len, hidden_size, output_size, .. } = input.dims;
    let outputs_len = directions * batch_size * seq_len * output_size;
    let mut outputs = wants_outputs.then(|| Vec::<E>::with_capacity(outputs_len));
    let mut last = Vec::<E>::with_capacity(input.states_len(kernels));
    let states = directions * batch_size;
    let (every, count) = match save {
        Save::Checkpoints => {
            let every = Groups::new(&plan, &input.dims, size_of::<E>()).checkpoint_steps(seq_len);
            (every, Checkpoints::<E>::count(every, seq_len))
        }
        _ => (usize::MAX, 0),
    };
    // What one step leaves for the next, or all steps for the backward pass.
    let of_all = if save == Save::All { seq_len } else { 1 };
    let h_slots = if save == Save::All { seq_len } else { seq_len.min(2) };
    let h_len = if wants_outputs { 0 } else { states * h_slots * output_size };
    let mut h = Buffer::<E>::new(h_len);
    let mut c = Buffer::<E>::new(if kernels.has_c { states * of_all * hidden_size } else { 0 });
    let is_streamed = !kernels.is_simple && plan.packed_len * size_of::<E>() > MAX_CACHED_WEIGHTS;
    let ahead = if is_streamed { STEPS_AHEAD.min(seq_len) } else { 0 };
    let of_gates = if save == Save::All { seq_len } else { ahead.max(1) };
    let mut gates =
        Buffer::<E>::new(if kernels.is_simple { 0 } else { states * of_gates * plan.gates });
    let mut h_checkpoints = Buffer::<E>::new(states * count * output_size);
    let c_count = if kernels.has_c { count } else { 0 };
    let mut c_checkpoints = Buffer::<E>::new(states * c_count * hidden_size);
    let (h_at, c_at, gates_at) = (h.as_mut_ptr(), c.as_mut_ptr(), gates.as_mut_ptr());
    let last_at: *mut E = last.as_mut_ptr();
    let passes: Vec<Forward<E>> = (0..directions)
        .map(|direction| {
            let h = match &mut outputs {
                Some(outputs) => {
                    let (at, row, step) = input.outer(direction, directions, output_size);
                    Steps { at: outputs.as_mut_ptr().wrapping_add(at), row, step, slots: seq_len }
                }
                None => Steps {
                    at: h_at.wrapping_add(direction * batch_size * h_slots * output_size),
                    row: h_slots * output_size,
                    step: output_size,
                    slots: h_slots,
                },
            };
            let first = direction * batch_size;
            let checkpoints = match count {
                0 => Checkpoints::NONE,
                _ => Checkpoints {
                    h: h_checkpoints.as_mut_ptr().wrapping_add(first * count * output_size),
                    c: c_checkpoints.as_mut_ptr().wrapping_add(first * c_count * hidden_size),
                    every,
                    count,
                },
            };
            Forward {
                dims: input.dims,
                plan,
                steps: seq_len,
                offset: 0,
                ahead,
                x: input.x(direction),
                initial: input.initial(kernels, direction),
                weights: input.weights[direction].as_ptr(),
                h,
                c: inner(c_at, direction, of_all, batch_size, hidden_size),
                gates: inner(gates_at, direction, of_gates, batch_size, plan.gates),
                mask: input.mask(direction),
                spans: input.spans(direction),
                checkpoints,
                last_h: last_at.wrapping_add(first * output_size),
                last_c: last_at.wrapping_add(input.h_len() + first * hidden_size),
            }
        })
        .collect();
    // Rows do not depend on each other, so how they are cut changes no bit.
    let per_thread = match plan.packed_len * size_of::<E>() > MAX_SHARED_WEIGHTS {
        true => 1,
        false => 4,
    };
    let wanted = (per_thread * rayon::current_num_threads()).div_ceil(directions);
    let chunks = wanted.min(batch_size.div_ceil(MIN_ROWS));
    for_each(chunks * directions, is_large(&input.dims, plan.packed_len), |index| {
        let args = &passes[index / chunks];
        let (first, rows) = split(batch_size, chunks, index % chunks);
        let mut scratch = Buffer::new(forward::scratch_len(args, rows));
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; lengths were checked
        // above; the parts are disjoint rows of a direction.
        unsafe { (kernels.forward_rows)(args, first, rows, scratch.as_mut_ptr()) }
    });
    // SAFETY: the capacities are these lengths, and the pass wrote every output and final state.
    unsafe {
        if let Some(outputs) = &mut outputs {
            outputs.set_len(outputs_len);
        }
        last.set_len(input.states_len(kernels));
    }
    let nothing = || Buffer::new(0);
    let saved = match save {
        Save::None => Saved { save, h: nothing(), c: nothing(), gates: nothing() },
        Save::All => Saved { save, h, c, gates },
        Save::Checkpoints => Saved { save, h: h_checkpoints, c: c_checkpoints, gates: nothing() },
    };
    Output { outputs, last, saved }
}

/// What a backward pass needs besides.
#[derive(Clone, Copy)]
pub(crate) struct BackwardInput<'a, E> {
    pub(crate) input: Input<'a, E>,
    /// From the forward pass, if it gave them.
    pub(crate) outputs: Option<&'a [E]>,
    pub(crate) saved: &'a Saved<E>,
    /// Through which steps gradients flow together.
    pub(crate) windows: &'a [Window],
    /// The same weights packed for this pass, of every direction.
    pub(crate) fed: &'a [&'a FedWeights<E>],
    /// Of the outputs.
    pub(crate) grad_outputs: Option<&'a [E]>,
    /// Of the final states `[h_n | c_n]`.
    pub(crate) grad_last: Option<&'a [E]>,
}

/// Which gradients are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) weights: bool,
    pub(crate) x: bool,
    pub(crate) initial: bool,
}

/// The gradients of a loss, each of its argument's shape, if wanted.
#[derive(Clone, Debug)]
pub(crate) struct Gradients<E> {
    /// Of packed weights, by direction: for [`unpack_weights`](super::unpack_weights).
    pub(crate) weights: Option<Vec<Vec<E>>>,
    pub(crate) x: Option<Vec<E>>,
    pub(crate) initial: Option<Vec<E>>,
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

    fn new(plan: &Plan, dims: &SequenceDims, size_of_element: usize) -> Self {
        let sums = plan.packed_len * size_of_element;
        let most = (MAX_SUMS / sums).max(2);
        // Even, so that two threads, and nearly so that four, get the same share.
        let wanted = dims.batch_size.div_ceil(GROUP_ROWS).next_multiple_of(2);
        let count = wanted.min(most).min(dims.batch_size.div_ceil(MIN_ROWS)).max(1);
        let largest = dims.batch_size.div_ceil(count).max(1);
        let sample = plan.sample_len * size_of_element;
        Self { count, block_steps: backward::block_steps(dims, sample, sums, largest) }
    }
}

impl<E: Element> BackwardInput<'_, E> {
    /// Checks every length.
    fn check(&self, kernels: &Kernels<E>, plan: &Plan, checkpoint_steps: usize) {
        self.input.check(kernels, plan);
        let SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size } =
            self.input.dims;
        let states = self.input.directions * batch_size;
        let Saved { save, h, c, gates } = self.saved;
        let outputs = states * seq_len * output_size;
        let if_c = |len| if kernels.has_c { len } else { 0 };
        match save {
            Save::None => panic!("a backward pass needs the states of the forward pass"),
            Save::All => {
                assert_eq!(self.outputs.map_or(h.len(), <[E]>::len), outputs);
                assert_eq!(c.len(), if_c(states * seq_len * hidden_size));
                let gates_len = if kernels.is_simple { 0 } else { plan.gates };
                assert_eq!(gates.len(), states * seq_len * gates_len);
            }
            Save::Checkpoints => {
                let count = Checkpoints::<E>::count(checkpoint_steps, seq_len);
                assert_eq!(h.len(), states * count * output_size);
                assert_eq!(c.len(), if_c(states * count * hidden_size));
            }
        }
        assert_eq!(self.fed.len(), self.input.directions);
        for FedWeights { input, state, middle } in self.fed {
            assert!(input.len() >= plan.input_fed.len * input_size);
            assert!(state.len() >= plan.state_fed.len * output_size);
            assert!(middle.len() >= plan.middle_fed.len * hidden_size);
        }
        assert!(self.grad_outputs.is_none_or(|grad| grad.len() == outputs));
        let last = self.input.states_len(kernels);
        assert!(self.grad_last.is_none_or(|grad| grad.len() == last));
        assert!(self.windows.iter().all(|window| {
            window.start <= window.losses_from && window.losses_from < window.end
        }));
        let follow = |pair: &[Window]| pair[0].end == pair[1].losses_from;
        assert!(self.windows.windows(2).all(follow));
        assert!(self.windows.last().is_some_and(|last| last.end == seq_len));
    }

    /// The windows that losses are read in: with the final states alone, the last, if rows end
    /// together.
    fn windows(&self) -> &[Window] {
        match self.grad_outputs.is_some() || self.input.lengths.is_some() {
            true => self.windows,
            false => &self.windows[self.windows.len() - 1..],
        }
    }

    fn kept(&self, plan: &Plan, direction: usize, every: usize, c_count: usize) -> Kept<E> {
        let SequenceDims { batch_size, seq_len, hidden_size, output_size, .. } = self.input.dims;
        let Saved { save, h, c, gates } = self.saved;
        let (h_at, c_at) = (h.as_ptr().cast_mut(), c.as_ptr().cast_mut());
        let first = direction * batch_size;
        if *save == Save::Checkpoints {
            let count = Checkpoints::<E>::count(every, seq_len);
            let checkpoints = Checkpoints {
                h: h_at.wrapping_add(first * count * output_size),
                c: c_at.wrapping_add(first * c_count * hidden_size),
                every,
                count,
            };
            let weights = self.input.weights[direction].as_ptr();
            return Kept::Checkpoints(checkpoints, weights);
        }
        let h = match self.outputs {
            Some(outputs) => {
                let directions = self.input.directions;
                let (at, row, step) = self.input.outer(direction, directions, output_size);
                Steps { at: outputs.as_ptr().wrapping_add(at), row, step, slots: seq_len }
            }
            None => Steps {
                at: h_at.cast_const().wrapping_add(first * seq_len * output_size),
                row: seq_len * output_size,
                step: output_size,
                slots: seq_len,
            },
        };
        let of_rows = |at: *mut E, len| inner(at, direction, seq_len, batch_size, len).cast_const();
        Kept::all(h, of_rows(c_at, hidden_size), of_rows(gates.as_ptr().cast_mut(), plan.gates))
    }
}

/// Computes the gradients that are wanted.
///
/// # Panics
/// When a slice's length does not fit.
pub(crate) fn backward<E: Element>(
    kernels: &Kernels<E>,
    args: BackwardInput<E>,
    wanted: Wanted,
) -> Gradients<E> {
    let BackwardInput { input, fed, grad_outputs, grad_last, .. } = args;
    let (dims, directions) = (input.dims, input.directions);
    let SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size } = dims;
    let plan = kernels.plan(&dims);
    let packed_len = plan.packed_len;
    let x_len = batch_size * seq_len * input_size;
    let mut gradients = Gradients {
        weights: wanted.weights.then(|| vec![vec![E::ZERO; packed_len]; directions]),
        x: wanted.x.then(|| vec![E::ZERO; x_len]),
        initial: wanted.initial.then(|| vec![E::ZERO; input.states_len(kernels)]),
    };
    if batch_size == 0 {
        return gradients;
    }
    let groups = Groups::new(&plan, &dims, size_of::<E>());
    let Groups { count, block_steps } = groups;
    let checkpoint_steps = groups.checkpoint_steps(seq_len);
    args.check(kernels, &plan, checkpoint_steps);
    let c_count = match kernels.has_c {
        true => Checkpoints::<E>::count(checkpoint_steps, seq_len),
        false => 0,
    };
    // The second direction's gradients of the inputs are added when both are done.
    let mut second_x = Buffer::<E>::new(if wanted.x { (directions - 1) * x_len } else { 0 });
    second_x.fill(E::ZERO);
    let windows = args.windows();
    let (null, null_mut) = (std::ptr::null(), std::ptr::null_mut());
    let grad_x: [*mut E; 2] = match &mut gradients.x {
        Some(x) => [x.as_mut_ptr(), second_x.as_mut_ptr()],
        None => [null_mut, null_mut],
    };
    let grad_initial = gradients.initial.as_mut().map_or(null_mut, Vec::as_mut_ptr);
    let passes: Vec<Backward<E>> = (0..directions)
        .map(|direction| {
            let [grad_last_h, grad_last_c] = input.states(kernels, grad_last, direction);
            let (at, row, step) = input.outer(direction, 1, input_size);
            let first = direction * batch_size;
            Backward {
                dims,
                plan,
                windows,
                x: input.x(direction),
                initial: input.initial(kernels, direction),
                kept: args.kept(&plan, direction, checkpoint_steps, c_count),
                mask: input.mask(direction),
                spans: input.spans(direction),
                w_state: fed[direction].state.as_ptr(),
                w_middle: fed[direction].middle.as_ptr(),
                w_input: fed[direction].input.as_ptr(),
                grad_outputs: match grad_outputs {
                    None => Steps { at: null, row: 0, step: 0, slots: 1 },
                    Some(grad) => {
                        let (at, row, step) = input.outer(direction, directions, output_size);
                        Steps { at: grad.as_ptr().wrapping_add(at), row, step, slots: seq_len }
                    }
                },
                grad_last_h,
                grad_last_c,
                grad_x: match grad_x[direction].is_null() {
                    true => Steps::NONE,
                    false => Steps {
                        at: grad_x[direction].wrapping_add(at),
                        row,
                        step,
                        slots: usize::MAX,
                    },
                },
                grad_h_0: match grad_initial.is_null() {
                    true => null_mut,
                    false => grad_initial.wrapping_add(first * output_size),
                },
                grad_c_0: match grad_initial.is_null() || !kernels.has_c {
                    true => null_mut,
                    false => grad_initial.wrapping_add(input.h_len() + first * hidden_size),
                },
            }
        })
        .collect();
    let parallel = is_large(&dims, packed_len);
    let sums_len = if wanted.weights { directions * count * packed_len } else { 0 };
    let mut sums = Buffer::<E>::new(sums_len);
    let sums_of_groups = Shared(sums.as_mut_ptr());
    for_each(directions * count, parallel, |index| {
        let pass = &passes[index / count];
        let (first, rows) = split(batch_size, count, index % count);
        let mut memory = Buffer::new(backward::scratch_len(pass, rows, block_steps));
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; `check` saw to all
        // lengths; the parts are disjoint rows of a direction, each with sums and memory of its own.
        unsafe {
            let sums = match wanted.weights {
                true => sums_of_groups.at(index * packed_len),
                false => std::ptr::null_mut(),
            };
            let scratch = Scratch { sums, memory: memory.as_mut_ptr() };
            (kernels.backward_rows)(pass, first, rows, block_steps, scratch);
        }
    });
    if let (Some(initial), Some(grad_last)) = (&mut gradients.initial, grad_last) {
        input.hand_through(kernels, grad_last, initial);
    }
    if let Some(total) = &mut gradients.weights {
        for (terms, total) in sums.chunks_exact(count * packed_len).zip(total) {
            add_up(terms, total, parallel);
        }
    }
    if let (Some(x), 2) = (&mut gradients.x, directions) {
        add_up(&second_x, x, parallel);
    }
    gradients
}
