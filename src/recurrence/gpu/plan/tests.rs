use super::super::limits::cards::{APPLE, CARDS};
use super::*;

/// Rows that share one read of the recurrent weights.
const ROWS_TOGETHER: usize = 4;
/// H100: 227 KB, 132 multiprocessors.
const H100: DeviceLimits = DeviceLimits {
    shared_bytes: 227 << 10,
    multiprocessors: 132,
    max_grid: (1 << 31) - 1,
    team_blocks: 0,
    has_tensor_cores: true,
    streams_weights: false,
};
/// A consumer Ada card: 99 KB.
const ADA: DeviceLimits = DeviceLimits { shared_bytes: 99 << 10, multiprocessors: 128, ..H100 };

fn dims(batch_size: usize, hidden_size: usize) -> SequenceDims {
    SequenceDims { batch_size, seq_len: 28, input_size: 28, hidden_size, output_size: hidden_size }
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
            assert_eq!(largest(ROWS_TOGETHER), four_rows[index], "{cell:?} {recurrent_dtype:?}");
        }
    }
}

#[test]
fn streamed_weights_leave_shared_memory_to_the_vectors() {
    let apple = DeviceLimits { shared_bytes: 32 << 10, streams_weights: true, ..ADA };
    for (cell, largest) in [(Cell::Tanh, 4096), (Cell::Gru, 1169), (Cell::Lstm, 910)] {
        for recurrent_dtype in [RecurrentDType::F32, RecurrentDType::Bf16] {
            assert_eq!(largest_hidden_size(cell, recurrent_dtype, 1, &apple), largest, "{cell:?}");
        }
    }
    let plan = planned(Cell::Lstm, dims(150, 150), RecurrentDType::F32, &apple);
    let launch = LaunchSize { grid: 75, block: 160, shared_bytes: 2 * 8 * 152 + 2 * 4 * 150 };
    assert_eq!(plan, LaunchPlan::Persistent { rows: 2, launch });
    let takes_one_block = |cell, hidden_size| {
        let plan = planned(cell, dims(64, hidden_size), RecurrentDType::F32, &apple);
        matches!(plan, LaunchPlan::Persistent { .. })
    };
    for cell in [Cell::Tanh, Cell::Gru, Cell::Lstm] {
        assert!(takes_one_block(cell, 511) && !takes_one_block(cell, 512), "{cell:?}");
    }
}

#[test]
fn the_reference_job_is_one_launch_a_sweep_on_a_consumer_card() {
    for sweep in [Sweep::Forward, Sweep::Backward] {
        let plan = plan(Cell::Tanh, &dims(150, 150), 1, RecurrentDType::F32, sweep, &ADA).unwrap();
        let launch = LaunchSize { grid: 75, block: 160, shared_bytes: 2 * 8 * 152 + 4 * 150 * 152 };
        assert_eq!(plan, LaunchPlan::Persistent { rows: 2, launch });
    }
}

