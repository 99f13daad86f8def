//! A forward pass over all rows, in both directions.

use crate::cells::cell::WeightLayout;
use crate::forward::{checkpoint_count, Checkpoints, Forward, Ring};
use crate::gemm::layout::split;
use crate::kernels::Kernels;
use crate::schedule::groups::ReductionGroups;
use crate::schedule::{saved_layout, RawCall, Save, Saved, MIN_ROWS};
use crate::simd::vector::Element;
use crate::threads::{self, for_each, is_large};
use crate::view::{SharedSlice, View, ViewMut};
use crate::workspace::Buffer;
use crate::SequenceDims;

/// Above this, weights do not stay in the second-level cache: a thread takes all its rows at once.
const MAX_SHARED_WEIGHTS: usize = 512 << 10;

/// Above this, weights come from memory at every step: those of the inputs are used for several steps
/// at once.
const MAX_CACHED_WEIGHTS: usize = 8 << 20;
const STEPS_AHEAD: usize = 8;

/// What a forward pass gives.
pub struct Output<E> {
    /// `(B, T, D·P)`, or `(T, B, D·P)`, if they were asked for; zero behind the end of a row.
    pub outputs: Option<Vec<E>>,
    /// `[h_n | c_n]`, `(D, B, P)` and `(D, B, H)`.
    pub last: Vec<E>,
    /// What a backward pass needs.
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
) -> Output<E> {
    let layout = kernels.layout(&input.dims);
    input.check(kernels, &layout);
    let SequenceDims { batch_size, seq_len, output_size, .. } = input.dims;
    let outputs_len = input.directions * batch_size * seq_len * output_size;
    let last_len = input.states_len(kernels);
    let mut outputs = wants_outputs.then(|| Vec::<E>::with_capacity(outputs_len));
    let mut last = Vec::<E>::with_capacity(last_len);
    let slots = Slots::new(kernels, &input.dims, &layout, save);
    let mut memory = ForwardBuffers::new(kernels, &input, &layout, slots, wants_outputs);
    if batch_size > 0 {
        let places = ForwardPlaces {
            slots,
            outputs: outputs.as_mut().map(|outputs| {
                SharedSlice::uninit(&mut outputs.spare_capacity_mut()[..outputs_len])
            }),
            h: SharedSlice::new(&mut memory.h),
            c: SharedSlice::new(&mut memory.c),
            gates: SharedSlice::new(&mut memory.gates),
            h_checkpoints: SharedSlice::new(&mut memory.h_checkpoints),
            c_checkpoints: SharedSlice::new(&mut memory.c_checkpoints),
            last: SharedSlice::uninit(&mut last.spare_capacity_mut()[..last_len]),
        };
        let passes: Vec<Forward<E>> = (0..input.directions)
            .map(|direction| places.pass(kernels, &input, &layout, direction))
            .collect();
        run_row_blocks(kernels, &passes);
    }
    // SAFETY: the capacities are these lengths, and the pass wrote every output and final state; with
    // an empty batch there are none.
    unsafe {
        if let Some(outputs) = &mut outputs {
            outputs.set_len(outputs_len);
        }
        last.set_len(last_len);
    }
    Output { outputs, last, saved: memory.save(save) }
}

/// Runs the passes of both directions, a block of rows at a time. Rows do not depend on each other, so how
/// they are cut changes no bit.
fn run_row_blocks<E: Element>(kernels: &Kernels<E>, passes: &[Forward<E>]) {
    let Forward { dims, layout, .. } = &passes[0];
    let batch_size = dims.batch_size;
    let has_shared_weights = layout.packed_len * size_of::<E>() <= MAX_SHARED_WEIGHTS;
    let per_thread = if has_shared_weights { 4 } else { 1 };
    let wanted = (per_thread * threads::count()).div_ceil(passes.len());
    let row_blocks = wanted.min(batch_size.div_ceil(MIN_ROWS));
    for_each(row_blocks * passes.len(), is_large(dims, layout.packed_len), |index| {
        let args = &passes[index / row_blocks];
        let (first, rows) = split(batch_size, row_blocks, index % row_blocks);
        let mut scratch = Buffer::new(args.scratch_len(rows));
        // SAFETY: `kernels` exist only for instruction sets that the CPU has; `check` saw to all lengths,
        // from which the views were made; each call has a scratch of its own and disjoint rows of a
        // direction.
        unsafe { (kernels.forward_rows)(args, first, rows, ViewMut::new(&mut scratch)) }
    });
}

/// How many steps there is memory for: what one step leaves for the next, or all steps for the
/// backward pass.
#[derive(Clone, Copy)]
struct Slots {
    h: usize,
    c: usize,
    gates: usize,
    /// Steps whose inputs are multiplied with their weights ahead, or 0.
    ahead: usize,
    /// From a checkpoint to the next, and how many there are.
    every: usize,
    checkpoints: usize,
}

impl Slots {
    fn new<E: Element>(
        kernels: &Kernels<E>,
        dims: &SequenceDims,
        layout: &WeightLayout,
        save: Save,
    ) -> Self {
        let seq_len = dims.seq_len;
        let (every, checkpoints) = match save {
            Save::Checkpoints => {
                let every =
                    ReductionGroups::new(layout, dims, size_of::<E>()).checkpoint_steps(seq_len);
                (every, checkpoint_count(every, seq_len))
            }
            _ => (usize::MAX, 0),
        };
        let is_streamed =
            !kernels.is_simple && layout.packed_len * size_of::<E>() > MAX_CACHED_WEIGHTS;
        let ahead = if is_streamed { STEPS_AHEAD.min(seq_len) } else { 0 };
        match save {
            Save::All => Self { h: seq_len, c: seq_len, gates: seq_len, ahead, every, checkpoints },
            _ => Self { h: seq_len.min(2), c: 1, gates: ahead.max(1), ahead, every, checkpoints },
        }
    }
}

