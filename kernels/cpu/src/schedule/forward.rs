//! A forward pass over all rows, in both directions.

use crate::forward::{checkpoint_count, Checkpoints, Forward, PassInput, Ring};
use crate::gemm::layout::split;
use crate::kernels::Kernels;
use crate::rows::MIN_ROWS;
use crate::schedule::groups::ReductionGroups;
use crate::schedule::states::{StateRows, StateShape};
use crate::schedule::{CheckedInput, RawCall, Save, Saved};
use crate::simd::vector::Element;
use crate::threads::{self, is_large, Crew};
use crate::view::{SharedSlice, View, ViewMut};
use crate::workspace::Buffer;
use crate::SequenceDims;

/// Above this, weights do not stay in the second-level cache: a thread takes all its rows at once.
const MAX_SHARED_WEIGHTS: usize = 512 << 10;

/// Above this, weights come from memory at every step: those of the inputs are used for several steps
/// at once.
const MAX_CACHED_WEIGHTS: usize = 8 << 20;
const STEPS_AHEAD: usize = 8;

/// The results of a forward pass.
pub struct ForwardOutput<E> {
    /// `(B, T, D·P)`, or `(T, B, D·P)`, if they were asked for; zero behind the end of a row.
    pub outputs: Option<Vec<E>>,
    /// `[h_n | c_n]`, `(D, B, P)` and `(D, B, H)`.
    pub last: Vec<E>,
    /// States for a backward pass.
    pub saved: Saved<E>,
}

/// Runs the recurrence.
///
/// # Panics
/// When a slice's length does not fit.
pub fn forward<E: Element>(
    kernels: &Kernels<E>,
    input: RawCall<E>,
    wants_outputs: bool,
    save: Save,
) -> ForwardOutput<E> {
    let input = CheckedInput::new(kernels, input);
    let SequenceDims { batch_size, seq_len, output_size, .. } = input.call.dims;
    let outputs_len = input.rows() * seq_len * output_size;
    let last_len = input.states_len();
    let mut outputs = wants_outputs.then(|| Vec::<E>::with_capacity(outputs_len));
    let mut last = Vec::<E>::with_capacity(last_len);
    let ahead = input.steps_ahead();
    let products = input.table_products();
    // The slots of h, c and gates: what one step leaves for the next, or all steps for the backward pass.
    let slots = match save {
        Save::All => [seq_len; 3],
        Save::None | Save::Checkpoints => [seq_len.min(2), 1, ahead.max(1)],
    };
    let [mut h, mut c, mut gates] = input.step_shapes(slots, wants_outputs).map(StateRows::new);
    let every = if save == Save::Checkpoints { input.checkpoint_steps() } else { usize::MAX };
    let [mut h_kept, mut c_kept] = input.checkpoint_shapes(every).map(StateRows::new);
    if batch_size > 0 {
        let outputs = outputs
            .as_mut()
            .map(|outputs| SharedSlice::uninit(&mut outputs.spare_capacity_mut()[..outputs_len]));
        let last = SharedSlice::uninit(&mut last.spare_capacity_mut()[..last_len]);
        let [write_h, write_c, write_gates] =
            [&mut h, &mut c, &mut gates].map(|state| StateRows::writer(state));
        let [keep_h, keep_c] = [&mut h_kept, &mut c_kept].map(|state| StateRows::writer(state));
        // Fewer rows are one block that nobody can take half of.
        let has_parts = input.rows() > MIN_ROWS;
        let crew = &Crew::new(has_parts && is_large(&input.call.dims, input.layout.packed_len));
        let pass = |direction: usize| {
            let [last_h, last_c] =
                input.states_layout(direction).map(|place| Some(last.view(place?)));
            Forward {
                input: input.pass_input(direction, &products, crew),
                steps: seq_len,
                offset: 0,
                ahead,
                weights: View::new(input.call.weights[direction]),
                h: match &outputs {
                    Some(all) => Ring::new(all.view(input.outputs_layout(direction)), seq_len),
                    None => Ring::new(write_h(direction), slots[0]),
                },
                c: Ring::new(write_c(direction), slots[1]),
                gates: Ring::new(write_gates(direction), slots[2]),
                checkpoints: (every < seq_len).then(|| Checkpoints {
                    h: keep_h(direction),
                    c: keep_c(direction),
                    every,
                }),
                last_h,
                last_c,
            }
        };
        run_row_blocks(kernels, &(0..input.call.directions).map(pass).collect::<Vec<_>>());
    }
    // SAFETY: the capacities are these lengths, and the pass wrote every output and final state; with
    // an empty batch there are none.
    unsafe {
        if let Some(outputs) = &mut outputs {
            outputs.set_len(outputs_len);
        }
        last.set_len(last_len);
    }
    let nothing = || StateRows::new(StateShape::default());
    let saved = match save {
        Save::None => Saved { save, h: nothing(), c: nothing(), gates: nothing() },
        Save::All => Saved { save, h, c, gates },
        Save::Checkpoints => Saved { save, h: h_kept, c: c_kept, gates: nothing() },
    };
    ForwardOutput { outputs, last, saved }
}

