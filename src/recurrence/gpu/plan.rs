//! Launch plans for the device kernels of `kernels/gpu/`: pure functions of sizes and limits, compiled and
//! tested everywhere.
//!
//! kernels/gpu/README.md has the formulas on the kernels' side. Launches on a device take these plans, and so
//! does the kernels' emulation on the CPU.

use super::super::{Cell, SequenceDims};
use super::limits::WARP;
pub(crate) use super::limits::{DeviceLimits, LaunchSize, Sweep};
use super::team_plan::{self, TeamSize};
use crate::{Error, Result};

/// Threads of a block at most, as the kernels are compiled for.
pub(crate) const MAX_BLOCK: usize = 512;
/// Threads of a block of a kernel that does one step, or the optimizer's.
pub(crate) const STEP_BLOCK: usize = 256;
/// What a step of the stepwise variant takes at least beside its product, in cycles: 22 µs at 1.8 GHz, the least
/// that docs/gpu.md has measured.
const STEPWISE_CYCLES: usize = 40_000;
/// Multiply-adds of a multiprocessor in 10 cycles, at 70 per cent of what it can.
const PRODUCTS_PER_10_CYCLES: usize = 900;

/// How the recurrent weights are kept on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecurrentDType {
    /// 4 bytes.
    #[default]
    F32,
    /// 2 bytes; states are `f32`, and so are sums, but for those of a stepwise sweep's products, which
    /// the device's library gives in bf16.
    Bf16,
}

impl RecurrentDType {
    /// Bytes of a number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// What kernels' names end with.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// How a sweep is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaunchPlan {
    /// One launch: a block takes `rows` rows of the batch through all steps, with the recurrent weights
    /// in shared memory.
    Persistent {
        /// Rows of a block's tile.
        rows: usize,
        /// The launch.
        launch: LaunchSize,
    },
    /// One launch for all directions: teams of blocks hold the recurrent weights together, in registers, and
    /// hand each other what a step reads.
    Team {
        /// How the launch is cut.
        size: TeamSize,
        /// The launch.
        launch: LaunchSize,
    },
    /// Two launches a step: a matrix product of the device's own library, and a kernel for the rest of
    /// the step.
    Stepwise {
        /// Of the kernel.
        launch: LaunchSize,
    },
}

/// The file of kernels that a cell has, and so what their names begin with.
///
/// # Errors
/// [`Error::Config`] for a cell or a projection that has no device kernels.
pub(crate) fn kernel_family(cell: Cell, has_projection: bool) -> Result<&'static str> {
    match (cell, has_projection) {
        (Cell::Tanh | Cell::Relu, false) => Ok("rnn"),
        (Cell::Gru, false) => Ok("gru"),
        (Cell::Lstm, false) => Ok("lstm"),
        (Cell::Lstm, true) => Err(Error::Config(
            "an lstm with a projection has no device kernels: it runs step by step, or on the CPU"
                .into(),
        )),
        (cell, _) => Err(Error::Config(format!(
            "{} has no device kernels: it runs step by step, or on the CPU",
            cell.name()
        ))),
    }
}

