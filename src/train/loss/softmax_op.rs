//! Softmax and the weighted sum of cross-entropies as one op of the CPU or of a GPU, and as Candle's ops elsewhere.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, WithDType, D};
use rayon::prelude::*;

use super::checks::OP;
use super::gpu_loss::{gpu_of, loss_of_logits, RowWeights};
use crate::{Error, Result};

/// The targets of N rows of logits.
pub(super) struct Targets<'a> {
    /// `(N,)`: the label of each row, below C; of a row of weight 0 any class.
    pub(super) labels: Vec<u32>,
    /// `(N,)`: what each row counts; a row of weight 0 is not read.
    pub(super) weights: Vec<f64>,
    /// The part of a label that is spread over all classes.
    pub(super) smoothing: f64,
    /// `(C,)`: what the classes weigh; all 1 if `None`.
    pub(super) class_weights: Option<&'a [f64]>,
}

/// The weighted sum of the losses of rows with targets of their own, a scalar.
///
/// - `logits`: `(.., C)`, N rows
pub(super) fn weighted_sum(logits: &Tensor, targets: Targets<'_>) -> Result<Tensor> {
    if logits.device().is_cpu() && gpu_of(logits)?.is_none() {
        // In any shape: Candle would make zeros and a sum of the gradient of one that is changed.
        return fused_targets(logits, targets);
    }
    let logits = &logits.reshape(((), logits.dim(D::Minus1)?))?;
    if let Some(gpu) = gpu_of(logits)? {
        let Targets { labels, weights, smoothing, class_weights } = targets;
        let labels = Tensor::new(labels, logits.device())?;
        let weights = RowWeights::of(&weights);
        return loss_of_logits(gpu, logits, &labels, 1, weights, smoothing, class_weights);
    }
    composed_targets(logits, &targets)
}

/// The weighted sum of the losses of rows of which `steps` after each other have the same label, a scalar.
///
/// - `logits`: `(B·T, C)`; `labels`: `(B,)`; `weights`: B·T of them
///
/// # Errors
/// On the CPU [`Error::Config`] for a label that is not below C; on a GPU it makes the loss NaN.
pub(super) fn labelled_sum(
    logits: &Tensor,
    labels: &Tensor,
    weights: Vec<f64>,
    steps: usize,
    smoothing: f64,
) -> Result<Tensor> {
    if let Some(gpu) = gpu_of(logits)? {
        let weights = RowWeights::of(&weights);
        return loss_of_logits(gpu, logits, labels, steps, weights, smoothing, None);
    }
    if !logits.device().is_cpu() {
        return composed(logits, labels, &weights, steps, smoothing);
    }
    fused(logits, labels, weights, steps, smoothing)
}

/// As [`weighted_sum`], as one op of the CPU.
fn fused_targets(logits: &Tensor, targets: Targets<'_>) -> Result<Tensor> {
    let Targets { labels, mut weights, smoothing, class_weights } = targets;
    let labels: Vec<usize> = labels.into_iter().map(|label| label as usize).collect();
    let mut of_classes = None;
    if let Some(class_weights) = class_weights {
        if smoothing > 0. {
            of_classes = Some(class_weights.to_vec());
        } else {
            // The target is the label alone: its class weight is the row's.
            let rows = weights.iter_mut().zip(&labels);
            rows.for_each(|(weight, label)| *weight *= class_weights[*label]);
        }
    }
    apply(logits, labels, weights, smoothing, of_classes)
}

/// As [`weighted_sum`], of Candle's ops.
fn composed_targets(logits: &Tensor, targets: &Targets<'_>) -> Result<Tensor> {
    let labels = Tensor::from_slice(&targets.labels, (targets.labels.len(), 1), logits.device())?;
    composed_rows(logits, &labels, &targets.weights, targets.smoothing, targets.class_weights)
}

/// As [`fused`], of Candle's ops, on any device.
///
/// - `logits`: `(B·T, C)`; `labels`: `(B,)`; `weights`: B·T of them
pub(super) fn composed(
    logits: &Tensor,
    labels: &Tensor,
    weights: &[f64],
    steps: usize,
    smoothing: f64,
) -> Result<Tensor> {
    let rows = labels.elem_count();
    let of_steps = labels.unsqueeze(1)?.broadcast_as((rows, steps))?.contiguous()?;
    composed_rows(logits, &of_steps.reshape((rows * steps, 1))?, weights, smoothing, None)
}

