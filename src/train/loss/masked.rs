//! Softmax cross-entropy of sequences with a label at every step: padding, steps to ignore, class weights.

use candle_core::{Device, Tensor, D};

use super::checks::{check, check_dtypes, check_smoothing, logits_2d, logits_3d, wrong_shape, OP};
use super::softmax_op::{weighted_sum, Targets};
use crate::{Error, Result};

/// Options of [`masked_cross_entropy`] and [`weighted_cross_entropy`]; by default there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropyOptions<'a> {
    /// The label of rows or steps that are not read, which need not be below C.
    pub ignore_index: Option<u32>,
    /// `(C,)`: how much the examples of each class count, finite and at least 0; all alike if `None`.
    pub class_weights: Option<&'a [f64]>,
    /// Label smoothing, at least 0 and less than 1: the part of each label that is spread over all classes.
    pub smoothing: f64,
}

/// The mean over all real steps of `-ln softmax(logits)[label]`, in nats, as a differentiable scalar.
///
/// A step is real if it lies before its row's end and its label is not the one to ignore. Other steps are
/// not read, whatever their logits and labels hold, and their gradient is 0. With class weights w the mean is weighted, as
/// PyTorch's `CrossEntropyLoss(weight)` is: the sum of `-w[label] · ln softmax(logits)[label]` over the sum of
/// `w[label]`.
///
/// - `logits`: `(B, T, C)`, `f32` or `f64`, all at least 1
/// - `labels`: `(B, T)`, `u32`, each below C at real steps
/// - `lengths`: the steps of each row, from 0 to T; all rows have T steps if `None`
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_rnn::train::{masked_cross_entropy, CrossEntropyOptions};
/// # fn main() -> candle_rnn::Result<()> {
/// let logits = Tensor::new(&[[[9f32, 0.], [f32::NAN, f32::NAN]], [[9., 0.], [0., 9.]]], &Device::Cpu)?;
/// let labels = Tensor::new(&[[0u32, 0], [0, 1]], &Device::Cpu)?;
/// let options = CrossEntropyOptions::default();
/// let loss = masked_cross_entropy(&logits, &labels, Some(&[1, 2]), &options)?;
/// assert!(loss.to_scalar::<f32>()? < 1e-3);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Shape`] and [`Error::DType`] when tensors do not fit; [`Error::Config`] for a label that is not below
/// C, lengths that do not fit, options out of range, and where no step is real or all of them have class weight 0.
pub fn masked_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    lengths: Option<&[usize]>,
    options: &CrossEntropyOptions<'_>,
) -> Result<Tensor> {
    let (rows, steps, _) = logits_3d(logits)?;
    if labels.dims() != [rows, steps] {
        return Err(wrong_shape("labels", format!("({rows}, {steps})"), labels));
    }
    check_dtypes(logits, labels)?;
    if let Some(lengths) = lengths {
        if lengths.len() != rows {
            return Err(Error::Config(format!("{OP}: {} lengths for {rows} rows", lengths.len())));
        }
        if let Some((row, len)) = lengths.iter().enumerate().find(|(_, len)| **len > steps) {
            return Err(Error::Config(format!(
                "{OP}: row {row} has length {len}, but logits have {steps} steps"
            )));
        }
    }
    let is_real =
        |index: usize| lengths.is_none_or(|lengths| index % steps < lengths[index / steps]);
    mean(logits, labels, is_real, options)
}

/// The mean over all rows of `-ln softmax(logits)[label]`, weighted as in [`masked_cross_entropy`]: the loss of
/// examples of one label each.
///
/// - `logits`: `(N, C)`, `f32` or `f64`, both at least 1
/// - `labels`: `(N,)`, `u32`, each below C or the one to ignore
///
/// # Errors
/// As [`masked_cross_entropy`].
pub fn weighted_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    options: &CrossEntropyOptions<'_>,
) -> Result<Tensor> {
    let (rows, _) = logits_2d(logits)?;
    check(logits, labels, rows)?;
    mean(logits, labels, |_| true, options)
}

