//! Losses with the kernels of kernels/gpu/loss.h executed on the CPU, against the CPU's own in `f64`: `just emulate`.

use candle_core::{DType, Device, Tensor, Var};

use super::cross_entropy::head_cross_entropy;
use super::softmax_op::{weighted_sum, Targets};
use super::*;
use crate::nn::Dense;
use crate::recurrence::backward;
use crate::recurrence::gpu::plan::DeviceLimits;
use crate::recurrence::tests::emulator::{on_device, Language};
use crate::rng::{Purpose, SeededRng};
use crate::train::loss_at::LossAt;
use crate::Result;

const CARD: DeviceLimits = DeviceLimits {
    shared_bytes: 48 << 10,
    multiprocessors: 4,
    max_grid: 1 << 30,
    team_blocks: 0,
    has_tensor_cores: false,
    streams_weights: false,
};
const LANGUAGES: [Language; 2] = [Language::Cuda, Language::Metal];

fn draw(rng: &mut SeededRng, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let numbers: Vec<f32> = (0..count).map(|_| rng.symmetric(2.) as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The loss of variables and their gradients, of a loss that counts three times.
fn found(
    device: &Device,
    tensors: &[Tensor],
    dtype: DType,
    loss: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f64>> {
    let var = |tensor: &Tensor| {
        let tensor = tensor.to_dtype(dtype).unwrap().to_device(device).unwrap();
        Var::from_tensor(&tensor).unwrap()
    };
    let vars: Vec<Var> = tensors.iter().map(var).collect();
    let args: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let loss = loss(&args).unwrap();
    let store = backward(&(&loss * 3.).unwrap()).unwrap();
    let grads = vars.iter().map(|var| values(store.get(var).unwrap()));
    std::iter::once(values(&loss)).chain(grads).collect()
}

fn assert_found(what: &str, found: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len());
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(a.len(), b.len());
        let scale = b.iter().fold(0., |max: f64, b| max.max(b.abs()));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-5 * scale, "{what}, {index}: {a} instead of {b}");
        }
    }
}

