//! Packed weights: rows of numbers cut into panels as wide as a tile of registers.
//!
//! A row of `len` numbers is cut into panels of at most [`Vector::TILE_WIDTH`] registers, evenly,
//! so that no panel is much narrower than the others; the last one is filled up with zeros. A
//! matrix `(K, len)` is stored panel after panel, each `(K, width)` registers.

use std::marker::PhantomData;

use super::vector::{Element, Vector};

/// How rows of a certain length are cut.
pub(super) struct Panels<V> {
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

/// A panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    /// Its first element's place in the row.
    pub(super) at: usize,
    /// Its registers.
    pub(super) width: usize,
    /// Elements of its last register that are in the row.
    pub(super) last: usize,
}

/// Part `index` of `n` cut into `parts` parts whose sizes differ by at most one: first and size.
#[inline(always)]
pub(super) fn split(n: usize, parts: usize, index: usize) -> (usize, usize) {
    let (size, longer) = (n / parts, n % parts);
    (index * size + index.min(longer), size + usize::from(index < longer))
}

impl<V: Vector> Panels<V> {
    /// For rows of `len` elements.
    pub(super) fn new(len: usize) -> Self {
        let registers = len.div_ceil(V::LANES);
        Self { len, registers, count: registers.div_ceil(V::TILE_WIDTH), vector: PhantomData }
    }

    /// Elements of a row with its padding.
    pub(super) fn padded(&self) -> usize {
        self.registers * V::LANES
    }

    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Panel {
        let (first, width) = split(self.registers, self.count, index);
        let at = first * V::LANES;
        let last = (self.len - at).min(width * V::LANES) - (width - 1) * V::LANES;
        Panel { at, width, last }
    }

    #[inline(always)]
    pub(super) fn iter(self) -> impl Iterator<Item = Panel> {
        (0..self.count).map(move |index| self.get(index))
    }
}

impl Panel {
    /// Its elements, those of the padding too.
    #[inline(always)]
    pub(super) fn wide<V: Vector>(&self) -> usize {
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
pub(super) fn pack_columns<V: Vector>(
    matrix: &[V::Elem],
    columns: usize,
    depth: usize,
    first: usize,
    out: &mut [V::Elem],
) {
    let panels = Panels::<V>::new(matrix.len() / columns);
    assert!(out.len() == panels.padded() * depth && first + columns <= depth);
    for panel in panels.iter() {
        let wide = panel.wide::<V>();
        let out = &mut out[panel.at * depth + first * wide..][..columns * wide];
        for lane in 0..panel.real::<V>() {
            let row = &matrix[(panel.at + lane) * columns..][..columns];
            for (value, slot) in row.iter().zip(out[lane..].iter_mut().step_by(wide)) {
                *slot = *value;
            }
        }
        for row in out.chunks_exact_mut(wide) {
            row[panel.real::<V>()..].fill(V::Elem::ZERO);
        }
    }
}

/// The inverse of [`pack_columns`].
pub(super) fn unpack_columns<V: Vector>(
    packed: &[V::Elem],
    columns: usize,
    depth: usize,
    first: usize,
    matrix: &mut [V::Elem],
) {
    let panels = Panels::<V>::new(matrix.len() / columns);
    assert!(packed.len() == panels.padded() * depth && first + columns <= depth);
    for panel in panels.iter() {
        let wide = panel.wide::<V>();
        let packed = &packed[panel.at * depth + first * wide..][..columns * wide];
        for lane in 0..panel.real::<V>() {
            let row = &mut matrix[(panel.at + lane) * columns..][..columns];
            for (slot, value) in row.iter_mut().zip(packed[lane..].iter().step_by(wide)) {
                *slot = *value;
            }
        }
    }
}

/// Packs `matrix` `(rows, len)`: the numbers of a row lie together.
pub(super) fn pack_rows<V: Vector>(matrix: &[V::Elem], rows: usize, out: &mut [V::Elem]) {
    let len = matrix.len() / rows;
    let panels = Panels::<V>::new(len);
    assert!(out.len() == panels.padded() * rows);
    for panel in panels.iter() {
        let (wide, real) = (panel.wide::<V>(), panel.real::<V>());
        let out = out[panel.at * rows..][..rows * wide].chunks_exact_mut(wide);
        for (row, out) in matrix.chunks_exact(len).zip(out) {
            out[..real].copy_from_slice(&row[panel.at..][..real]);
            out[real..].fill(V::Elem::ZERO);
        }
    }
}
