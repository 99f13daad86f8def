//! The gradients of the weights: sums of products over the samples of a block.

use std::marker::PhantomData;
use std::ops::Range;

use crate::backward::group::{ReductionGroup, StepBlock};
use crate::cells::cell::{ColumnRange, Source};
use crate::forward::{copy_or_zero, multiply, Inputs, Lookup, PassInput};
use crate::gemm::layout::{Panel, Panels};
use crate::gemm::microkernel::{load_some, run_tile, store_some, RankUpdate};
use crate::rows::RowRange;
use crate::simd::vector::{Element, Kernel, Vector};
use crate::view::{View, ViewMut};
use crate::SequenceDims;

/// Bytes of a panel's δ that stay in the first-level cache.
const SUB_BYTES: usize = 24 << 10;

impl<E: Element> ReductionGroup<'_, E> {
    /// Adds the samples of a block to the gradients of the weights, if they are wanted, and its δ to those of the
    /// table's rows.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, all δ of the block be packed, and `sums` have the size of
    /// packed weights.
    pub(crate) unsafe fn sums<V: Vector<Elem = E>>(
        &self,
        block: &StepBlock<E>,
        sums: Option<ViewMut<E, 0>>,
    ) {
        if sums.is_none() && self.table_deltas.is_none() {
            return;
        }
        let spans = if sums.is_some() { self.inputs_of_block(block) } else { None };
        let of_columns = |columns: &ColumnRange| Panels::<V>::new(columns.len).count();
        let panels = self.args.input.layout.columns().iter().map(of_columns).sum();
        self.sum_panels::<V>(block, spans.as_deref(), sums, 0..panels);
    }

    /// Does so for some of the panels of all columns; an idle thread takes over half of those that are left.
    ///
    /// # Safety
    /// As for [`sums`](Self::sums); the block's inputs must be gathered, and no other thread use these panels.
    unsafe fn sum_panels<V: Vector<Elem = E>>(
        &self,
        block: &StepBlock<E>,
        spans: Option<&[(usize, usize)]>,
        sums: Option<ViewMut<E, 0>>,
        panels: Range<usize>,
    ) {
        let PassInput { layout, crew, .. } = &self.args.input;
        let mut index = 0;
        for columns in layout.columns() {
            for panel in Panels::<V>::new(columns.len).iter() {
                if panels.contains(&index) {
                    let middle = index.midpoint(panels.end);
                    if middle > index && crew.claims_idle() {
                        // SAFETY: each has panels of its own, which no other thread uses.
                        let go_on =
                            |panels| unsafe { self.sum_panels::<V>(block, spans, sums, panels) };
                        return crew.both(&|| go_on(index..middle), &|| go_on(middle..panels.end));
                    }
                    self.sum_panel::<V>(block, spans, sums, columns, panel);
                }
                index += 1;
            }
        }
    }

    /// Does so for one panel of some columns.
    ///
    /// # Safety
    /// As for [`sum_panels`](Self::sum_panels).
    unsafe fn sum_panel<V: Vector<Elem = E>>(
        &self,
        block: &StepBlock<E>,
        spans: Option<&[(usize, usize)]>,
        sums: Option<ViewMut<E, 0>>,
        columns: &ColumnRange,
        panel: Panel,
    ) {
        let PassInput { dims, layout, inputs, .. } = self.args.input;
        let (steps, nr) = (block.len(), panel.nr::<V>());
        let deltas = self
            .memory
            .packed_deltas
            .add((columns.packed_delta + panel.at) * self.size * steps)
            .narrow(self.size * steps * nr)
            .as_view()
            .reshape([(steps * nr) as isize]);
        if let (Some(table), Some(of_table), true) =
            (inputs.table(), self.table_deltas, columns.input)
        {
            let to = of_table.add(layout.in_table(columns, table.table_rows));
            V::vectorize(AddPanel::<V> {
                group: self,
                block,
                table,
                deltas,
                panel,
                to: to.reshape([columns.len as isize]),
                vector: PhantomData,
            });
        }
        let Some(sums) = sums else { return };
        let depth = columns.depth();
        let sums = sums.add(columns.packed + panel.at * depth).narrow(depth * nr);
        let rows_together = (SUB_BYTES / (steps * nr * size_of::<E>())).max(1);
        for local in (0..self.size).step_by(rows_together) {
            let update = PanelUpdate {
                panel,
                deltas: deltas.tile(local, 0),
                rows: rows_together.min(self.size - local),
                spans: spans.map(|spans| &spans[local..]),
                is_first: block.end == dims.seq_len && local == 0,
            };
            self.add_rows::<V>(update, columns, local, block, sums);
        }
    }

    /// Gathers what fed the products of a block's steps, where no memory holds it in a row of steps; and returns
    /// which samples of each row count then, `(first, count)`.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold.
    unsafe fn inputs_of_block(&self, block: &StepBlock<E>) -> Option<Vec<(usize, usize)>> {
        let PassInput { dims, spans, mask, .. } = &self.args.input;
        if !self.args.input.is_carried() {
            return None;
        }
        let (size, steps) = (dims.output_size, block.len());
        let gather = |local: usize| {
            let row = self.first + local;
            let (from, to) = spans.of(row);
            let (from, to) = (from.max(block.begin), to.min(block.end));
            for t in from..to {
                let input = self.memory.inputs.add((local * steps + t - block.begin) * size);
                match (self.args.h_before(&block.states, row, t), mask) {
                    (Some(h), Some(mask)) => multiply(h, mask.row(row), input, size),
                    (h, _) => copy_or_zero(h, input, size),
                }
            }
            if from < to {
                (from - block.begin, to - from)
            } else {
                (0, 0)
            }
        };
        Some((0..self.size).map(gather).collect())
    }

    /// Adds the samples of some rows, from row `local` of the group on, to a panel's sums.
    ///
    /// # Safety
    /// The contract of `backward_rows` must hold, the block's inputs be gathered, and `sums` have
    /// `(depth, width)` registers.
    unsafe fn add_rows<V: Vector<Elem = E>>(
        &self,
        update: PanelUpdate<E>,
        columns: &ColumnRange,
        local: usize,
        block: &StepBlock<E>,
        sums: ViewMut<E, 0>,
    ) {
        let input = &self.args.input;
        let SequenceDims { hidden_size, output_size, .. } = input.dims;
        let (row, steps) = (self.first + local, block.len());
        let nr = update.panel.nr::<V>();
        // What a table's rows feed is summed when δ of all groups are there.
        let is_looked_up = columns.input && input.inputs.table().is_some();
        if !is_looked_up {
            let one = [E::ONE];
            let one = Factors { at: View::with_strides(&one, (0, [0, 0])), count: 1 };
            update.add_to::<V>(one, 0..steps, sums);
        }
        let sums = sums.add(nr);
        if let (Inputs::Rows(x), true) = (input.inputs, columns.inputs > 0) {
            let at = x.at(row, block.begin).reshape(x.strides());
            update.add_to::<V>(Factors { at, count: columns.inputs }, 0..steps, sums);
        }
        let sums = sums.add(columns.inputs * nr);
        // Columns that the group's memory holds, `(rows, steps, count)`.
        let of_memory = |memory: ViewMut<E, 0>, count: usize| {
            let strides = [(steps * count) as isize, count as isize];
            Factors { at: memory.add(local * steps * count).as_view().reshape(strides), count }
        };
        match columns.source {
            Source::Nothing => {}
            Source::Inner => {
                update.add_to::<V>(of_memory(self.memory.inner, hidden_size), 0..steps, sums);
            }
            Source::State if input.is_carried() => {
                update.add_to::<V>(of_memory(self.memory.inputs, output_size), 0..steps, sums);
            }
            Source::State => {
                // The state before step `begin` is that of the step before, or the initial one.
                let own = usize::from(block.begin == 0);
                let at = block.states.h_from(row, block.begin as isize + own as isize - 1);
                update.add_to::<V>(Factors { at, count: output_size }, own..steps, sums);
                if let (0, Some(h_0)) = (block.begin, input.initial.h) {
                    let at = h_0.tile(row, 0).reshape([h_0.strides()[0], 0]);
                    let update = PanelUpdate { is_first: false, ..update };
                    update.add_to::<V>(Factors { at, count: output_size }, 0..1, sums);
                }
            }
        }
    }
}

