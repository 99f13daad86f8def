//! What [`gpu`](super::gpu) tests, with the kernels of `kernels/gpu/` executed on the CPU: `just emulate`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::gpu::plan::{kernel_family, shared_bytes, DeviceLimits, Sweep};
use super::super::{run_layer, RecurrentDType};
use super::super::{Call, Outputs, State};
use super::emulator::{on_device, Language};
use super::gpu::{
    after_adam, assert_follows_the_cpu, cases, reference_job, rounding_cases, Case, BF16_TOLERANCE,
    CELLS, PARAMETERS, SKIPPED, STEPS,
};
use super::layers::{assert_found, directions, Layer, Way};
use super::*;
use crate::data::mnist::Mnist;
use crate::recurrence::Truncation;
use crate::train::{CarriedState, Classification, Precision, StepContext, Task, TrainConfig};
use crate::Error;

/// A consumer card of 99 KB, small enough that a block takes several rows.
pub(super) const CARD: DeviceLimits = DeviceLimits {
    shared_bytes: 99 << 10,
    multiprocessors: 4,
    max_grid: 1 << 30,
    team_blocks: 0,
    has_tensor_cores: true,
    streams_weights: false,
};
/// An Apple GPU.
const APPLE: DeviceLimits =
    DeviceLimits { shared_bytes: 32 << 10, has_tensor_cores: false, streams_weights: true, ..CARD };

/// The cards that layers are run on, with the names of their kernels' variants.
fn cards() -> Vec<(Language, DeviceLimits, &'static str)> {
    let of = |language, card: DeviceLimits| {
        // So small that no layer is one launch.
        let tiny = DeviceLimits { shared_bytes: 16, ..card };
        [(language, card, "forward"), (language, tiny, "step_forward")]
    };
    [of(Language::Cuda, CARD), of(Language::Metal, APPLE)].concat()
}

fn check(case: Case, word: RecurrentDType, tolerance: f64) {
    let expected = case.expected();
    for (language, limits, variant) in cards() {
        let (found, launches) = on_device(language, limits, || case.found_on(&Device::Cpu, word));
        let family = kernel_family(case.way.cell, false).unwrap();
        let kernel = format!("{family}_{variant}_{}", word.suffix());
        assert!(launches.contains(&kernel), "{kernel} is not among {launches:?}");
        assert_found(&format!("{language:?} {variant} {case:?}"), &found, &expected, tolerance);
    }
}

