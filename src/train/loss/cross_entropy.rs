//! Softmax cross-entropy against one class label a row or a sequence.

use candle_core::{DType, Tensor};

use super::checks::{check, check_smoothing, logits_2d, logits_3d, OP};
use super::gpu_loss::loss_of_head;
use super::softmax_op::labelled_sum;
use crate::nn::Dense;
use crate::train::loss_at::LossAt;
use crate::{Error, Result};

/// The mean over all rows of `-ln softmax(logits)[label]`, in nats, as a differentiable scalar.
///
/// On the CPU it is one op, forward and backward: as a dozen ops of Candle's it took longer than
/// the head before it. On a GPU it is one in `f32`, and Candle's ops in `f64`.
///
/// - `logits`: `(N, C)`, `f32` or `f64`, N at least 1
/// - `labels`: `(N,)`, `u32`, each below C
///
/// # Errors
/// [`Error::Shape`] and [`Error::DType`] when they do not fit, [`Error::Config`] for a label that
/// is not below C; on a GPU, which would have to be waited for, the loss is NaN then.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (rows, _) = logits_2d(logits)?;
    check(logits, labels, rows)?;
    labelled_sum(logits, labels, vec![1. / rows as f64; rows], 1, 0.)
}

/// [`smoothed_cross_entropy`] of the logits of a dense head. On a GPU a small head and the loss are one op.
///
/// - `h`: `(B, F)`, what the head reads
/// - `labels`: `(B,)`, `u32`, each below the head's outputs
///
/// # Errors
/// As [`smoothed_cross_entropy`], and as [`Dense::forward`].
pub(crate) fn head_cross_entropy(
    head: &Dense,
    h: &Tensor,
    labels: &Tensor,
    smoothing: f64,
) -> Result<Tensor> {
    let fits = h.rank() == 2
        && h.dim(1)? == head.weight().dim(1)?
        && h.dtype() == head.weight().dtype()
        && labels.dims() == [h.dim(0)?]
        && labels.dtype() == DType::U32;
    if let (true, Some(bias)) = (fits, head.bias()) {
        check_smoothing(smoothing)?;
        if let Some(loss) = loss_of_head(h, head.weight(), bias, labels, smoothing)? {
            return Ok(loss);
        }
    }
    smoothed_cross_entropy(&head.forward_fused(h)?, labels, smoothing)
}

/// The same with a part of each label spread over all classes: the loss is
/// `(1 - s) · -ln softmax(logits)[label] + s · mean over the classes of -ln softmax(logits)`.
///
/// - `smoothing`: s, at least 0 and less than 1
///
/// # Errors
/// As [`cross_entropy`]; [`Error::Config`] too for a smoothing out of its range.
///
/// # Source
/// Szegedy et al. (2016), "Rethinking the Inception Architecture", section 7.
pub fn smoothed_cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    if smoothing == 0. {
        return cross_entropy(logits, labels);
    }
    let (rows, classes) = logits_2d(logits)?;
    let logits = logits.reshape((rows, 1, classes))?;
    smoothed_sequence_cross_entropy(&logits, labels, &LossAt::LAST, smoothing)
}

/// The loss of a sequence: the mean over all rows of the weighted sum over the steps of
/// `-ln softmax(logits)[label]`, in nats, as a differentiable scalar.
///
/// - `logits`: `(B, T, C)`, `f32` or `f64`, all at least 1
/// - `labels`: `(B,)`, `u32`, each below C: every step of a row is to tell the row's label
/// - `loss_at`: which steps are read, and how much each counts
///
/// All rows have T steps: [`ragged_cross_entropy`] is for others.
///
/// # Errors
/// As [`cross_entropy`]; [`Error::Config`] too for a step beyond the sequence.
pub fn sequence_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    loss_at: &LossAt,
) -> Result<Tensor> {
    smoothed_sequence_cross_entropy(logits, labels, loss_at, 0.)
}

