//! States of a block of steps: kept from the forward pass, or computed again from a checkpoint.

use crate::backward::args::{Backward, BlockStates, Kept};
use crate::backward::group::ReductionGroup;
use crate::cells::cell::{Cell, WeightLayout};
use crate::forward::{
    copy_or_zero, forward_rows, scratch_len, Checkpoints, Forward, Initial, Ring,
};
use crate::simd::vector::{Element, Vector};
use crate::view::{View, ViewMut};
use crate::SequenceDims;

/// The number of elements of a row of h, c and gates that is computed again.
fn sizes(dims: &SequenceDims, layout: &WeightLayout, every: usize) -> [usize; 3] {
    let SequenceDims { hidden_size, output_size, .. } = *dims;
    // One state more: the checkpoint itself.
    [(1 + every) * output_size, (1 + every) * hidden_size, every * layout.gates]
}

/// The number of elements of memory for states that are computed again.
pub(crate) fn recomputed_len<E: Element>(args: &Backward<E>, rows: usize) -> usize {
    match args.kept {
        Kept::All(_) => 0,
        Kept::Checkpoints(checkpoints, _) => {
            let states: usize = sizes(&args.dims, &args.layout, checkpoints.every).iter().sum();
            rows * states + scratch_len(&args.dims, &args.layout, args.is_carried(), rows)
        }
    }
}

impl<E: Element> ReductionGroup<'_, E> {
    /// The states of the steps `begin..end`: from the forward pass, or computed again, together with
    /// those of all steps since the checkpoint before, from which the next blocks find theirs.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and blocks must come from the last to the first;
    /// `recomputed` must have [`recomputed_len`] elements and stay as it is until the next call.
    pub(crate) unsafe fn states<V: Vector<Elem = E>, C: Cell>(
        &self,
        begin: usize,
        end: usize,
        computed_from: &mut usize,
        recomputed: ViewMut<E, 0>,
    ) -> BlockStates<E> {
        let args = self.args;
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let (checkpoints, weights) = match args.kept {
            Kept::All(states) => return states,
            Kept::Checkpoints(checkpoints, weights) => (checkpoints, weights),
        };
        let every = checkpoints.every;
        let begins = begin / every * every;
        let [h_row, c_row, gates_row] = sizes(&args.dims, &args.layout, every);
        let h = recomputed;
        let c = h.add(self.rows * h_row);
        let gates = c.add(self.rows * c_row);
        let scratch = gates.add(self.rows * gates_row);
        // Row by row, each step by step; the first state is the one before step `begins`.
        let [h, c] = [
            h.reshape([h_row as isize, output_size as isize]),
            c.reshape([c_row as isize, hidden_size as isize]),
        ];
        let gates = gates.reshape([gates_row as isize, args.layout.gates as isize]);
        let [h_after, c_after] = [h.offset(output_size as isize), c.offset(hidden_size as isize)];
        let states = BlockStates {
            h: h_after.as_view(),
            c: c_after.as_view(),
            gates: gates.as_view(),
            first: [self.first, begins],
        };
        if begin >= *computed_from {
            return states;
        }
        *computed_from = begins;
        for local in 0..self.rows {
            let [from_h, from_c] = self.state_at::<C>(begins, self.first + local, &checkpoints);
            copy_or_zero(from_h, h.at(local, 0), output_size);
            if C::HAS_C {
                copy_or_zero(from_c, c.at(local, 0), hidden_size);
            }
        }
        // A pass of its own over rows and steps that are counted from 0.
        let forward = Forward {
            dims: args.dims,
            layout: args.layout,
            steps: end - begins,
            offset: begins,
            ahead: 0,
            x: args.x.at(self.first, begins).reshape(args.x.strides()),
            initial: Initial {
                h: Some(h.as_view().reshape([h_row as isize])),
                c: Some(c.as_view().reshape([c_row as isize])),
            },
            weights,
            h: Ring::new(h_after, every),
            c: Ring::new(c_after, every),
            gates: Ring::new(gates, every),
            mask: args.mask.map(|mask| mask.tile(self.first, 0)),
            spans: args.spans.skip(self.first),
            checkpoints: None,
            last_h: None,
            last_c: None,
        };
        forward_rows::<V, C>(&forward, 0, self.rows, scratch);
        states
    }

    /// The states h and c of a row after `steps` steps, where there is a checkpoint or a beginning; zeros
    /// if absent.
    ///
    /// # Safety
    /// The row must be one of the group, and `steps` 0 or that of a checkpoint.
    unsafe fn state_at<C: Cell>(
        &self,
        steps: usize,
        row: usize,
        checkpoints: &Checkpoints<View<E, 2>>,
    ) -> [Option<View<E, 0>>; 2] {
        if steps == 0 {
            return [self.args.initial.h(row), self.args.initial.c(row)];
        }
        let slot = steps / checkpoints.every - 1;
        let h = checkpoints.h.at(row, slot);
        let c = if C::HAS_C { Some(checkpoints.c.at(row, slot)) } else { None };
        [Some(h), c]
    }
}