/// Runs all cases, on as many threads as the CPU has cores: each device is a process of its own.
fn in_parallel<T: Copy + Sync>(cases: Vec<T>, check: impl Fn(T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(*case);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_layers_give_the_reference_values_and_gradients() {
    in_parallel(cases(), |case| check(case, RecurrentDType::F32, 1e-5));
}

/// A card of which one block cannot hold the recurrent weights of a layer of such a size, and several can.
pub(super) fn card_of_teams(
    cell: Cell,
    hidden_size: usize,
    blocks: usize,
    dtype: RecurrentDType,
) -> DeviceLimits {
    let of = |sweep| shared_bytes(cell, hidden_size, dtype, sweep, 1, &CARD);
    let shared_bytes = of(Sweep::Forward).min(of(Sweep::Backward)) - 1;
    DeviceLimits { shared_bytes, multiprocessors: blocks, team_blocks: blocks, ..CARD }
}

/// Runs a case by teams of a precision, one launch a sweep.
fn check_teams(case: Case, dtype: RecurrentDType, tolerance: f64) {
    let (way, (.., hidden_size)) = (case.way, case.size);
    let blocks = if hidden_size > 64 { 12 } else { 8 };
    let limits = card_of_teams(way.cell, hidden_size, blocks, dtype);
    let (found, launches) =
        on_device(Language::Cuda, limits, || case.found_on(&Device::Cpu, dtype));
    let family = kernel_family(way.cell, false).unwrap();
    let prefix = if dtype == RecurrentDType::F32 { "team" } else { "mma" };
    for sweep in ["forward", "backward"] {
        // One launch for both directions.
        let kernel = format!("{prefix}_{family}_{sweep}_{}", dtype.name());
        let count = launches.iter().filter(|name| **name == kernel).count();
        assert_eq!(count, 1, "{kernel}: {launches:?}");
    }
    assert_found(&format!("{dtype:?} teams {case:?}"), &found, &case.expected(), tolerance);
}

/// Ragged rows in both directions, with initial states, of layers that need several warps for a column.
fn large_cases() -> impl Iterator<Item = Case> {
    CELLS.into_iter().map(|cell| {
        let way = Way { ragged: true, bidirectional: true, with_initial: true, ..Way::plain(cell) };
        Case { way, size: (6, 3, 2, 70), seed: 5 }
    })
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_teams_give_the_reference_values_and_gradients() {
    let small: Vec<Case> = cases().into_iter().filter(|case| case.size.3 >= 20).collect();
    assert!(small.len() > 50, "{}", small.len());
    in_parallel(small.into_iter().chain(large_cases()).collect(), |case| {
        check_teams(case, RecurrentDType::F32, 1e-5)
    });
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_teams_on_tensor_cores_are_within_their_rounding() {
    let precisions = [(RecurrentDType::Tf32, 3e-3), (RecurrentDType::Bf16, BF16_TOLERANCE)];
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.size.3 >= 20).collect();
    // A relu near 0 may be on the other side after rounding.
    let cases = cases.into_iter().chain(large_cases()).filter(|case| case.way.cell != Cell::Relu);
    in_parallel(cases.collect(), |case| {
        for (dtype, tolerance) in precisions {
            check_teams(case, dtype, tolerance);
        }
    });
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_sweep_in_steps_may_be_followed_by_teams() {
    let way = Way { ragged: true, bidirectional: true, ..Way::plain(Cell::Lstm) };
    let case = Case { way, size: (3, 3, 2, 70), seed: 8 };
    // Forward needs five blocks for each direction, backward two.
    let limits = card_of_teams(Cell::Lstm, 70, 8, RecurrentDType::F32);
    let run = || case.found_on(&Device::Cpu, RecurrentDType::F32);
    let (found, launches) = on_device(Language::Cuda, limits, run);
    let of = |part: &str| launches.iter().filter(|name| name.contains(part)).count();
    assert_eq!((of("_step_forward"), of("team_lstm_backward")), (2 * 3, 1), "{launches:?}");
    assert_found("mixed", &found, &case.expected(), 1e-5);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_inference_by_teams_keeps_nothing() {
    let way = Way::plain(Cell::Lstm);
    let sequences: Vec<Sequence> = directions(way, (3, 4, 2, 30), 1).iter().map(rounded).collect();
    let mut plain = sequences[0].clone();
    plain.h_0.fill(0.);
    plain.c_0.fill(0.);
    let expected = plain.forward();
    let limits = card_of_teams(Cell::Lstm, 30, 4, RecurrentDType::F32);
    let ((outputs, state), launches) = on_device(Language::Cuda, limits, || {
        let layer = Layer::on(&Device::Cpu, &sequences, way, DType::F32);
        let weights = layer.weights()[0].detach();
        let weights = LayerWeights::new(Cell::Lstm, weights).unwrap();
        run_layer(&layer.x.as_detached_tensor(), &weights, &Call::new(Outputs::All)).unwrap()
    });
    assert_close("outputs", &values(&outputs.unwrap()), &expected.outputs, 1e-5);
    assert_close("h_n", &values(&state.h), &expected.h_n, 1e-5);
    assert_eq!(launches, ["rows_bias_f32", "gemm", "team_arm_f32", "team_lstm_forward_f32"]);
}

/// The same numbers as a column of a wider tensor: they do not follow each other.
fn strided(tensor: &Tensor) -> Tensor {
    let last = tensor.rank();
    Tensor::stack(&[tensor, &tensor.zeros_like().unwrap()], last)
        .unwrap()
        .narrow(last, 0, 1)
        .unwrap()
        .squeeze(last)
        .unwrap()
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_weights_need_not_be_contiguous() {
    for cell in CELLS {
        let sequences: Vec<Sequence> =
            directions(Way::plain(cell), (3, 4, 2, 5), 1).iter().map(rounded).collect();
        let mut plain = sequences[0].clone();
        plain.h_0.fill(0.);
        plain.c_0.fill(0.);
        let expected = plain.forward();
        for (language, limits, _) in cards() {
            let (outputs, _) = on_device(language, limits, || {
                let layer = Layer::on(&Device::Cpu, &sequences, Way::plain(cell), DType::F32);
                let mut weights = layer.weights().remove(0);
                weights.w_ih = strided(&weights.w_ih);
                weights.w_hh = strided(&weights.w_hh);
                weights.b_ih = strided(&weights.b_ih);
                weights.b_hh = weights.b_hh.as_ref().map(strided);
                assert!(!weights.b_ih.is_contiguous());
                let (x, call) = (layer.x.as_tensor(), Call::new(Outputs::All));
                run_layer(x, &LayerWeights::new(cell, weights.clone()).unwrap(), &call)
                    .unwrap()
                    .0
                    .unwrap()
            });
            assert_close("outputs", &values(&outputs), &expected.outputs, 1e-5);
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_segment_longer_than_any_sequence_cuts_nothing() {
    let truncation = Truncation::segments(usize::MAX).unwrap();
    let way = Way { truncation, ..Way::plain(Cell::Gru) };
    check(Case { way, size: (5, 4, 3, 7), seed: 2 }, RecurrentDType::F32, 1e-5);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_sweep_at_once_may_be_followed_by_one_in_steps() {
    for cell in [Cell::Gru, Cell::Lstm] {
        let case = Case { way: Way::plain(cell), size: (5, 4, 3, 7), seed: 9 };
        // Backward needs more than forward.
        let limits =
            DeviceLimits { shared_bytes: if cell == Cell::Gru { 800 } else { 1000 }, ..CARD };
        let run = || case.found_on(&Device::Cpu, RecurrentDType::F32);
        let (found, launches) = on_device(Language::Cuda, limits, run);
        let of = |part: &str| launches.iter().filter(|name| name.contains(part)).count();
        assert_eq!((of("_step_forward"), of("_step_backward")), (0, 4), "{launches:?}");
        assert_found("mixed", &found, &case.expected(), 1e-5);
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_bf16_weights_give_the_reference_within_rounding() {
    rounding_cases().for_each(|case| check(case, RecurrentDType::Bf16, BF16_TOLERANCE));
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn the_emulated_reference_job_follows_the_cpus_losses() {
    let cards = cards().into_iter().filter(|card| card.2 == "forward").collect();
    in_parallel(cards, |(language, limits, _)| {
        let limits = DeviceLimits { multiprocessors: 1, ..limits };
        let job = || reference_job(&Device::Cpu, STEPS, Precision::F32);
        let (losses, launches) = on_device(language, limits, job);
        assert_eq!(launches.iter().filter(|name| *name == "rnn_backward_f32").count(), STEPS);
        assert_follows_the_cpu(&format!("{language:?}"), &losses);
    });
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_training_step_is_ten_launches_of_our_own() {
    let (_, launches) =
        on_device(Language::Cuda, CARD, || reference_job(&Device::Cpu, 1, Precision::F32));
    println!("{launches:?}");
    let expected = [
        "rows_bias_f32",
        "gemm",
        "rnn_forward_f32",
        "loss_head_forward_f32",
        "loss_head_backward_f32",
        "rnn_backward_f32",
        "gemm",
        "gemm",
        "gemm",
        "adam_f32",
    ];
    assert_eq!(launches, expected);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn candle_adds_two_gradients_in_a_step() {
    let (loss, _) = on_device(Language::Cuda, CARD, || {
        let data = Mnist::sample().unwrap();
        let task = Classification::new(&TrainConfig::default(), data, &Device::Cpu).unwrap();
        let (mut rng, mut state) = (SeededRng::new(1, Purpose::Dropout), CarriedState::new());
        let mut context = StepContext { rng: &mut rng, state: &mut state };
        task.loss(&task.batch(&[0, 1, 2], 0).unwrap(), &mut context).unwrap()
    });
    // The loss itself, the state and the edge that stands for the weights. Candle fills the gradient of the first with a one
    // and adds the gradients of the two others to zeros, a launch each; those of variables go past it.
    let nodes = loss.sorted_nodes();
    assert_eq!(nodes.iter().filter(|node| !node.is_variable()).count(), 3);
    assert_eq!(nodes.iter().filter(|node| node.is_variable()).count(), 5);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_backward_reads_the_weights_of_its_forward() {
    let var = |shape: &[usize], seed: usize| {
        let count: usize = shape.iter().product();
        let numbers = (0..count).map(|i| ((i * 37 + seed) % 61) as f32 / 61. - 0.5).collect();
        Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()).unwrap()
    };
    for cell in CELLS {
        for (language, limits, _) in cards() {
            let grads = |change: bool| {
                let rows = cell.gates() * 5;
                let vars = [var(&[rows, 2], 1), var(&[rows, 5], 2), var(&[rows], 3)];
                let [w_ih, w_hh, b_ih] = vars.each_ref().map(|var| var.as_tensor().clone());
                let b_hh = cell.has_two_biases().then(|| b_ih.clone());
                let weights = Weights { b_hh, ..Weights::new(w_ih, w_hh, b_ih) };
                let x = var(&[3, 4, 2], 4);
                let call = Call::new(Outputs::All);
                let (outputs, state) =
                    run_layer(&x, &LayerWeights::new(cell, weights.clone()).unwrap(), &call)
                        .unwrap();
                if change {
                    for var in &vars {
                        var.set(&(var.as_detached_tensor() * 3.).unwrap()).unwrap();
                    }
                }
                let loss = outputs.unwrap().sqr().unwrap().sum_all().unwrap();
                let loss = (loss + state.h.sum_all().unwrap()).unwrap();
                let store = loss.backward().unwrap();
                let vars = vars.iter().chain([&x]);
                vars.flat_map(|var| values(store.get(var).unwrap())).collect::<Vec<_>>()
            };
            let on = |change| on_device(language, limits, || grads(change)).0;
            assert_eq!(on(true), on(false), "{} {language:?}", cell.name());
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_inference_launches_one_kernel_and_keeps_nothing() {
    let directions: Vec<Sequence> =
        directions(Way::plain(Cell::Lstm), (3, 4, 2, 5), 1).iter().map(rounded).collect();
    let expected = directions[0].forward();
    let ((outputs, State { h, .. }), launches) = on_device(Language::Cuda, CARD, || {
        let layer = Layer::on(&Device::Cpu, &directions, Way::plain(Cell::Lstm), DType::F32);
        let weights = layer.weights()[0].detach();
        let x = layer.x.as_detached_tensor();
        let [h_0, c_0] = [&directions[0].h_0, &directions[0].c_0].map(|state| {
            let state = Tensor::from_slice(state, (1, 3, 5), &Device::Cpu).unwrap();
            state.to_dtype(DType::F32).unwrap()
        });
        let state = State::from_parts(h_0, Some(c_0));
        let call = Call { initial: Some(&state), ..Call::new(Outputs::All) };
        run_layer(&x, &LayerWeights::new(Cell::Lstm, weights.clone()).unwrap(), &call).unwrap()
    });
    assert_close("outputs", &values(&outputs.unwrap()), &expected.outputs, 1e-5);
    assert_close("h_n", &values(&h), &expected.h_n, 1e-5);
    assert_eq!(launches, ["rows_bias_f32", "gemm", "lstm_forward_f32"]);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_adam_moves_as_on_the_cpu_and_goes_on_from_its_state() {
    // Parameters that were skipped are at a step of their own, and in a launch of their own from then on.
    for (skipped, count) in SKIPPED.into_iter().zip([3 * PARAMETERS.len().div_ceil(5), 1 + 2 + 2]) {
        let on_cpu = after_adam(&Device::Cpu, skipped);
        for (language, limits, _) in cards() {
            let run = || after_adam(&Device::Cpu, skipped);
            let (found, launches) = on_device(language, limits, run);
            assert_close("parameters", &found, &on_cpu, 1e-6);
            assert_eq!(launches.len(), count);
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn what_no_emulated_kernel_serves_is_refused_in_words() {
    let run = |way: Way, dtype: DType, change: &dyn Fn(&mut Call)| {
        let directions = directions(way, (2, 3, 2, 4), 1);
        on_device(Language::Cuda, CARD, || {
            let layer = Layer::on(&Device::Cpu, &directions, way, dtype);
            let weights = LayerWeights::of_directions(way.cell, layer.weights()).unwrap();
            let mut call = layer.call(way);
            change(&mut call);
            run_layer(layer.x.as_tensor(), &weights, &call)
        })
    };
    let refused = |way: Way, dtype: DType, change: &dyn Fn(&mut Call)| {
        run(way, dtype, change).0.unwrap_err().to_string()
    };
    let plain = Way::plain(Cell::Tanh);
    let projected = Way { projection: Some(2), ..Way::plain(Cell::Lstm) };
    // Composed from Candle's ops, but not with bf16 weights.
    for (way, dtype) in
        [(plain, DType::F64), (Way::plain(Cell::MinimalGru), DType::F32), (projected, DType::F32)]
    {
        let (result, launches) = run(way, dtype, &|_| ());
        assert!(result.is_ok() && launches.is_empty(), "{way:?}");
        let text = refused(way, dtype, &|call| call.recurrent_dtype = RecurrentDType::Bf16);
        assert!(text.contains("recurrent products in bf16 are for f32 layers"), "{text}");
    }
    let text = refused(plain, DType::F32, &|call| {
        call.unroll = Unroll::new(Outputs::All).truncated(Truncation::window(1, 2).unwrap());
    });
    assert!(text.contains("segments"), "{text}");
    let text = refused(plain, DType::F32, &|call| {
        call.unroll = Unroll::new(Outputs::Last).recomputing().unwrap();
    });
    assert!(text.contains("on the CPU only"), "{text}");
    let crowded = DeviceLimits { max_grid: 1, ..CARD };
    let directions = directions(plain, (9, 3, 2, 4), 1);
    let (error, launches) = on_device(Language::Cuda, crowded, || {
        let layer = Layer::on(&Device::Cpu, &directions, plain, DType::F32);
        let weights = LayerWeights::of_directions(Cell::Tanh, layer.weights()).unwrap();
        run_layer(layer.x.as_tensor(), &weights, &layer.call(plain)).unwrap_err()
    });
    assert!(matches!(error, Error::Config(_)), "{error:?}");
    assert!(error.to_string().contains("make the batch smaller") && launches.is_empty());
    let text = refused(plain, DType::F32, &|call| call.lengths = Some(&[9, 9]));
    assert!(text.contains("at most 3"), "{text}");
}