/// Plans a sweep.
///
/// The persistent variant is taken wherever the recurrent weights fit into a block's shared memory. Its
/// tile is the smallest that leaves no multiprocessor with two blocks while others have one, and no
/// larger than shared memory holds. Beyond, teams are taken where the device's blocks can hold the recurrent weights,
/// in `f32`, and a step by teams takes fewer cycles than one of the stepwise variant, by the formulas here and in
/// [`team_plan`].
///
/// # Errors
/// [`Error::Config`] when the cell has no device kernels, or the batch is more than a grid can hold.
pub(crate) fn plan(
    cell: Cell,
    dims: &SequenceDims,
    directions: usize,
    recurrent_dtype: RecurrentDType,
    sweep: Sweep,
    limits: &DeviceLimits,
) -> Result<LaunchPlan> {
    kernel_family(cell, dims.output_size != dims.hidden_size)?;
    let SequenceDims { batch_size, hidden_size, .. } = *dims;
    let bytes = |rows: usize| shared_bytes(cell, hidden_size, recurrent_dtype, sweep, rows, limits);
    let block = hidden_size.next_multiple_of(WARP).min(MAX_BLOCK);
    let plan = if bytes(1) <= limits.shared_bytes {
        let wanted = batch_size.div_ceil(limits.multiprocessors.max(1)).max(1);
        let fitting = (1..=wanted).rev().find(|rows| bytes(*rows) <= limits.shared_bytes);
        let rows = fitting.unwrap_or(1);
        let grid = batch_size.div_ceil(rows);
        LaunchPlan::Persistent {
            rows,
            launch: LaunchSize { grid, block, shared_bytes: bytes(rows) },
        }
    } else if let Some((size, launch)) =
        teams_ahead(cell, dims, directions, recurrent_dtype, sweep, limits)
    {
        LaunchPlan::Team { size, launch }
    } else {
        let grid = (batch_size * hidden_size).div_ceil(STEP_BLOCK);
        LaunchPlan::Stepwise { launch: LaunchSize { grid, block: STEP_BLOCK, shared_bytes: 0 } }
    };
    let (LaunchPlan::Persistent { launch, .. }
    | LaunchPlan::Team { launch, .. }
    | LaunchPlan::Stepwise { launch }) = plan;
    if launch.grid > limits.max_grid {
        return Err(Error::Config(format!(
            "a batch of {batch_size} rows of {hidden_size} units needs {} blocks, the device has {} \
             at most: make the batch smaller",
            launch.grid, limits.max_grid
        )));
    }
    Ok(plan)
}

/// Teams, where they are ahead of the stepwise variant.
fn teams_ahead(
    cell: Cell,
    dims: &SequenceDims,
    directions: usize,
    recurrent_dtype: RecurrentDType,
    sweep: Sweep,
    limits: &DeviceLimits,
) -> Option<(TeamSize, LaunchSize)> {
    if recurrent_dtype != RecurrentDType::F32 {
        return None;
    }
    let (size, launch, cycles) = team_plan::team_plan(cell, dims, directions, sweep, limits)?;
    let products = dims.batch_size * cell.gates() * dims.hidden_size * dims.hidden_size;
    let multiprocessors = limits.multiprocessors.max(1);
    let product = products / (PRODUCTS_PER_10_CYCLES * multiprocessors) * 10;
    // One direction after the other.
    (cycles < directions * (STEPWISE_CYCLES + product)).then_some((size, launch))
}

/// Bytes of dynamic shared memory of a block of the persistent variant: two tiles of vectors, the
/// recurrent weights unless they are streamed, and what units of a gru or lstm carry apart.
pub(crate) fn shared_bytes(
    cell: Cell,
    hidden_size: usize,
    recurrent_dtype: RecurrentDType,
    sweep: Sweep,
    rows: usize,
    limits: &DeviceLimits,
) -> usize {
    let gates = cell.gates() * hidden_size;
    let (outputs, inputs) = match sweep {
        Sweep::Forward => (gates, hidden_size),
        Sweep::Backward => (hidden_size, gates),
    };
    let depth = inputs.next_multiple_of(4);
    let carried = if cell.gates() > 1 { 4 * rows * hidden_size } else { 0 };
    let weights =
        if limits.streams_weights { 0 } else { recurrent_dtype.bytes() * outputs * depth };
    8 * rows * depth + weights + carried
}