/// Columns of z, one value a sample.
pub(crate) struct Factors<E> {
    /// Column 0 by row and step.
    pub(crate) at: View<E, 2>,
    /// The number of columns.
    pub(crate) count: usize,
}

/// An update of the sums of one panel by the samples of some rows.
#[derive(Clone, Copy)]
pub(crate) struct PanelUpdate<'a, E> {
    pub(crate) panel: Panel,
    /// Packed δ: `(steps, width)` registers by row.
    pub(crate) deltas: View<E, 1>,
    pub(crate) rows: usize,
    /// Which samples of each row count; all if absent.
    pub(crate) spans: Option<&'a [(usize, usize)]>,
    /// Whether the sums hold nothing yet.
    pub(crate) is_first: bool,
}

impl<E: Element> PanelUpdate<'_, E> {
    /// Adds `z δ` over the given steps to `sums`, or puts it there if it is the first.
    ///
    /// # Safety
    /// The CPU must have the instruction set of `V`. `factors`, whose step 0 is the first of `steps`, and
    /// the δ must be readable for these rows and steps; `sums` must have `(count, width)` registers that
    /// nobody else uses.
    pub(crate) unsafe fn add_to<V: Vector<Elem = E>>(
        &self,
        factors: Factors<E>,
        steps: Range<usize>,
        sums: ViewMut<E, 0>,
    ) {
        let nr = self.panel.nr::<V>();
        let columns = RowRange { first: 0, count: factors.count };
        for (column, height) in columns.tiles::<V>(&self.panel) {
            run_tile(
                height,
                self.panel.registers,
                &RankUpdate::<V> {
                    z: factors.at.offset(column as isize),
                    deltas: self.deltas.tile(0, steps.start * nr),
                    runs: self.rows,
                    samples: steps.len(),
                    spans: self.spans,
                    sums: sums.add(column * nr),
                    is_first: self.is_first,
                },
            );
        }
    }
}

