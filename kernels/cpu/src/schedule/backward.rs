//! A backward pass over all rows, in both directions.

use crate::backward::{self, Backward, BlockStates, Kept, Scratch};
use crate::cells::cell::OperandKind;
use crate::forward::{Checkpoints, PassInput};
use crate::gemm::layout::split;
use crate::kernels::Kernels;
use crate::schedule::groups::ReductionGroups;
use crate::schedule::{CheckedInput, RawCall, Save, Saved};
use crate::simd::vector::Element;
use crate::threads::{add_up, is_large, Crew};
use crate::view::{SharedSlice, View, ViewMut};
use crate::weights::TransposedWeights;
use crate::workspace::Buffer;
use crate::Window;

/// The arguments of a backward pass.
#[derive(Clone, Copy)]
pub struct BackwardCall<'a, E> {
    /// The arguments of the forward pass.
    pub input: RawCall<'a, E>,
    /// From the forward pass, if it gave them.
    pub outputs: Option<&'a [E]>,
    /// The states that the forward pass saved.
    pub saved: &'a Saved<E>,
    /// Through which steps gradients flow together: in the order of their beginnings, their losses one after the other up
    /// to step T.
    pub windows: &'a [Window],
    /// The same weights packed for this pass, of every direction.
    pub fed: &'a [&'a TransposedWeights<E>],
    /// The gradient of the outputs.
    pub grad_outputs: Option<&'a [E]>,
    /// The gradient of the final states `[h_n | c_n]`.
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
    /// Those of packed weights, by direction: for [`unpack_gradients`](crate::unpack_gradients).
    pub weights: Option<Vec<Vec<E>>>,
    /// Those of the inputs.
    pub x: Option<Vec<E>>,
    /// Those of the initial states `[h_0 | c_0]`.
    pub initial: Option<Vec<E>>,
}

impl<E: Element> BackwardCall<'_, E> {
    /// Checks every length besides those of `input`.
    fn check(&self, input: &CheckedInput<E>) {
        let seq_len = input.call.dims.seq_len;
        let Saved { save, h, c, gates } = self.saved;
        let outputs = input.h_len() * seq_len;
        match save {
            Save::None => panic!("no states were saved"),
            Save::All => {
                assert!(self.outputs.is_none_or(|all| all.len() == outputs));
                let shapes = input.step_shapes([seq_len; 3], self.outputs.is_some());
                let h = if self.outputs.is_some() { shapes[0] } else { h.shape };
                assert_eq!([h, c.shape, gates.shape], shapes);
            }
            Save::Checkpoints => {
                let shapes = input.checkpoint_shapes(input.checkpoint_steps());
                assert_eq!([h.shape, c.shape], shapes);
            }
        }
        assert_eq!(self.fed.len(), input.call.directions);
        let packed = self.fed.iter().flat_map(|fed| OperandKind::ALL.into_iter().zip(&fed.0));
        for (kind, packed) in packed {
            let columns = input.layout.operand(kind).len;
            assert!(packed.len() >= columns * kind.len(&input.call.dims));
        }
        assert!(self.grad_outputs.is_none_or(|grad| grad.len() == outputs));
        assert!(self.grad_last.is_none_or(|grad| grad.len() == input.states_len()));
        assert!(self.windows.iter().all(|window| {
            window.start <= window.losses_from && window.losses_from < window.end
        }));
        let follow =
            |pair: &[Window]| pair[0].end == pair[1].losses_from && pair[0].start <= pair[1].start;
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

    /// A direction's states, as far as they are left.
    fn kept(&self, input: &CheckedInput<E>, direction: usize) -> Kept<E> {
        let Saved { save, h, c, gates } = self.saved;
        let c = c.view(direction);
        if *save == Save::Checkpoints {
            let (h, every) = (h.view(direction), input.checkpoint_steps());
            let weights = View::new(input.call.weights[direction]);
            return Kept::Checkpoints(Checkpoints { h, c, every }, weights);
        }
        let h = match self.outputs {
            Some(outputs) => View::with_strides(outputs, input.outputs_layout(direction)),
            None => h.view(direction),
        };
        Kept::All(BlockStates { h, c, gates: gates.view(direction), first: [0, 0] })
    }
}