/// Holds a plan against what its kernels ask for.
fn check_plan(
    cell: Cell,
    dims: &SequenceDims,
    directions: usize,
    dtype: RecurrentDType,
    sweep: Sweep,
    limits: &DeviceLimits,
) {
    let what = format!("{cell:?} {dims:?} {directions} {dtype:?} {sweep:?} {limits:?}");
    let SequenceDims { batch_size, hidden_size, .. } = *dims;
    let bytes = |rows| shared_bytes(cell, hidden_size, dtype, sweep, rows, limits);
    let is_streamed_too_often = limits.streams_weights && hidden_size >= 512;
    let fits = bytes(1) <= limits.shared_bytes && !is_streamed_too_often;
    let plan = plan(cell, dims, directions, dtype, sweep, limits).unwrap();
    assert_eq!(matches!(plan, LaunchPlan::Persistent { .. }), fits, "{what}");
    match plan {
        LaunchPlan::Persistent { rows, launch } => {
            assert!(launch.grid * rows >= batch_size, "{what}");
            assert!((launch.grid - 1) * rows < batch_size, "{what}");
            assert_eq!(launch.shared_bytes, bytes(rows), "{what}");
            assert!(launch.shared_bytes <= limits.shared_bytes, "{what}");
            let block = launch.block;
            assert!(block % 32 == 0 && block <= MAX_BLOCK && block > 0, "{what}");
            assert!(block >= hidden_size.min(MAX_BLOCK), "{what}");
        }
        LaunchPlan::Team { size, launch } => {
            let TeamSize { products, members, rows, group } = size;
            assert_eq!(launch.grid, directions * batch_size.div_ceil(rows) * members, "{what}");
            assert!(launch.grid <= limits.team_blocks, "{what}");
            assert!(launch.shared_bytes <= limits.shared_bytes, "{what}");
            assert_eq!(launch.block, team_plan::BLOCK, "{what}");
            let tile_rows = if products == RecurrentDType::F32 { 4 } else { 8 };
            assert!(group > 0 && group % tile_rows == 0 && members <= hidden_size, "{what}");
            let is_exact = products == RecurrentDType::F32;
            assert!(is_exact || limits.has_tensor_cores, "{what}");
            let may_be_exact = is_exact && dtype == RecurrentDType::Tf32;
            assert!(products == dtype || may_be_exact, "{what}");
        }
        LaunchPlan::Stepwise { launch } => {
            assert!(launch.grid * launch.block >= batch_size * hidden_size, "{what}");
            assert!((launch.grid - 1) * launch.block < batch_size * hidden_size, "{what}");
            assert_eq!(launch.shared_bytes, 0, "{what}");
        }
    }
}

#[test]
fn every_row_is_in_a_tile_and_no_tile_is_beyond_shared_memory() {
    let small = DeviceLimits { shared_bytes: 48 << 10, ..ADA };
    let cards: Vec<DeviceLimits> = CARDS.into_iter().chain([H100, ADA, small, APPLE]).collect();
    let ways = [1, 2]
        .into_iter()
        .flat_map(|directions| [Sweep::Forward, Sweep::Backward].map(|sweep| (directions, sweep)));
    for cell in [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm] {
        for dtype in [RecurrentDType::F32, RecurrentDType::Tf32, RecurrentDType::Bf16] {
            for (limits, (directions, sweep)) in
                cards.iter().flat_map(|card| ways.clone().map(move |way| (card, way)))
            {
                for batch_size in [1, 2, 31, 132, 133, 1000, 100_000] {
                    for hidden_size in [1, 2, 31, 32, 33, 75, 119, 120, 150, 513, 1024] {
                        let dims = dims(batch_size, hidden_size);
                        check_plan(cell, &dims, directions, dtype, sweep, limits);
                    }
                }
            }
        }
    }
}

