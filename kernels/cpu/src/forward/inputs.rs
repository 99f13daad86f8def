//! The inputs of a pass: rows that the caller gives, or rows of a table, looked up by number.

// One contract holds for a whole pass, that of `forward_rows`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::cells::cell::{ColumnRange, WeightLayout};
use crate::gemm::microkernel::MAX_MR;
use crate::view::View;

/// The inputs of a pass.
#[derive(Clone, Copy)]
pub(crate) enum Inputs<E> {
    /// `(I,)` by row and step.
    Rows(View<E, 2>),
    /// Rows of a table.
    Table(Lookup<E>),
}

impl<E> Inputs<E> {
    /// The inputs of a pass that begins at a row and a step of this one.
    ///
    /// # Safety
    /// Row and step must be ones of the pass.
    pub(crate) unsafe fn skip(self, row: usize, step: usize) -> Self {
        match self {
            Self::Rows(x) => Self::Rows(x.at(row, step).reshape(x.strides())),
            Self::Table(table) => {
                let ids = table.ids.at(row, step).reshape(table.ids.strides());
                Self::Table(Lookup { ids, ..table })
            }
        }
    }
}

/// Numbers of rows of a table, and the products of these rows with the weights.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<E> {
    /// By row and step.
    pub(crate) ids: View<u32, 2>,
    /// The number of rows of the table, V.
    pub(crate) table_rows: usize,
    /// `(V, len)` for each gate block that the input feeds: `b + W_ih x`. A backward pass over states that were all
    /// kept has none: nothing reads them.
    pub(crate) products: View<E, 0>,
}

impl<E> Lookup<E> {
    /// The number of the table's row that a row reads at a step.
    ///
    /// # Safety
    /// Row and step must be ones of the pass.
    #[inline(always)]
    pub(crate) unsafe fn id(&self, row: usize, step: usize) -> usize {
        *self.ids.at(row, step).ptr(1) as usize
    }

    /// What a tile of a gate block's pre-activations begins with, row by row, from column `at` of the block on; the last
    /// row again where a tile has fewer.
    ///
    /// # Safety
    /// The rows `row..row + height` must be ones of the pass, as must the step; the products must be there.
    pub(crate) unsafe fn tile(
        &self,
        layout: &WeightLayout,
        columns: &ColumnRange,
        [row, height, step]: [usize; 3],
        at: usize,
    ) -> [View<E, 0>; MAX_MR] {
        let block = self.products.add(layout.in_table(columns, self.table_rows) + at);
        let mut rows = [block; MAX_MR];
        for (index, to) in rows.iter_mut().enumerate() {
            *to = block.add(self.id(row + index.min(height - 1), step) * columns.len);
        }
        rows
    }
}
