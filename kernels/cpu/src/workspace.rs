//! Memory that is used again: fresh pages cost more than the arithmetic on them.
//!
//! The first touch of a page that the operating system hands out takes it about a microsecond; a
//! training step needs the same buffers as the step before. Buffers go back to a pool when they
//! are dropped, and the next request takes the smallest that is large enough.

use std::marker::PhantomData;
use std::sync::Mutex;

use crate::simd::vector::Element;

/// A cache line, and the largest vector register: what blocks are made of.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

type Lines = Vec<Line>;

/// Blocks that are kept; more than a step of a deep stack has.
const MAX_BLOCKS: usize = 64;
/// Lines that are kept: 512 MiB.
const MAX_LINES: usize = 1 << 23;

/// Blocks that nobody uses, the one that was given back last at the end.
static POOL: Mutex<Vec<Lines>> = Mutex::new(Vec::new());

/// Elements in memory from the pool, aligned to a cache line; what they are is whatever was left
/// there.
pub struct Buffer<E> {
    block: Lines,
    len: usize,
    element: PhantomData<E>,
}

impl<E: Element> Buffer<E> {
    /// `len` elements of unspecified value.
    ///
    /// # Panics
    /// When there is no memory of that size.
    pub fn new(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<E>());
        assert!(bytes.is_some(), "{len} elements are more than any memory holds");
        let lines = (len * size_of::<E>()).div_ceil(size_of::<Line>());
        let block = take(lines).unwrap_or_else(|| vec![Line([0; 64]); lines]);
        let buffer = Self { block, len, element: PhantomData };
        // In debug builds and with the feature, what is read before it was written shows.
        #[cfg(any(debug_assertions, feature = "poison"))]
        let buffer = {
            let mut buffer = buffer;
            buffer.fill(E::NAN);
            buffer
        };
        buffer
    }
}

/// Empties the pool.
pub fn release() {
    if let Ok(mut pool) = POOL.lock() {
        pool.clear();
    }
}

/// The smallest block in the pool that has `lines` lines, but not more than eight times that.
fn take(lines: usize) -> Option<Lines> {
    let mut pool = POOL.lock().ok()?;
    let fits = |block: &Lines| (lines..=lines.saturating_mul(8)).contains(&block.len());
    let best = (0..pool.len()).filter(|i| fits(&pool[*i])).min_by_key(|i| pool[*i].len())?;
    Some(pool.remove(best))
}

impl<E> Clone for Buffer<E> {
    fn clone(&self) -> Self {
        let lines = (self.len * size_of::<E>()).div_ceil(size_of::<Line>());
        let mut block = take(lines).unwrap_or_else(|| vec![Line([0; 64]); lines]);
        block[..lines].copy_from_slice(&self.block[..lines]);
        Self { block, len: self.len, element: PhantomData }
    }
}

impl<E> Drop for Buffer<E> {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.block);
        let Ok(mut pool) = POOL.lock() else { return };
        pool.push(block);
        while pool.len() > MAX_BLOCKS || pool.iter().map(Vec::len).sum::<usize>() > MAX_LINES {
            drop(pool.remove(0));
        }
    }
}

impl<E: Element> std::ops::Deref for Buffer<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        // SAFETY: the block holds at least `len` elements, as `new`, `take` and `clone` saw to, is aligned
        // to more than a float, and initialized; every bit pattern is a float.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr().cast(), self.len) }
    }
}

impl<E: Element> std::ops::DerefMut for Buffer<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        // SAFETY: as in `deref`; and every float is a valid bit pattern for the block's bytes.
        unsafe { std::slice::from_raw_parts_mut(self.block.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_hold_what_is_written() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buffer = Buffer::<f64>::new(len);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (len, 0));
            buffer.fill(1.5);
            assert!(buffer.iter().all(|value| *value == 1.5));
        }
    }

    #[test]
    #[should_panic(expected = "more than any memory holds")]
    fn a_buffer_larger_than_all_memory_is_refused() {
        Buffer::<f32>::new(1 << 62);
    }

    #[test]
    fn memory_is_used_again_but_not_for_much_smaller_buffers() {
        // A size that no other test has blocks of, nor an eighth of it.
        let lines = 3_333_333;
        let mut block = vec![Line([0; 64]); lines];
        block[1].0[5] = 77;
        let address = block.as_ptr();
        drop(Buffer::<f32> { block, len: 0, element: PhantomData });
        assert!(take(lines / 9).is_none_or(|other| other.as_ptr() != address));
        let again = take(lines - 1000).unwrap();
        assert_eq!((again.as_ptr(), again.len(), again[1].0[5]), (address, lines, 77));
        drop(Buffer::<f32> { block: again, len: 0, element: PhantomData });
    }
}
