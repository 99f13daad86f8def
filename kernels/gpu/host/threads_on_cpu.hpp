// Threads of a block on the CPU and their barrier: fibers, or under a sanitizer, and elsewhere than on Linux, std::threads.
//
// A fiber runs until it waits: thousands of them cost little. Threads are what ThreadSanitizer sees.

#pragma once

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#endif

#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

#if defined(__linux__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define HAS_FIBERS 1
#else
#define HAS_FIBERS 0
#endif

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace on_cpu {

struct Block;

// Where a thread stands.
struct Standing {
    dim3 thread, at;
    Block* block;
    unsigned exchanges;  // of its warp that it took part in
    unsigned polls;      // since it was last at its block's barrier
};

inline thread_local Block* block = nullptr;
inline thread_local unsigned exchanges = 0;
inline thread_local unsigned polls = 0;

inline Standing standing() { return {threadIdx, blockIdx, block, exchanges, polls}; }

inline void stand(const Standing& standing) {
    threadIdx = standing.thread;
    blockIdx = standing.at;
    block = standing.block;
    exchanges = standing.exchanges;
    polls = standing.polls;
}

#if HAS_FIBERS

struct Fiber {
    ucontext_t context;
    Standing standing;
};

// Fibers of one launch, all on this thread.
class Fibers {
   public:
    // Runs body(i) for each i below count until all have ended.
    template <typename Body>
    void run(unsigned count, const Body& body) {
        if (stacks.size() < count) {
            grow(count);
        }
        all = std::vector<Fiber>(count);
        entry = [](const void* body, unsigned i) { (*static_cast<const Body*>(body))(i); };
        argument = &body;
        left = count;
        for (unsigned i = 0; i < count; i++) {
            getcontext(&all[i].context);
            all[i].context.uc_stack.ss_sp = stacks[i];
            all[i].context.uc_stack.ss_size = STACK;
            all[i].context.uc_link = nullptr;
            makecontext(&all[i].context, reinterpret_cast<void (*)()>(&Fibers::begin), 1, i);
            wake(&all[i]);
        }
        running = next();
        swapcontext(&outside, &running->context);
        running = nullptr;
    }

    Fiber* now() const { return running; }

    void wake(Fiber* fiber) { ready.push_back(fiber); }

    // Lets others run, until somebody wakes this one.
    void sleep() {
        Fiber* const own = running;
        own->standing = standing();
        running = next();
        if (running != own) {
            swapcontext(&own->context, &running->context);
        }
        stand(own->standing);
    }

    // Lets all others run that can.
    void yield() {
        wake(running);
        sleep();
    }

   private:
    static constexpr size_t STACK = 64 << 10;

    static void begin(unsigned i);

    Fiber* next() {
        if (ready.empty()) {
            std::fprintf(stderr, "launch: threads wait for each other in vain\n");
            std::abort();
        }
        Fiber* const fiber = ready.front();
        ready.pop_front();
        return fiber;
    }

    void grow(size_t count) {
        const size_t more = count - stacks.size();
        void* const at = mmap(nullptr, more * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) {
            std::fprintf(stderr, "launch: no memory for %zu threads\n", count);
            std::abort();
        }
        for (size_t i = 0; i < more; i++) {
            stacks.push_back(static_cast<unsigned char*>(at) + i * STACK);
        }
    }

    std::vector<Fiber> all;
    std::vector<unsigned char*> stacks;
    std::deque<Fiber*> ready;
    Fiber* running = nullptr;
    ucontext_t outside;
    void (*entry)(const void*, unsigned) = nullptr;
    const void* argument = nullptr;
    unsigned left = 0;
};

inline Fibers fibers;

inline void Fibers::begin(unsigned i) {
    fibers.entry(fibers.argument, i);
    if (--fibers.left == 0) {
        setcontext(&fibers.outside);
    }
    fibers.running = fibers.next();
    setcontext(&fibers.running->context);
}

class Barrier {
   public:
    explicit Barrier(unsigned threads) : threads(threads), left(threads) {}

    void arrive_and_wait() {
        if (--left > 0) {
            waiting.push_back(fibers.now());
            fibers.sleep();
            return;
        }
        left = threads;
        for (Fiber* fiber : waiting) {
            fibers.wake(fiber);
        }
        waiting.clear();
    }

   private:
    const unsigned threads;
    unsigned left;
    std::vector<Fiber*> waiting;
};

#else

// With the kernel's futex: std::barrier lets the threads of many barriers wait at one place, and spins first, which
// is slow with thousands of threads.
class Barrier {
   public:
    explicit Barrier(unsigned threads) : threads(threads), left(threads) {}

    void arrive_and_wait() {
        const unsigned before = phase.load(std::memory_order_acquire);
        if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            left.store(threads, std::memory_order_relaxed);
            phase.store(before + 1, std::memory_order_release);
            wake();
            return;
        }
        while (phase.load(std::memory_order_acquire) == before) {
            sleep(before);
        }
    }

   private:
#if defined(__linux__)
    void wake() { syscall(SYS_futex, &phase, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
    void sleep(unsigned before) { syscall(SYS_futex, &phase, FUTEX_WAIT_PRIVATE, before, nullptr, nullptr, 0); }
#else
    void wake() { phase.notify_all(); }
    void sleep(unsigned before) { phase.wait(before, std::memory_order_acquire); }
#endif

    const unsigned threads;
    std::atomic<unsigned> left;
    std::atomic<unsigned> phase = 0;
};

#endif

}  // namespace on_cpu
