//! The products of a step, for a chunk of rows: pre-activations of gates, or a simple cell's states.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cells::cell::{Cell, Columns, Source};
use crate::forward::row_block::Chunk;
use crate::forward::Forward;
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{dispatch, Affine, Product, Rows};
use crate::simd::vector::{Element, Vector};

/// Which products of a section.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Both,
    Inputs,
    Source,
}

/// # Safety
/// As the other methods of [`Chunk`].
impl<E: Element> Chunk<'_, E> {
    /// A section's pre-activations, or a simple cell's states.
    pub(crate) unsafe fn products<V: Vector<Elem = E>, C: Cell>(
        &self,
        steps: Range<usize>,
        columns: &Columns,
        of: Of,
    ) {
        let depth = columns.depth();
        // What an earlier call began.
        let goes_on = of == Of::Source && columns.input;
        if goes_on && columns.source == Source::Nothing {
            return;
        }
        for panel in Panels::<V>::new(columns.len).iter() {
            let bias = self.args.weights.add(columns.packed + panel.at * depth);
            let tiles = self.rows.div_ceil(V::tile_height(panel.width));
            for step in steps.clone() {
                for tile in 0..tiles {
                    let (local, height) = split(self.rows, tiles, tile);
                    let row = self.first + local;
                    if !self.args.spans.any(row, height, self.args.offset + step) {
                        continue;
                    }
                    let (at, stride) = self.out::<C>(columns, row, step);
                    let out = Rows { at: at.add(panel.at), stride };
                    let w_ih = bias.add(panel.wide::<V>());
                    let w_source = w_ih.add(columns.inputs * panel.wide::<V>());
                    let none = Product::none();
                    let products = [
                        if goes_on { none } else { self.of_inputs(columns, row, step, w_ih) },
                        match of {
                            Of::Inputs => none,
                            _ => self.of_source(columns, local, step, w_source),
                        },
                    ];
                    macro_rules! affine {
                        ($adds:literal) => {
                            dispatch!(V, height, panel.width, |ROWS, WIDTH| {
                                Affine::<V, C::InTile, $adds, ROWS, WIDTH> {
                                    bias,
                                    products,
                                    out,
                                    last: panel.last,
                                    activation: PhantomData,
                                }
                            })
                        };
                    }
                    if goes_on {
                        affine!(true);
                    } else {
                        affine!(false);
                    }
                }
            }
        }
    }

    /// Where a section's products go: of a row, and the distance to the next.
    fn out<C: Cell>(&self, columns: &Columns, row: usize, step: usize) -> (*mut E, usize) {
        let Forward { h, gates, plan, .. } = self.args;
        if C::IS_SIMPLE || plan.projection > 0 && columns.source == Source::Middle {
            (h.get(row, step), h.row)
        } else {
            (gates.get(row, step).wrapping_add(columns.at), gates.row)
        }
    }

    fn of_inputs(&self, columns: &Columns, row: usize, step: usize, panel: *const E) -> Product<E> {
        let x = self.args.x;
        let count = columns.inputs;
        Product { a: x.get(row, step), row_stride: x.row, k_stride: 1, count, panel }
    }

    fn of_source(
        &self,
        columns: &Columns,
        local: usize,
        step: usize,
        panel: *const E,
    ) -> Product<E> {
        let (a, row_stride) = match columns.source {
            Source::Nothing => (std::ptr::null(), 0),
            Source::State => self.state(local, step),
            Source::Middle => {
                let size = self.hidden_size();
                (self.middle.wrapping_add(local * size).cast_const(), size)
            }
        };
        let count = if a.is_null() { 0 } else { columns.sources };
        Product { a, row_stride, k_stride: 1, count, panel }
    }
}
