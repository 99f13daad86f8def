//! δ of a simple cell: `δ_t = f'(h_t) · (∂L/∂h_t + W_hhᵀ δ_{t+1})`, in the registers of the product.

use std::marker::PhantomData;

use crate::backward::{GroupMemory, ReductionGroup, StepBlock};
use crate::cells::cell::Cell;
use crate::forward::copy_or_zero;
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{dispatch, Accumulate, GemmActGrad, Strided};
use crate::simd::vector::{Element, Vector};
use crate::Window;

/// # Safety
/// As the other methods of [`ReductionGroup`].
impl<E: Element> ReductionGroup<'_, E> {
    /// `δ_t` of a simple cell; `adds` it to the packed_deltas if it is not the first window's.
    pub(crate) unsafe fn simple_delta<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        window: usize,
        adds: bool,
        block: &StepBlock<E>,
        memory: &GroupMemory<E>,
    ) {
        let args = self.args;
        let hidden_size = args.dims.hidden_size;
        let slot = window % self.slots * self.rows * self.row;
        let (next, delta) = (memory.next.add(slot), memory.delta.add(slot));
        let window = args.windows[window];
        let outside = self.outside_rows(t, window, memory);
        let none = Strided { at: std::ptr::null(), stride: 0 };
        let (steps, step) = (block.end - block.begin, t - block.begin);
        for panel in Panels::<V>::new(hidden_size).iter() {
            let nr = panel.nr::<V>();
            let tiles = self.rows.div_ceil(V::mr(panel.registers));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                let row = self.first + local;
                if !args.spans.any(row, height, t) {
                    continue;
                }
                let follows = t + 1 < window.end && args.spans.any(row, height, t + 1);
                let product = Accumulate {
                    a: next.add(local * self.row).cast_const(),
                    row_stride: self.row,
                    k_stride: 1,
                    count: if follows { hidden_size } else { 0 },
                    panel: args.w_state.add(panel.at * hidden_size),
                };
                let of_tile = |rows: Strided<*const E>, first: usize| {
                    if rows.at.is_null() {
                        none
                    } else {
                        Strided { at: rows.at.wrapping_add(first * rows.stride + panel.at), ..rows }
                    }
                };
                let sample = (local * steps + step) * nr;
                let states = block.states.h;
                dispatch!(V, height, panel.registers, |ROWS, WIDTH| {
                    GemmActGrad::<V, C::InTile, ROWS, WIDTH> {
                        product,
                        grad_h: of_tile(outside, local),
                        mask: of_tile(Strided { at: args.mask, stride: hidden_size }, row),
                        h: Strided { at: states.get(row, t).add(panel.at), stride: states.row },
                        delta: Strided {
                            at: delta.add(local * self.row + panel.at),
                            stride: self.row,
                        },
                        packed_deltas: Strided {
                            at: memory.packed_deltas.add(panel.at * self.rows * steps + sample),
                            stride: steps * nr,
                        },
                        adds,
                        last: panel.last,
                        activation: PhantomData,
                    }
                });
            }
        }
        self.clear_others(t, delta);
    }

    /// A row of gradients from outside for each row of the group, or null: there are none.
    unsafe fn outside_rows(
        &self,
        t: usize,
        window: Window,
        memory: &GroupMemory<E>,
    ) -> Strided<*const E> {
        let (output, last) = self.outside(t, window, self.first);
        let args = self.args;
        let size = args.dims.output_size;
        if args.spans.lengths.is_null() {
            match (output.is_null(), last.is_null()) {
                (_, true) => return Strided { at: output, stride: args.grad_outputs.row },
                (true, false) => return Strided { at: last, stride: size },
                (false, false) => {}
            }
        }
        for local in 0..self.rows {
            let (output, last) = self.outside(t, window, self.first + local);
            let to = memory.outside.add(local * size);
            copy_or_zero(output, to, size);
            if !last.is_null() {
                for unit in 0..size {
                    *to.add(unit) = *to.add(unit) + *last.add(unit);
                }
            }
        }
        Strided { at: memory.outside, stride: size }
    }
}