/// Holds a loss on the emulated GPU to that of the CPU in `f64`, and returns what was launched.
fn check(
    what: &str,
    tensors: &[Tensor],
    loss: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<String> {
    let expected = found(&Device::Cpu, tensors, DType::F64, loss);
    let mut last = Vec::new();
    for language in LANGUAGES {
        let (on_gpu, launches) =
            on_device(language, CARD, || found(&Device::Cpu, tensors, DType::F32, loss));
        assert_found(&format!("{language:?} {what}"), &on_gpu, &expected);
        last = launches;
    }
    last
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_losses_of_logits_are_those_of_the_cpu() {
    let rng = &mut SeededRng::new(3, Purpose::Init);
    for (rows, classes) in [(1, 1), (3, 2), (5, 10), (70, 5), (9, 40)] {
        let logits = draw(rng, &[rows, classes]);
        let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
        let weights: Vec<f64> = (0..rows).map(|row| (row % 3) as f64 / 8.).collect();
        let of_classes: Vec<f64> = (0..classes).map(|class| (class % 4) as f64 / 2.).collect();
        for smoothing in [0., 0.2] {
            for class_weights in [None, Some(&of_classes[..])] {
                for weights in [vec![0.25; rows], weights.clone()] {
                    let what = format!("{rows} x {classes}, {smoothing}, {class_weights:?}");
                    let targets = || Targets {
                        labels: labels.clone(),
                        weights: weights.clone(),
                        smoothing,
                        class_weights,
                    };
                    let launches = check(&what, std::slice::from_ref(&logits), &|args| {
                        weighted_sum(&args[0], targets())
                    });
                    assert_eq!(launches, ["loss_forward_f32", "loss_backward_f32"]);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_losses_of_sequences_are_those_of_the_cpu() {
    let rng = &mut SeededRng::new(4, Purpose::Init);
    let logits = draw(rng, &[6, 30, 11]);
    let labels = Tensor::new(&[0u32, 10, 3, 3, 7, 1], &Device::Cpu).unwrap();
    for loss_at in [LossAt::EVERY, LossAt::weighted([(2, 1.), (30, 3.)]).unwrap()] {
        let launches = check("a sequence", std::slice::from_ref(&logits), &|args| {
            smoothed_sequence_cross_entropy(&args[0], &labels, &loss_at, 0.1)
        });
        // More rows than one block takes.
        assert_eq!(launches, ["loss_forward_f32", "loss_sum_f32", "loss_backward_f32"]);
    }
    let lengths = [30, 1, 17, 2, 30, 9];
    check("ragged rows", &[logits], &|args| {
        ragged_cross_entropy(&args[0], &labels, &lengths, &LossAt::EVERY)
    });
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn emulated_heads_give_the_loss_and_gradients_of_the_cpu() {
    let rng = &mut SeededRng::new(5, Purpose::Init);
    for (rows, features, classes) in [(1, 1, 1), (5, 33, 10), (40, 7, 5), (3, 64, 64), (70, 3, 33)]
    {
        let shapes = [vec![rows, features], vec![classes, features], vec![classes]];
        let tensors = shapes.map(|shape| draw(rng, &shape));
        let labels: Vec<u32> = (0..rows).map(|row| (row * 5 % classes) as u32).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        for smoothing in [0., 0.1] {
            let what = format!("{rows} x {features} x {classes}, {smoothing}");
            let launches = check(&what, &tensors, &|args| {
                let head = Dense::of_weights(args[1].clone(), Some(args[2].clone()))?;
                head_cross_entropy(&head, &args[0], &labels, smoothing)
            });
            let mut expected = vec!["loss_head_forward_f32", "loss_head_backward_f32"];
            if (rows, classes) == (70, 33) {
                // Nine threads a row, 56 rows a block.
                expected.insert(1, "loss_sum_f32");
            }
            assert_eq!(launches, expected, "{what}");
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_heads_gradients_are_finite_differences() {
    const STEP: f64 = 1e-5;
    let rng = &mut SeededRng::new(6, Purpose::Init);
    let tensors = [draw(rng, &[4, 5]), draw(rng, &[3, 5]), draw(rng, &[3])];
    let labels = Tensor::new(&[2u32, 0, 1, 1], &Device::Cpu).unwrap();
    let loss = |args: &[Tensor]| {
        let head = Dense::of_weights(args[1].clone(), Some(args[2].clone()))?;
        head_cross_entropy(&head, &args[0], &labels, 0.1)
    };
    let (grads, _) =
        on_device(Language::Cuda, CARD, || found(&Device::Cpu, &tensors, DType::F32, &loss));
    for (number, tensor) in tensors.iter().enumerate() {
        let start = values(tensor);
        for index in 0..start.len() {
            let at = |change: f64| {
                let mut numbers = start.clone();
                numbers[index] += change;
                let mut args = tensors.each_ref().map(|t| t.to_dtype(DType::F64).unwrap());
                args[number] = Tensor::from_vec(numbers, tensor.shape(), &Device::Cpu).unwrap();
                loss(&args).unwrap().to_scalar::<f64>().unwrap()
            };
            let expected = 3. * (at(STEP) - at(-STEP)) / (2. * STEP);
            let found = grads[1 + number][index];
            assert!((found - expected).abs() <= 1e-5, "{number} {index}: {found} {expected}");
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_loss_without_gradients_keeps_nothing() {
    let rng = &mut SeededRng::new(7, Purpose::Init);
    let head = Dense::of_weights(draw(rng, &[3, 5]), Some(draw(rng, &[3]))).unwrap();
    let h = draw(rng, &[4, 5]);
    let labels = |label: u32| Tensor::new(&[label, 0, 1, 1], &Device::Cpu).unwrap();
    let scalar = |loss: Tensor| loss.to_scalar::<f32>().unwrap();
    let on_cpu = scalar(head_cross_entropy(&head, &h, &labels(2), 0.).unwrap());
    let ((found, wrong), launches) = on_device(Language::Cuda, CARD, || {
        let of = |label| scalar(head_cross_entropy(&head, &h, &labels(label), 0.).unwrap());
        (of(2), of(3))
    });
    assert!((found - on_cpu).abs() <= 1e-5 * on_cpu, "{found} {on_cpu}");
    assert!(wrong.is_nan(), "a label that is no class: {wrong}");
    assert_eq!(launches, ["loss_head_forward_f32"; 2]);
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn an_emulated_head_of_many_classes_is_a_product_and_a_loss() {
    let rng = &mut SeededRng::new(8, Purpose::Init);
    let tensors = [draw(rng, &[4, 5]), draw(rng, &[65, 5]), draw(rng, &[65])];
    let labels = Tensor::new(&[64u32, 0, 1, 1], &Device::Cpu).unwrap();
    let launches = check("many classes", &tensors, &|args| {
        let head = Dense::of_weights(args[1].clone(), Some(args[2].clone()))?;
        head_cross_entropy(&head, &args[0], &labels, 0.)
    });
    assert_eq!(launches, ["loss_forward_f32", "loss_backward_f32"]);
}

#[cfg(any(feature = "cuda", feature = "metal"))]
mod on_a_gpu {
    use super::*;
    use crate::recurrence::tests::gpu::gpu;

    #[test]
    #[ignore = "needs a GPU: just test-cuda, just test-metal"]
    fn losses_of_short_cases_on_a_gpu_are_right() {
        let rng = &mut SeededRng::new(9, Purpose::Init);
        let labels: Vec<u32> = (0..150).map(|row| row * 7 % 10).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        let check = |what: &str, tensors: &[Tensor], loss: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
            let expected = found(&Device::Cpu, tensors, DType::F64, loss);
            let on_gpu = || found(&gpu(), tensors, DType::F32, loss);
            assert_found(what, &on_gpu(), &expected);
            assert_eq!(on_gpu(), on_gpu(), "the same bits");
        };
        let on = |args: &[Tensor]| labels.to_device(args[0].device());
        let head = [draw(rng, &[150, 150]), draw(rng, &[10, 150]), draw(rng, &[10])];
        check("a head", &head, &|args| {
            let head = Dense::of_weights(args[1].clone(), Some(args[2].clone()))?;
            head_cross_entropy(&head, &args[0], &on(args)?, 0.1)
        });
        check("logits", &[draw(rng, &[150, 10])], &|args| cross_entropy(&args[0], &on(args)?));
        check("a sequence", &[draw(rng, &[150, 8, 10])], &|args| {
            sequence_cross_entropy(&args[0], &on(args)?, &LossAt::weighted([(2, 1.), (8, 3.)])?)
        });
    }
}
