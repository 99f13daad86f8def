//! Packed weights: rows of numbers cut into panels as wide as a tile of registers.
//!
//! A row of `len` numbers is cut into panels of at most [`Vector::TILE_WIDTH`] registers, evenly,
//! so that no panel is much narrower than the others; the last one is filled up with zeros. A
//! matrix `(K, len)` is stored panel after panel, each `(K, width)` registers.

use std::marker::PhantomData;

use crate::simd::vector::{Element, Vector};
use crate::threads::{for_each, Shared};

/// How rows of a certain length are cut.
pub(crate) struct Panels<V> {
    len: usize,
    registers: usize,
    count: usize,
    vector: PhantomData<V>,
}

impl<V> Clone for Panels<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Panels<V> {}

// SAFETY: it holds numbers alone.
unsafe impl<V> Sync for Panels<V> {}

/// A panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panel {
    /// Its first element's place in the row.
    pub(crate) at: usize,
    /// Its registers.
    pub(crate) width: usize,
    /// Elements of its last register that are in the row.
    pub(crate) last: usize,
}

/// Part `index` of `n` cut into `parts` parts whose sizes differ by at most one: first and size.
#[inline(always)]
pub(crate) fn split(n: usize, parts: usize, index: usize) -> (usize, usize) {
    let (size, longer) = (n / parts, n % parts);
    (index * size + index.min(longer), size + usize::from(index < longer))
}

impl<V: Vector> Panels<V> {
    /// For rows of `len` elements.
    pub(crate) fn new(len: usize) -> Self {
        let registers = len.div_ceil(V::LANES);
        Self { len, registers, count: registers.div_ceil(V::TILE_WIDTH), vector: PhantomData }
    }

    /// Elements of a row with its padding.
    pub(crate) fn padded(&self) -> usize {
        self.registers * V::LANES
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Panel {
        let (first, width) = split(self.registers, self.count, index);
        let at = first * V::LANES;
        let last = (self.len - at).min(width * V::LANES) - (width - 1) * V::LANES;
        Panel { at, width, last }
    }

    #[inline(always)]
    pub(crate) fn iter(self) -> impl Iterator<Item = Panel> {
        (0..self.count).map(move |index| self.get(index))
    }
}

impl Panel {
    /// Its elements, those of the padding too.
    #[inline(always)]
    pub(crate) fn wide<V: Vector>(&self) -> usize {
        self.width * V::LANES
    }

    /// Its elements that are in the row.
    fn real<V: Vector>(&self) -> usize {
        (self.width - 1) * V::LANES + self.last
    }
}

/// Packs the transpose of `matrix` `(len, columns)`: the numbers of a column lie together.
///
/// `out` holds all of a packed matrix with `depth` numbers a column, of which these are the ones
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
    let out = Shared(out.as_mut_ptr());
    for_each(panels.count, is_large(matrix), |index| {
        let panel = panels.get(index);
        let wide = panel.wide::<V>();
        // SAFETY: the length was checked above; panels do not overlap.
        let out = unsafe {
            let at = out.at(panel.at * depth + first * wide);
            std::slice::from_raw_parts_mut(at, columns * wide)
        };
        let real = panel.real::<V>();
        let rows = &matrix[panel.at * columns..][..real * columns];
        for (lane, rows) in (0..real).step_by(BLOCK).zip(rows.chunks(BLOCK * columns)) {
            if let Some(rows) = four_rows(rows, columns) {
                let out = out.chunks_exact_mut(BLOCK * wide);
                for (block, out) in blocks(rows).zip(out) {
                    let block = transpose(block);
                    for (row, out) in block.iter().zip(out.chunks_exact_mut(wide)) {
                        out[lane..lane + BLOCK].copy_from_slice(row);
                    }
                }
            }
            // What does not fill a block of four by four.
            let done = if rows.len() == BLOCK * columns { columns / BLOCK * BLOCK } else { 0 };
            for (index, row) in rows.chunks_exact(columns).enumerate() {
                for (k, value) in row.iter().enumerate().skip(done) {
                    out[k * wide + lane + index] = *value;
                }
            }
        }
        for row in out.chunks_exact_mut(wide) {
            row[real..].fill(V::Elem::ZERO);
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
    let matrix = Shared(matrix.as_mut_ptr());
    for_each(panels.count, parallel, |index| {
        let panel = panels.get(index);
        let wide = panel.wide::<V>();
        let packed = &packed[panel.at * depth + first * wide..][..columns * wide];
        let real = panel.real::<V>();
        // SAFETY: a panel's columns are rows of the matrix, which has as many as the panels together
        // have columns; panels do not overlap.
        let rows = unsafe {
            std::slice::from_raw_parts_mut(matrix.at(panel.at * columns), real * columns)
        };
        for (lane, rows) in (0..real).step_by(BLOCK).zip(rows.chunks_mut(BLOCK * columns)) {
            let is_whole = rows.len() == BLOCK * columns;
            let done = if is_whole { columns / BLOCK * BLOCK } else { 0 };
            for (k, packed) in (0..done).step_by(BLOCK).zip(packed.chunks_exact(BLOCK * wide)) {
                let lanes = |row: usize| -> [V::Elem; BLOCK] {
                    std::array::from_fn(|index| packed[row * wide + lane + index])
                };
                let block = transpose([lanes(0), lanes(1), lanes(2), lanes(3)]);
                for (row, of_row) in rows.chunks_exact_mut(columns).zip(&block) {
                    row[k..k + BLOCK].copy_from_slice(of_row);
                }
            }
            for (index, row) in rows.chunks_exact_mut(columns).enumerate() {
                for (k, slot) in row.iter_mut().enumerate().skip(done) {
                    *slot = packed[k * wide + lane + index];
                }
            }
        }
    });
}

/// Packs `matrix` `(rows, len)`: the numbers of a row lie together.
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
    let out = Shared(out.as_mut_ptr());
    for_each(panels.count, is_large(matrix), |index| {
        let panel = panels.get(index);
        let (wide, real) = (panel.wide::<V>(), panel.real::<V>());
        // SAFETY: the length was checked above; panels do not overlap.
        let out = unsafe {
            let at = out.at(panel.at * depth + first * wide);
            std::slice::from_raw_parts_mut(at, rows * wide)
        };
        for (row, out) in matrix.chunks_exact(len).zip(out.chunks_exact_mut(wide)) {
            out[..real].copy_from_slice(&row[panel.at..][..real]);
            out[real..].fill(V::Elem::ZERO);
        }
    });
}