/// Adds the δ of a block in one panel to those of the table's rows that its steps read, the last step first.
struct AddPanel<'a, V: Vector> {
    group: &'a ReductionGroup<'a, V::Elem>,
    block: &'a StepBlock<V::Elem>,
    table: Lookup<V::Elem>,
    /// Packed δ of the panel: `(steps, width)` registers by row, in.
    deltas: View<V::Elem, 1>,
    panel: Panel,
    /// The gate block of the table's δ by row of the table, out.
    to: ViewMut<V::Elem, 1>,
    vector: PhantomData<V>,
}

impl<V: Vector> Kernel<V> for AddPanel<'_, V> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { group, block, table, deltas, panel, to, .. } = self;
        let nr = panel.nr::<V>();
        for t in (block.begin..block.end).rev() {
            for local in 0..group.size {
                let row = group.first + local;
                if !group.args.input.spans.has(row, t) {
                    continue;
                }
                let from = deltas.row(local).add((t - block.begin) * nr);
                let to = to.tile(table.id(row, t), panel.at).reshape([]);
                for register in 0..panel.registers {
                    let is_last = register + 1 == panel.registers;
                    let count = if is_last { panel.last } else { V::LANES };
                    let to = to.add(register * V::LANES);
                    let from = from.add(register * V::LANES);
                    let sum = load_some::<V>(to.as_view(), count).add(load_some(from, count));
                    store_some(sum, to, count);
                }
            }
        }
    }
}
