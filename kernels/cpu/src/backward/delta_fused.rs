//! δ of a simple cell: `δ_t = f'(h_t) · (∂L/∂h_t + W_hhᵀ δ_{t+1})`, in the registers of the product.

use std::marker::PhantomData;

use crate::backward::{Block, Group, Memory};
use crate::cells::cell::Cell;
use crate::forward::copy_or_zero;
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{dispatch, Delta, Product, Rows};
use crate::simd::vector::{Element, Vector};
use crate::Window;

/// # Safety
/// As the other methods of [`Group`].
impl<E: Element> Group<'_, E> {
    /// `δ_t` of a simple cell; `adds` it to the samples if it is not the first window's.
    pub(crate) unsafe fn simple_delta<V: Vector<Elem = E>, C: Cell>(
        &self,
        t: usize,
        window: usize,
        adds: bool,
        block: &Block<E>,
        memory: &Memory<E>,
    ) {
        let args = self.args;
        let hidden_size = args.dims.hidden_size;
        let slot = window % self.slots * self.rows * self.row;
        let (next, delta) = (memory.next.add(slot), memory.delta.add(slot));
        let window = args.windows[window];
        let outside = self.outside_rows(t, window, memory);
        let none = Rows { at: std::ptr::null(), stride: 0 };
        let (steps, step) = (block.end - block.begin, t - block.begin);
        for panel in Panels::<V>::new(hidden_size).iter() {
            let wide = panel.wide::<V>();
            let tiles = self.rows.div_ceil(V::tile_height(panel.width));
            for tile in 0..tiles {
                let (local, height) = split(self.rows, tiles, tile);
                let row = self.first + local;
                if !args.spans.any(row, height, t) {
                    continue;
                }
                let follows = t + 1 < window.end && args.spans.any(row, height, t + 1);
                let product = Product {
                    a: next.add(local * self.row).cast_const(),
                    row_stride: self.row,
                    k_stride: 1,
                    count: if follows { hidden_size } else { 0 },
                    panel: args.w_state.add(panel.at * hidden_size),
                };
                let of_tile = |rows: Rows<*const E>, first: usize| match rows.at.is_null() {
                    true => none,
                    false => {
                        Rows { at: rows.at.wrapping_add(first * rows.stride + panel.at), ..rows }
                    }
                };
                let sample = (local * steps + step) * wide;
                let states = block.states.h;
                dispatch!(V, height, panel.width, |ROWS, WIDTH| {
                    Delta::<V, C::InTile, ROWS, WIDTH> {
                        product,
                        grad_h: of_tile(outside, local),
                        mask: of_tile(Rows { at: args.mask, stride: hidden_size }, row),
                        h: Rows { at: states.get(row, t).add(panel.at), stride: states.row },
                        delta: Rows {
                            at: delta.add(local * self.row + panel.at),
                            stride: self.row,
                        },
                        samples: Rows {
                            at: memory.samples.add(panel.at * self.rows * steps + sample),
                            stride: steps * wide,
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
    unsafe fn outside_rows(&self, t: usize, window: Window, memory: &Memory<E>) -> Rows<*const E> {
        let (output, last) = self.outside(t, window, self.first);
        let args = self.args;
        let size = args.dims.output_size;
        if args.spans.lengths.is_null() {
            match (output.is_null(), last.is_null()) {
                (_, true) => return Rows { at: output, stride: args.grad_outputs.row },
                (true, false) => return Rows { at: last, stride: size },
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
        Rows { at: memory.outside, stride: size }
    }
}