/// - `logits`: `(.., C)`, N rows; `labels`: N of them, of any shape
/// - `is_real`: whether the row with this index is read
fn mean(
    logits: &Tensor,
    labels: &Tensor,
    is_real: impl Fn(usize) -> bool,
    options: &CrossEntropyOptions<'_>,
) -> Result<Tensor> {
    let classes = logits.dim(D::Minus1)?;
    let CrossEntropyOptions { ignore_index, class_weights, smoothing } = *options;
    check_smoothing(smoothing)?;
    if let Some(weights) = class_weights {
        check_class_weights(weights, classes)?;
    }
    let mut labels = labels.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u32>()?;
    let mut weights = vec![0.; labels.len()];
    let (mut count, mut total) = (0usize, 0.);
    for (index, (label, weight)) in labels.iter_mut().zip(&mut weights).enumerate() {
        if !is_real(index) || ignore_index == Some(*label) {
            *label = 0;
            continue;
        }
        if *label as usize >= classes {
            return Err(Error::Config(format!("{OP}: label {label} is not below {classes}")));
        }
        *weight = 1.;
        count += 1;
        total += class_weights.map_or(1., |weights| weights[*label as usize]);
    }
    if count == 0 {
        return Err(Error::Config(format!(
            "{OP}: no label is left to learn from: all {} are padding or ignored",
            labels.len()
        )));
    }
    if !(total > 0. && total.is_finite()) {
        return Err(Error::Config(format!(
            "{OP}: the class weights of the {count} labels sum to {total}: they must give a finite sum above 0"
        )));
    }
    weights.iter_mut().for_each(|weight| *weight /= total);
    weighted_sum(logits, Targets { labels, weights, smoothing, class_weights })
}