#[test]
fn teams_end_where_a_step_by_the_devices_library_is_faster() {
    let [_, _, _, h100, ..] = CARDS;
    let (f32, bf16) = (RecurrentDType::F32, RecurrentDType::Bf16);
    let (forward, backward) = (Sweep::Forward, Sweep::Backward);
    // The largest batch of teams, by arithmetic on paper.
    for (cell, hidden_size, dtype, sweep, largest) in [
        (Cell::Tanh, 2048, f32, forward, 112),
        (Cell::Gru, 1024, f32, forward, 156),
        (Cell::Gru, 1024, f32, backward, 68),
        (Cell::Lstm, 512, f32, forward, 1344),
        (Cell::Lstm, 512, f32, backward, 448),
        (Cell::Lstm, 1024, f32, backward, 58),
        (Cell::Lstm, 1024, bf16, forward, 408),
        (Cell::Lstm, 1024, bf16, backward, 118),
    ] {
        let has_team = |batch_size| {
            let dims = dims(batch_size, hidden_size);
            let plan = plan(cell, &dims, 1, dtype, sweep, &h100).unwrap();
            matches!(plan, LaunchPlan::Team { .. })
        };
        let what = format!("{cell:?} {hidden_size} {dtype:?} {sweep:?}");
        assert!(has_team(largest) && !has_team(largest + 1), "{what}");
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
    let error =
        plan(Cell::Lstm, &projected, 1, RecurrentDType::F32, Sweep::Forward, &H100).unwrap_err();
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
    // The device's library multiplies large batches faster.
    assert!(matches!(planned(50_000, 2048, f32), LaunchPlan::Stepwise { .. }));
    let size = TeamSize { products: f32, members: 8, rows: 4, group: 4 };
    let shared_bytes = 4 * (4 * 512 + 64 * 4 + 4 * 64);
    let launch = LaunchSize { grid: 128, block: team_plan::BLOCK, shared_bytes };
    assert_eq!(planned(64, 512, f32), LaunchPlan::Team { size, launch });
}

#[test]
fn the_plan_chooses_by_precision_on_every_card() {
    let card = |kilobytes: usize, blocks, has_tensor_cores| DeviceLimits {
        shared_bytes: kilobytes << 10,
        multiprocessors: blocks,
        team_blocks: blocks,
        has_tensor_cores,
        ..H100
    };
    let (t4, a100, ada, h100, slice) = (
        card(64, 40, false),
        card(163, 108, true),
        card(99, 128, true),
        card(227, 132, true),
        card(227, 16, true),
    );
    let (f32, tf32, bf16) = (RecurrentDType::F32, RecurrentDType::Tf32, RecurrentDType::Bf16);
    let found = |cell, hidden_size, dtype, sweep, limits: &DeviceLimits| match plan(
        cell,
        &dims(64, hidden_size),
        1,
        dtype,
        sweep,
        limits,
    )
    .unwrap()
    {
        LaunchPlan::Persistent { .. } => "one block",
        LaunchPlan::Stepwise { .. } => "stepwise",
        LaunchPlan::Team { size, .. } => size.products.name(),
    };
    let (forward, backward) = (Sweep::Forward, Sweep::Backward);
    for (cell, hidden_size, sweep, limits, expected) in [
        // One block holds as many numbers in tf32 as in f32, and twice as many in bf16.
        (Cell::Tanh, 240, forward, &h100, ["one block", "one block", "one block"]),
        (Cell::Tanh, 241, forward, &h100, ["f32", "tf32", "one block"]),
        (Cell::Tanh, 337, backward, &h100, ["f32", "tf32", "one block"]),
        (Cell::Tanh, 338, backward, &h100, ["f32", "tf32", "bf16"]),
        (Cell::Tanh, 156, forward, &ada, ["one block", "one block", "one block"]),
        (Cell::Tanh, 157, forward, &ada, ["f32", "tf32", "one block"]),
        (Cell::Tanh, 223, forward, &ada, ["f32", "tf32", "bf16"]),
        // A column of tf32 ends at 2,048 numbers, of others at 4,096.
        (Cell::Lstm, 512, backward, &h100, ["f32", "tf32", "bf16"]),
        (Cell::Lstm, 513, backward, &h100, ["f32", "f32", "bf16"]),
        (Cell::Tanh, 2048, forward, &h100, ["f32", "tf32", "bf16"]),
        (Cell::Tanh, 2049, forward, &h100, ["stepwise", "stepwise", "bf16"]),
        (Cell::Tanh, 4097, forward, &h100, ["stepwise", "stepwise", "stepwise"]),
        // bf16 needs half of the blocks.
        (Cell::Lstm, 1024, forward, &h100, ["f32", "tf32", "bf16"]),
        (Cell::Lstm, 1024, forward, &a100, ["stepwise", "stepwise", "bf16"]),
        (Cell::Lstm, 512, forward, &slice, ["stepwise", "stepwise", "bf16"]),
        // Tensor cores of 7.5 know neither.
        (Cell::Tanh, 512, forward, &t4, ["f32", "f32", "stepwise"]),
        (Cell::Tanh, 178, forward, &t4, ["f32", "f32", "one block"]),
    ] {
        let of = [f32, tf32, bf16].map(|dtype| found(cell, hidden_size, dtype, sweep, limits));
        assert_eq!(of, expected, "{cell:?} {hidden_size} {sweep:?} {limits:?}");
    }
    // Where nothing may wait for another block, and where two directions have half of the blocks each.
    let waitless = DeviceLimits { team_blocks: 0, ..h100 };
    for dtype in [f32, tf32, bf16] {
        assert_eq!(found(Cell::Gru, 512, dtype, forward, &waitless), "stepwise");
        let both = plan(Cell::Lstm, &dims(64, 1024), 2, dtype, forward, &h100).unwrap();
        let has_team = matches!(both, LaunchPlan::Team { .. });
        assert_eq!(has_team, dtype == bf16, "{dtype:?}");
    }
}
