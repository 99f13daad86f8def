//! What a layer asks a GPU's driver for, counted by a device that computes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::gpu::gemm::Gemm;
use super::super::gpu::launch::{DriverCall, KernelLaunch};
use super::super::gpu::plan::DeviceLimits;
use super::super::gpu::queue::Launch;
use super::super::{run_layer, Call, Outputs, RecurrentDType};
use super::emulated::{card_of_teams, CARD};
use super::layers::{directions, Layer, Way};
use super::stand_in::{check_arguments, on};
use super::*;

/// A device that counts.
struct Counted {
    limits: DeviceLimits,
    calls: Mutex<Calls>,
}

/// Calls of the driver, by kind, and the kernels that were launched.
#[derive(Clone, Debug, Default)]
struct Calls {
    counts: BTreeMap<DriverCall, usize>,
    kernels: Vec<String>,
}

impl Calls {
    fn of(&self, call: DriverCall) -> usize {
        self.counts.get(&call).copied().unwrap_or(0)
    }

    fn total(&self) -> usize {
        self.counts.values().sum()
    }
}

impl Launch for Counted {
    fn limits(&self) -> DeviceLimits {
        self.limits
    }

    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        check_arguments(call);
        self.note(DriverCall::Launch);
        self.calls.lock().unwrap().kernels.push(call.kernel.clone());
        Ok(())
    }

    fn gemm(&self, gemm: &Gemm) -> candle_core::Result<()> {
        gemm.column_major()?;
        self.note(DriverCall::Product);
        Ok(())
    }

    fn note(&self, call: DriverCall) {
        *self.calls.lock().unwrap().counts.entry(call).or_default() += 1;
    }
}

/// A layer's passes, each followed by what was called until then.
fn passes<C>(
    cell: Cell,
    size: (usize, usize, usize, usize),
    device: &Device,
    mut take: impl FnMut() -> C,
) -> [C; 2] {
    let way = Way::plain(cell);
    let sequences: Vec<Sequence> = directions(way, size, 1).iter().map(rounded).collect();
    let layer = Layer::on(device, &sequences, way, DType::F32);
    let weights = LayerWeights::of_directions(cell, layer.weights()).unwrap();
    take();
    // As a layer below another reads it: the gradient of x is asked for.
    let call = Call::new(Outputs::All);
    let (outputs, _) = run_layer(layer.x.as_tensor(), &weights, &call).unwrap();
    let forward = take();
    outputs.unwrap().sum_all().unwrap().backward().unwrap();
    [forward, take()]
}

/// What the forward and the backward pass of a layer ask for.
fn calls_of(cell: Cell, size: (usize, usize, usize, usize), limits: DeviceLimits) -> [Calls; 2] {
    let device = Arc::new(Counted { limits, calls: Mutex::default() });
    let take = || std::mem::take(&mut *device.calls.lock().unwrap());
    on(device.clone(), || passes(cell, size, &Device::Cpu, take))
}

/// The same of a layer of 70 units, with T steps.
fn calls(cell: Cell, limits: DeviceLimits, seq_len: usize) -> [Calls; 2] {
    calls_of(cell, (6, seq_len, 3, 70), limits)
}

/// The variants, on cards that a layer of 70 units takes them on.
fn variants(cell: Cell) -> [(&'static str, DeviceLimits); 3] {
    let one_block = DeviceLimits { shared_bytes: 227 << 10, ..CARD };
    let stepwise = DeviceLimits { shared_bytes: 16, ..CARD };
    [
        ("one block", one_block),
        ("teams", card_of_teams(cell, 70, 12, RecurrentDType::F32)),
        ("stepwise", stepwise),
    ]
}

const STEPS: usize = 16;

/// The table of docs/gpu.md.
fn table() -> String {
    let mut table = String::from(
        "| variant | cell | sweep | launches | products | allocations | copies, fills | all, T = 16 | more a step |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for cell in [Cell::Tanh, Cell::Gru, Cell::Lstm] {
        for (variant, limits) in variants(cell) {
            let (short, long) = (calls(cell, limits, STEPS), calls(cell, limits, 2 * STEPS));
            for (sweep, [short, long]) in ["forward", "backward"]
                .into_iter()
                .zip([[&short[0], &long[0]], [&short[1], &long[1]]])
            {
                let more = (long.total() - short.total()) as f64 / STEPS as f64;
                table += &format!(
                    "| {variant} | {} | {sweep} | {} | {} | {} | {} | {} | {more} |\n",
                    cell.name(),
                    short.of(DriverCall::Launch),
                    short.of(DriverCall::Product),
                    short.of(DriverCall::Allocation),
                    short.of(DriverCall::Copy) + short.of(DriverCall::Fill),
                    short.total(),
                );
            }
        }
    }
    table
}

#[test]
fn a_step_of_a_sweep_is_at_most_five_calls_of_the_driver() {
    for cell in [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm] {
        for (variant, limits) in variants(cell) {
            let (short, long) = (calls(cell, limits, STEPS), calls(cell, limits, 2 * STEPS));
            for (short, long) in short.iter().zip(&long) {
                let what = format!("{} {variant}: {short:?} {long:?}", cell.name());
                let more = long.total() - short.total();
                // A product and a launch.
                assert_eq!(more, if variant == "stepwise" { 2 * STEPS } else { 0 }, "{what}");
                assert!(long.total() <= 5 * 2 * STEPS, "{what}");
                let family = match variant {
                    "teams" => "team_",
                    "stepwise" => "_step_",
                    _ => "ward_f32",
                };
                assert!(long.kernels.iter().any(|name| name.contains(family)), "{what}");
            }
        }
    }
}

#[test]
fn the_documents_have_the_counted_calls_of_the_driver() {
    let (found, documents) = (table(), include_str!("../../../docs/gpu.md"));
    println!("{found}");
    assert!(documents.contains(&found), "docs/gpu.md has other counts than\n{found}");
}
