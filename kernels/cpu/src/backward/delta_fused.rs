//! δ of a simple cell: `δ_t = f'(h_t) · (∂L/∂h_t + W_hhᵀ δ_{t+1})`, in the registers of the product.

use std::marker::PhantomData;

use crate::backward::group::{ReductionGroup, StepBlock};
use crate::backward::scratch::GroupMemory;
use crate::cells::cell::Cell;
use crate::forward::copy_or_zero;
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{dispatch, Accumulate, GemmActGrad};
use crate::simd::vector::{Element, Vector};
use crate::view::View;
use crate::Window;

impl<E: Element> ReductionGroup<'_, E> {
    /// Computes `δ_t` of a simple cell; `adds` it to the packed ones if it is not the first window's.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold; `t` must be a step of the block and of the window, and the
    /// steps after it done.
    pub(crate) unsafe fn simple_delta<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        window: usize,
        adds: bool,
        block: &StepBlock<E>,
        memory: &GroupMemory<E>,
    ) {
        let args = self.args;
        // A dense layer has no weights of the state.
        let depth = args.layout.state_operand.len;
        let (next, delta) = (self.in_slot(memory.next, window), self.in_slot(memory.delta, window));
        let window = args.windows[window];
        let outside = self.outside_rows(t, window, memory);
        let (steps, step) = (block.end - block.begin, t - block.begin);
        for panel in Panels::<V>::new(args.dims.hidden_size).iter() {
            let nr = panel.nr::<V>();
            let packed = memory.packed_deltas.add(panel.at * self.rows * steps);
            let weights = args.w_state.add(panel.at * depth).narrow(depth * nr);
            let tiles = self.rows.div_ceil(V::mr(panel.registers));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                let row = self.first + local;
                if !args.spans.any(row, height, t) {
                    continue;
                }
                let follows = t + 1 < window.end && args.spans.any(row, height, t + 1);
                let product = Accumulate {
                    a: next.row(local).as_view().reshape([self.row as isize, 1]),
                    count: if follows { depth } else { 0 },
                    panel: weights,
                };
                dispatch!(V, height, panel.registers, |ROWS, WIDTH| {
                    GemmActGrad::<V, C::InTile, ROWS, WIDTH> {
                        product,
                        grad_h: outside.map(|rows| rows.tile(local, panel.at)),
                        mask: args.mask.map(|mask| mask.tile(row, panel.at)),
                        h: block.states.h(row, t).tile(0, panel.at),
                        delta: delta.tile(local, panel.at),
                        packed_deltas: packed
                            .add((local * steps + step) * nr)
                            .reshape([(steps * nr) as isize]),
                        adds,
                        last: panel.last,
                        activation: PhantomData,
                    }
                });
            }
        }
        self.clear_others(t, delta);
    }

    /// The gradients from outside, a row for each row of the group, if there are any.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, and `t` be a step.
    unsafe fn outside_rows(
        &self,
        t: usize,
        window: Window,
        memory: &GroupMemory<E>,
    ) -> Option<View<E, 1>> {
        let args = self.args;
        let [output, last] = self.outside(t, window, self.first);
        if args.spans.lengths.is_none() {
            let stride = |grad: Option<View<E, 2>>| grad.map_or(0, |grad| grad.strides()[0]);
            match (output, last) {
                (_, None) => return output.map(|row| row.reshape([stride(args.grad_outputs)])),
                (None, Some(last)) => return Some(last.reshape([args.dims.output_size as isize])),
                (Some(_), Some(_)) => {}
            }
        }
        let size = args.dims.output_size;
        for local in 0..self.rows {
            let [output, last] = self.outside(t, window, self.first + local);
            let to = memory.outside.row(local);
            copy_or_zero(output, to, size);
            if let Some(last) = last {
                for (sum, term) in to.slice(size).iter_mut().zip(last.slice(size)) {
                    *sum = *sum + *term;
                }
            }
        }
        Some(memory.outside.as_view())
    }
}