/// The same with a label of its own for each row of logits.
///
/// - `logits`: `(N, C)`; `labels`: `(N, 1)`; `weights`: N of them; `class_weights`: C of them
fn composed_rows(
    logits: &Tensor,
    labels: &Tensor,
    weights: &[f64],
    smoothing: f64,
    class_weights: Option<&[f64]>,
) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    let to_device = |numbers: &[f64], shape: (usize, usize)| -> Result<Tensor> {
        let numbers = Tensor::new(numbers, &Device::Cpu)?.to_dtype(logits.dtype())?;
        Ok(numbers.to_device(logits.device())?.reshape(shape)?)
    };
    // Selected, not multiplied: zero times NaN is NaN, in the gradient too.
    let is_read: Vec<u8> = weights.iter().map(|weight| u8::from(*weight != 0.)).collect();
    let is_read = Tensor::from_vec(is_read, (rows, 1), logits.device())?;
    let logits =
        &is_read.broadcast_as(logits.shape())?.where_cond(logits, &logits.zeros_like()?)?;
    let mut log_probabilities = candle_nn::ops::log_softmax(logits, 1)?;
    if let Some(class_weights) = class_weights {
        log_probabilities =
            log_probabilities.broadcast_mul(&to_device(class_weights, (1, classes))?)?;
    }
    let mut of_labels = log_probabilities.gather(labels, 1)?;
    if smoothing > 0. {
        let of_all = log_probabilities.mean_keepdim(1)?;
        of_labels = ((of_labels * (1. - smoothing))? + (of_all * smoothing)?)?;
    }
    Ok((of_labels * to_device(weights, (rows, 1))?)?.sum_all()?.neg()?)
}

/// `logits` `(N, C)`, of which `steps` rows after each other have the same label.
///
/// # Errors
/// [`Error::Config`] for a label that is not below C.
pub(super) fn fused(
    logits: &Tensor,
    labels: &Tensor,
    weights: Vec<f64>,
    steps: usize,
    smoothing: f64,
) -> Result<Tensor> {
    let classes = logits.dim(1)?;
    let mut of_rows = Vec::with_capacity(weights.len());
    for label in labels.to_vec1::<u32>()? {
        if label as usize >= classes {
            return Err(Error::Config(format!("{OP}: label {label} is not below {classes}")));
        }
        of_rows.extend(std::iter::repeat_n(label as usize, steps));
    }
    apply(logits, of_rows, weights, smoothing, None)
}

fn apply(
    logits: &Tensor,
    labels: Vec<usize>,
    weights: Vec<f64>,
    smoothing: f64,
    class_weights: Option<Vec<f64>>,
) -> Result<Tensor> {
    let (classes, probabilities) = (logits.dim(D::Minus1)?, OnceLock::new());
    let op = CrossEntropy { classes, labels, weights, smoothing, class_weights, probabilities };
    Ok(logits.contiguous()?.apply_op1(op)?)
}

/// `(.., C)` logits, N rows, to the weighted sum of their losses.
struct CrossEntropy {
    classes: usize,
    /// `(N,)`.
    labels: Vec<usize>,
    /// `(N,)`: a row of weight 0 is not looked at.
    weights: Vec<f64>,
    /// The part of a label that is spread over all classes.
    smoothing: f64,
    /// `(C,)`: what the classes weigh in a target that is spread; all 1 if `None`.
    class_weights: Option<Vec<f64>>,
    /// `(N, C)`, kept for backward.
    probabilities: OnceLock<Vec<f64>>,
}

impl CrossEntropy {
    const NAME: &str = "cross-entropy";

    /// The weight of `-ln softmax(logits)[class]` in the loss of a row with this label.
    fn target(&self, class: usize, label: usize) -> f64 {
        let own = f64::from(u8::from(class == label));
        let target = (1. - self.smoothing) * own + self.smoothing / self.classes as f64;
        match &self.class_weights {
            Some(weights) => target * weights[class],
            None => target,
        }
    }

    /// Computes in `f64`, whatever the logits are: there are few of them. Rows are shared out among threads; their
    /// losses are summed in order, so that the sum's bits do not depend on how many there are.
    fn forward<E: WithDType>(&self, logits: &[E]) -> CpuStorage {
        let mut probabilities = vec![0.; logits.len()];
        let mut losses = vec![0.; self.labels.len()];
        let rows_of_block = self.rows_of_a_block();
        let numbers = rows_of_block * self.classes;
        let blocks = probabilities.par_chunks_mut(numbers).zip(logits.par_chunks(numbers));
        blocks.zip(losses.par_chunks_mut(rows_of_block)).enumerate().for_each(
            |(block, ((probabilities, logits), losses))| {
                let rows = probabilities.chunks_exact_mut(self.classes);
                let rows = rows.zip(logits.chunks_exact(self.classes)).zip(losses);
                for (at, ((probabilities, logits), loss)) in rows.enumerate() {
                    *loss = self.row_loss(block * rows_of_block + at, logits, probabilities);
                }
            },
        );
        let loss = losses.iter().sum();
        // An op runs forward once; a second time would give the same.
        let _ = self.probabilities.set(probabilities);
        E::to_cpu_storage_owned(vec![E::from_f64(loss)])
    }

