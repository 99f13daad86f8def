//! A forward pass over all rows, in both directions.

use crate::cells::cell::WeightLayout;
use crate::forward::{self, Checkpoints, Forward, Steps};
use crate::gemm::layout::split;
use crate::kernels::Kernels;
use crate::schedule::groups::ReductionGroups;
use crate::schedule::{saved_layout, RawCall, Save, Saved, MIN_ROWS};
use crate::simd::vector::Element;
use crate::threads::{self, for_each, is_large};
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
    let mut outputs = wants_outputs.then(|| Vec::<E>::with_capacity(outputs_len));
    let mut last = Vec::<E>::with_capacity(input.states_len(kernels));
    let slots = Slots::new(kernels, &input.dims, &layout, save);
    let mut memory = ForwardBuffers::new(kernels, &input, &layout, slots, wants_outputs);
    let places = ForwardPlaces {
        slots,
        outputs: outputs.as_mut().map(Vec::as_mut_ptr),
        h: memory.h.as_mut_ptr(),
        c: memory.c.as_mut_ptr(),
        gates: memory.gates.as_mut_ptr(),
        h_checkpoints: memory.h_checkpoints.as_mut_ptr(),
        c_checkpoints: memory.c_checkpoints.as_mut_ptr(),
        last: last.as_mut_ptr(),
    };
    let passes: Vec<Forward<E>> = (0..input.directions)
        .map(|direction| places.pass(kernels, &input, &layout, direction))
        .collect();
    // Rows do not depend on each other, so how they are cut changes no bit.
    let per_thread = if layout.packed_len * size_of::<E>() > MAX_SHARED_WEIGHTS { 1 } else { 4 };
    let wanted = (per_thread * threads::count()).div_ceil(input.directions);
    let row_blocks = wanted.min(batch_size.div_ceil(MIN_ROWS));
    for_each(row_blocks * input.directions, is_large(&input.dims, layout.packed_len), |index| {
        let args = &passes[index / row_blocks];
        let (first, rows) = split(batch_size, row_blocks, index % row_blocks);
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
    Output { outputs, last, saved: memory.save(save) }
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
                (every, Checkpoints::<E>::count(every, seq_len))
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
    outputs: Option<*mut E>,
    h: *mut E,
    c: *mut E,
    gates: *mut E,
    h_checkpoints: *mut E,
    c_checkpoints: *mut E,
    last: *mut E,
}

impl<E: Element> ForwardPlaces<E> {
    /// The pass of a direction.
    fn pass(
        &self,
        kernels: &Kernels<E>,
        input: &RawCall<E>,
        layout: &WeightLayout,
        direction: usize,
    ) -> Forward<E> {
        let SequenceDims { batch_size, seq_len, hidden_size, output_size, .. } = input.dims;
        let first = direction * batch_size;
        Forward {
            dims: input.dims,
            layout: *layout,
            steps: seq_len,
            offset: 0,
            ahead: self.slots.ahead,
            x: input.x(direction),
            initial: input.initial(kernels, direction),
            weights: input.weights[direction].as_ptr(),
            h: self.h(input, direction),
            c: saved_layout(self.c, direction, self.slots.c, batch_size, hidden_size),
            gates: saved_layout(self.gates, direction, self.slots.gates, batch_size, layout.gates),
            mask: input.mask(direction),
            spans: input.spans(direction),
            checkpoints: self.checkpoints(kernels, &input.dims, first),
            last_h: self.last.wrapping_add(first * output_size),
            last_c: self.last.wrapping_add(input.h_len() + first * hidden_size),
        }
    }

    /// Where a direction's states lie: among the outputs, or by themselves.
    fn h(&self, input: &RawCall<E>, direction: usize) -> Steps<*mut E> {
        let SequenceDims { batch_size, seq_len, output_size, .. } = input.dims;
        let slots = self.slots.h;
        match self.outputs {
            Some(outputs) => {
                let (at, row, step) = input.public_layout(direction, input.directions, output_size);
                Steps { at: outputs.wrapping_add(at), row, step, slots: seq_len }
            }
            None => Steps {
                at: self.h.wrapping_add(direction * batch_size * slots * output_size),
                row: slots * output_size,
                step: output_size,
                slots,
            },
        }
    }

    /// The checkpoints of rows from `first` on, of both directions.
    fn checkpoints(
        &self,
        kernels: &Kernels<E>,
        dims: &SequenceDims,
        first: usize,
    ) -> Checkpoints<E> {
        let Slots { every, checkpoints: count, .. } = self.slots;
        if count == 0 {
            return Checkpoints::NONE;
        }
        let c_count = if kernels.has_c { count } else { 0 };
        Checkpoints {
            h: self.h_checkpoints.wrapping_add(first * count * dims.output_size),
            c: self.c_checkpoints.wrapping_add(first * c_count * dims.hidden_size),
            every,
            count,
        }
    }
}
