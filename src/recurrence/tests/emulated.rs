//! The layer on a device: the launches of `recurrence::device`, the kernels of `kernels/`, and what goes
//! through Candle's graph, executed on the CPU: `just emulate`.

use candle_core::backprop::GradStore;

use super::super::device::emulated::{on_device, Language};
use super::super::device::run_layer;
use super::super::plan::{kernel_family, DeviceLimits, Word};
use super::super::{Call, Outputs, State};
use super::layers::{assert_found, directions, expected, found, state_gradients, Layer, Way};
use super::*;
use crate::bptt::Truncation;
use crate::data::mnist::Mnist;
use crate::optim::{Adam, AdamConfig};
use crate::train::{Event, Precision, TrainConfig, Trainer};

/// A consumer card of 99 KB, small enough that a block takes several rows.
const CARD: DeviceLimits = DeviceLimits {
    shared_bytes: 99 << 10,
    multiprocessors: 4,
    max_grid: 1 << 30,
    streams_weights: false,
};
/// An Apple GPU.
const APPLE: DeviceLimits = DeviceLimits { shared_bytes: 32 << 10, streams_weights: true, ..CARD };

/// The cards that layers are run on, with the names of their kernels' variants.
fn cards() -> Vec<(Language, DeviceLimits, &'static str)> {
    let of = |language, card: DeviceLimits| {
        // So small that no layer is one launch.
        let tiny = DeviceLimits { shared_bytes: 16, ..card };
        [(language, card, "forward"), (language, tiny, "step_forward")]
    };
    [of(Language::Cuda, CARD), of(Language::Metal, APPLE)].concat()
}

fn check(way: Way, size: (usize, usize, usize, usize), seed: u64, word: Word, tolerance: f64) {
    let directions: Vec<Sequence> = directions(way, size, seed).iter().map(rounded).collect();
    let grads = state_gradients(&directions, seed);
    let expected = expected(&directions, way, &grads);
    for (language, limits, variant) in cards() {
        let (found, launches) = on_device(language, limits, || {
            let layer = Layer::new(&directions, way, DType::F32);
            let weights = layer.weights();
            let weights: Vec<&Weights> = weights.iter().collect();
            let x = layer.x.as_tensor();
            let (outputs, state) =
                run_layer(x, way.cell, &weights, &layer.call(way), word).unwrap();
            found(outputs, state, &layer, way, &directions, &grads)
        });
        let family = kernel_family(way.cell, false).unwrap();
        let kernel = format!("{family}_{variant}_{}", word.suffix());
        assert!(launches.contains(&kernel), "{kernel} is not among {launches:?}");
        let what = format!("{language:?} {variant} {size:?} {way:?}");
        assert_found(&what, &found, &expected, tolerance);
    }
}

