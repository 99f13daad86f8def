//! Inputs that are rows of a table, of which a batch reads each many times: the products of these rows with the
//! weights, once for each row of the table rather than for each row and step of the batch.
//!
//! ```text
//! forward    P = b + W_ih E         then a step begins with row id of P
//! backward   D[id] += δ_t           then ∂L/∂W_ih = Dᵀ E, ∂L/∂b = Σ D, ∂L/∂E = D W_ih
//! ```
//!
//! P has the bits that the products of each step would have: sums run in the same order. D changes the order of the
//! gradients' sums: first over the places that read a row of the table, then over these rows.
//!
//! P and D are `(V, len)` for each gate block that the input feeds, one behind the other.

// One contract holds for a whole pass, that of the function; a block in every line would say no more.
#![allow(unsafe_op_in_unsafe_fn)]

mod gradients;

use crate::cells::cell::{ColumnRange, OperandKind, WeightLayout};
use crate::gemm::layout::Panels;
use crate::gemm::microkernel::{gemm, Accumulate};
use crate::rows::RowRange;
use crate::simd::math::Identity;
use crate::simd::vector::Vector;
use crate::view::{View, ViewMut};
pub(crate) use gradients::{input_grads, weight_grads, TableGrads};

impl WeightLayout {
    /// The number of elements of P, or of D, of a table of `table_rows` rows.
    pub(crate) fn table_len(&self, table_rows: usize) -> usize {
        table_rows * self.operand(OperandKind::Input).len
    }

    /// Where a gate block that the input feeds begins in P and D.
    pub(crate) fn in_table(&self, columns: &ColumnRange, table_rows: usize) -> usize {
        table_rows * (columns.at - self.operand(OperandKind::Input).at)
    }

    /// The gate blocks that the input feeds.
    pub(crate) fn input_columns(&self) -> impl Iterator<Item = &ColumnRange> {
        self.columns().iter().filter(|columns| columns.input)
    }
}

/// The arguments of [`products`].
#[derive(Clone, Copy)]
pub(crate) struct TableProducts<'a, E> {
    pub(crate) layout: &'a WeightLayout,
    /// V.
    pub(crate) table_rows: usize,
    /// `(V, I)` in: E.
    pub(crate) table: View<E, 1>,
    /// Packed, in.
    pub(crate) weights: View<E, 0>,
    /// Out: P.
    pub(crate) products: ViewMut<E, 0>,
}

/// Computes the rows `first..first + rows` of P.
///
/// # Safety
/// - The CPU must have V's features.
/// - The memory behind the views of `args` must be alive and as large as the shapes of its fields say; what is read
///   must be initialised, and what is written lie apart from it.
/// - No other thread may use these rows of what is written.
pub(crate) unsafe fn products<V: Vector>(args: &TableProducts<V::Elem>, first: usize, rows: usize) {
    let TableProducts { layout, table_rows, table, weights, products } = *args;
    let rows = RowRange { first, count: rows };
    for columns in layout.input_columns() {
        let depth = columns.depth();
        let out = products.add(layout.in_table(columns, table_rows));
        let out = out.reshape([columns.len as isize]);
        for panel in Panels::<V>::new(columns.len).iter() {
            let nr = panel.nr::<V>();
            let bias = weights.add(columns.packed + panel.at * depth).narrow(depth * nr);
            for (row, height) in rows.tiles::<V>(&panel) {
                let a = table.tile(row, 0).reshape([table.strides()[0], 1]);
                let product = Accumulate { a, count: columns.inputs, panel: bias.add(nr) };
                let out = out.tile(row, panel.at);
                let products = [product, Accumulate::none()];
                gemm::<V, Identity, false>(height, &panel, Some(bias), products, out);
            }
        }
    }
}
