//! What a device can do, and the sizes of what it is given.

/// Threads that run in step.
pub(crate) const WARP: usize = 32;
/// Threads of a block of a kernel that does one step, a loss' or the optimizer's.
pub(crate) const STEP_BLOCK: usize = 256;

/// What a device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    /// Bytes of shared memory that a block may ask for (`cudaDevAttrMaxSharedMemoryPerBlockOptin`).
    pub(crate) shared_bytes: usize,
    /// Blocks that run side by side: multiprocessors.
    pub(crate) multiprocessors: usize,
    /// Blocks of a grid at most.
    pub(crate) max_grid: usize,
    /// Blocks of 256 threads that may wait for each other in a launch: multiprocessors, where
    /// launches can be cooperative; 0 elsewhere.
    pub(crate) team_blocks: usize,
    /// Whether there are tensor cores that multiply in tf32 and bf16: compute capability 8.0 or later.
    pub(crate) has_tensor_cores: bool,
    /// Whether the recurrent weights are read from the device's memory rather than held in shared
    /// memory, which is too small for them on Apple's GPUs.
    pub(crate) streams_weights: bool,
}

/// A sweep over the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Backward,
}

/// Sizes of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaunchSize {
    /// Blocks.
    pub(crate) grid: usize,
    /// Threads of a block.
    pub(crate) block: usize,
    /// Bytes of dynamic shared memory of a block.
    pub(crate) shared_bytes: usize,
}

impl LaunchSize {
    /// A thread for each number.
    pub(crate) fn of_numbers(count: usize) -> Self {
        Self { grid: count.div_ceil(STEP_BLOCK), block: STEP_BLOCK, shared_bytes: 0 }
    }
}

/// Cards that plans are tested on.
#[cfg(test)]
pub(super) mod cards {
    use super::DeviceLimits;

    const fn card(kilobytes: usize, multiprocessors: usize) -> DeviceLimits {
        DeviceLimits {
            shared_bytes: kilobytes << 10,
            multiprocessors,
            max_grid: (1 << 31) - 1,
            team_blocks: multiprocessors,
            has_tensor_cores: true,
            streams_weights: false,
        }
    }

    /// T4, A100, RTX 4090, H100, RTX 5090, and what a MIG slice of an H100 leaves.
    pub(in super::super) const CARDS: [DeviceLimits; 6] = [
        DeviceLimits { has_tensor_cores: false, ..card(64, 40) },
        card(163, 108),
        card(99, 128),
        card(227, 132),
        card(99, 170),
        card(227, 16),
    ];

    /// An Apple GPU.
    pub(in super::super) const APPLE: DeviceLimits = DeviceLimits {
        team_blocks: 0,
        has_tensor_cores: false,
        streams_weights: true,
        ..card(32, 32)
    };
}