const CELLS: [Cell; 4] = [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm];

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_layers_give_the_values_and_gradients_of_the_reference() {
    let sizes = [(1, 1, 1, 1), (5, 4, 3, 7), (3, 6, 2, 20), (9, 3, 4, 33), (2, 5, 3, 32)];
    for (number, cell) in CELLS.into_iter().enumerate() {
        for bits in 0..24 {
            let has = |bit: usize| bits >> bit & 1 == 1;
            let bidirectional = has(0);
            let way = Way {
                bidirectional,
                ragged: has(1),
                masked: has(2),
                time_major: has(0) != has(3),
                with_initial: bits % 3 != 0,
                read: if has(4) { Outputs::Last } else { Outputs::All },
                outputs_alone: !has(4) && bits % 5 == 1,
                truncation: match has(3) && !bidirectional {
                    true => Truncation::segments(3).unwrap(),
                    false => Truncation::FULL,
                },
                ..Way::plain(cell)
            };
            // All cells see all sizes, in different ways.
            check(way, sizes[(bits + number) % 5], bits as u64, Word::F32, 1e-5);
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_bf16_weights_give_the_reference_within_their_rounding() {
    for cell in CELLS {
        let way = Way { ragged: true, bidirectional: true, ..Way::plain(cell) };
        // 8 significant bits of every weight, and of what stepwise products read and give.
        check(way, (5, 4, 3, 7), 1, Word::Bf16, 2e-2);
    }
}

/// The losses of the reference job on the sample, in small batches.
fn reference_job(steps: usize, dtype: Precision) -> Vec<f64> {
    let config =
        TrainConfig { dtype, batch_size: 10, epochs: steps, seed: 3, ..TrainConfig::default() };
    let mut trainer = Trainer::new(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
    let mut losses = Vec::new();
    while losses.len() < steps {
        if let Event::Step { loss, .. } = trainer.next_event().unwrap() {
            losses.push(loss);
        }
    }
    losses
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0., |worst: f64, (a, b)| {
        assert!(!(a - b).is_nan());
        worst.max((a - b).abs())
    })
}

/// Training amplifies roundings: after some 180 of these steps the CPU's own `f32` and `f64` losses are
/// 1e-4 apart, and 1e-3 after 250. So every loss is held to 1e-4 for 175 steps, their mean for 300, and
/// the later ones to what roundings do on the CPU.
#[test]
#[ignore = "needs the emulator: just emulate"]
fn the_emulated_reference_job_follows_the_cpus_losses() {
    let (steps, calm) = (300, 175);
    let on_cpu = reference_job(steps, Precision::F32);
    let rounding = largest_difference(&on_cpu, &reference_job(steps, Precision::F64));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / steps as f64;
    for (language, limits, _) in cards().into_iter().filter(|card| card.2 == "forward") {
        // One block, since each costs threads.
        let limits = DeviceLimits { multiprocessors: 1, ..limits };
        let (losses, launches) =
            on_device(language, limits, || reference_job(steps, Precision::F32));
        assert_eq!(launches.iter().filter(|name| *name == "rnn_backward_f32").count(), steps);
        let first = largest_difference(&losses[..calm], &on_cpu[..calm]);
        let all = largest_difference(&losses, &on_cpu);
        let of_means = (mean(&losses) - mean(&on_cpu)).abs();
        println!(
            "{language:?}: {calm} losses within {first:.1e} of the CPU's, {steps} within {all:.1e} (f32 and \
             f64 on the CPU: {rounding:.1e}), their means within {of_means:.1e}; from {:.3} to {:.3}",
            losses[0],
            losses[steps - 1]
        );
        assert!(first <= 1e-4 && of_means <= 1e-4, "{first} {of_means}");
        assert!(all <= 4. * rounding.max(1e-4), "{all} {rounding}");
        assert!(losses[steps - 1] < losses[0] / 2., "it learns: {losses:?}");
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_training_step_of_the_reference_job_is_eight_launches_of_our_own() {
    let (_, launches) = on_device(Language::Cuda, CARD, || reference_job(1, Precision::F32));
    println!("{launches:?}");
    let expected =
        ["gemm", "add", "rnn_forward_f32", "rnn_backward_f32", "gemm", "gemm", "sum", "adam_f32"];
    assert_eq!(launches, expected);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_inference_launches_one_kernel_and_keeps_nothing() {
    let directions: Vec<Sequence> =
        directions(Way::plain(Cell::Lstm), (3, 4, 2, 5), 1).iter().map(rounded).collect();
    let expected = directions[0].forward();
    let ((outputs, State { h, .. }), launches) = on_device(Language::Cuda, CARD, || {
        let layer = Layer::new(&directions, Way::plain(Cell::Lstm), DType::F32);
        let weights = layer.weights()[0].detach();
        let x = layer.x.as_detached_tensor();
        let state = State {
            h: Tensor::from_slice(&directions[0].h_0, (1, 3, 5), &Device::Cpu).unwrap(),
            c: Some(Tensor::from_slice(&directions[0].c_0, (1, 3, 5), &Device::Cpu).unwrap()),
        };
        let to_f32 = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        let state = State { h: to_f32(&state.h), c: state.c.as_ref().map(to_f32) };
        let call = Call { initial: Some(&state), ..Call::new(Outputs::All) };
        run_layer(&x, Cell::Lstm, &[&weights], &call, Word::F32).unwrap()
    });
    assert_close("outputs", &values(&outputs.unwrap()), &expected.outputs, 1e-5);
    assert_close("h_n", &values(&h), &expected.h_n, 1e-5);
    assert_eq!(launches, ["gemm", "add", "lstm_forward_f32"]);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_adam_moves_as_on_the_cpu_and_goes_on_from_its_state() {
    // More parameters than a launch takes, and sizes at its blocks' edges.
    let sizes = [1, 255, 256, 257, 3, 700, 5];
    let run = || {
        let mut rng = Stream::new(5, Purpose::Init);
        let vars: Vec<(String, Var)> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| {
                let numbers: Vec<f32> = (0..*size).map(|_| rng.symmetric(1.) as f32).collect();
                let tensor = Tensor::from_vec(numbers, *size, &Device::Cpu).unwrap();
                (format!("p{index}"), Var::from_tensor(&tensor).unwrap())
            })
            .collect();
        let grads = || -> GradStore {
            let squares = vars.iter().map(|(_, var)| var.sqr().unwrap().sum_all().unwrap());
            squares.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap()
        };
        let mut adam = Adam::new(vars.clone(), AdamConfig::default()).unwrap();
        adam.step(&grads()).unwrap();
        let state = adam.state().unwrap();
        adam.step(&grads()).unwrap();
        let mut other = Adam::new(vars.clone(), AdamConfig::default()).unwrap();
        other.restore(&state).unwrap();
        other.step(&grads()).unwrap();
        vars.iter().flat_map(|(_, var)| values(var.as_tensor())).collect::<Vec<f64>>()
    };
    let on_cpu = run();
    for (language, limits, _) in cards() {
        let (found, launches) = on_device(language, limits, run);
        assert_close("parameters", &found, &on_cpu, 1e-6);
        assert_eq!(launches.len(), 3 * sizes.len().div_ceil(5));
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn what_no_emulated_kernel_serves_is_refused_in_words() {
    let refused = |way: Way, dtype: DType, change: &dyn Fn(&mut Call)| -> String {
        let directions = directions(way, (2, 3, 2, 4), 1);
        on_device(Language::Cuda, CARD, || {
            let layer = Layer::new(&directions, way, dtype);
            let weights = layer.weights();
            let weights: Vec<&Weights> = weights.iter().collect();
            let mut call = layer.call(way);
            change(&mut call);
            let x = layer.x.as_tensor();
            run_layer(x, way.cell, &weights, &call, Word::F32).unwrap_err().to_string()
        })
        .0
    };
    let plain = Way::plain(Cell::Tanh);
    let same = |_: &mut Call| ();
    let text = refused(plain, DType::F64, &same);
    assert!(text.contains("f64 runs on the CPU"), "{text}");
    let text = refused(Way::plain(Cell::MinimalGru), DType::F32, &same);
    assert!(text.contains("no device kernels"), "{text}");
    let projected = Way { projection: Some(2), ..Way::plain(Cell::Lstm) };
    let text = refused(projected, DType::F32, &same);
    assert!(text.contains("projection"), "{text}");
    let text = refused(plain, DType::F32, &|call| {
        call.unroll = Unroll::new(Outputs::All).truncated(Truncation::window(1, 2).unwrap());
    });
    assert!(text.contains("segments"), "{text}");
    let text = refused(plain, DType::F32, &|call| {
        call.unroll = Unroll::new(Outputs::Last).recomputing().unwrap();
    });
    assert!(text.contains("on the CPU only"), "{text}");
    let text = refused(plain, DType::F32, &|call| call.lengths = Some(&[9, 9]));
    assert!(text.contains("at most 3"), "{text}");
}