/// The loss of sequences of different lengths, as [`sequence_cross_entropy`]: `loss_at` speaks of each row's
/// own steps, so that the last one is the last before the padding. Padding is not read, whatever it holds.
///
/// - `lengths`: the steps of each row, from 1 to T
///
/// # Errors
/// As [`sequence_cross_entropy`]; [`Error::Config`] too when there is not one length a row, or one is 0 or
/// larger than T.
pub fn ragged_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    lengths: &[usize],
    loss_at: &LossAt,
) -> Result<Tensor> {
    let (rows, steps, classes) = logits_3d(logits)?;
    check(logits, labels, rows)?;
    if lengths.len() != rows {
        return Err(Error::Config(format!("{OP}: {} lengths for {rows} rows", lengths.len())));
    }
    let mut weights = Vec::with_capacity(rows * steps);
    for (row, len) in lengths.iter().enumerate() {
        if !(1..=steps).contains(len) {
            return Err(Error::Config(format!(
                "{OP}: row {row} has length {len}, but a length is from 1 to {steps}"
            )));
        }
        weights.extend(loss_at.weights(*len)?.into_iter().map(|weight| weight / rows as f64));
        weights.resize((row + 1) * steps, 0.);
    }
    let logits = logits.reshape((rows * steps, classes))?;
    labelled_sum(&logits, labels, weights, steps, 0.)
}

/// The same with a part of each label spread over all classes, as in [`smoothed_cross_entropy`].
///
/// # Errors
/// As [`sequence_cross_entropy`]; [`Error::Config`] too for a smoothing out of its range.
pub fn smoothed_sequence_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    loss_at: &LossAt,
    smoothing: f64,
) -> Result<Tensor> {
    let (rows, steps, classes) = logits_3d(logits)?;
    check(logits, labels, rows)?;
    check_smoothing(smoothing)?;
    let of_steps: Vec<f64> =
        loss_at.weights(steps)?.into_iter().map(|weight| weight / rows as f64).collect();
    let logits = logits.reshape((rows * steps, classes))?;
    labelled_sum(&logits, labels, of_steps.repeat(rows), steps, smoothing)
}

#[cfg(test)]
mod tests {
    use super::super::softmax_op::{composed, fused};
    use super::*;
    use candle_core::{Device, Var};

    const LOGITS: [f64; 12] = [0.3, -1., 2., 0.1, 5., 5., -3., 0.7, -40., 30., 0., 1.];

