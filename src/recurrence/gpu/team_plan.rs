//! How teams are cut: blocks that hold the recurrent weights of a direction together, in registers.
//!
//! kernels/gpu/README.md has the formulas on the kernels' side.

use super::super::{Cell, SequenceDims};
use super::limits::{DeviceLimits, LaunchSize, Sweep, WARP};
use super::plan::RecurrentDType;

/// Threads of a block, as the kernels are compiled for.
pub(crate) const BLOCK: usize = 256;
/// How often a thread polls for a number before it gives up: two seconds, at half a microsecond each. Where tests emulate a GPU,
/// all other threads run between two polls, so that far fewer do, and a number that never comes is told in seconds.
pub(crate) const POLLS: usize =
    if cfg!(all(test, not(any(feature = "cuda", feature = "metal")))) { 1 << 14 } else { 1 << 22 };

/// Cycles from the publishing of a number until another block sees it.
const PUBLISH_CYCLES: usize = 750;
/// Cycles of a read from the cache that blocks share.
const READ_CYCLES: usize = 700;
/// Bytes that a multiprocessor reads from it a cycle.
const BYTES_PER_CYCLE: usize = 26;
/// Cycles of two barriers and the cell, for all rows of a group.
const CELL_CYCLES: usize = 400;
/// What a warp holds of the recurrent weights and how it multiplies, by what it multiplies with.
#[derive(Clone, Copy, Debug)]
struct WarpTile {
    /// Columns that a warp holds.
    columns: usize,
    /// And how many of a column's numbers.
    depth: usize,
    /// Rows of one product; a group is a multiple of it.
    rows: usize,
    /// Numbers of 32 bits in shared memory.
    per_word: usize,
    /// Warps whose products with the loads between them take `product_cycles` together.
    together: usize,
    product_cycles: usize,
    /// Cycles that each warp takes besides, of what all share: shuffles in `f32`, else reads of shared memory.
    warp_cycles: usize,
}

impl WarpTile {
    fn of(products: RecurrentDType) -> Self {
        let exact = Self {
            columns: 8,
            depth: 512,
            rows: 4,
            per_word: 1,
            together: 4,
            product_cycles: 600,
            warp_cycles: 31,
        };
        // Sixteen products that wait for each other, and 16 reads of 512 bytes.
        let tf32 = Self {
            columns: 16,
            depth: 256,
            rows: 8,
            together: BLOCK / WARP,
            product_cycles: 300,
            warp_cycles: 64,
            ..exact
        };
        match products {
            RecurrentDType::F32 => exact,
            RecurrentDType::Tf32 => tf32,
            RecurrentDType::Bf16 => Self { depth: 512, per_word: 2, ..tf32 },
        }
    }

    /// Bytes of a row of `depth` numbers in shared memory.
    fn row_bytes(self, depth: usize) -> usize {
        if self.columns == 8 {
            4 * depth.next_multiple_of(4)
        } else {
            // Chunks of 16 words, so many that neighbouring rows are in other banks.
            4 * ((depth.div_ceil(self.per_word) + 15) / 32 * 32 + 16)
        }
    }
}

/// How a launch is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TeamSize {
    /// What it multiplies with.
    pub(crate) products: RecurrentDType,
    /// Blocks of a team.
    pub(crate) members: usize,
    /// Rows of the batch that a team takes.
    pub(crate) rows: usize,
    /// Rows that it takes at a time, a multiple of 4, and with tensor cores of 8.
    pub(crate) group: usize,
}

/// A sweep that a team shares out.
#[derive(Clone, Copy)]
struct TeamSweep {
    hidden_size: usize,
    tile: WarpTile,
    /// The gates of a unit's columns in a block's part of the recurrent weights.
    gates: usize,
    /// The length of a column.
    depth: usize,
}

impl TeamSweep {
    fn new(cell: Cell, hidden_size: usize, products: RecurrentDType, sweep: Sweep) -> Self {
        let (gates, depth) = match sweep {
            Sweep::Forward => (cell.gates(), hidden_size),
            Sweep::Backward => (1, cell.gates() * hidden_size),
        };
        Self { hidden_size, tile: WarpTile::of(products), gates, depth }
    }

    /// The blocks that share a column.
    fn parts(&self) -> usize {
        self.depth.div_ceil(self.tile.depth)
    }

    /// The most units that a block can own; 0 where a column is too long for it.
    fn most_units(&self) -> usize {
        let warps = BLOCK / WARP / self.parts().max(1);
        // A thread has one unit of one row of a group.
        (warps * self.tile.columns / self.gates).min(BLOCK / self.tile.rows)
    }

