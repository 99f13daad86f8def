//! Matrices laid out as panels, and taken out of them again.

use crate::gemm::layout::Panels;
use crate::simd::vector::{Element, Vector};
use crate::threads::for_each;
use crate::view::SharedSlice;

/// Packs the transpose of `matrix` `(len, columns)`: the elements of a column lie together.
///
/// `out` holds all of a packed matrix with `depth` elements a column, of which these are the ones
/// from `first` on.
pub(crate) fn pack_columns<V: Vector>(
    matrix: &[V::Elem],
    columns: usize,
    depth: usize,
    first: usize,
    out: &mut [V::Elem],
) {
    let panels = Panels::<V>::new(matrix.len() / columns);
    assert!(out.len() == panels.padded() * depth && first + columns <= depth);
    let out = SharedSlice::new(out);
    for_each(panels.count(), is_large(matrix), |index| {
        let panel = panels.get(index);
        let nr = panel.nr::<V>();
        // SAFETY: the length was checked above; panels do not overlap.
        let out =
            unsafe { out.part(panel.at * depth + first * nr, columns * nr).slice(columns * nr) };
        let len = panel.len::<V>();
        let rows = &matrix[panel.at * columns..][..len * columns];
        for (lane, rows) in (0..len).step_by(BLOCK).zip(rows.chunks(BLOCK * columns)) {
            if let Some(rows) = four_rows(rows, columns) {
                let out = out.chunks_exact_mut(BLOCK * nr);
                for (block, out) in blocks(rows).zip(out) {
                    let block = transpose(block);
                    for (row, out) in block.iter().zip(out.chunks_exact_mut(nr)) {
                        out[lane..lane + BLOCK].copy_from_slice(row);
                    }
                }
            }
            // What does not fill a block of four by four.
            let done = if rows.len() == BLOCK * columns { columns / BLOCK * BLOCK } else { 0 };
            for (index, row) in rows.chunks_exact(columns).enumerate() {
                for (k, value) in row.iter().enumerate().skip(done) {
                    out[k * nr + lane + index] = *value;
                }
            }
        }
        for row in out.chunks_exact_mut(nr) {
            row[len..].fill(V::Elem::ZERO);
        }
    });
}

/// Whether packing a matrix is work for several threads.
fn is_large<E>(matrix: &[E]) -> bool {
    size_of_val(matrix) > 128 << 10
}

/// Rows and columns that are transposed together, in registers that every CPU has.
const BLOCK: usize = 4;

/// Exactly four rows of a matrix.
fn four_rows<E>(rows: &[E], columns: usize) -> Option<[&[E]; BLOCK]> {
    (rows.len() == BLOCK * columns).then(|| {
        let (a, rest) = rows.split_at(columns);
        let (b, rest) = rest.split_at(columns);
        let (c, d) = rest.split_at(columns);
        [a, b, c, d]
    })
}

/// The blocks of four by four in four rows.
fn blocks<E: Element>(rows: [&[E]; BLOCK]) -> impl Iterator<Item = [[E; BLOCK]; BLOCK]> + '_ {
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<BLOCK>().0.iter());
    a.zip(b).zip(c).zip(d).map(|(((a, b), c), d)| [*a, *b, *c, *d])
}

fn transpose<E: Element>([a, b, c, d]: [[E; BLOCK]; BLOCK]) -> [[E; BLOCK]; BLOCK] {
    std::array::from_fn(|k| [a[k], b[k], c[k], d[k]])
}

/// The inverse of [`pack_columns`].
pub(crate) fn unpack_columns<V: Vector>(
    packed: &[V::Elem],
    columns: usize,
    depth: usize,
    first: usize,
    matrix: &mut [V::Elem],
) {
    let panels = Panels::<V>::new(matrix.len() / columns);
    assert!(packed.len() == panels.padded() * depth && first + columns <= depth);
    let parallel = is_large(matrix);
    let matrix = SharedSlice::new(matrix);
    for_each(panels.count(), parallel, |index| {
        let panel = panels.get(index);
        let nr = panel.nr::<V>();
        let packed = &packed[panel.at * depth + first * nr..][..columns * nr];
        let len = panel.len::<V>();
        // SAFETY: a panel's columns are rows of the matrix, which has as many as the panels together
        // have columns; panels do not overlap.
        let rows = unsafe { matrix.part(panel.at * columns, len * columns).slice(len * columns) };
        for (lane, rows) in (0..len).step_by(BLOCK).zip(rows.chunks_mut(BLOCK * columns)) {
            let is_whole = rows.len() == BLOCK * columns;
            let done = if is_whole { columns / BLOCK * BLOCK } else { 0 };
            for (k, packed) in (0..done).step_by(BLOCK).zip(packed.chunks_exact(BLOCK * nr)) {
                let lanes = |row: usize| -> [V::Elem; BLOCK] {
                    std::array::from_fn(|index| packed[row * nr + lane + index])
                };
                let block = transpose([lanes(0), lanes(1), lanes(2), lanes(3)]);
                for (row, of_row) in rows.chunks_exact_mut(columns).zip(&block) {
                    row[k..k + BLOCK].copy_from_slice(of_row);
                }
            }
            for (index, row) in rows.chunks_exact_mut(columns).enumerate() {
                for (k, slot) in row.iter_mut().enumerate().skip(done) {
                    *slot = packed[k * nr + lane + index];
                }
            }
        }
    });
}

/// Packs `matrix` `(rows, len)`: the elements of a row lie together.
///
/// `out` holds all of a packed matrix of `depth` rows, of which these are the ones from `first` on.
pub(crate) fn pack_rows<V: Vector>(
    matrix: &[V::Elem],
    len: usize,
    depth: usize,
    first: usize,
    out: &mut [V::Elem],
) {
    let panels = Panels::<V>::new(len);
    let rows = matrix.len() / len;
    assert!(out.len() == panels.padded() * depth && first + rows <= depth);
    let out = SharedSlice::new(out);
    for_each(panels.count(), is_large(matrix), |index| {
        let panel = panels.get(index);
        let (nr, real) = (panel.nr::<V>(), panel.len::<V>());
        // SAFETY: the length was checked above; panels do not overlap.
        let out = unsafe { out.part(panel.at * depth + first * nr, rows * nr).slice(rows * nr) };
        for (row, out) in matrix.chunks_exact(len).zip(out.chunks_exact_mut(nr)) {
            out[..real].copy_from_slice(&row[panel.at..][..real]);
            out[real..].fill(V::Elem::ZERO);
        }
    });
}
