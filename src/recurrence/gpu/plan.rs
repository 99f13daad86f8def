//! Launch plans for the device kernels of `kernels/gpu/`: pure functions of sizes and limits, compiled and
//! tested everywhere.
//!
//! kernels/gpu/README.md has the formulas on the kernels' side. Launches on a device take these plans, and so
//! does the kernels' emulation on the CPU.

use super::super::{Cell, SequenceDims};
pub(crate) use super::limits::{DeviceLimits, LaunchSize, Sweep, STEP_BLOCK, WARP};
pub use super::precision::RecurrentDType;
use super::team_plan::{self, TeamSize};
use crate::{Error, Result};

/// Threads of a block at most, as the kernels are compiled for.
pub(crate) const MAX_BLOCK: usize = 512;
/// What a step of the stepwise variant takes at least beside its product, in cycles: 22 µs at 1.8 GHz, the least that was
/// measured (docs/gpu.md) with the host's path of then, more calls of the driver a step than the two of today, which are expected to
/// take 9 to 16 µs. So the plan may take teams where steps are ahead, near the crossing; what a card measures with teams
/// turned off is to set it.
const STEPWISE_CYCLES: usize = 40_000;
/// The fewest units for which weights that would be streamed anew at every step are multiplied stepwise instead. On an M3
/// Max, on paper, a step streams 512 units in 34 µs, where two launches take 5: docs/gpu.md.
const STEPWISE_UNITS: usize = 512;

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
/// The persistent variant is taken wherever the recurrent weights fit into a block's shared memory, or are streamed
/// and fewer than [`STEPWISE_UNITS`] units have them. Its
/// tile is the smallest that leaves no multiprocessor with two blocks while others have one, and no
/// larger than shared memory holds. Beyond, teams are taken where the device's blocks can hold the recurrent weights
/// and a step by teams takes fewer cycles than one of the stepwise variant, by the formulas here and in [`team_plan`]:
/// those of the precision, or for tf32 the exact ones where they take fewer cycles.
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
    let is_streamed_too_often = limits.streams_weights && hidden_size >= STEPWISE_UNITS;
    let plan = if bytes(1) <= limits.shared_bytes && !is_streamed_too_often {
        let wanted = batch_size.div_ceil(limits.multiprocessors.max(1)).max(1);
        let fitting = (1..=wanted).rev().find(|rows| bytes(*rows) <= limits.shared_bytes);
        let rows = fitting.unwrap_or(1);
        let grid = batch_size.div_ceil(rows);
        LaunchPlan::Persistent {
            rows,
            launch: LaunchSize { grid, block, shared_bytes: bytes(rows) },
        }
    } else if let Some(team) = teams_ahead(cell, dims, directions, recurrent_dtype, sweep, limits) {
        team
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
) -> Option<LaunchPlan> {
    let candidates: &[RecurrentDType] = match recurrent_dtype {
        RecurrentDType::F32 => &[RecurrentDType::F32],
        // Of two that are as fast, the exact one.
        RecurrentDType::Tf32 => &[RecurrentDType::F32, RecurrentDType::Tf32],
        RecurrentDType::Bf16 => &[RecurrentDType::Bf16],
    };
    let of = |products: &RecurrentDType| {
        team_plan::team_plan(cell, dims, directions, *products, sweep, limits)
    };
    let teams = candidates.iter().filter_map(of);
    let (size, launch, cycles) = teams.min_by_key(|(_, _, cycles)| *cycles)?;
    let of_a_step = dims.batch_size * cell.gates() * dims.hidden_size * dims.hidden_size;
    let multiprocessors = limits.multiprocessors.max(1);
    let product = of_a_step / (recurrent_dtype.products_per_10_cycles() * multiprocessors) * 10;
    // One direction after the other.
    (cycles < directions * (STEPWISE_CYCLES + product)).then_some(LaunchPlan::Team { size, launch })
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
mod tests;