    /// Bytes of dynamic shared memory of a block: what is gathered of a group, the parts of its sums, and what the
    /// block's units carry of all rows.
    fn shared_bytes(&self, size: &TeamSize) -> usize {
        let width = self.hidden_size.div_ceil(size.members);
        let sums = self.parts() * self.gates * width * size.group;
        size.group * self.tile.row_bytes(self.depth) + 4 * (sums + size.rows * width)
    }

    /// Cycles of a step of a team, by an estimate that nobody has measured.
    ///
    /// A group of rows is read, multiplied and goes through the cell. What one publishes is on its way while the next is
    /// multiplied; a team with one group waits for it.
    fn step_cycles(&self, size: &TeamSize) -> usize {
        let Self { tile, depth, .. } = self;
        let width = self.hidden_size.div_ceil(size.members);
        let warps = (self.gates * width).div_ceil(tile.columns) * self.parts();
        let product =
            warps.div_ceil(tile.together) * tile.product_cycles + warps * tile.warp_cycles;
        let of_group = |rows: usize| {
            let read = (rows * depth * 4 / BYTES_PER_CYCLE).max(READ_CYCLES);
            read + rows.div_ceil(tile.rows) * product + CELL_CYCLES
        };
        let (whole, rest) = (size.rows / size.group, size.rows % size.group);
        let wait = if size.rows <= size.group { PUBLISH_CYCLES } else { 0 };
        whole * of_group(size.group) + if rest > 0 { of_group(rest) } else { 0 } + wait
    }
}

/// The team whose steps take the fewest cycles, its launch, and the cycles of a step; none where the device has not
/// enough blocks or lacks the tensor cores, or a block has not enough shared memory.
///
/// - `products`: what it multiplies with
pub(crate) fn team_plan(
    cell: Cell,
    dims: &SequenceDims,
    directions: usize,
    products: RecurrentDType,
    sweep: Sweep,
    limits: &DeviceLimits,
) -> Option<(TeamSize, LaunchSize, usize)> {
    if products != RecurrentDType::F32 && !limits.has_tensor_cores {
        return None;
    }
    let SequenceDims { batch_size, hidden_size, .. } = *dims;
    let sweep = TeamSweep::new(cell, hidden_size, products, sweep);
    let tile_rows = sweep.tile.rows;
    let blocks = limits.team_blocks / directions;
    // Wide ones first: of two that are as fast, that with fewer blocks.
    let widths = (1..=sweep.most_units().min(hidden_size)).rev();
    let candidates = widths.filter_map(|width| {
        let members = hidden_size.div_ceil(width);
        let teams = (blocks / members).min(batch_size);
        if teams == 0 || hidden_size.div_ceil(members) != width {
            return None;
        }
        let rows = batch_size.div_ceil(teams);
        let most = (BLOCK / width).min(rows.next_multiple_of(tile_rows));
        let groups = (1..=most / tile_rows).rev().map(|groups| groups * tile_rows);
        let mut sizes = groups.map(|group| TeamSize { products, members, rows, group });
        let size = sizes.find(|size| sweep.shared_bytes(size) <= limits.shared_bytes)?;
        let grid = directions * batch_size.div_ceil(rows) * members;
        let launch = LaunchSize { grid, block: BLOCK, shared_bytes: sweep.shared_bytes(&size) };
        Some((size, launch, sweep.step_cycles(&size)))
    });
    candidates.min_by_key(|(_, _, cycles)| *cycles)
}

#[cfg(test)]
mod tests {
    use super::super::limits::cards::CARDS;
    use super::*;

    const CELLS: [Cell; 4] = [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm];

    const F32: RecurrentDType = RecurrentDType::F32;
    const DTYPES: [RecurrentDType; 3] = [F32, RecurrentDType::Tf32, RecurrentDType::Bf16];

    fn dims(batch_size: usize, hidden_size: usize) -> SequenceDims {
        SequenceDims {
            batch_size,
            seq_len: 28,
            input_size: 28,
            hidden_size,
            output_size: hidden_size,
        }
    }

    /// The corners of every count: one, a warp, 256 and 512 of K, the batch and one beside them.
    const HIDDEN: [usize; 24] = [
        1, 2, 3, 8, 31, 32, 33, 64, 65, 127, 128, 129, 150, 256, 257, 512, 513, 768, 1024, 1025,
        2048, 2049, 4096, 4097,
    ];
    const BATCHES: [usize; 10] = [1, 2, 3, 4, 5, 64, 132, 133, 1000, 100_000];

