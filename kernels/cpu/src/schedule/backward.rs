//! A backward pass over all rows, in both directions.

use crate::backward::{self, Backward, BlockStates, Kept, Scratch};
use crate::cells::cell::WeightLayout;
use crate::forward::{checkpoint_count, Checkpoints};
use crate::gemm::layout::split;
use crate::kernels::Kernels;
use crate::schedule::groups::ReductionGroups;
use crate::schedule::{saved_layout, RawCall, Save, Saved};
use crate::simd::vector::Element;
use crate::threads::{add_up, for_each, is_large};
use crate::view::{SharedSlice, View, ViewMut};
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

/// Where the passes of both directions write, if it is wanted.
struct GradientPlaces<E> {
    /// Gradients of the inputs, by direction.
    x: Option<[SharedSlice<E>; 2]>,
    /// Of the initial states.
    initial: Option<SharedSlice<E>>,
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
                let count = checkpoint_count(checkpoint_steps, seq_len);
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

    /// What is left of a direction's states.
    fn kept(
        &self,
        kernels: &Kernels<E>,
        layout: &WeightLayout,
        direction: usize,
        every: usize,
    ) -> Kept<E> {
        let SequenceDims { batch_size, seq_len, hidden_size, output_size, .. } = self.input.dims;
        let Saved { save, h, c, gates } = self.saved;
        // Where a direction begins among rows that may not be there.
        let first = |is_there: bool, first: usize| if is_there { first } else { 0 };
        if *save == Save::Checkpoints {
            let count = checkpoint_count(every, seq_len);
            let by_row = |all: &[E], is_there: bool, len: usize| {
                let first = first(is_there, direction * batch_size * count * len);
                View::with_strides(all, first, [(count * len) as isize, len as isize])
            };
            let (h, c) = (by_row(h, true, output_size), by_row(c, kernels.has_c, hidden_size));
            let weights = View::new(self.input.weights[direction]);
            return Kept::Checkpoints(Checkpoints { h, c, every }, weights);
        }
        let h = match self.outputs {
            Some(outputs) => {
                let directions = self.input.directions;
                let (first, strides) = self.input.public_layout(direction, directions, output_size);
                View::with_strides(outputs, first, strides)
            }
            None => {
                let row = seq_len * output_size;
                let strides = [row as isize, output_size as isize];
                View::with_strides(h, direction * batch_size * row, strides)
            }
        };
        let by_step = |all: &[E], is_there: bool, len: usize| {
            let (at, strides) = saved_layout(direction, seq_len, batch_size, len);
            View::with_strides(all, first(is_there, at), strides)
        };
        Kept::All(BlockStates {
            h,
            c: by_step(c, kernels.has_c, hidden_size),
            gates: by_step(gates, !kernels.is_simple, layout.gates),
            first: [0, 0],
        })
    }

    /// The pass of a direction.
    fn pass(
        &self,
        kernels: &Kernels<E>,
        layout: &WeightLayout,
        checkpoint_steps: usize,
        direction: usize,
        places: &GradientPlaces<E>,
    ) -> Backward<'_, E> {
        let Self { input, fed, .. } = self;
        let SequenceDims { batch_size, input_size, hidden_size, output_size, .. } = input.dims;
        let [grad_last_h, grad_last_c] = input.states(kernels, self.grad_last, direction);
        let by_row = |all: &SharedSlice<E>, at: usize, len: usize| {
            all.view(at + direction * batch_size * len, [len as isize])
        };
        Backward {
            dims: input.dims,
            layout: *layout,
            windows: self.windows(),
            x: input.x(direction),
            initial: input.initial(kernels, direction),
            kept: self.kept(kernels, layout, direction, checkpoint_steps),
            mask: input.mask(direction),
            spans: input.spans(direction),
            w_state: View::new(&fed[direction].state),
            w_inner: View::new(&fed[direction].inner),
            w_input: View::new(&fed[direction].input),
            grad_outputs: self.grad_outputs.map(|grad| {
                let (first, strides) =
                    input.public_layout(direction, input.directions, output_size);
                View::with_strides(grad, first, strides)
            }),
            grad_last_h,
            grad_last_c,
            grad_x: places.x.as_ref().map(|x| {
                let (first, strides) = input.public_layout(direction, 1, input_size);
                x[direction].view(first, strides)
            }),
            grad_h_0: places.initial.as_ref().map(|initial| by_row(initial, 0, output_size)),
            grad_c_0: places
                .initial
                .as_ref()
                .filter(|_| kernels.has_c)
                .map(|initial| by_row(initial, input.h_len(), hidden_size)),
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
    let places = GradientPlaces {
        x: gradients.x.as_mut().map(|x| [SharedSlice::new(x), SharedSlice::new(&mut second_x)]),
        initial: gradients.initial.as_mut().map(|initial| SharedSlice::new(initial)),
    };
    let passes: Vec<Backward<E>> = (0..directions)
        .map(|direction| args.pass(kernels, &layout, checkpoint_steps, direction, &places))
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
    let sums_of_groups = SharedSlice::new(&mut sums);
    for_each(passes.len() * count, parallel, |index| {
        let pass = &passes[index / count];
        let (first, rows) = split(batch_size, count, index % count);
        let mut memory = Buffer::new(backward::scratch_len(pass, rows, block_steps));
        let sums = wants_weights.then(|| sums_of_groups.part(index * packed_len, packed_len));
        let scratch = Scratch { sums, memory: ViewMut::new(&mut memory) };
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; `check` saw to all
        // lengths, from which the views were made; each call has disjoint rows of a direction, and sums
        // and memory of its own.
        unsafe { (kernels.backward_rows)(pass, first, rows, block_steps, scratch) };
    });
    sums
}
