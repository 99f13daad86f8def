//! The bound on memory: an allocator that counts, and ends the process where too much is asked for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that any input may take.
const ANY_INPUT: usize = 64 << 20;
/// How often its own size an input may take on top.
const TIMES: usize = 4;

/// Bytes that are allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The most since the input came.
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// What there may be at most.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The most that any input took; each time that it grows by a tenth, it is printed.
static RECORD: AtomicUsize = AtomicUsize::new(64 << 10);

/// The system's allocator, which counts.
struct Counting;

impl Counting {
    fn add(size: usize) {
        let live = LIVE.fetch_add(size, Relaxed).saturating_add(size);
        PEAK.fetch_max(live, Relaxed);
        let most = MOST.load(Relaxed);
        if live > most {
            // What follows may allocate.
            MOST.store(usize::MAX, Relaxed);
            let over = live - most;
            let _ = writeln!(
                std::io::stderr(),
                "error: an input takes more than {TIMES} times its size and {ANY_INPUT} bytes: \
                 {size} bytes more are {over} too many"
            );
            std::process::abort();
        }
    }
}

// SAFETY: it hands everything on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The system may keep both until the content is copied.
        Self::add(new_size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        System.realloc(at, layout, new_size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        System.dealloc(at, layout);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does `work` for an input of `size` bytes. libFuzzer's own memory, which is C++'s, is not counted.
pub fn bounded<T>(size: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    MOST.store(before + TIMES * size + ANY_INPUT, Relaxed);
    let result = work();
    MOST.store(usize::MAX, Relaxed);
    let peak = PEAK.load(Relaxed) - before;
    if peak > RECORD.load(Relaxed) / 10 * 11 {
        RECORD.store(peak, Relaxed);
        eprintln!("an input of {size} bytes takes {peak} bytes, more than any before");
    }
    result
}
