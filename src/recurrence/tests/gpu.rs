//! A layer on a device, and training there: the same for a GPU (`just test-cuda`, `just test-metal`), which
//! the tests here need, and for one that is executed on the CPU ([`emulated`](super::emulated)).

use std::sync::OnceLock;

use candle_core::backprop::GradStore;

use super::super::{Outputs, RecurrentDType};
use super::layers::{directions, expected, found, state_gradients, Found, Layer, Way};
use super::*;
use crate::data::mnist::Mnist;
use crate::optim::{Adam, AdamConfig};
use crate::recurrence::Truncation;
use crate::train::{Event, Precision, TrainConfig, Trainer, TrainerConfig};

pub(super) const CELLS: [Cell; 4] = [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm];

/// `(B, T, I, H)`.
type Size = (usize, usize, usize, usize);

/// A way to run a layer, a size and a seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) way: Way,
    pub(super) size: Size,
    pub(super) seed: u64,
}

impl Case {
    fn sequences(&self) -> Vec<Sequence> {
        directions(self.way, self.size, self.seed).iter().map(rounded).collect()
    }

    /// What the layer gives there.
    pub(super) fn found_on(&self, device: &Device, recurrent_dtype: RecurrentDType) -> Found {
        let (way, directions) = (self.way, self.sequences());
        let grads = state_gradients(&directions, self.seed);
        let layer = Layer::on(device, &directions, way, DType::F32);
        let weights = layer.weights();
        let weights = LayerWeights::of_directions(way.cell, weights).unwrap();
        let call = Call { recurrent_dtype, ..layer.call(way) };
        let (outputs, state) = run_layer(layer.x.as_tensor(), &weights, &call).unwrap();
        found(outputs, state, &layer, way, &directions, &grads)
    }

    /// What it should give.
    pub(super) fn expected(&self) -> Found {
        let directions = self.sequences();
        expected(&directions, self.way, &state_gradients(&directions, self.seed))
    }
}

/// Every cell in every way that kernels run a layer.
pub(super) fn cases() -> Vec<Case> {
    let sizes = [(1, 1, 1, 1), (5, 4, 3, 7), (3, 6, 2, 20), (9, 3, 4, 33), (2, 5, 3, 32)];
    let mut cases = Vec::new();
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
                truncation: if has(3) {
                    Truncation::segments(3).unwrap()
                } else {
                    Truncation::FULL
                },
                ..Way::plain(cell)
            };
            // All cells see all sizes, in different ways.
            cases.push(Case { way, size: sizes[(bits + number) % 5], seed: bits as u64 });
        }
    }
    cases
}

/// Ragged rows in both directions, for weights that are rounded.
pub(super) fn rounding_cases() -> impl Iterator<Item = Case> {
    CELLS.into_iter().map(|cell| {
        let way = Way { ragged: true, bidirectional: true, ..Way::plain(cell) };
        Case { way, size: (5, 4, 3, 7), seed: 1 }
    })
}

/// 8 significant bits of every weight, and of what stepwise products read and give.
pub(super) const BF16_TOLERANCE: f64 = 2e-2;

/// The losses of the reference job on the sample, in small batches.
pub(super) fn reference_job(device: &Device, steps: usize, dtype: Precision) -> Vec<f64> {
    let config = TrainConfig {
        dtype,
        trainer: TrainerConfig {
            batch_size: 10,
            epochs: steps,
            seed: 3,
            ..TrainerConfig::default()
        },
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::classifier(&config, Mnist::sample().unwrap(), device).unwrap();
    let mut losses = Vec::new();
    while losses.len() < steps {
        if let Event::Step { loss, .. } = trainer.next_event().unwrap() {
            losses.push(loss);
        }
    }
    losses
}

pub(super) fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0., |worst: f64, (a, b)| {
        assert!(!(a - b).is_nan());
        worst.max((a - b).abs())
    })
}

/// Steps of the reference job, and how many of them roundings leave alone.
pub(super) const STEPS: usize = 300;
const CALM: usize = 175;