    fn logits(dtype: DType) -> Var {
        let logits = Tensor::from_slice(&LOGITS, (3, 4), &Device::Cpu).unwrap();
        Var::from_tensor(&logits.to_dtype(dtype).unwrap()).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_devices_loss_of_a_sequence_is_the_cpus() {
        let labels = Tensor::new(&[2u32], &Device::Cpu).unwrap();
        let weights = [0.5, 0., 2.];
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-14)] {
            let logits = logits(dtype);
            let of = |loss: Tensor| {
                let store = loss.backward().unwrap();
                [values(&loss), values(store.get(&logits).unwrap())].concat()
            };
            for smoothing in [0., 0.1] {
                let logits = logits.as_tensor();
                let found = of(composed(logits, &labels, &weights, 3, smoothing).unwrap());
                let expected = fused(logits, &labels, weights.to_vec(), 3, smoothing).unwrap();
                let expected = of(expected);
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() <= tolerance * b.abs().max(1.), "{a} instead of {b}");
                }
                assert_eq!(found.len(), expected.len());
            }
        }
    }

    #[test]
    fn a_smoothed_loss_and_its_gradient_are_those_of_pytorch() {
        let labels = Tensor::new(&[2u32, 0, 3], &Device::Cpu).unwrap();
        let logits = logits(DType::F64);
        let loss = smoothed_cross_entropy(logits.as_tensor(), &labels, 0.1).unwrap();
        // torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1), and its gradient.
        assert!((values(&loss)[0] - 10.27371174520903).abs() < 1e-13, "{loss}");
        let expected = [
            0.03572801275913761,
            0.00367478432073996,
            -0.06714384281446255,
            0.027741045734585006,
            -0.14281733567329088,
            0.15718266432670913,
            -0.008277808901798389,
            -0.006087519751619734,
            -0.008333333333333333,
            0.32499999999988405,
            -0.008333333333302141,
            -0.3083333333332486,
        ];
        let store = loss.backward().unwrap();
        for (a, b) in values(store.get(&logits).unwrap()).iter().zip(expected) {
            assert!((a - b).abs() < 1e-15, "{a} instead of {b}");
        }
        for wrong in [-0.1, 1., f64::NAN] {
            let error = smoothed_cross_entropy(logits.as_tensor(), &labels, wrong).unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error:?}");
        }
        let flat = logits.flatten_all().unwrap();
        let error = smoothed_cross_entropy(&flat, &labels, 0.1).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error:?}");
    }

    #[test]
    fn loss_and_gradient_are_those_of_candle() {
        let labels = Tensor::new(&[2u32, 0, 3], &Device::Cpu).unwrap();
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-14)] {
            let logits = logits(dtype);
            let found = cross_entropy(logits.as_tensor(), &labels).unwrap();
            let expected = candle_nn::loss::cross_entropy(logits.as_tensor(), &labels).unwrap();
            assert_eq!(found.dims(), expected.dims());
            // A factor behind the loss must reach the gradient.
            let grads = |loss: &Tensor| {
                values((loss * 3.).unwrap().backward().unwrap().get(&logits).unwrap())
            };
            let pairs = [(values(&found), values(&expected)), (grads(&found), grads(&expected))];
            for (found, expected) in pairs {
                for (found, expected) in found.iter().zip(&expected) {
                    let close = (found - expected).abs() <= tolerance * expected.abs().max(1.);
                    assert!(close, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn the_loss_of_a_sequence_is_the_weighted_mean_over_its_steps() {
        // Three steps of one row, then the row's label at each of them.
        let var = logits(DType::F64);
        let labels = Tensor::new(&[2u32], &Device::Cpu).unwrap();
        let at = |step: usize| -> f64 {
            let row = var.narrow(0, step, 1).unwrap();
            cross_entropy(&row, &labels).unwrap().to_scalar().unwrap()
        };
        let logits = var.reshape((1, 3, 4)).unwrap();
        for (loss_at, expected) in [
            (LossAt::LAST, at(2)),
            (LossAt::EVERY, (at(0) + at(1) + at(2)) / 3.),
            (LossAt::weighted([(1, 1.), (3, 3.)]).unwrap(), 0.25 * at(0) + 0.75 * at(2)),
        ] {
            let loss = sequence_cross_entropy(&logits, &labels, &loss_at).unwrap();
            assert!((loss.to_scalar::<f64>().unwrap() - expected).abs() <= 1e-14, "{loss_at:?}");
            let grads = values(loss.backward().unwrap().get(&var).unwrap());
            for (step, weight) in loss_at.weights(3).unwrap().into_iter().enumerate() {
                let read = grads[4 * step..][..4].iter().all(|grad| *grad != 0.);
                let unread = grads[4 * step..][..4].iter().all(|grad| *grad == 0.);
                assert!(if weight > 0. { read } else { unread }, "{loss_at:?} {grads:?}");
            }
        }
        let beyond = LossAt::steps([4]).unwrap();
        assert!(sequence_cross_entropy(&logits, &labels, &beyond).is_err());
        assert!(sequence_cross_entropy(&var, &labels, &LossAt::LAST).is_err());
    }

    #[test]
    fn the_loss_of_ragged_rows_reads_no_padding() {
        let device = &Device::Cpu;
        let lengths = [3, 1, 2];
        let labels = Tensor::new(&[1u32, 0, 3], device).unwrap();
        let number =
            |row: usize, t: usize, class: usize| ((row * 7 + t * 5 + class * 3) % 11) as f64;
        let logits = |padding: f64| {
            let of = |(row, t, class): (usize, usize, usize)| {
                if t < lengths[row] {
                    number(row, t, class)
                } else {
                    padding
                }
            };
            let all = (0..3).flat_map(|r| (0..4).flat_map(move |t| (0..4).map(move |c| (r, t, c))));
            let numbers: Vec<f64> = all.map(of).collect();
            Var::from_tensor(&Tensor::from_vec(numbers, (3, 4, 4), device).unwrap()).unwrap()
        };
        for loss_at in [LossAt::LAST, LossAt::EVERY] {
            // Each row alone.
            let alone: f64 = (0..3)
                .map(|row| {
                    let len = lengths[row];
                    let all = (0..len).flat_map(|t| (0..4).map(move |class| (t, class)));
                    let numbers: Vec<f64> = all.map(|(t, class)| number(row, t, class)).collect();
                    let logits = Tensor::from_vec(numbers, (1, len, 4), device).unwrap();
                    let label = labels.narrow(0, row, 1).unwrap();
                    let loss = sequence_cross_entropy(&logits, &label, &loss_at).unwrap();
                    loss.to_scalar::<f64>().unwrap() / 3.
                })
                .sum();
            for padding in [0., 1e9, f64::NAN, f64::INFINITY] {
                let var = logits(padding);
                let fused = ragged_cross_entropy(var.as_tensor(), &labels, &lengths, &loss_at);
                let weights: Vec<f64> = lengths
                    .iter()
                    .flat_map(|len| {
                        let mut weights = loss_at.weights(*len).unwrap();
                        weights.resize(4, 0.);
                        weights.into_iter().map(|weight| weight / 3.)
                    })
                    .collect();
                let flat = var.as_tensor().reshape((12, 4)).unwrap();
                let composed = composed(&flat, &labels, &weights, 4, 0.);
                let mut grads = Vec::new();
                for loss in [fused.unwrap(), composed.unwrap()] {
                    let found = loss.to_scalar::<f64>().unwrap();
                    assert!((found - alone).abs() <= 1e-12, "{padding}: {found}, not {alone}");
                    grads.push(values(loss.backward().unwrap().get(&var).unwrap()));
                }
                let [fused, composed] = &grads[..] else { unreachable!() };
                for (index, (a, b)) in fused.iter().zip(composed).enumerate() {
                    assert!((a - b).abs() <= 1e-12, "{padding}: {a} {b}");
                    assert!(index / 4 % 4 < lengths[index / 16] || (*a == 0. && *b == 0.));
                }
            }
        }
        for lengths in [&[1, 2][..], &[0, 1, 1], &[5, 1, 1]] {
            let var = logits(0.);
            assert!(ragged_cross_entropy(var.as_tensor(), &labels, lengths, &LossAt::LAST).is_err());
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        const EPS: f64 = 1e-5;
        let labels = Tensor::new(&[2u32, 0, 3], &Device::Cpu).unwrap();
        let loss = |values: &[f64]| -> f64 {
            let logits = Tensor::from_slice(values, (3, 4), &Device::Cpu).unwrap();
            cross_entropy(&logits, &labels).unwrap().to_scalar().unwrap()
        };
        let var = logits(DType::F64);
        let grads = cross_entropy(var.as_tensor(), &labels).unwrap().backward().unwrap();
        for (index, grad) in values(grads.get(&var).unwrap()).iter().enumerate() {
            let shifted = |by: f64| {
                let mut logits = LOGITS;
                logits[index] += by;
                loss(&logits)
            };
            let difference = (shifted(EPS) - shifted(-EPS)) / (2. * EPS);
            assert!((grad - difference).abs() <= 1e-9, "{index}: {grad} {difference}");
        }
    }

    #[test]
    fn logits_that_are_not_finite_make_the_loss_so() {
        for bad in [f32::NAN, f32::INFINITY] {
            let logits = Tensor::new(&[[0., bad]], &Device::Cpu).unwrap();
            let labels = Tensor::new(&[0u32], &Device::Cpu).unwrap();
            let loss = cross_entropy(&logits, &labels).unwrap().to_scalar::<f32>().unwrap();
            assert!(!loss.is_finite(), "{bad}: {loss}");
        }
    }

    #[test]
    fn arguments_that_do_not_fit_are_errors_that_name_them() {
        let logits = logits(DType::F32);
        let error = |logits: &Tensor, labels: &Tensor| {
            cross_entropy(logits, labels).unwrap_err().to_string()
        };
        let labels = |labels: &[u32]| Tensor::new(labels, &Device::Cpu).unwrap();
        assert!(error(logits.as_tensor(), &labels(&[0, 1, 4])).contains("label 4 is not below 4"));
        assert!(error(logits.as_tensor(), &labels(&[0, 1])).contains("labels must have shape (3,)"));
        assert!(error(&logits.flatten_all().unwrap(), &labels(&[0])).contains("logits"));
        let floats = labels(&[0, 1, 2]).to_dtype(DType::F32).unwrap();
        assert!(error(logits.as_tensor(), &floats).contains("labels must be u32"));
    }
}
