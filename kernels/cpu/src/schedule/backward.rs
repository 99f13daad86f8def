//! A backward pass over all rows, in both directions.

use crate::backward::{self, Backward, Kept, Scratch};
use crate::cells::cell::WeightLayout;
use crate::forward::{Checkpoints, Steps};
use crate::gemm::layout::split;
use crate::kernels::Kernels;
use crate::schedule::groups::ReductionGroups;
use crate::schedule::{saved_layout, RawCall, Save, Saved};
use crate::simd::vector::Element;
use crate::threads::{add_up, for_each, is_large, Shared};
use crate::weights::TransposedWeights;
use crate::workspace::Buffer;
use crate::SequenceDims;
use crate::Window;

/// What a backward pass needs besides.
#[derive(Clone, Copy)]
pub struct BackwardCall<'a, E> {
    /// What the forward pass read.
    pub input: RawCall<'a, E>,
    /// From the forward pass, if it gave them.
    pub outputs: Option<&'a [E]>,
    /// What the forward pass saved.
    pub saved: &'a Saved<E>,
    /// Through which steps gradients flow together.
    pub windows: &'a [Window],
    /// The same weights packed for this pass, of every direction.
    pub fed: &'a [&'a TransposedWeights<E>],
    /// Of the outputs.
    pub grad_outputs: Option<&'a [E]>,
    /// Of the final states `[h_n | c_n]`.
    pub grad_last: Option<&'a [E]>,
}

/// Which gradients are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// That of the weights.
    pub weights: bool,
    /// That of the inputs.
    pub x: bool,
    /// That of the initial states.
    pub initial: bool,
}

/// The gradients of a loss, each of its argument's shape, if wanted.
#[derive(Clone, Debug)]
pub struct Gradients<E> {
    /// Of packed weights, by direction: for [`unpack_gradients`](crate::unpack_gradients).
    pub weights: Option<Vec<Vec<E>>>,
    /// Of the inputs.
    pub x: Option<Vec<E>>,
    /// Of the initial states `[h_0 | c_0]`.
    pub initial: Option<Vec<E>>,
}

/// Where the passes of both directions write; null where it is not wanted.
#[derive(Clone, Copy)]
struct GradientPlaces<E> {
    /// Gradients of the inputs, by direction.
    x: [*mut E; 2],
    /// Of the initial states.
    initial: *mut E,
}

impl<E: Element> BackwardCall<'_, E> {
    /// Checks every length.
    fn check(&self, kernels: &Kernels<E>, layout: &WeightLayout, checkpoint_steps: usize) {
        self.input.check(kernels, layout);
        let SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size } =
            self.input.dims;
        let states = self.input.directions * batch_size;
        let Saved { save, h, c, gates } = self.saved;
        let outputs = states * seq_len * output_size;
        let if_c = |len| if kernels.has_c { len } else { 0 };
        assert_ne!(*save, Save::None);
        match save {
            Save::None | Save::All => {
                assert_eq!(self.outputs.map_or(h.len(), <[E]>::len), outputs);
                assert_eq!(c.len(), if_c(states * seq_len * hidden_size));
                let gates_len = if kernels.is_simple { 0 } else { layout.gates };
                assert_eq!(gates.len(), states * seq_len * gates_len);
            }
            Save::Checkpoints => {
                let count = Checkpoints::<E>::count(checkpoint_steps, seq_len);
                assert_eq!(h.len(), states * count * output_size);
                assert_eq!(c.len(), if_c(states * count * hidden_size));
            }
        }
        assert_eq!(self.fed.len(), self.input.directions);
        for TransposedWeights { input, state, inner } in self.fed {
            assert!(input.len() >= layout.input_operand.len * input_size);
            assert!(state.len() >= layout.state_operand.len * output_size);
            assert!(inner.len() >= layout.inner_operand.len * hidden_size);
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
        if self.grad_outputs.is_some() || self.input.lengths.is_some() {
            self.windows
        } else {
            &self.windows[self.windows.len() - 1..]
        }
    }

    fn kept(
        &self,
        layout: &WeightLayout,
        direction: usize,
        every: usize,
        c_count: usize,
    ) -> Kept<E> {
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
                let (at, row, step) = self.input.public_layout(direction, directions, output_size);
                Steps { at: outputs.as_ptr().wrapping_add(at), row, step, slots: seq_len }
            }
            None => Steps {
                at: h_at.cast_const().wrapping_add(first * seq_len * output_size),
                row: seq_len * output_size,
                step: output_size,
                slots: seq_len,
            },
        };
        let of_rows =
            |at: *mut E, len| saved_layout(at, direction, seq_len, batch_size, len).cast_const();
        Kept::all(h, of_rows(c_at, hidden_size), of_rows(gates.as_ptr().cast_mut(), layout.gates))
    }

    /// The pass of a direction.
    fn pass(
        &self,
        kernels: &Kernels<E>,
        layout: &WeightLayout,
        checkpoint_steps: usize,
        direction: usize,
        places: GradientPlaces<E>,
    ) -> Backward<'_, E> {
        let Self { input, fed, .. } = self;
        let SequenceDims { batch_size, seq_len, input_size, hidden_size, output_size } = input.dims;
        let (null, null_mut) = (std::ptr::null(), std::ptr::null_mut());
        let c_count =
            if kernels.has_c { Checkpoints::<E>::count(checkpoint_steps, seq_len) } else { 0 };
        let [grad_last_h, grad_last_c] = input.states(kernels, self.grad_last, direction);
        let (at, row, step) = input.public_layout(direction, 1, input_size);
        let first = direction * batch_size;
        let grad_x = places.x[direction];
        Backward {
            dims: input.dims,
            layout: *layout,
            windows: self.windows(),
            x: input.x(direction),
            initial: input.initial(kernels, direction),
            kept: self.kept(layout, direction, checkpoint_steps, c_count),
            mask: input.mask(direction),
            spans: input.spans(direction),
            w_state: fed[direction].state.as_ptr(),
            w_inner: fed[direction].inner.as_ptr(),
            w_input: fed[direction].input.as_ptr(),
            grad_outputs: match self.grad_outputs {
                None => Steps { at: null, row: 0, step: 0, slots: 1 },
                Some(grad) => {
                    let (at, row, step) =
                        input.public_layout(direction, input.directions, output_size);
                    Steps { at: grad.as_ptr().wrapping_add(at), row, step, slots: seq_len }
                }
            },
            grad_last_h,
            grad_last_c,
            grad_x: if grad_x.is_null() {
                Steps::NONE
            } else {
                Steps { at: grad_x.wrapping_add(at), row, step, slots: usize::MAX }
            },
            grad_h_0: if places.initial.is_null() {
                null_mut
            } else {
                places.initial.wrapping_add(first * output_size)
            },
            grad_c_0: if places.initial.is_null() || !kernels.has_c {
                null_mut
            } else {
                places.initial.wrapping_add(input.h_len() + first * hidden_size)
            },
        }
    }
}