/// Training amplifies roundings: after some 180 of these steps the CPU's own `f32` and `f64` losses are
/// 1e-4 apart, and 1e-3 after 250. So every loss is held to 1e-4 for 175 steps, their mean for 300, and
/// the later ones to what roundings do on the CPU.
pub(super) fn assert_follows_the_cpu(what: &str, losses: &[f64]) {
    static ON_CPU: OnceLock<[Vec<f64>; 2]> = OnceLock::new();
    let [on_cpu, in_f64] = ON_CPU.get_or_init(|| {
        [Precision::F32, Precision::F64].map(|dtype| reference_job(&Device::Cpu, STEPS, dtype))
    });
    let rounding = largest_difference(on_cpu, in_f64);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / STEPS as f64;
    let first = largest_difference(&losses[..CALM], &on_cpu[..CALM]);
    let all = largest_difference(losses, on_cpu);
    let of_means = (mean(losses) - mean(on_cpu)).abs();
    println!(
        "{what}: {CALM} losses within {first:.1e} of the CPU's, {STEPS} within {all:.1e} (f32 and f64 on \
         the CPU: {rounding:.1e}), their means within {of_means:.1e}; from {:.3} to {:.3}",
        losses[0],
        losses[STEPS - 1]
    );
    assert!(first <= 1e-4 && of_means <= 1e-4, "{what}: {first} {of_means}");
    assert!(all <= 4. * rounding.max(1e-4), "{what}: {all} {rounding}");
    assert!(losses[STEPS - 1] < losses[0] / 2., "it learns: {losses:?}");
}

/// Sizes of parameters: more of them than a launch takes, and the edges of its blocks.
pub(super) const PARAMETERS: [usize; 7] = [1, 255, 256, 257, 3, 700, 5];

/// Which of them have no gradient at first.
pub(super) const SKIPPED: [&[usize]; 2] = [&[], &[2, 5]];

/// Some parameters after three steps of Adam, the last from a saved state; in the first some have no gradient.
pub(super) fn after_adam(device: &Device, skipped: &[usize]) -> Vec<f64> {
    let mut rng = SeededRng::new(5, Purpose::Init);
    let mut var = |(index, size): (usize, &usize)| {
        let numbers: Vec<f32> = (0..*size).map(|_| rng.symmetric(1.) as f32).collect();
        let tensor = Tensor::from_vec(numbers, *size, device).unwrap();
        (format!("p{index}"), Var::from_tensor(&tensor).unwrap())
    };
    let vars: Vec<(String, Var)> = PARAMETERS.iter().enumerate().map(&mut var).collect();
    let grads = |skipped: &[usize]| -> GradStore {
        let vars = vars.iter().enumerate().filter(|(index, _)| !skipped.contains(index));
        let squares = vars.map(|(_, (_, var))| var.sqr().unwrap().sum_all().unwrap());
        squares.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap()
    };
    let mut adam = Adam::new(vars.clone(), AdamConfig::default()).unwrap();
    adam.step(&grads(skipped)).unwrap();
    assert_eq!(adam.skipped().len(), skipped.len());
    let state = adam.state().unwrap();
    adam.step(&grads(&[])).unwrap();
    let mut other = Adam::new(vars.clone(), AdamConfig::default()).unwrap();
    other.restore(&state).unwrap();
    other.step(&grads(&[])).unwrap();
    vars.iter().flat_map(|(_, var)| values(var.as_tensor())).collect()
}

/// The GPU that this build is for.
#[cfg(any(feature = "cuda", feature = "metal"))]
pub(crate) fn gpu() -> Device {
    if cfg!(feature = "cuda") {
        crate::recurrence::open_cuda(0).expect("an NVIDIA GPU")
    } else {
        Device::new_metal(0).expect("an Apple GPU")
    }
}

#[cfg(any(feature = "cuda", feature = "metal"))]
mod on_a_gpu {
    use super::super::layers::assert_found;
    use super::*;

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn layers_on_a_gpu_give_the_reference_values_and_gradients() {
        for case in cases() {
            let what = format!("{case:?}");
            assert_found(
                &what,
                &case.found_on(&gpu(), RecurrentDType::F32),
                &case.expected(),
                2e-5,
            );
        }
        // Too large for any shared memory: by teams, or stepwise, which the largest is everywhere.
        for (cell, hidden_size) in
            CELLS.into_iter().map(|cell| (cell, 300)).chain([(Cell::Lstm, 700), (Cell::Lstm, 1100)])
        {
            for bidirectional in [false, true] {
                let way = Way { ragged: true, bidirectional, ..Way::plain(cell) };
                let case = Case { way, size: (5, 6, 3, hidden_size), seed: 1 };
                let found = case.found_on(&gpu(), RecurrentDType::F32);
                assert_found(&format!("{case:?}"), &found, &case.expected(), 2e-5);
            }
        }
    }

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn bf16_weights_on_a_gpu_give_the_reference_within_rounding() {
        for case in rounding_cases() {
            let what = format!("{case:?}");
            let found = case.found_on(&gpu(), RecurrentDType::Bf16);
            assert_found(&what, &found, &case.expected(), BF16_TOLERANCE);
        }
    }