fn check_class_weights(weights: &[f64], classes: usize) -> Result<()> {
    if weights.len() != classes {
        let found = weights.len();
        return Err(Error::Config(format!("{OP}: {found} class weights for {classes} classes")));
    }
    let is_wrong = |weight: &f64| !(*weight >= 0. && weight.is_finite());
    match weights.iter().enumerate().find(|(_, weight)| is_wrong(weight)) {
        Some((class, weight)) => Err(Error::Config(format!(
            "{OP}: the weight of class {class} must be finite and at least 0, got {weight}"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Var};

    const LENGTHS: [usize; 3] = [4, 0, 2];
    const IGNORED: u32 = 99;
    const CLASS_WEIGHTS: [f64; 3] = [0.5, 2., 0.];

    fn options(smoothing: f64, class_weights: Option<&[f64]>) -> CrossEntropyOptions<'_> {
        CrossEntropyOptions { ignore_index: Some(IGNORED), class_weights, smoothing }
    }

    /// Labels `(3, 4)`: padding holds what is no class.
    fn labels() -> Tensor {
        let labels = [[0u32, IGNORED, 2, 1], [7; 4], [1, 0, 8, u32::MAX]];
        Tensor::new(&labels, &Device::Cpu).unwrap()
    }

    /// The flat indices of steps that count.
    const REAL: [(usize, usize); 5] = [(0, 0), (2, 2), (3, 1), (8, 1), (9, 0)];

    fn numbers(fill: f64) -> Vec<f64> {
        let is_real = |step: usize| REAL.iter().any(|(real, _)| *real == step);
        let of = |i: usize| if is_real(i / 3) { ((i * 7) % 11) as f64 / 4. - 1. } else { fill };
        (0..36).map(of).collect()
    }

    fn var(numbers: Vec<f64>) -> Var {
        Var::from_tensor(&Tensor::from_vec(numbers, (3, 4, 3), &Device::Cpu).unwrap()).unwrap()
    }

    fn loss(var: &Var, options: &CrossEntropyOptions<'_>) -> Tensor {
        masked_cross_entropy(var.as_tensor(), &labels(), Some(&LENGTHS), options).unwrap()
    }

    fn scalar(loss: &Tensor) -> f64 {
        loss.to_scalar().unwrap()
    }

    /// The definition, in plain numbers.
    fn expected(numbers: &[f64], smoothing: f64, weights: &[f64]) -> f64 {
        let (mut sum, mut total) = (0., 0.);
        for (step, label) in REAL {
            let logits = &numbers[step * 3..][..3];
            let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
            sum += (1. - smoothing) * weights[label] * (log_sum - logits[label]);
            for (weight, x) in weights.iter().zip(logits) {
                sum += smoothing / 3. * weight * (log_sum - x);
            }
            total += weights[label];
        }
        sum / total
    }

    #[test]
    fn the_loss_is_the_weighted_mean_over_real_steps() {
        for smoothing in [0., 0.3] {
            for weights in [None, Some(&CLASS_WEIGHTS[..])] {
                let options = options(smoothing, weights);
                let found = scalar(&loss(&var(numbers(0.)), &options));
                let expected = expected(&numbers(0.), smoothing, weights.unwrap_or(&[1.; 3]));
                assert!((found - expected).abs() < 1e-14, "{options:?}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn masked_gradients_are_those_of_finite_differences() {
        const EPS: f64 = 1e-5;
        for options in [options(0., None), options(0.2, Some(&CLASS_WEIGHTS))] {
            let var_at = var(numbers(0.5));
            let store = loss(&var_at, &options).backward().unwrap();
            let grads = store.get(&var_at).unwrap().flatten_all().unwrap();
            for (index, grad) in grads.to_vec1::<f64>().unwrap().into_iter().enumerate() {
                let shifted = |by: f64| {
                    let mut numbers = numbers(0.5);
                    numbers[index] += by;
                    scalar(&loss(&var(numbers), &options))
                };
                let difference = (shifted(EPS) - shifted(-EPS)) / (2. * EPS);
                assert!((grad - difference).abs() <= 1e-9, "{index}: {grad} {difference}");
            }
        }
    }

    #[test]
    fn steps_that_do_not_count_are_not_read() {
        let options = options(0.2, Some(&CLASS_WEIGHTS));
        let of = |fill: f64| {
            let var = var(numbers(fill));
            let loss = loss(&var, &options);
            let store = loss.backward().unwrap();
            let grads = store.get(&var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            (scalar(&loss), grads)
        };
        let expected = of(0.);
        for (index, grad) in expected.1.iter().enumerate() {
            let is_real = REAL.iter().any(|(real, _)| *real == index / 3);
            assert_eq!(*grad != 0., is_real, "{index}: {grad}");
        }
        for fill in [f64::NAN, f64::INFINITY, -1e300] {
            assert_eq!(of(fill), expected, "{fill}");
        }
    }

    #[test]
    fn rows_with_one_label_each_are_steps_without_padding() {
        let numbers = numbers(1.);
        let flat = Tensor::from_vec(numbers.clone(), (12, 3), &Device::Cpu).unwrap();
        let labels: Vec<u32> = (0..12).map(|i| i % 3).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        for options in [CrossEntropyOptions::default(), options(0.1, Some(&CLASS_WEIGHTS))] {
            let found = scalar(&weighted_cross_entropy(&flat, &labels, &options).unwrap());
            let (x, y) = (flat.reshape((3, 4, 3)).unwrap(), labels.reshape((3, 4)).unwrap());
            let expected = scalar(&masked_cross_entropy(&x, &y, None, &options).unwrap());
            assert_eq!(found, expected, "{options:?}");
        }
        let plain =
            weighted_cross_entropy(&flat, &labels, &CrossEntropyOptions::default()).unwrap();
        let candle = candle_nn::loss::cross_entropy(&flat, &labels).unwrap();
        assert!((scalar(&plain) - scalar(&candle)).abs() < 1e-14);
    }

    #[test]
    fn a_masked_loss_that_means_nothing_is_an_error() {
        let logits = var(numbers(0.));
        let error = |labels: &Tensor, lengths: Option<&[usize]>, options: &CrossEntropyOptions| {
            let loss = masked_cross_entropy(logits.as_tensor(), labels, lengths, options);
            loss.unwrap_err().to_string()
        };
        let plain = CrossEntropyOptions::default();
        let labels = labels();
        let zeros = labels.zeros_like().unwrap();
        assert!(error(&labels, Some(&LENGTHS), &plain).contains("label 99 is not below 3"));
        assert!(error(&zeros, Some(&[1, 2]), &plain).contains("2 lengths for 3 rows"));
        assert!(error(&zeros, Some(&[1, 5, 1]), &plain).contains("row 1 has length 5"));
        assert!(error(&zeros, Some(&[0; 3]), &plain).contains("all 12 are padding"));
        let ignoring = CrossEntropyOptions { ignore_index: Some(0), ..plain };
        assert!(error(&zeros, None, &ignoring).contains("padding or ignored"));
        let with = |weights| CrossEntropyOptions { class_weights: Some(weights), ..plain };
        assert!(error(&zeros, None, &with(&[1.; 2])).contains("2 class weights for 3 classes"));
        assert!(error(&zeros, None, &with(&[1., -1., 1.])).contains("class 1 must be finite"));
        assert!(error(&zeros, None, &with(&[0., 1., 1.])).contains("12 labels sum to 0"));
        let smooth = CrossEntropyOptions { smoothing: 1., ..plain };
        assert!(error(&zeros, None, &smooth).contains("label smoothing"));
        let flat = zeros.flatten_all().unwrap();
        assert!(error(&flat, None, &plain).contains("labels must have shape (3, 4)"));
        let floats = zeros.to_dtype(DType::F32).unwrap();
        assert!(error(&floats, None, &plain).contains("labels must be u32"));
    }
}
