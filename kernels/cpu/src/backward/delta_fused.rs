//! δ of a simple cell: `δ_t = f'(h_t) · (∂L/∂h_t + W_hhᵀ δ_{t+1})`, in the registers of the product.

use std::marker::PhantomData;

use crate::backward::group::{ReductionGroup, Step};
use crate::cells::cell::{Cell, OperandKind};
use crate::forward::{add, copy_or_zero, PassInput};
use crate::gemm::layout::Panels;
use crate::gemm::microkernel::{run_tile, Accumulate, GemmActGrad};
use crate::simd::vector::{Element, Vector};
use crate::view::View;

impl<E: Element> ReductionGroup<'_, E> {
    /// Computes δ of a simple cell.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold; the step must be one of the window, and the steps after it done.
    pub(crate) unsafe fn simple_delta<V: Vector<Elem = E>, C: Cell>(&self, step: &Step<E>) {
        let Step { t, block, .. } = *step;
        let PassInput { dims, layout, spans, mask, .. } = &self.args.input;
        // A dense layer has no weights of the state.
        let depth = layout.operand(OperandKind::State).len;
        let (next, delta) = (self.next_delta(step), self.delta(step));
        let outside = self.outside_rows(step);
        let steps = block.len();
        for panel in Panels::<V>::new(dims.hidden_size).iter() {
            let nr = panel.nr::<V>();
            let packed = self.memory.packed_deltas.add(panel.at * self.size * steps);
            let weights = self.args.weights[OperandKind::State as usize];
            let weights = weights.add(panel.at * depth).narrow(depth * nr);
            for (local, height) in self.rows.tiles::<V>(&panel) {
                let row = self.first + local;
                if !spans.any(row, height, t) {
                    continue;
                }
                let follows = step.follows() && spans.any(row, height, t + 1);
                let product = Accumulate {
                    a: next.row(local).as_view().reshape([self.row as isize, 1]),
                    count: if follows { depth } else { 0 },
                    panel: weights,
                };
                run_tile(
                    height,
                    panel.registers,
                    &GemmActGrad::<V, C::InTile> {
                        product,
                        grad_h: outside.map(|rows| rows.tile(local, panel.at)),
                        mask: mask.map(|mask| mask.tile(row, panel.at)),
                        h: block.states.h(row, t).tile(0, panel.at),
                        delta: delta.tile(local, panel.at),
                        packed_deltas: packed
                            .add(step.sample(local) * nr)
                            .reshape([(steps * nr) as isize]),
                        adds: step.adds,
                        last: panel.last,
                        activation: PhantomData,
                    },
                );
            }
        }
        self.clear_others(step);
    }

    /// The gradients from outside, a row for each row of the group, if there are any.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold.
    unsafe fn outside_rows(&self, step: &Step<E>) -> Option<View<E, 1>> {
        let args = self.args;
        let [output, last] = self.outside(step, self.first);
        if args.input.spans.lengths.is_none() {
            match (output, last) {
                (None, None) => return None,
                (Some(_), None) => {
                    return args.grad_outputs.map(|grad| grad.rows_at(self.first, step.t));
                }
                (None, Some(_)) => return args.grad_last_h.map(|grad| grad.tile(self.first, 0)),
                (Some(_), Some(_)) => {}
            }
        }
        let size = args.input.dims.output_size;
        for local in self.rows.iter() {
            let [output, last] = self.outside(step, self.first + local);
            let to = self.outside_memory().row(local);
            copy_or_zero(output, to, size);
            if let Some(last) = last {
                add(to, last, size);
            }
        }
        Some(self.outside_memory().as_view())
    }
}
