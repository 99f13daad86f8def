//! States of a block of steps: kept from the forward pass, or computed again from a checkpoint.

use crate::backward::{Backward, Kept, ReductionGroup};
use crate::cells::cell::{Cell, WeightLayout};
use crate::forward::{self, copy_or_zero, forward_rows, Checkpoints, Forward, Initial, Steps};
use crate::simd::vector::{Element, Vector};
use crate::SequenceDims;

/// States of a block's steps, by their row in the batch and their step in the sequence.
#[derive(Clone, Copy)]
pub(crate) struct BlockStates<E> {
    /// `(P,)`.
    pub(crate) h: Steps<*const E>,
    /// `(H,)`, if the cell has it.
    pub(crate) c: Steps<*const E>,
    /// `(A, H)`, unless the cell is simple.
    pub(crate) gates: Steps<*const E>,
}

/// Elements of a row of h, c and gates that is computed again.
fn sizes<E>(args: &Backward<E>, every: usize) -> [usize; 3] {
    let SequenceDims { hidden_size, output_size, .. } = args.dims;
    let WeightLayout { gates, .. } = args.layout;
    // One state more: the checkpoint itself.
    [(1 + every) * output_size, (1 + every) * hidden_size, every * gates]
}

/// Elements of memory for states that are computed again.
pub(crate) fn recomputed_len<E: Element>(args: &Backward<E>, rows: usize) -> usize {
    match args.kept {
        Kept::All(_) => 0,
        Kept::Checkpoints(checkpoints, _) => {
            let states: usize = sizes(args, checkpoints.every).iter().sum();
            rows * states + forward_again_scratch(args, rows)
        }
    }
}

/// # Safety
/// As the other methods of [`ReductionGroup`].
impl<E: Element> ReductionGroup<'_, E> {
    /// The states of the steps `begin..end`: from the forward pass, or computed again, together with
    /// those of all steps since the checkpoint before, from which the next blocks find theirs.
    pub(crate) unsafe fn states<V: Vector<Elem = E>, C: Cell>(
        &self,
        begin: usize,
        end: usize,
        computed_from: &mut usize,
        recomputed: *mut E,
    ) -> BlockStates<E> {
        let args = self.args;
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let (checkpoints, weights) = match args.kept {
            Kept::All(states) => return states,
            Kept::Checkpoints(checkpoints, weights) => (checkpoints, weights),
        };
        let Checkpoints { every, .. } = checkpoints;
        let begins = begin / every * every;
        let [h_row, c_row, gates_row] = sizes(args, every);
        let h = recomputed;
        let c = h.add(self.rows * h_row);
        let gates = c.add(self.rows * c_row);
        let scratch = gates.add(self.rows * gates_row);
        // By row in the batch and step in the sequence.
        let at = |states: *mut E, row: usize, step: usize| Steps {
            at: states.wrapping_sub(self.first * row).wrapping_sub(begins * step).cast_const(),
            row,
            step,
            slots: usize::MAX,
        };
        let states = BlockStates {
            h: at(h.add(output_size), h_row, output_size),
            c: at(c.add(hidden_size), c_row, hidden_size),
            gates: at(gates, gates_row, args.layout.gates),
        };
        if begin >= *computed_from {
            return states;
        }
        *computed_from = begins;
        for local in 0..self.rows {
            let (from_h, from_c) = self.state_at(begins, self.first + local, &checkpoints);
            copy_or_zero(from_h, h.add(local * h_row), output_size);
            if C::HAS_C {
                copy_or_zero(from_c, c.add(local * c_row), hidden_size);
            }
        }
        // A pass of its own over rows and steps that are counted from 0.
        let out =
            |states: *mut E, row: usize, step: usize| Steps { at: states, row, step, slots: every };
        let x = Steps { at: args.x.get(self.first, begins), ..args.x };
        let mut spans = args.spans;
        if !spans.lengths.is_null() {
            spans.lengths = spans.lengths.add(self.first);
        }
        let mask =
            if args.mask.is_null() { args.mask } else { args.mask.add(self.first * output_size) };
        let forward = Forward {
            steps: end - begins,
            offset: begins,
            x,
            initial: Initial { h, h_row, c, c_row },
            h: out(h.add(output_size), h_row, output_size),
            c: out(c.add(hidden_size), c_row, hidden_size),
            gates: out(gates, gates_row, args.layout.gates),
            mask,
            spans,
            ..forward_again(args, weights)
        };
        forward_rows::<V, C>(&forward, 0, self.rows, scratch);
        states
    }

    /// The states of a row after `steps` steps, where there is a checkpoint or a beginning; null for
    /// zeros.
    unsafe fn state_at(
        &self,
        steps: usize,
        row: usize,
        checkpoints: &Checkpoints<E>,
    ) -> (*const E, *const E) {
        if steps == 0 {
            return (self.args.initial.h(row), self.args.initial.c(row));
        }
        let SequenceDims { hidden_size, output_size, .. } = self.args.dims;
        let slot = row * checkpoints.count + steps / checkpoints.every - 1;
        (
            checkpoints.h.wrapping_add(slot * output_size),
            checkpoints.c.wrapping_add(slot * hidden_size),
        )
    }
}

/// A forward pass that computes states again.
fn forward_again<E: Element>(args: &Backward<E>, weights: *const E) -> Forward<E> {
    Forward {
        dims: args.dims,
        layout: args.layout,
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