/// Computes the gradients that are wanted.
///
/// # Panics
/// When a slice's length does not fit, or no states were saved.
pub fn backward<E: Element>(
    kernels: &Kernels<E>,
    args: BackwardCall<E>,
    wanted: Wanted,
) -> Gradients<E> {
    let BackwardCall { input, grad_last, .. } = args;
    let (dims, directions) = (input.dims, input.directions);
    let SequenceDims { batch_size, seq_len, input_size, .. } = dims;
    let layout = kernels.layout(&dims);
    let packed_len = layout.packed_len;
    let x_len = batch_size * seq_len * input_size;
    let mut gradients = Gradients {
        weights: wanted.weights.then(|| vec![vec![E::ZERO; packed_len]; directions]),
        x: wanted.x.then(|| vec![E::ZERO; x_len]),
        initial: wanted.initial.then(|| vec![E::ZERO; input.states_len(kernels)]),
    };
    if batch_size == 0 {
        return gradients;
    }
    let groups = ReductionGroups::new(&layout, &dims, size_of::<E>());
    let checkpoint_steps = groups.checkpoint_steps(seq_len);
    args.check(kernels, &layout, checkpoint_steps);
    // The second direction's gradients of the inputs are added when both are done.
    let mut second_x = Buffer::<E>::new(if wanted.x { (directions - 1) * x_len } else { 0 });
    second_x.fill(E::ZERO);
    let null = std::ptr::null_mut();
    let places = GradientPlaces {
        x: match &mut gradients.x {
            Some(x) => [x.as_mut_ptr(), second_x.as_mut_ptr()],
            None => [null, null],
        },
        initial: gradients.initial.as_mut().map_or(null, Vec::as_mut_ptr),
    };
    let passes: Vec<Backward<E>> = (0..directions)
        .map(|direction| args.pass(kernels, &layout, checkpoint_steps, direction, places))
        .collect();
    let parallel = is_large(&dims, packed_len);
    let sums = run_groups(kernels, &passes, groups, parallel, wanted.weights);
    if let (Some(initial), Some(grad_last)) = (&mut gradients.initial, grad_last) {
        input.hand_through(kernels, grad_last, initial);
    }
    if let Some(total) = &mut gradients.weights {
        for (terms, total) in sums.chunks_exact(groups.count * packed_len).zip(total) {
            add_up(terms, total, parallel);
        }
    }
    if let (Some(x), 2) = (&mut gradients.x, directions) {
        add_up(&second_x, x, parallel);
    }
    gradients
}

/// Runs the passes of both directions, and returns the groups' parts of the weights' gradients,
/// `(D, groups, packed)`, if they are wanted.
fn run_groups<E: Element>(
    kernels: &Kernels<E>,
    passes: &[Backward<E>],
    groups: ReductionGroups,
    parallel: bool,
    wants_weights: bool,
) -> Buffer<E> {
    let ReductionGroups { count, block_steps } = groups;
    let packed_len = passes[0].layout.packed_len;
    let batch_size = passes[0].dims.batch_size;
    let mut sums =
        Buffer::<E>::new(if wants_weights { passes.len() * count * packed_len } else { 0 });
    let sums_of_groups = Shared(sums.as_mut_ptr());
    for_each(passes.len() * count, parallel, |index| {
        let pass = &passes[index / count];
        let (first, rows) = split(batch_size, count, index % count);
        let mut memory = Buffer::new(backward::scratch_len(pass, rows, block_steps));
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; `check` saw to all
        // lengths; the parts are disjoint rows of a direction, each with sums and memory of its own.
        unsafe {
            let sums = if wants_weights {
                sums_of_groups.at(index * packed_len)
            } else {
                std::ptr::null_mut()
            };
            let scratch = Scratch { sums, memory: memory.as_mut_ptr() };
            (kernels.backward_rows)(pass, first, rows, block_steps, scratch);
        }
    });
    sums
}
