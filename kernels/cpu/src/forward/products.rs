//! The products of a step, for a row_block of rows: pre-activations of gates, or a simple cell's states.

use std::marker::PhantomData;
use std::ops::Range;

use crate::cells::cell::{Cell, ColumnRange, Source};
use crate::forward::row_block::RowBlock;
use crate::forward::Forward;
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{dispatch, Accumulate, GemmBiasAct, Strided};
use crate::simd::vector::{Element, Vector};

/// Which products of a gate block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operands {
    All,
    InputOnly,
    RecurrentOnly,
}

/// # Safety
/// As the other methods of [`RowBlock`].
impl<E: Element> RowBlock<'_, E> {
    /// A gate block's pre-activations, or a simple cell's states.
    pub(crate) unsafe fn products<V: Vector<Elem = E>, C: Cell>(
        &self,
        steps: Range<usize>,
        columns: &ColumnRange,
        operands: Operands,
    ) {
        let depth = columns.depth();
        // What an earlier call began.
        let goes_on = operands == Operands::RecurrentOnly && columns.input;
        if goes_on && columns.source == Source::Nothing {
            return;
        }
        for panel in Panels::<V>::new(columns.len).iter() {
            let bias = self.args.weights.add(columns.packed + panel.at * depth);
            let tiles = self.rows.div_ceil(V::mr(panel.registers));
            for step in steps.clone() {
                for tile in 0..tiles {
                    let (local, height) = split(self.rows, tiles, tile);
                    let row = self.first + local;
                    if !self.args.spans.any(row, height, self.args.offset + step) {
                        continue;
                    }
                    let (at, stride) = self.out::<C>(columns, row, step);
                    let out = Strided { at: at.add(panel.at), stride };
                    let w_ih = bias.add(panel.nr::<V>());
                    let w_source = w_ih.add(columns.inputs * panel.nr::<V>());
                    let none = Accumulate::none();
                    let products = [
                        if goes_on { none } else { self.of_inputs(columns, row, step, w_ih) },
                        match operands {
                            Operands::InputOnly => none,
                            _ => self.of_source(columns, local, step, w_source),
                        },
                    ];
                    macro_rules! gemm {
                        ($adds:literal) => {
                            dispatch!(V, height, panel.registers, |ROWS, WIDTH| {
                                GemmBiasAct::<V, C::InTile, $adds, ROWS, WIDTH> {
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
                        gemm!(true);
                    } else {
                        gemm!(false);
                    }
                }
            }
        }
    }

    /// Where a gate block's products go: of a row, and the distance to the next.
    fn out<C: Cell>(&self, columns: &ColumnRange, row: usize, step: usize) -> (*mut E, usize) {
        let Forward { h, gates, layout, .. } = self.args;
        if C::IS_SIMPLE || layout.projection > 0 && columns.source == Source::Inner {
            (h.get(row, step), h.row)
        } else {
            (gates.get(row, step).wrapping_add(columns.at), gates.row)
        }
    }

    fn of_inputs(
        &self,
        columns: &ColumnRange,
        row: usize,
        step: usize,
        panel: *const E,
    ) -> Accumulate<E> {
        let x = self.args.x;
        let count = columns.inputs;
        Accumulate { a: x.get(row, step), row_stride: x.row, k_stride: 1, count, panel }
    }

    fn of_source(
        &self,
        columns: &ColumnRange,
        local: usize,
        step: usize,
        panel: *const E,
    ) -> Accumulate<E> {
        let (a, row_stride) = match columns.source {
            Source::Nothing => (std::ptr::null(), 0),
            Source::State => self.state(local, step),
            Source::Inner => {
                let size = self.hidden_size();
                (self.inner.wrapping_add(local * size).cast_const(), size)
            }
        };
        let count = if a.is_null() { 0 } else { columns.sources };
        Accumulate { a, row_stride, k_stride: 1, count, panel }
    }
}
