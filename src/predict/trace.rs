//! `Trace`: what a network predicts and holds after each step of a sequence.

use candle_core::{DType, Tensor, Var};
use serde::Serialize;

use crate::model::{NetworkConfig, Readout, SequenceClassifier};
use crate::nn::Sequences;
use crate::recurrence::{check_teams, Outputs};
use crate::train::most_likely;
use crate::train::tasks::TaskKind;
use crate::{Error, Result};

/// A network's predictions and hidden states after each of the T steps of a sequence, and the saliency of the steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// The predictions after each step: the probability of each class, `(T, C)`, or the numbers in the units of the
    /// data, `(T, K)`. A network that reads in both directions, or all outputs at once, reads each beginning of the
    /// sequence by itself.
    pub outputs: Vec<Vec<f64>>,
    /// The last layer's output after each step, `(T, P)`, of a network that reads forward in time with the last-state
    /// readout; empty for others.
    pub hidden: Vec<Vec<f32>>,
    /// The saliency of each step, `(T,)`: the L2 norm of the gradient of the last prediction (the logit of its class,
    /// or the sum of its numbers) with respect to the inputs of the step.
    pub saliency: Vec<f64>,
}

/// Runs a model over one sequence.
///
/// - `x`: `(1, T, I)`
/// - `read`: the outputs of a step as they are reported
pub(super) fn trace(
    model: &SequenceClassifier,
    network: &NetworkConfig,
    x: &Tensor,
    target: TaskKind,
    read: impl Fn(&[f64]) -> Vec<f64>,
) -> Result<Trace> {
    // As a variable, so that there is a gradient of it: the weights are frozen.
    let variable = Var::from_tensor(x)?;
    let is_forward = !network.bidirectional && network.readout == Readout::Last;
    // (T, C), of which the last row has a graph, and (T, P).
    let (outputs, answer, hidden) = if is_forward {
        let hidden = model.rnn().forward(variable.as_tensor())?.outputs;
        let logits = model.logits(&hidden)?.squeeze(0)?;
        let last = logits.get(logits.dim(0)? - 1)?;
        (logits.detach(), last, hidden.detach().squeeze(0)?.to_dtype(DType::F32)?.to_vec2()?)
    } else {
        let last = if target == TaskKind::StepClass {
            let logits = model.forward_steps(variable.as_tensor())?.squeeze(0)?;
            logits.get(logits.dim(0)? - 1)?
        } else {
            model.forward(variable.as_tensor())?.squeeze(0)?
        };
        (beginnings(model, x, target)?, last, Vec::new())
    };
    let outputs = outputs.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let answer = if target == TaskKind::Numbers {
        answer.sum_all()?
    } else {
        let logits = answer.detach().to_dtype(DType::F64)?.to_vec1::<f64>()?;
        answer.get(most_likely(&logits))?
    };
    let gradients = answer.backward()?;
    let Some(gradient) = gradients.get(variable.as_tensor()) else {
        return Err(Error::Config("the prediction has no gradient of the inputs".into()));
    };
    let squares = gradient.squeeze(0)?.to_dtype(DType::F64)?.sqr()?.sum(1)?;
    let saliency = squares.sqrt()?.to_vec1()?;
    check_teams(x.device())?;
    let outputs = outputs.iter().map(|outputs| read(outputs)).collect();
    Ok(Trace { outputs, hidden, saliency })
}

/// The outputs of a model, `(T, C)`, for each beginning of a sequence `(1, T, I)`, read by itself.
fn beginnings(model: &SequenceClassifier, x: &Tensor, target: TaskKind) -> Result<Tensor> {
    let steps = x.dim(1)?;
    let lengths: Vec<usize> = (1..=steps).collect();
    let copies = x.repeat((steps, 1, 1))?;
    let sequences = Sequences::new(&copies).lengths(&lengths);
    if target != TaskKind::StepClass {
        return model.forward_unrolled(sequences, Outputs::Last);
    }
    // Of each beginning the output of its own last step.
    let outputs = model.forward_steps(sequences)?;
    let classes = outputs.dim(2)?;
    let last: Vec<u32> = (0..steps).map(|step| (step * steps + step) as u32).collect();
    let last = Tensor::from_vec(last, steps, x.device())?;
    Ok(outputs.reshape((steps * steps, classes))?.index_select(&last, 0)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::ClassifierConfig;
    use crate::nn::{Init, VarSink};
    use crate::recurrence::Cell;
    use crate::rng::{Purpose, SeededRng};

    /// The largest logit after the last step.
    fn answer(model: &SequenceClassifier, x: &[f64]) -> f64 {
        let x = Tensor::from_slice(x, (1, 4, 3), &Device::Cpu).unwrap();
        let logits = model.forward(&x).unwrap().squeeze(0).unwrap().to_vec1::<f64>().unwrap();
        logits.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn saliency_is_the_norm_of_the_gradient_of_each_step() {
        for cell in [Cell::Tanh, Cell::Lstm] {
            let config = ClassifierConfig::new(cell, 3, 5, 4);
            let rng = &mut SeededRng::new(3, Purpose::Init);
            let sink = VarSink::new(DType::F64, &Device::Cpu);
            let model = SequenceClassifier::init(&config, Init::Orthogonal, rng, &sink).unwrap();
            let model = model.freeze().unwrap();
            let x: Vec<f64> = (0..12).map(|_| rng.symmetric(1.)).collect();
            let input = Tensor::from_slice(&x, (1, 4, 3), &Device::Cpu).unwrap();
            let network = &config.network;
            let read = <[f64]>::to_vec;
            let found = trace(&model, network, &input, TaskKind::Class, read).unwrap();
            assert_eq!(found.hidden.len(), 4);
            let last = found.outputs[3].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!((last - answer(&model, &x)).abs() < 1e-12);
            for (step, saliency) in found.saliency.iter().enumerate() {
                let slope = |at: usize| {
                    let changed = |by: f64| {
                        let mut x = x.clone();
                        x[at] += by;
                        answer(&model, &x)
                    };
                    (changed(1e-6) - changed(-1e-6)) / 2e-6
                };
                let norm = (3 * step..3 * step + 3).map(|at| slope(at).powi(2)).sum::<f64>().sqrt();
                assert!((saliency - norm).abs() < 1e-6, "{cell:?} step {step}: {saliency} {norm}");
            }
        }
    }

    #[test]
    fn beginnings_are_what_a_forward_network_says_after_each_step() {
        let config = ClassifierConfig::new(Cell::Gru, 3, 5, 4);
        let rng = &mut SeededRng::new(4, Purpose::Init);
        let sink = VarSink::new(DType::F64, &Device::Cpu);
        let model = SequenceClassifier::init(&config, Init::Orthogonal, rng, &sink).unwrap();
        let model = model.freeze().unwrap();
        let x: Vec<f64> = (0..12).map(|_| rng.symmetric(1.)).collect();
        let x = Tensor::from_slice(&x, (1, 4, 3), &Device::Cpu).unwrap();
        let read = <[f64]>::to_vec;
        let found = trace(&model, &config.network, &x, TaskKind::Class, read).unwrap();
        for target in [TaskKind::Class, TaskKind::StepClass] {
            let outputs = beginnings(&model, &x, target).unwrap().to_vec2::<f64>().unwrap();
            for (a, b) in outputs.iter().flatten().zip(found.outputs.iter().flatten()) {
                assert!((a - b).abs() < 1e-12, "{target:?}: {a} {b}");
            }
        }
    }
}
