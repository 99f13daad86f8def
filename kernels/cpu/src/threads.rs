//! Work on rayon's threads, in parts whose number and order of summation are no matter of chance.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

/// Runs `work(index)` for `0..parts`, in any order, on rayon's threads, as [`Crew::for_each`] does; one part on the calling
/// thread.
pub(crate) fn for_each(parts: usize, parallel: bool, work: impl Fn(usize) + Sync) {
    Crew::new(parallel && parts >= 2).for_each(parts, work);
}

/// The threads that share the work of a call.
///
/// Parts differ in length, and one core may be slower than another: a thread that has no part left is idle, and whoever
/// is still at work on a part may cut it in two and hand one half over.
pub(crate) struct Crew {
    threads: usize,
    idle: AtomicUsize,
}

/// The thread that calls, and no other.
pub(crate) static ALONE: Crew = Crew { threads: 1, idle: AtomicUsize::new(0) };

impl Crew {
    /// All threads if `parallel`, else the one that calls.
    pub(crate) fn new(parallel: bool) -> Self {
        Self { threads: if parallel { count() } else { 1 }, idle: AtomicUsize::new(0) }
    }

    /// Runs `work(index)` for `0..parts`, in any order.
    ///
    /// A thread of the pool that calls this takes parts at once, while others are still waking up; any
    /// other thread sleeps meanwhile: with one thread more than cores, idle threads that look for work
    /// take time from those that have it. Which thread takes which part is left to chance, so that a
    /// thread that loses its core delays one part and no more.
    pub(crate) fn for_each(&self, parts: usize, work: impl Fn(usize) + Sync) {
        let next = AtomicUsize::new(0);
        let take_parts = || loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= parts {
                break;
            }
            work(index);
        };
        let busy = self.threads.min(parts);
        #[cfg(feature = "rayon")]
        if self.threads >= 2 && busy > 0 {
            self.idle.store(self.threads - busy, Ordering::Relaxed);
            let take_all = || {
                take_parts();
                self.idle.fetch_add(1, Ordering::Relaxed);
            };
            return rayon::scope(|scope| {
                for _ in 1..busy {
                    scope.spawn(|_| take_all());
                }
                take_all();
            });
        }
        let _ = busy;
        take_parts();
    }

    /// Whether a thread is idle; if so, it is the caller's to give work to by [`both`](Self::both).
    pub(crate) fn claims_idle(&self) -> bool {
        let take_one = |idle: usize| idle.checked_sub(1);
        cfg!(feature = "rayon")
            && self.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_ok()
    }

    /// Runs both, one of them on an idle thread that was claimed. If it has found other work meanwhile, they run one after
    /// the other.
    pub(crate) fn both(&self, first: &(dyn Fn() + Sync), second: &(dyn Fn() + Sync)) {
        // The thread that is done first is idle; when the other is, one of the two goes on, as if it had never stopped.
        let is_one_done = AtomicBool::new(false);
        let run = |work: &(dyn Fn() + Sync)| {
            work();
            if !is_one_done.swap(true, Ordering::Relaxed) {
                self.idle.fetch_add(1, Ordering::Relaxed);
            }
        };
        #[cfg(feature = "rayon")]
        rayon::join(|| run(first), || run(second));
        #[cfg(not(feature = "rayon"))]
        {
            run(first);
            run(second);
        }
    }
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

#[cfg(all(test, feature = "rayon"))]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_thread_without_a_part_takes_over_a_half() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            let crew = Crew::new(true);
            let (done, both_wait) = (Mutex::new(Vec::new()), std::sync::Barrier::new(2));
            let half = |index: usize| {
                // One thread alone would wait here for ever.
                both_wait.wait();
                done.lock().unwrap().push(index);
            };
            crew.for_each(1, |_| {
                assert!(crew.claims_idle() && !crew.claims_idle());
                crew.both(&|| half(0), &|| half(1));
                assert!(crew.claims_idle());
            });
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, [0, 1]);
            assert!(!Crew::new(false).claims_idle() && !ALONE.claims_idle());
        });
    }

    #[test]
    fn no_more_threads_are_idle_than_there_are() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            let crew = Crew::new(true);
            crew.for_each(2, |_| {
                for _ in 0..20_000 {
                    if crew.claims_idle() {
                        crew.both(&std::thread::yield_now, &|| ());
                    }
                    assert!(crew.idle.load(Ordering::Relaxed) < 3);
                }
            });
            assert_eq!(crew.idle.load(Ordering::Relaxed), 3);
        });
    }
}
