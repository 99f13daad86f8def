//! The inputs of a pass: rows that the caller gives, or rows of a table, looked up by number.

// One contract holds for a whole pass, that of `forward_rows`; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::cells::cell::{ColumnRange, WeightLayout};
use crate::view::View;

/// The inputs of a pass.
#[derive(Clone, Copy)]
pub(crate) enum Inputs<E> {
    /// `(I,)` by row and step.
    Rows(View<E, 2>),
    /// Rows of a table.
    Table(Lookup<E>),
}

impl<E: Copy> Inputs<E> {
    /// The table, if inputs are looked up in one.
    #[inline(always)]
    pub(crate) fn table(self) -> Option<Lookup<E>> {
        match self {
            Self::Table(table) if cfg!(feature = "table") => Some(table),
            _ => None,
        }
    }

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

    /// The product that a row reads at a step, of the columns of a gate block.
    ///
    /// # Safety
    /// Row and step must be ones of the pass, and the products be there.
    pub(crate) unsafe fn product(
        &self,
        layout: &WeightLayout,
        columns: &ColumnRange,
        row: usize,
        step: usize,
    ) -> View<E, 0> {
        let block = self.products.add(layout.in_table(columns, self.table_rows));
        block.add(self.id(row, step) * columns.len)
    }
}