/// Computes the gradients that are wanted.
///
/// # Panics
/// When a slice's length does not fit, no states were saved, or windows do not begin in order and follow each other.
pub fn backward<E: Element>(
    kernels: &Kernels<E>,
    args: BackwardCall<E>,
    wanted: Wanted,
) -> Gradients<E> {
    let input = CheckedInput::new(kernels, args.input);
    let RawCall { dims, directions, .. } = input.call;
    let packed_len = input.layout.packed_len;
    let x_len = input.call.x.len();
    let mut gradients = Gradients {
        weights: wanted.weights.then(|| vec![vec![E::ZERO; packed_len]; directions]),
        x: wanted.x.then(|| vec![E::ZERO; x_len]),
        initial: wanted.initial.then(|| vec![E::ZERO; input.states_len()]),
    };
    if dims.batch_size == 0 {
        return gradients;
    }
    args.check(&input);
    // The second direction's gradients of the inputs are added when both are done.
    let mut second_x = Buffer::<E>::new(if wanted.x { (directions - 1) * x_len } else { 0 });
    second_x.fill(E::ZERO);
    let grad_x =
        gradients.x.as_mut().map(|x| [&mut x[..], &mut second_x[..]].map(SharedSlice::new));
    let grad_initial = gradients.initial.as_mut().map(|initial| SharedSlice::new(initial));
    let products = match args.saved.save {
        Save::Checkpoints => input.table_products(),
        _ => Vec::new(),
    };
    let is_looked_up = input.ids().is_some();
    let parallel = is_large(&dims, packed_len);
    let crew = &Crew::new(parallel);
    let pass = |direction: usize| {
        let [grad_last_h, grad_last_c] = input.states(args.grad_last, direction);
        let [grad_h_0, grad_c_0] =
            input.states_layout(direction).map(|place| Some(grad_initial.as_ref()?.view(place?)));
        Backward {
            input: input.pass_input(direction, &products, crew),
            windows: args.windows(),
            kept: args.kept(&input, direction),
            weights: args.fed[direction].0.each_ref().map(|packed| View::new(packed)),
            grad_outputs: args
                .grad_outputs
                .map(|grad| View::with_strides(grad, input.outputs_layout(direction))),
            grad_last_h,
            grad_last_c,
            grad_x: grad_x
                .as_ref()
                .filter(|_| !is_looked_up)
                .map(|x| x[direction].view(input.public_layout(direction, 1, dims.input_size))),
            grad_h_0,
            grad_c_0,
        }
    };
    let passes: Vec<Backward<E>> = (0..directions).map(pass).collect();
    let groups = ReductionGroups::new(&input.layout, &dims, size_of::<E>());
    let wants_table = is_looked_up && (wanted.weights || wanted.x);
    let table_len = if wants_table { input.layout.table_len(input.table_rows()) } else { 0 };
    let [sums, table_deltas] = run_groups(
        kernels,
        &passes,
        groups,
        [wanted.weights.then_some(packed_len), wants_table.then_some(table_len)],
    );
    if let (Some(initial), Some(grad_last)) = (&mut gradients.initial, args.grad_last) {
        input.hand_through(grad_last, initial);
    }
    if let Some(total) = &mut gradients.weights {
        for (terms, total) in sums.chunks_exact(groups.count * packed_len).zip(total) {
            add_up(terms, total, parallel);
        }
    }
    if wants_table {
        let mut x = gradients.x.as_mut().map(|x| [&mut x[..], &mut second_x[..]]);
        for direction in 0..directions {
            let deltas = &table_deltas[direction * groups.count * table_len..];
            let deltas = input.table_deltas(&deltas[..groups.count * table_len], parallel);
            let weights = gradients.weights.as_mut().map(|weights| &mut weights[direction][..]);
            let x = x.as_mut().map(|x| &mut *x[direction]);
            input.table_gradients(&deltas, args.fed[direction], weights, x);
        }
    }
    if let (Some(x), 2) = (&mut gradients.x, directions) {
        add_up(&second_x, x, parallel);
    }
    gradients
}

/// Runs the passes of both directions, and returns the groups' parts of the weights' gradients, `(D, groups, packed)`,
/// and of the sums of δ by row of a table, `(D, groups, V, len)`.
///
/// - `lens`: the number of elements of each in a group, if they are wanted
fn run_groups<E: Element>(
    kernels: &Kernels<E>,
    passes: &[Backward<E>],
    groups: ReductionGroups,
    lens: [Option<usize>; 2],
) -> [Buffer<E>; 2] {
    let ReductionGroups { count, block_steps } = groups;
    let PassInput { dims, crew, .. } = &passes[0].input;
    let mut all = lens.map(|len| Buffer::<E>::new(passes.len() * count * len.unwrap_or(0)));
    let of_groups = all.each_mut().map(|all| SharedSlice::new(all));
    crew.for_each(passes.len() * count, |index| {
        let pass = &passes[index / count];
        let (first, rows) = split(dims.batch_size, count, index % count);
        let mut memory = Buffer::new(backward::scratch_len(pass, rows, block_steps));
        let part = |of: usize| lens[of].map(|len| of_groups[of].part(index * len, len));
        let scratch =
            Scratch { sums: part(0), table_deltas: part(1), memory: ViewMut::new(&mut memory) };
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; `check` saw to all
        // lengths, from which the views were made; each call has disjoint rows of a direction, and sums
        // and memory of its own.
        unsafe { (kernels.backward_rows)(pass, first, rows, block_steps, scratch) };
    });
    all
}