impl<E: Element> CheckedInput<'_, E> {
    /// The steps whose inputs are multiplied with their weights ahead of the recurrence, or 0.
    fn steps_ahead(&self) -> usize {
        let packed_bytes = self.layout.packed_len * size_of::<E>();
        let is_looked_up = self.ids().is_some();
        if !is_looked_up && !self.kernels.is_simple && packed_bytes > MAX_CACHED_WEIGHTS {
            STEPS_AHEAD.min(self.call.dims.seq_len)
        } else {
            0
        }
    }

    /// From a checkpoint to the next.
    pub(super) fn checkpoint_steps(&self) -> usize {
        let dims = &self.call.dims;
        ReductionGroups::new(&self.layout, dims, size_of::<E>()).checkpoint_steps(dims.seq_len)
    }

    fn shape(&self, slots: usize, len: usize, is_by_row: bool) -> StateShape {
        let RawCall { dims: SequenceDims { batch_size, .. }, directions, .. } = self.call;
        StateShape { directions, batch_size, slots, len, is_by_row }
    }

    /// The shapes of h, c and gates of so many steps; of no size where outputs hold h, the cell has no c or is simple.
    pub(super) fn step_shapes(&self, slots: [usize; 3], has_outputs: bool) -> [StateShape; 3] {
        let h = if has_outputs { 0 } else { self.call.dims.output_size };
        let gates = if self.kernels.is_simple { 0 } else { self.layout.gates };
        [
            self.shape(slots[0], h, true),
            self.shape(slots[1], self.c_size(), false),
            self.shape(slots[2], gates, false),
        ]
    }

    /// The shapes of h and c at checkpoints, one `every` so many steps.
    pub(super) fn checkpoint_shapes(&self, every: usize) -> [StateShape; 2] {
        let count = checkpoint_count(every, self.call.dims.seq_len);
        [self.call.dims.output_size, self.c_size()].map(|len| self.shape(count, len, true))
    }
}

/// Runs the passes of both directions, a block of rows at a time. Rows do not depend on each other, so how
/// they are cut changes no bit.
fn run_row_blocks<E: Element>(kernels: &Kernels<E>, passes: &[Forward<E>]) {
    let PassInput { dims, layout, crew, .. } = &passes[0].input;
    let batch_size = dims.batch_size;
    let has_shared_weights = layout.packed_len * size_of::<E>() <= MAX_SHARED_WEIGHTS;
    let per_thread = if has_shared_weights { 4 } else { 1 };
    let wanted = (per_thread * threads::count()).div_ceil(passes.len());
    let row_blocks = wanted.min(batch_size.div_ceil(MIN_ROWS));
    crew.for_each(row_blocks * passes.len(), |index| {
        let args = &passes[index / row_blocks];
        let (first, rows) = split(batch_size, row_blocks, index % row_blocks);
        let mut scratch = Buffer::new(args.input.scratch_len(rows));
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; `CheckedInput` saw to all lengths,
        // from which the views were made; each call has a scratch of its own and disjoint rows of a
        // direction.
        unsafe { (kernels.forward_rows)(args, first, rows, ViewMut::new(&mut scratch)) }
    });
}
