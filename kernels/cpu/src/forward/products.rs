//! The products of a step, for a block of rows: pre-activations of gates, or a simple cell's states.

use std::ops::Range;

use crate::cells::cell::{Cell, ColumnRange, Source};
use crate::forward::args::Forward;
use crate::forward::inputs::Inputs;
use crate::forward::row_block::RowBlock;
use crate::gemm::layout::Panels;
use crate::gemm::microkernel::{gemm, Accumulate};
use crate::simd::vector::{Element, Vector};
use crate::view::{View, ViewMut};

/// The products of a gate block that are computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operands {
    /// That with the input, and that with the state or the inner value.
    All,
    /// That with the input, ahead of the recurrence.
    InputOnly,
    /// The other one, added to what `InputOnly` left.
    RecurrentOnly,
}

impl<E: Element> RowBlock<'_, E> {
    /// Computes the pre-activations of a gate block, or a simple cell's states.
    ///
    /// # Safety
    /// The contract of `forward_rows` must hold; the steps must be ones of the pass, and the states before
    /// them known, unless only the input's product is asked for.
    pub(crate) unsafe fn products<V: Vector<Elem = E>, C: Cell>(
        &self,
        steps: Range<usize>,
        columns: &ColumnRange,
        operands: Operands,
    ) {
        let (depth, input) = (columns.depth(), &self.args.input);
        // What an earlier call began.
        let goes_on = operands == Operands::RecurrentOnly && columns.input;
        if goes_on && columns.source == Source::Nothing {
            return;
        }
        for panel in Panels::<V>::new(columns.len).iter() {
            let nr = panel.nr::<V>();
            let weights = self.args.weights.add(columns.packed + panel.at * depth);
            let bias = weights.narrow(depth * nr);
            for step in steps.clone() {
                for (local, height) in self.rows.tiles::<V>(&panel) {
                    let row = self.first + local;
                    if !input.spans.any(row, height, self.args.offset + step) {
                        continue;
                    }
                    let out = self.out::<C>(columns, row, step).tile(0, panel.at);
                    let w_ih = bias.add(nr);
                    let w_source = w_ih.add(columns.inputs * nr);
                    let products = [
                        match input.inputs {
                            Inputs::Rows(x) if !goes_on => {
                                let a = x.rows_at(row, step).reshape([x.strides()[0], 1]);
                                Accumulate { a, count: columns.inputs, panel: w_ih }
                            }
                            _ => Accumulate::none(),
                        },
                        if operands == Operands::InputOnly {
                            Accumulate::none()
                        } else {
                            self.of_source(columns, local, step, w_source)
                        },
                    ];
                    let mut adds = goes_on;
                    if let (Some(table), true) = (input.inputs.table(), columns.input) {
                        for index in 0..height {
                            let product = table.product(&input.layout, columns, row + index, step);
                            let to = out.row(index);
                            to.copy_from(product.add(panel.at), panel.len::<V>());
                        }
                        adds = true;
                    }
                    // Of a simple cell, only what a table's products begin is added to.
                    if adds && (!C::IS_SIMPLE || cfg!(feature = "table")) {
                        gemm::<V, C::InTile, true>(height, &panel, Some(bias), products, out);
                    } else {
                        gemm::<V, C::InTile, false>(height, &panel, Some(bias), products, out);
                    }
                }
            }
        }
    }

    /// Where a gate block's products go, from a row of the batch on.
    ///
    /// # Safety
    /// Row and step must be ones of the pass.
    unsafe fn out<C: Cell>(&self, columns: &ColumnRange, row: usize, step: usize) -> ViewMut<E, 1> {
        let Forward { input, h, gates, .. } = self.args;
        if C::IS_SIMPLE || input.layout.projection > 0 && columns.source == Source::Inner {
            h.rows_at(row, step)
        } else {
            gates.rows_at(row, step).tile(0, columns.at)
        }
    }

    /// The product of the states before a step, or of its inner values, from a row of the block on.
    ///
    /// # Safety
    /// `local` must be a row of the block, and the step one of the pass.
    unsafe fn of_source(
        &self,
        columns: &ColumnRange,
        local: usize,
        step: usize,
        panel: View<E, 0>,
    ) -> Accumulate<E> {
        let rows = match columns.source {
            Source::Nothing => None,
            Source::State => self.states(local, step),
            Source::Inner => Some(self.inner.tile(local, 0).as_view()),
        };
        match rows {
            Some(rows) => Accumulate {
                a: rows.reshape([rows.strides()[0], 1]),
                count: columns.sources,
                panel,
            },
            None => Accumulate::none(),
        }
    }
}
