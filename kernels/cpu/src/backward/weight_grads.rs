//! The gradients of the weights: sums of products over the packed_deltas of a block.

use std::ops::Range;

use crate::backward::{GroupMemory, ReductionGroup, StepBlock};
use crate::cells::cell::{ColumnRange, Source};
use crate::forward::{copy_or_zero, multiply};
use crate::gemm::layout::{split, Panel, Panels};
use crate::gemm::microkernel::{dispatch, Accumulate, RankUpdate};
use crate::simd::vector::{Element, Vector};
use crate::SequenceDims;

/// Bytes of a panel's δ that stay in the first-level cache.
const SUB_BYTES: usize = 24 << 10;

/// # Safety
/// As the other methods of [`ReductionGroup`].
impl<E: Element> ReductionGroup<'_, E> {
    /// Adds the packed_deltas of a block to the gradients of the weights.
    pub(crate) unsafe fn sums<V: Vector<Elem = E>>(
        &mut self,
        block: &StepBlock<E>,
        memory: &GroupMemory<E>,
        sums: *mut E,
    ) {
        self.inputs_of_block(block, memory);
        let steps = block.end - block.begin;
        for columns in self.args.layout.columns() {
            for panel in Panels::<V>::new(columns.len).iter() {
                let nr = panel.nr::<V>();
                let packed_deltas = (columns.packed_delta + panel.at) * self.rows * steps;
                let sums = sums.add(columns.packed + panel.at * columns.depth());
                let rows_together = (SUB_BYTES / (steps * nr * size_of::<E>())).max(1);
                for local in (0..self.rows).step_by(rows_together) {
                    let outer = PanelUpdate {
                        panel,
                        delta: memory.packed_deltas.add(packed_deltas + local * steps * nr),
                        row: steps * nr,
                        rows: rows_together.min(self.rows - local),
                        spans: if self.spans.is_empty() {
                            std::ptr::null()
                        } else {
                            self.spans.as_ptr().add(local)
                        },
                        is_first: block.end == self.args.dims.seq_len && local == 0,
                    };
                    self.add_rows::<V>(outer, columns, local, block, memory, sums);
                }
            }
        }
    }

    /// What fed the products of step `t`, where no memory holds it in a row of steps.
    unsafe fn inputs_of_block(&mut self, block: &StepBlock<E>, memory: &GroupMemory<E>) {
        let args = self.args;
        if !args.is_carried() {
            return;
        }
        let size = args.dims.output_size;
        let steps = block.end - block.begin;
        self.spans.clear();
        for local in 0..self.rows {
            let row = self.first + local;
            let (from, to) = args.spans.of(row);
            let (from, to) = (from.max(block.begin), to.min(block.end));
            self.spans.push((from - block.begin.min(from), to.saturating_sub(from)));
            for t in from..to {
                let input = memory.inputs.add((local * steps + t - block.begin) * size);
                let h = args.h_before(&block.states, row, t);
                if h.is_null() || args.mask.is_null() {
                    copy_or_zero(h, input, size);
                } else {
                    multiply(h, args.mask.add(row * size), input, size);
                }
            }
        }
    }

    /// Adds the packed_deltas of some rows, from row `local` of the group on, to a panel's sums.
    unsafe fn add_rows<V: Vector<Elem = E>>(
        &self,
        outer: PanelUpdate<E>,
        columns: &ColumnRange,
        local: usize,
        block: &StepBlock<E>,
        memory: &GroupMemory<E>,
        sums: *mut E,
    ) {
        let args = self.args;
        let SequenceDims { hidden_size, output_size, .. } = args.dims;
        let (row, steps) = (self.first + local, block.end - block.begin);
        let nr = outer.panel.nr::<V>();
        let one = Factors { at: &V::Elem::ONE, count: 1, step: 0, row: 0 };
        outer.add_to::<V>(one, 0..steps, sums);
        let x = args.x;
        let inputs = Factors {
            at: x.get(row, block.begin),
            count: columns.inputs,
            step: x.step,
            row: x.row,
        };
        outer.add_to::<V>(inputs, 0..steps, sums.add(nr));
        let sums = sums.add((1 + columns.inputs) * nr);
        let of_block = |memory: *mut E, size: usize| Factors {
            at: memory.wrapping_add(local * steps * size).cast_const(),
            count: size,
            step: size,
            row: steps * size,
        };
        match columns.source {
            Source::Nothing => {}
            Source::Inner => {
                outer.add_to::<V>(of_block(memory.inner, hidden_size), 0..steps, sums);
            }
            Source::State if args.is_carried() => {
                outer.add_to::<V>(of_block(memory.inputs, output_size), 0..steps, sums);
            }
            Source::State => {
                // The state before step `begin` is that of the step before, or the initial one.
                let own = usize::from(block.begin == 0);
                let h = block.states.h;
                let at = h.get(row, (block.begin + own).wrapping_sub(1));
                let states = Factors { at, count: output_size, step: h.step, row: h.row };
                outer.add_to::<V>(states, own..steps, sums);
                if block.begin == 0 && !args.initial.h.is_null() {
                    let row_stride = args.initial.h_row;
                    let states = Factors {
                        at: args.initial.h(row),
                        count: output_size,
                        step: 0,
                        row: row_stride,
                    };
                    PanelUpdate { is_first: false, ..outer }.add_to::<V>(states, 0..1, sums);
                }
            }
        }
    }
}

/// Columns of z, one value a sample.
struct Factors<E> {
    /// Column 0 of the first sample.
    at: *const E,
    count: usize,
    /// From a step to the next.
    step: usize,
    /// From a row to the next.
    row: usize,
}

/// The packed_deltas of some rows in one panel.
#[derive(Clone, Copy)]
struct PanelUpdate<E> {
    panel: Panel,
    delta: *const E,
    /// From a row's δ to the next row's.
    row: usize,
    rows: usize,
    /// Which packed_deltas of each row count, or null: all.
    spans: *const (usize, usize),
    /// Whether the sums hold nothing yet.
    is_first: bool,
}

/// # Safety
/// As the methods of [`ReductionGroup`], whose packed_deltas these are.
impl<E: Element> PanelUpdate<E> {
    /// Adds `z δ` over the given steps to `sums`, or puts it there if it is the first.
    unsafe fn add_to<V: Vector<Elem = E>>(
        &self,
        factors: Factors<E>,
        steps: Range<usize>,
        sums: *mut E,
    ) {
        let nr = self.panel.nr::<V>();
        let tiles = factors.count.div_ceil(V::mr(self.panel.registers));
        for tile in 0..tiles {
            let (column, height) = split(factors.count, tiles, tile);
            let run = Accumulate {
                a: factors.at.wrapping_add(column),
                row_stride: 1,
                k_stride: factors.step,
                count: steps.len(),
                panel: self.delta.add(steps.start * nr),
            };
            let sums = sums.add(column * nr);
            dispatch!(
                V,
                height,
                self.panel.registers,
                |ROWS, WIDTH| RankUpdate::<V, ROWS, WIDTH> {
                    run,
                    runs: self.rows,
                    a_stride: factors.row,
                    panel_stride: self.row,
                    spans: self.spans,
                    sums,
                    is_first: self.is_first,
                }
            );
        }
    }
}