    #[test]
    fn every_unit_and_row_has_a_block_and_all_fit_at_once() {
        let dtypes = DTYPES.into_iter().flat_map(|dtype| CARDS.map(|card| (dtype, card)));
        for (cell, (products, limits)) in
            CELLS.into_iter().flat_map(|cell| dtypes.clone().map(move |of| (cell, of)))
        {
            let tile = WarpTile::of(products);
            for (hidden_size, batch_size) in
                HIDDEN.into_iter().flat_map(|hidden| BATCHES.map(|batch| (hidden, batch)))
            {
                for (directions, sweep) in
                    [1, 2].into_iter().flat_map(|d| [(d, Sweep::Forward), (d, Sweep::Backward)])
                {
                    let dims = dims(batch_size, hidden_size);
                    let Some((size, launch, cycles)) =
                        team_plan(cell, &dims, directions, products, sweep, &limits)
                    else {
                        continue;
                    };
                    let what = format!(
                        "{cell:?} {products:?} {sweep:?} {dims:?} {directions} {limits:?} {size:?}"
                    );
                    let width = hidden_size.div_ceil(size.members);
                    // No member is without units, none has more than its warps have columns.
                    assert!(width * (size.members - 1) < hidden_size, "{what}");
                    let TeamSweep { gates, depth, .. } =
                        TeamSweep::new(cell, hidden_size, products, sweep);
                    let side_by_side = BLOCK / WARP / depth.div_ceil(tile.depth);
                    assert!((gates * width).div_ceil(tile.columns) <= side_by_side, "{what}");
                    assert!(size.group % tile.rows == 0 && size.group * width <= BLOCK, "{what}");
                    assert!(size.group < size.rows + tile.rows, "{what}");
                    let teams = batch_size.div_ceil(size.rows);
                    assert_eq!(launch.grid, directions * teams * size.members, "{what}");
                    assert!(launch.grid <= limits.team_blocks, "{what}");
                    assert!(launch.shared_bytes <= limits.shared_bytes, "{what}");
                    assert!(launch.block == BLOCK && cycles > 0, "{what}");
                }
            }
        }
    }

    #[test]
    fn weights_beyond_all_blocks_have_no_team() {
        let none = |cell, hidden_size, limits: &DeviceLimits| {
            team_plan(cell, &dims(8, hidden_size), 1, F32, Sweep::Forward, limits).is_none()
        };
        let [t4, a100, _, h100, _, slice] = CARDS;
        // 32,768 numbers a block: 132 of them hold 1,024 units of an lstm, 108 do not.
        assert!(!none(Cell::Lstm, 1024, &h100) && none(Cell::Lstm, 1024, &a100));
        assert!(!none(Cell::Tanh, 1024, &t4) && none(Cell::Gru, 1024, &t4));
        assert!(!none(Cell::Tanh, 512, &slice) && none(Cell::Lstm, 512, &slice));
        // A column of more than 4,096 is longer than a block.
        assert_eq!(TeamSweep::new(Cell::Tanh, 4096, F32, Sweep::Forward).most_units(), 8);
        assert_eq!(TeamSweep::new(Cell::Tanh, 4097, F32, Sweep::Forward).most_units(), 0);
        assert_eq!(TeamSweep::new(Cell::Lstm, 1025, F32, Sweep::Backward).most_units(), 0);
        // Both directions have blocks of their own.
        let both = |hidden_size| {
            team_plan(Cell::Lstm, &dims(8, hidden_size), 2, F32, Sweep::Forward, &h100).is_none()
        };
        assert!(!both(512) && both(1024));
        let waitless = DeviceLimits { team_blocks: 0, ..h100 };
        assert!(none(Cell::Tanh, 300, &waitless));
    }

    #[test]
    fn a_team_has_the_fewest_blocks_that_hold_its_weights() {
        // Forward and backward, in f32, tf32 and bf16; none where a column is longer than a block.
        for (cell, hidden_size, members) in [
            (Cell::Tanh, 256usize, [(4, 4), (8, 8), (8, 8)]),
            (Cell::Tanh, 512, [(8, 8), (16, 16), (16, 16)]),
            (Cell::Gru, 512, [(25, 32), (25, 32), (16, 16)]),
            (Cell::Lstm, 512, [(32, 32), (32, 32), (16, 16)]),
            (Cell::Gru, 768, [(77, 96), (77, 0), (37, 48)]),
            (Cell::Tanh, 1024, [(32, 32), (32, 32), (32, 32)]),
            (Cell::Gru, 1024, [(103, 128), (103, 0), (49, 64)]),
            (Cell::Lstm, 1024, [(128, 128), (128, 0), (64, 64)]),
            (Cell::Tanh, 2048, [(128, 128), (128, 128), (64, 64)]),
        ] {
            for (products, (forward, backward)) in DTYPES.into_iter().zip(members) {
                for (sweep, members) in [(Sweep::Forward, forward), (Sweep::Backward, backward)] {
                    let most = TeamSweep::new(cell, hidden_size, products, sweep).most_units();
                    let fewest = if most > 0 { hidden_size.div_ceil(most) } else { 0 };
                    assert_eq!(fewest, members, "{cell:?} {hidden_size} {products:?} {sweep:?}");
                }
            }
        }
    }
}
