//! Packed weights: rows of elements cut into panels as wide as a tile of registers.
//!
//! A row of `len` elements is cut into panels of at most [`Vector::NR_REGISTERS`] registers, evenly,
//! so that no panel is much narrower than the others; the last one is filled up with zeros. A
//! matrix `(K, len)` is stored panel after panel, each `(K, registers)` registers.

use std::marker::PhantomData;

use crate::simd::vector::Vector;

/// The panels that rows of a certain length are cut into.
#[derive(Clone, Copy)]
pub(crate) struct Panels<V> {
    len: usize,
    registers: usize,
    count: usize,
    vector: PhantomData<fn() -> V>,
}

/// A panel: neighbouring columns, whole registers of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panel {
    /// The place of its first element in the row.
    pub(crate) at: usize,
    /// The number of its registers.
    pub(crate) registers: usize,
    /// The number of elements of its last register that are in the row.
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
        Self { len, registers, count: registers.div_ceil(V::NR_REGISTERS), vector: PhantomData }
    }

    /// The number of panels.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The number of elements of a row with its padding.
    pub(crate) fn padded(&self) -> usize {
        self.registers * V::LANES
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Panel {
        let (first, registers) = split(self.registers, self.count, index);
        let at = first * V::LANES;
        let last = (self.len - at).min(registers * V::LANES) - (registers - 1) * V::LANES;
        Panel { at, registers, last }
    }

    #[inline(always)]
    pub(crate) fn iter(self) -> impl Iterator<Item = Panel> {
        (0..self.count).map(move |index| self.get(index))
    }
}

impl Panel {
    /// The number of its elements, those of the padding too.
    #[inline(always)]
    pub(crate) fn nr<V: Vector>(&self) -> usize {
        self.registers * V::LANES
    }

    /// The number of its elements that are in the row.
    pub(crate) fn len<V: Vector>(&self) -> usize {
        (self.registers - 1) * V::LANES + self.last
    }
}
