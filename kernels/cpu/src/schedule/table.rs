//! The products and the gradients of inputs that are looked up in a table.

use crate::rows::MIN_ROWS;
use crate::schedule::{CheckedInput, RawCall};
use crate::simd::vector::Element;
use crate::table::{TableGrads, TableProducts};
use crate::threads::{self, add_up, for_each, for_each_part, is_large};
use crate::view::{View, ViewMut};
use crate::weights::TransposedWeights;
use crate::workspace::Buffer;
use crate::SequenceDims;

impl<E: Element> CheckedInput<'_, E> {
    /// The number of rows of the table, V.
    pub(super) fn table_rows(&self) -> usize {
        self.call.x.len() / self.call.dims.input_size
    }

    /// `(V, I)`: the table.
    fn table(&self) -> View<E, 1> {
        View::with_strides(self.call.x, (0, [self.call.dims.input_size as isize]))
    }

    /// How many parts the table's rows are cut into; rows do not depend on each other, so this changes no bit.
    fn table_parts(&self) -> (usize, bool) {
        let RawCall { dims, .. } = self.call;
        let (rows, len) = (self.table_rows(), self.layout.table_len(1));
        let parts = (2 * threads::count()).min(rows.div_ceil(MIN_ROWS));
        let dims = SequenceDims { batch_size: rows, seq_len: 1, ..dims };
        (parts, is_large(&dims, dims.input_size * len))
    }

    /// The products of the table's rows with the weights, by direction; empty without a table.
    pub(super) fn table_products(&self) -> Vec<Buffer<E>> {
        if self.ids().is_none() {
            return Vec::new();
        }
        let (rows, (parts, parallel)) = (self.table_rows(), self.table_parts());
        let of_direction = |weights: &&[E]| {
            let mut products = Buffer::new(self.layout.table_len(rows));
            let args = TableProducts {
                layout: &self.layout,
                table_rows: rows,
                table: self.table(),
                weights: View::new(weights),
                products: ViewMut::new(&mut products),
            };
            // SAFETY: `kernels` exist only for instruction sets that the CPU has; `new` saw to all lengths, from
            // which the views were made; each call has disjoint rows.
            for_each_part(rows, parts, parallel, |first, size| unsafe {
                (self.kernels.table_products)(&args, first, size);
            });
            products
        };
        self.call.weights.iter().map(of_direction).collect()
    }

    /// The sums of δ by row of the table over all groups, in their order.
    pub(super) fn table_deltas(&self, of_groups: &[E], parallel: bool) -> Buffer<E> {
        let mut deltas = Buffer::new(self.layout.table_len(self.table_rows()));
        deltas.fill(E::ZERO);
        add_up(of_groups, &mut deltas, parallel);
        deltas
    }

    /// Computes the gradients of a direction's weights that multiply the table's rows, with those of the biases, and
    /// the gradient of the table, as far as they are wanted.
    pub(super) fn table_gradients(
        &self,
        deltas: &[E],
        fed: &TransposedWeights<E>,
        grad_weights: Option<&mut [E]>,
        grad_table: Option<&mut [E]>,
    ) {
        let (rows, (parts, parallel)) = (self.table_rows(), self.table_parts());
        let wants = [grad_weights.is_some(), grad_table.is_some()];
        let packed_len = if wants[0] { rows * self.layout.packed_delta_len } else { 0 };
        let mut packed_deltas = Buffer::new(packed_len);
        if wants[0] {
            for columns in self.layout.input_columns() {
                let block = &deltas[self.layout.in_table(columns, rows)..][..rows * columns.len];
                let packed = &mut packed_deltas[rows * columns.packed_delta..];
                let packed = &mut packed[..rows * (self.kernels.padded)(columns.len)];
                (self.kernels.pack_rows)(block, columns.len, rows, 0, packed);
            }
        }
        let input_size = self.call.dims.input_size;
        let args = TableGrads {
            layout: &self.layout,
            table_rows: rows,
            input_size,
            table: self.table(),
            deltas: View::new(deltas),
            packed_deltas: View::new(&packed_deltas),
            weights: View::new(&fed.0[0]),
            grad_weights: ViewMut::new(grad_weights.unwrap_or_default()),
            grad_table: ViewMut::with_strides(
                grad_table.unwrap_or_default(),
                (0, [input_size as isize]),
            ),
        };
        if wants[0] {
            let parts = 2 * threads::count();
            // SAFETY: as in `table_products`; each call has panels of its own.
            for_each(parts, parallel, |part| unsafe {
                (self.kernels.table_weight_grads)(&args, part, parts);
            });
        }
        if wants[1] {
            // SAFETY: as in `table_products`.
            for_each_part(rows, parts, parallel, |first, size| unsafe {
                (self.kernels.table_input_grads)(&args, first, size);
            });
        }
    }
}
