//! The gradients of a table and of the weights that multiply its rows.

use crate::backward::{Factors, PanelUpdate};
use crate::cells::cell::{OperandKind, WeightLayout};
use crate::gemm::layout::{split, Panels};
use crate::gemm::microkernel::{gemm, Accumulate};
use crate::rows::RowRange;
use crate::simd::math::Identity;
use crate::simd::vector::{Element, Vector};
use crate::view::{View, ViewMut};

/// The most gate blocks that an input feeds: the operands of a tile.
const MAX_INPUT_COLUMNS: usize = 2;

/// The arguments of [`weight_grads`] and [`input_grads`].
#[derive(Clone, Copy)]
pub(crate) struct TableGrads<'a, E> {
    pub(crate) layout: &'a WeightLayout,
    /// V.
    pub(crate) table_rows: usize,
    /// I.
    pub(crate) input_size: usize,
    /// `(V, I)` in: E.
    pub(crate) table: View<E, 1>,
    /// In: D.
    pub(crate) deltas: View<E, 0>,
    /// In: the rows of D packed, `(V, registers)` for each panel of each gate block; a block begins at V times its
    /// place among a sample's packed δ.
    pub(crate) packed_deltas: View<E, 0>,
    /// In: W_ih, packed for a backward pass.
    pub(crate) weights: View<E, 0>,
    /// Packed, out: gradients of the weights.
    pub(crate) grad_weights: ViewMut<E, 0>,
    /// `(V, I)` out: the gradient of E.
    pub(crate) grad_table: ViewMut<E, 1>,
}

/// Computes the gradients of W_ih, and of the biases that are added to its product, for a part of all panels.
///
/// # Safety
/// - The CPU must have V's features.
/// - The memory behind the views of `args`, but `grad_table`, must be alive and as large as the shapes of its fields
///   say; what is read must be initialised, and what is written lie apart from it.
/// - No other thread may use what is written for this part of the panels.
pub(crate) unsafe fn weight_grads<V: Vector>(
    args: &TableGrads<V::Elem>,
    part: usize,
    parts: usize,
) {
    let TableGrads { layout, table_rows, input_size, table, .. } = *args;
    for columns in layout.input_columns() {
        let depth = columns.depth();
        let packed_deltas = args.packed_deltas.add(table_rows * columns.packed_delta);
        let panels = Panels::<V>::new(columns.len);
        let (first, count) = split(panels.count(), parts, part);
        for panel in (first..first + count).map(|index| panels.get(index)) {
            let nr = panel.nr::<V>();
            let deltas = packed_deltas.add(panel.at * table_rows).narrow(table_rows * nr);
            let sums = args.grad_weights.add(columns.packed + panel.at * depth);
            let update = PanelUpdate {
                panel,
                deltas: deltas.reshape([(table_rows * nr) as isize]),
                rows: 1,
                spans: None,
                is_first: true,
            };
            let one = [V::Elem::ONE];
            let one = Factors { at: View::with_strides(&one, (0, [0, 0])), count: 1 };
            update.add_to::<V>(one, 0..table_rows, sums.narrow(nr));
            let at = table.reshape([0, table.strides()[0]]);
            let inputs = Factors { at, count: input_size };
            update.add_to::<V>(inputs, 0..table_rows, sums.add(nr).narrow(input_size * nr));
        }
    }
}

/// Computes the gradients of the rows `first..first + rows` of the table.
///
/// # Safety
/// - The CPU must have V's features.
/// - The memory behind the views of `args`, but `grad_weights`, must be alive and as large as the shapes of its fields
///   say; what is read must be initialised, and what is written lie apart from it.
/// - No other thread may use these rows of what is written.
pub(crate) unsafe fn input_grads<V: Vector>(args: &TableGrads<V::Elem>, first: usize, rows: usize) {
    let TableGrads { layout, table_rows, input_size, .. } = *args;
    let operand = layout.operand(OperandKind::Input);
    let rows = RowRange { first, count: rows };
    assert!(layout.input_columns().count() <= MAX_INPUT_COLUMNS);
    for panel in Panels::<V>::new(input_size).iter() {
        let nr = panel.nr::<V>();
        let weights = args.weights.add(panel.at * operand.len).narrow(operand.len * nr);
        for (row, height) in rows.tiles::<V>(&panel) {
            let mut products = [Accumulate::none(), Accumulate::none()];
            for (product, columns) in products.iter_mut().zip(layout.input_columns()) {
                let block = args.deltas.add(layout.in_table(columns, table_rows));
                *product = Accumulate {
                    a: block.add(row * columns.len).reshape([columns.len as isize, 1]),
                    count: columns.len,
                    panel: weights.add((columns.at - operand.at) * nr),
                };
            }
            let out = args.grad_table.tile(row, panel.at);
            gemm::<V, Identity, false>(height, &panel, None, products, out);
        }
    }
}