#[cfg(test)]
/// The largest H of the persistent variant, forward and backward, with tiles of `rows` rows.
pub(crate) fn largest_hidden_size(
    cell: Cell,
    recurrent_dtype: RecurrentDType,
    rows: usize,
    limits: &DeviceLimits,
) -> usize {
    let fits = |hidden_size: &usize| {
        [Sweep::Forward, Sweep::Backward].into_iter().all(|sweep| {
            shared_bytes(cell, *hidden_size, recurrent_dtype, sweep, rows, limits)
                <= limits.shared_bytes
        })
    };
    (1..1 << 16).take_while(fits).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that share one read of the recurrent weights.
    const ROWS_TOGETHER: usize = 4;
    /// H100: 227 KB, 132 multiprocessors.
    const H100: DeviceLimits = DeviceLimits {
        shared_bytes: 227 << 10,
        multiprocessors: 132,
        max_grid: (1 << 31) - 1,
        team_blocks: 0,
        streams_weights: false,
    };
    /// A consumer Ada card: 99 KB.
    const ADA: DeviceLimits = DeviceLimits { shared_bytes: 99 << 10, multiprocessors: 128, ..H100 };

    fn dims(batch_size: usize, hidden_size: usize) -> SequenceDims {
        SequenceDims {
            batch_size,
            seq_len: 28,
            input_size: 28,
            hidden_size,
            output_size: hidden_size,
        }
    }

    fn planned(
        cell: Cell,
        dims: SequenceDims,
        recurrent_dtype: RecurrentDType,
        limits: &DeviceLimits,
    ) -> LaunchPlan {
        plan(cell, &dims, 1, recurrent_dtype, Sweep::Forward, limits).unwrap()
    }

    #[test]
    fn the_largest_persistent_sizes_are_those_of_the_kernels_readme() {
        let table = [
            (Cell::Tanh, RecurrentDType::F32, [126, 156, 202, 240], [124, 154, 200, 236]),
            (Cell::Relu, RecurrentDType::Bf16, [178, 222, 285, 337], [172, 216, 280, 332]),
            (Cell::Gru, RecurrentDType::F32, [72, 90, 116, 137], [69, 86, 113, 134]),
            (Cell::Gru, RecurrentDType::Bf16, [101, 127, 164, 194], [95, 120, 157, 187]),
            (Cell::Lstm, RecurrentDType::F32, [62, 78, 100, 119], [59, 75, 97, 116]),
            (Cell::Lstm, RecurrentDType::Bf16, [88, 110, 142, 168], [81, 103, 135, 161]),
        ];
        for (cell, recurrent_dtype, one_row, four_rows) in table {
            for (index, kilobytes) in [64, 99, 163, 227].into_iter().enumerate() {
                let limits = DeviceLimits { shared_bytes: kilobytes << 10, ..H100 };
                let largest = |rows| largest_hidden_size(cell, recurrent_dtype, rows, &limits);
                assert_eq!(largest(1), one_row[index], "{cell:?} {recurrent_dtype:?} {kilobytes}");
                assert_eq!(
                    largest(ROWS_TOGETHER),
                    four_rows[index],
                    "{cell:?} {recurrent_dtype:?}"
                );
            }
        }
    }

    #[test]
    fn streamed_weights_leave_shared_memory_to_the_vectors() {
        let apple = DeviceLimits { shared_bytes: 32 << 10, streams_weights: true, ..ADA };
        for (cell, largest) in [(Cell::Tanh, 4096), (Cell::Gru, 1169), (Cell::Lstm, 910)] {
            for recurrent_dtype in [RecurrentDType::F32, RecurrentDType::Bf16] {
                assert_eq!(
                    largest_hidden_size(cell, recurrent_dtype, 1, &apple),
                    largest,
                    "{cell:?}"
                );
            }
        }
        let plan = planned(Cell::Lstm, dims(150, 150), RecurrentDType::F32, &apple);
        let launch = LaunchSize { grid: 75, block: 160, shared_bytes: 2 * 8 * 152 + 2 * 4 * 150 };
        assert_eq!(plan, LaunchPlan::Persistent { rows: 2, launch });
    }

    #[test]
    fn the_reference_job_is_one_launch_a_sweep_on_a_consumer_card() {
        for sweep in [Sweep::Forward, Sweep::Backward] {
            let plan =
                plan(Cell::Tanh, &dims(150, 150), 1, RecurrentDType::F32, sweep, &ADA).unwrap();
            let launch =
                LaunchSize { grid: 75, block: 160, shared_bytes: 2 * 8 * 152 + 4 * 150 * 152 };
            assert_eq!(plan, LaunchPlan::Persistent { rows: 2, launch });
        }
    }

    #[test]
    fn every_row_is_in_a_tile_and_no_tile_is_beyond_shared_memory() {
        for cell in [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm] {
            for recurrent_dtype in [RecurrentDType::F32, RecurrentDType::Bf16] {
                for limits in [H100, ADA, DeviceLimits { shared_bytes: 48 << 10, ..ADA }] {
                    for batch_size in [1, 2, 31, 132, 133, 1000, 100_000] {
                        for hidden_size in [1, 2, 31, 32, 33, 75, 119, 120, 150, 513, 1024] {
                            let dims = dims(batch_size, hidden_size);
                            match planned(cell, dims, recurrent_dtype, &limits) {
                                LaunchPlan::Persistent { rows, launch } => {
                                    assert!(launch.grid * rows >= batch_size);
                                    assert!((launch.grid - 1) * rows < batch_size);
                                    assert!(launch.shared_bytes <= limits.shared_bytes);
                                    let block = launch.block;
                                    assert!(block % 32 == 0 && block <= MAX_BLOCK && block > 0);
                                    assert!(block >= hidden_size.min(MAX_BLOCK));
                                }
                                LaunchPlan::Team { .. } => panic!("no blocks wait here"),
                                LaunchPlan::Stepwise { launch } => {
                                    let one = shared_bytes(
                                        cell,
                                        hidden_size,
                                        recurrent_dtype,
                                        Sweep::Forward,
                                        1,
                                        &limits,
                                    );
                                    assert!(one > limits.shared_bytes);
                                    let threads = launch.grid * launch.block;
                                    assert!(threads >= batch_size * hidden_size);
                                    assert_eq!(launch.shared_bytes, 0);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_no_kernel_serves_is_refused_in_words() {
        for cell in [Cell::GruResetBefore, Cell::MinimalGru] {
            let error =
                plan(cell, &dims(1, 8), 1, RecurrentDType::F32, Sweep::Forward, &H100).unwrap_err();
            assert!(error.to_string().contains(cell.name()), "{error}");
        }
        let projected = SequenceDims { output_size: 4, ..dims(1, 8) };
        let error = plan(Cell::Lstm, &projected, 1, RecurrentDType::F32, Sweep::Forward, &H100)
            .unwrap_err();
        assert!(error.to_string().contains("projection"), "{error}");
        let limits = DeviceLimits { max_grid: 10, ..H100 };
        let wide = dims(100_000, 1024);
        let error =
            plan(Cell::Tanh, &wide, 1, RecurrentDType::F32, Sweep::Forward, &limits).unwrap_err();
        assert!(error.to_string().contains("make the batch smaller"), "{error}");
    }

    #[test]
    fn the_plan_takes_one_block_then_teams_then_steps() {
        let h100 = DeviceLimits { team_blocks: 132, ..H100 };
        let planned = |batch_size, hidden_size, dtype| {
            let dims = dims(batch_size, hidden_size);
            plan(Cell::Tanh, &dims, 1, dtype, Sweep::Forward, &h100).unwrap()
        };
        let f32 = RecurrentDType::F32;
        assert!(matches!(planned(64, 240, f32), LaunchPlan::Persistent { .. }));
        assert!(matches!(planned(64, 241, f32), LaunchPlan::Team { .. }));
        assert!(matches!(planned(64, 2048, f32), LaunchPlan::Team { .. }));
        assert!(matches!(planned(64, 4097, f32), LaunchPlan::Stepwise { .. }));
        assert!(matches!(planned(64, 512, RecurrentDType::Bf16), LaunchPlan::Stepwise { .. }));
        // The device's library multiplies large batches faster.
        assert!(matches!(planned(50_000, 2048, f32), LaunchPlan::Stepwise { .. }));
        let size = TeamSize { members: 8, rows: 4, group: 4 };
        let shared_bytes = 4 * (4 * 512 + 64 * 4 + 4 * 64);
        let launch = LaunchSize { grid: 128, block: team_plan::BLOCK, shared_bytes };
        assert_eq!(planned(64, 512, f32), LaunchPlan::Team { size, launch });
    }
}