    /// The rows that a thread takes at once: all of them where there are few numbers.
    fn rows_of_a_block(&self) -> usize {
        const NUMBERS: usize = 1 << 13;
        (NUMBERS / self.classes).max(1)
    }

    /// The loss of a row; its probabilities are put in place.
    fn row_loss<E: WithDType>(&self, index: usize, logits: &[E], row: &mut [f64]) -> f64 {
        let (label, weight) = (self.labels[index], self.weights[index]);
        row.iter_mut().zip(logits).for_each(|(place, logit)| *place = logit.to_f64());
        if weight == 0. {
            return 0.;
        }
        // A NaN is no maximum, but reaches the sum by way of its own term.
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut own = row[label] - max;
        let mut mass = 1.;
        if self.class_weights.is_some() {
            mass = (0..self.classes).map(|class| self.target(class, label)).sum();
            let logits = row.iter().enumerate();
            own = logits.map(|(class, logit)| self.target(class, label) * (logit - max)).sum();
        } else if self.smoothing > 0. {
            let mean = row.iter().sum::<f64>() / self.classes as f64 - max;
            own = (1. - self.smoothing) * own + self.smoothing * mean;
        }
        row.iter_mut().for_each(|logit| *logit = (*logit - max).exp());
        let total: f64 = row.iter().sum();
        row.iter_mut().for_each(|exp| *exp /= total);
        weight * (mass * total.ln() - own)
    }

    /// `∂L/∂logits = weight · (mass · softmax(logits) - target) · grad`: the target is the label's, smoothed, and
    /// the mass is its sum, 1 unless classes are weighted.
    fn backward<E: WithDType>(&self, grad: f64) -> candle_core::Result<Vec<E>> {
        let Some(probabilities) = self.probabilities.get() else {
            candle_core::bail!("{}: backward without probabilities from forward", Self::NAME);
        };
        let mut grads = vec![E::from_f64(0.); probabilities.len()];
        let rows = self.rows_of_a_block();
        let blocks = grads.par_chunks_mut(rows * self.classes);
        let blocks = blocks.zip(probabilities.par_chunks(rows * self.classes));
        blocks.enumerate().for_each(|(block, (grads, probabilities))| {
            let of_rows = grads.chunks_exact_mut(self.classes);
            let of_rows = of_rows.zip(probabilities.chunks_exact(self.classes));
            for (at, (grads, probabilities)) in of_rows.enumerate() {
                let (label, weight) =
                    (self.labels[block * rows + at], self.weights[block * rows + at]);
                if weight == 0. {
                    continue;
                }
                let scale = weight * grad;
                let mass = match self.class_weights {
                    Some(_) => (0..self.classes).map(|class| self.target(class, label)).sum(),
                    None => 1.,
                };
                for (class, (grad, probability)) in grads.iter_mut().zip(probabilities).enumerate()
                {
                    *grad = E::from_f64(scale * (mass * probability - self.target(class, label)));
                }
            }
        });
        Ok(grads)
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("{}: logits must be contiguous", Self::NAME);
        };
        let loss = match logits {
            CpuStorage::F32(logits) => self.forward(&logits[start..end]),
            CpuStorage::F64(logits) => self.forward(&logits[start..end]),
            _ => candle_core::bail!("{}: logits must be f32 or f64", Self::NAME),
        };
        Ok((loss, Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        _loss: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok(Some(match logits.dtype() {
            DType::F32 => {
                Tensor::from_vec(self.backward::<f32>(grad)?, logits.shape(), logits.device())?
            }
            _ => Tensor::from_vec(self.backward::<f64>(grad)?, logits.shape(), logits.device())?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn weighted_rows_and_classes_are_the_same_composed() {
        let numbers: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 11) / 3. - 1.5).collect();
        let logits = Tensor::from_vec(numbers, (5, 4), &Device::Cpu).unwrap();
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-14)] {
            let var = Var::from_tensor(&logits.to_dtype(dtype).unwrap()).unwrap();
            let of = |loss: Tensor| {
                let store = loss.backward().unwrap();
                [values(&loss), values(store.get(&var).unwrap())].concat()
            };
            for smoothing in [0., 0.2] {
                for class_weights in [None, Some(&[0.5, 0., 3., 1.][..])] {
                    let targets = || Targets {
                        labels: vec![3, 1, 0, 2, 0],
                        weights: vec![0.5, 0.1, 0., 2., 1.],
                        smoothing,
                        class_weights,
                    };
                    let found = of(fused_targets(var.as_tensor(), targets()).unwrap());
                    let expected = of(composed_targets(var.as_tensor(), &targets()).unwrap());
                    assert_eq!(found.len(), 21);
                    for (a, b) in found.iter().zip(&expected) {
                        let is_close = (a - b).abs() <= tolerance * b.abs().max(1.);
                        assert!(is_close, "{smoothing}, {class_weights:?}: {a} instead of {b}");
                    }
                }
            }
        }
    }
}
