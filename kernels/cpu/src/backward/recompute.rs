//! States of a block of steps: kept from the forward pass, or computed again from a checkpoint.

use crate::backward::args::{BlockStates, Kept};
use crate::backward::group::ReductionGroup;
use crate::backward::scratch::recomputed_sizes;
use crate::cells::cell::Cell;
use crate::forward::{copy_or_zero, forward_rows, Checkpoints, Forward, Initial, PassInput, Ring};
use crate::simd::vector::{Element, Vector};
use crate::view::View;
use crate::SequenceDims;

impl<E: Element> ReductionGroup<'_, E> {
    /// The states of the steps `begin..end`: from the forward pass, or computed again, together with
    /// those of all steps since the checkpoint before, from which the next blocks find theirs.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and blocks must come from the last to the first;
    /// `memory.recomputed` must stay as it is until the next call.
    pub(crate) unsafe fn states<V: Vector<Elem = E>, C: Cell>(
        &self,
        begin: usize,
        end: usize,
        computed_from: &mut usize,
    ) -> BlockStates<E> {
        let args = self.args;
        let input = &args.input;
        let SequenceDims { hidden_size, output_size, .. } = input.dims;
        let (checkpoints, weights) = match args.kept {
            Kept::All(states) => return states,
            Kept::Checkpoints(checkpoints, weights) => (checkpoints, weights),
        };
        let every = checkpoints.every;
        let begins = begin / every * every;
        let [h_row, c_row, gates_row] = recomputed_sizes(input, every);
        let h = self.memory.recomputed;
        let c = h.add(self.size * h_row);
        let gates = c.add(self.size * c_row);
        let scratch = gates.add(self.size * gates_row);
        // Row by row, each step by step; the first state is the one before step `begins`.
        let [h, c] = [
            h.reshape([h_row as isize, output_size as isize]),
            c.reshape([c_row as isize, hidden_size as isize]),
        ];
        let gates = gates.reshape([gates_row as isize, input.layout.gates as isize]);
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
        for local in self.rows.iter() {
            let [from_h, from_c] = self.state_at::<C>(begins, self.first + local, &checkpoints);
            copy_or_zero(from_h, h.at(local, 0), output_size);
            if C::HAS_C {
                copy_or_zero(from_c, c.at(local, 0), hidden_size);
            }
        }
        // A pass of its own over rows and steps that are counted from 0.
        let forward = Forward {
            input: PassInput {
                inputs: input.inputs.skip(self.first, begins),
                initial: Initial {
                    h: Some(h.as_view().reshape([h_row as isize])),
                    c: Some(c.as_view().reshape([c_row as isize])),
                },
                mask: input.mask.map(|mask| mask.tile(self.first, 0)),
                spans: input.spans.skip(self.first),
                ..*input
            },
            steps: end - begins,
            offset: begins,
            ahead: 0,
            weights,
            h: Ring::new(h_after, every),
            c: Ring::new(c_after, every),
            gates: Ring::new(gates, every),
            checkpoints: None,
            last_h: None,
            last_c: None,
        };
        forward_rows::<V, C>(&forward, 0, self.size, scratch);
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
            let initial = &self.args.input.initial;
            return [initial.h(row), initial.c(row)];
        }
        let slot = steps / checkpoints.every - 1;
        let h = checkpoints.h.at(row, slot);
        let c = if C::HAS_C { Some(checkpoints.c.at(row, slot)) } else { None };
        [Some(h), c]
    }
}
