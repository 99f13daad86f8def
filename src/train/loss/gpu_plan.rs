//! How the launches of a loss are cut.

use crate::recurrence::gpu::plan::{DeviceLimits, LaunchSize, MAX_BLOCK, STEP_BLOCK, WARP};

/// Features of a chunk of h and of the weights that a block holds at a time; kernels/gpu/loss.h has the same.
const CHUNK: usize = 32;
/// Classes of a thread there.
const CLASSES: usize = 4;
/// The most classes and rows of a fused head: beyond, the device's library multiplies faster.
const MAX_CLASSES: usize = 64;
const MAX_ROWS: usize = 1024;
/// What a block gets without asking.
const SHARED_BYTES: usize = 48 << 10;
/// The fewest rows of a block, where there are several: each reads all weights.
const MIN_TILE: usize = 16;
/// Times that a block's threads are used before there is a second block, whose sum takes another launch.
const PASSES: usize = 4;

/// The launch of a dense head with its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadPlan {
    /// Rows of a block.
    pub(super) tile: usize,
    pub(super) launch: LaunchSize,
}

impl HeadPlan {
    /// One block where it can hold all rows, else as many as the device runs at once; `None` for a head that the kernel
    /// is not for.
    pub(super) fn new(rows: usize, classes: usize, limits: &DeviceLimits) -> Option<Self> {
        if classes == 0 || classes > MAX_CLASSES || rows == 0 || rows > MAX_ROWS {
            return None;
        }
        let width = classes.next_multiple_of(CLASSES);
        let threads_of_a_row = width / CLASSES;
        let numbers = limits.shared_bytes.min(SHARED_BYTES) / 4;
        // A chunk of inputs and their padding, the logits and theirs, and the loss.
        let of_a_row = (CHUNK + 1) + (width + 1) + 1;
        let fitting = numbers.checked_sub(CHUNK * width)? / of_a_row;
        let most = fitting.min(MAX_BLOCK / threads_of_a_row);
        if most == 0 {
            return None;
        }
        let tile = if rows <= most {
            rows
        } else {
            rows.div_ceil(limits.multiprocessors.max(1)).clamp(MIN_TILE.min(most), most)
        };
        let block = (tile * threads_of_a_row).next_multiple_of(WARP);
        let shared_bytes = 4 * (CHUNK * width + tile * of_a_row);
        Some(Self { tile, launch: LaunchSize { grid: rows.div_ceil(tile), block, shared_bytes } })
    }
}

/// The launch of the loss of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogitsPlan {
    /// Rows of a block.
    pub(super) tile: usize,
    /// Threads of a row, a power of two.
    pub(super) lanes: usize,
    pub(super) launch: LaunchSize,
}

impl LogitsPlan {
    /// One block for few rows, else one for as many as it takes at a time.
    pub(super) fn new(rows: usize, classes: usize) -> Self {
        let lanes = classes.next_power_of_two().min(WARP);
        let at_once = STEP_BLOCK / lanes;
        let tile = if rows <= PASSES * at_once { rows } else { at_once };
        let block = (tile.min(at_once) * lanes).next_multiple_of(WARP);
        let (grid, shared_bytes) = (rows.div_ceil(tile.max(1)), 4 * (block + tile));
        Self { tile, lanes, launch: LaunchSize { grid, block, shared_bytes } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(shared_bytes: usize, multiprocessors: usize) -> DeviceLimits {
        DeviceLimits {
            shared_bytes,
            multiprocessors,
            max_grid: 1 << 30,
            team_blocks: 0,
            has_tensor_cores: false,
            streams_weights: false,
        }
    }

    #[test]
    fn a_head_of_the_reference_job_is_one_block() {
        // An H100, and an Apple GPU.
        for limits in [limits(227 << 10, 132), limits(32 << 10, 32)] {
            let launch = LaunchSize { grid: 1, block: 480, shared_bytes: 4 * (384 + 150 * 47) };
            assert_eq!(HeadPlan::new(150, 10, &limits), Some(HeadPlan { tile: 150, launch }));
        }
    }

    #[test]
    fn every_row_of_a_head_is_in_a_tile_that_fits() {
        for shared_bytes in [32 << 10, 99 << 10, 227 << 10] {
            for rows in [1, 2, 150, 171, 512, 1000, 1024] {
                for classes in [1, 4, 5, 10, 63, 64] {
                    let plan = HeadPlan::new(rows, classes, &limits(shared_bytes, 132)).unwrap();
                    let HeadPlan { tile, launch } = plan;
                    assert!(launch.grid * tile >= rows && (launch.grid - 1) * tile < rows);
                    assert!(launch.shared_bytes <= shared_bytes.min(48 << 10), "{plan:?}");
                    let threads = tile * classes.div_ceil(4);
                    assert!((threads..=MAX_BLOCK).contains(&launch.block), "{plan:?}");
                }
            }
        }
        for (rows, classes) in [(1025, 10), (150, 65), (0, 10), (150, 0)] {
            assert_eq!(HeadPlan::new(rows, classes, &limits(227 << 10, 132)), None);
        }
        assert_eq!(HeadPlan::new(1, 10, &limits(16, 132)), None);
    }

    #[test]
    fn every_row_of_logits_is_in_a_block() {
        for rows in [1, 7, 64, 65, 150, 8192] {
            for classes in [1, 2, 10, 32, 33, 5000] {
                let plan = LogitsPlan::new(rows, classes);
                let LogitsPlan { tile, lanes, launch } = plan;
                assert!(launch.grid * tile >= rows && (launch.grid - 1) * tile < rows, "{plan:?}");
                assert!(lanes.is_power_of_two() && lanes < 2 * classes && lanes <= 32);
                assert!(launch.block % lanes == 0 && launch.block <= STEP_BLOCK, "{plan:?}");
                assert_eq!(launch.shared_bytes, 4 * (launch.block + tile));
            }
        }
        assert_eq!(LogitsPlan::new(64, 10).launch.grid, 1);
    }
}