/// What a pass computes in besides its results.
struct ForwardBuffers<E> {
    h: Buffer<E>,
    c: Buffer<E>,
    gates: Buffer<E>,
    h_checkpoints: Buffer<E>,
    c_checkpoints: Buffer<E>,
}

impl<E: Element> ForwardBuffers<E> {
    fn new(
        kernels: &Kernels<E>,
        input: &RawCall<E>,
        layout: &WeightLayout,
        slots: Slots,
        wants_outputs: bool,
    ) -> Self {
        let SequenceDims { batch_size, hidden_size, output_size, .. } = input.dims;
        let states = input.directions * batch_size;
        let rows_of = |is_needed: bool, slots: usize, len: usize| {
            Buffer::new(if is_needed { states * slots * len } else { 0 })
        };
        Self {
            h: rows_of(!wants_outputs, slots.h, output_size),
            c: rows_of(kernels.has_c, slots.c, hidden_size),
            gates: rows_of(!kernels.is_simple, slots.gates, layout.gates),
            h_checkpoints: rows_of(true, slots.checkpoints, output_size),
            c_checkpoints: rows_of(kernels.has_c, slots.checkpoints, hidden_size),
        }
    }

    /// What the backward pass needs of it.
    fn save(self, save: Save) -> Saved<E> {
        let Self { h, c, gates, h_checkpoints, c_checkpoints } = self;
        let nothing = || Buffer::new(0);
        match save {
            Save::None => Saved { save, h: nothing(), c: nothing(), gates: nothing() },
            Save::All => Saved { save, h, c, gates },
            Save::Checkpoints => {
                Saved { save, h: h_checkpoints, c: c_checkpoints, gates: nothing() }
            }
        }
    }
}

/// Where the passes of both directions write.
struct ForwardPlaces<E> {
    slots: Slots,
    outputs: Option<SharedSlice<E>>,
    h: SharedSlice<E>,
    c: SharedSlice<E>,
    gates: SharedSlice<E>,
    h_checkpoints: SharedSlice<E>,
    c_checkpoints: SharedSlice<E>,
    last: SharedSlice<E>,
}

impl<E: Element> ForwardPlaces<E> {
    /// The pass of a direction.
    fn pass<'a>(
        &self,
        kernels: &Kernels<E>,
        input: &RawCall<'a, E>,
        layout: &WeightLayout,
        direction: usize,
    ) -> Forward<'a, E> {
        let SequenceDims { batch_size, hidden_size, output_size, .. } = input.dims;
        let first = direction * batch_size;
        let Slots { c, gates, ahead, .. } = self.slots;
        let by_row = |at: usize, len: usize| self.last.view(at + first * len, [len as isize]);
        Forward {
            dims: input.dims,
            layout: *layout,
            steps: input.dims.seq_len,
            offset: 0,
            ahead,
            x: input.x(direction),
            initial: input.initial(kernels, direction),
            weights: View::new(input.weights[direction]),
            h: self.h(input, direction),
            c: self.saved(&self.c, kernels.has_c, direction, c, [batch_size, hidden_size]),
            gates: self.saved(
                &self.gates,
                !kernels.is_simple,
                direction,
                gates,
                [batch_size, layout.gates],
            ),
            mask: input.mask(direction),
            spans: input.spans(direction),
            checkpoints: self.checkpoints(kernels, &input.dims, first),
            last_h: Some(by_row(0, output_size)),
            last_c: kernels.has_c.then(|| by_row(input.h_len(), hidden_size)),
        }
    }

    /// Where a direction's rows `(slots, B, len)` lie; of no size if they are not there.
    fn saved(
        &self,
        all: &SharedSlice<E>,
        is_there: bool,
        direction: usize,
        slots: usize,
        [batch_size, len]: [usize; 2],
    ) -> Ring<E> {
        let (first, strides) = saved_layout(direction, slots, batch_size, len);
        Ring::new(all.view(if is_there { first } else { 0 }, strides), slots)
    }

    /// Where a direction's states lie: among the outputs, or by themselves.
    fn h(&self, input: &RawCall<E>, direction: usize) -> Ring<E> {
        let SequenceDims { batch_size, seq_len, output_size, .. } = input.dims;
        match &self.outputs {
            Some(outputs) => {
                let (first, strides) =
                    input.public_layout(direction, input.directions, output_size);
                Ring::new(outputs.view(first, strides), seq_len)
            }
            None => {
                let slots = self.slots.h;
                let row = slots * output_size;
                let strides = [row as isize, output_size as isize];
                Ring::new(self.h.view(direction * batch_size * row, strides), slots)
            }
        }
    }

    /// The checkpoints of rows from `first` on, of both directions.
    fn checkpoints(
        &self,
        kernels: &Kernels<E>,
        dims: &SequenceDims,
        first: usize,
    ) -> Option<Checkpoints<ViewMut<E, 2>>> {
        let Slots { every, checkpoints: count, .. } = self.slots;
        let by_row = |all: &SharedSlice<E>, first: usize, len: usize| {
            all.view(first * count * len, [(count * len) as isize, len as isize])
        };
        (count > 0).then(|| Checkpoints {
            h: by_row(&self.h_checkpoints, first, dims.output_size),
            c: by_row(&self.c_checkpoints, if kernels.has_c { first } else { 0 }, dims.hidden_size),
            every,
        })
    }
}
