//! Work on rayon's threads, in parts whose number and order of summation are no matter of chance.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::gemm::layout::split;
use crate::simd::vector::Element;
use crate::view::SharedSlice;
use crate::SequenceDims;

/// Below so many floating-point operations threads cost more than they bring.
const MIN_PARALLEL_FLOPS: usize = 1_000_000;

/// Runs `work(first, size)` for the parts of `0..n`, as [`for_each`] does.
pub(crate) fn for_each_part(
    n: usize,
    parts: usize,
    parallel: bool,
    work: impl Fn(usize, usize) + Sync,
) {
    for_each(parts, parallel, |index| {
        let (first, size) = split(n, parts, index);
        work(first, size);
    });
}

/// Runs `work(index)` for `0..parts`, in any order, on rayon's threads.
///
/// A thread of the pool that calls this takes parts at once, while others are still waking up; any
/// other thread sleeps meanwhile: with one thread more than cores, idle threads that look for work
/// take time from those that have it. Which thread takes which part is left to chance, so that a
/// thread that loses its core delays one part and no more.
pub(crate) fn for_each(parts: usize, parallel: bool, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let take_parts = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= parts {
            break;
        }
        work(index);
    };
    let threads = if parallel { count().min(parts) } else { 1 };
    #[cfg(feature = "rayon")]
    if threads >= 2 {
        return rayon::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| take_parts());
            }
            take_parts();
        });
    }
    let _ = threads;
    take_parts();
}

/// The number of threads: of rayon's pool, or 1 without rayon.
pub(crate) fn count() -> usize {
    #[cfg(feature = "rayon")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "rayon"))]
    1
}

/// Whether a call has work for several threads: so many elements of packed weights are used at every
/// step of every row.
pub(crate) fn is_large(dims: &SequenceDims, packed_len: usize) -> bool {
    2 * dims.batch_size * dims.seq_len * packed_len > MIN_PARALLEL_FLOPS
}

/// `total[i] = Σ terms[group][i]`, the groups in order.
pub(crate) fn add_up<E: Element>(terms: &[E], total: &mut [E], parallel: bool) {
    const PIECE: usize = 4096;
    let len = total.len();
    let shared = SharedSlice::new(total);
    let parts = if terms.len() > len { len.div_ceil(PIECE) } else { 1 };
    for_each_part(len, parts, parallel, |first, size| {
        // SAFETY: the parts are disjoint ranges of `total`.
        let total = unsafe { shared.part(first, size).slice(size) };
        for group in terms.chunks_exact(len) {
            for (sum, term) in total.iter_mut().zip(&group[first..]) {
                *sum = *sum + *term;
            }
        }
    });
}