    /// In one block, by teams where there are some, and stepwise.
    fn of_each_variant() -> impl Iterator<Item = Case> {
        let hidden_sizes =
            |cell: Cell| if cell == Cell::Lstm { [20, 300, 1100] } else { [20, 300, 40] };
        CELLS.into_iter().flat_map(move |cell| {
            let way = Way { ragged: true, bidirectional: true, ..Way::plain(cell) };
            hidden_sizes(cell).map(|hidden_size| Case {
                way,
                size: (5, 4, 3, hidden_size),
                seed: 7,
            })
        })
    }

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn layers_on_a_gpu_give_the_same_bits_twice() {
        for case in of_each_variant() {
            let found = || case.found_on(&gpu(), RecurrentDType::F32);
            assert_found(&format!("{case:?}"), &found(), &found(), 0.);
        }
    }

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn layers_of_short_cases_on_a_gpu_are_right() {
        let short = of_each_variant().filter(|case| case.size.3 < 1000);
        for case in short {
            let found = case.found_on(&gpu(), RecurrentDType::F32);
            assert_found(&format!("{case:?}"), &found, &case.expected(), 2e-5);
        }
    }

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn bf16_weights_of_short_cases_on_a_gpu_are_right() {
        for case in rounding_cases() {
            let found = case.found_on(&gpu(), RecurrentDType::Bf16);
            assert_found(&format!("{case:?}"), &found, &case.expected(), BF16_TOLERANCE);
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of compute capability 8.0: just test-cuda"]
    fn tensor_cores_of_short_cases_on_a_gpu_are_right() {
        for cell in [Cell::Tanh, Cell::Gru, Cell::Lstm] {
            let way = Way { ragged: true, bidirectional: true, ..Way::plain(cell) };
            let case = Case { way, size: (5, 3, 3, 350), seed: 1 };
            for (dtype, tolerance) in
                [(RecurrentDType::Tf32, 3e-3), (RecurrentDType::Bf16, BF16_TOLERANCE)]
            {
                let found = case.found_on(&gpu(), dtype);
                assert_found(&format!("{dtype:?} {case:?}"), &found, &case.expected(), tolerance);
            }
        }
    }

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn adam_of_short_cases_on_a_gpu_is_right() {
        let on_cpu = after_adam(&Device::Cpu, SKIPPED[1]);
        assert_close("parameters", &after_adam(&gpu(), SKIPPED[1]), &on_cpu, 1e-6);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of compute capability 8.0: just test-cuda"]
    fn tensor_cores_of_a_gpu_are_within_their_rounding() {
        // Too large for one block, and for most cards' teams not.
        let sizes = [350, 512];
        for (cell, hidden_size) in [Cell::Tanh, Cell::Gru, Cell::Lstm]
            .into_iter()
            .flat_map(|cell| sizes.map(|h| (cell, h)))
        {
            let way = Way { ragged: true, bidirectional: true, ..Way::plain(cell) };
            let case = Case { way, size: (9, 6, 3, hidden_size), seed: 1 };
            for (dtype, tolerance) in
                [(RecurrentDType::Tf32, 3e-3), (RecurrentDType::Bf16, BF16_TOLERANCE)]
            {
                let found = case.found_on(&gpu(), dtype);
                assert_found(&format!("{dtype:?} {case:?}"), &found, &case.expected(), tolerance);
                let again = case.found_on(&gpu(), dtype);
                assert_found("the same case again", &again, &found, 0.);
            }
        }
    }

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn the_reference_job_on_a_gpu_follows_the_cpus_losses() {
        let losses = reference_job(&gpu(), STEPS, Precision::F32);
        assert_follows_the_cpu("the GPU", &losses);
        let again = reference_job(&gpu(), STEPS, Precision::F32);
        assert_eq!(losses, again, "the same job gives the same bits");
    }

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn adam_on_a_gpu_moves_as_on_the_cpu_and_goes_on_from_its_state() {
        for skipped in SKIPPED {
            let on_cpu = after_adam(&Device::Cpu, skipped);
            assert_close("parameters", &after_adam(&gpu(), skipped), &on_cpu, 1e-6);
        }
    }
}
