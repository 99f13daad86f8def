//! The reference job against PyTorch: logits, every gradient, and the losses of 100 Adam steps.
//!
//! `tests/golden/make.py` says what `tests/golden/reference_job.safetensors` holds and how it was made. Each
//! check runs in `f32` against PyTorch's `f32`, and in `f64` against its `f64`, where a tolerance
//! ten million times smaller leaves no room for another formula.

use std::collections::BTreeMap;

use crate::common::compare::{difference, failures, is_close};
use crate::common::golden::Golden;
use crate::common::values;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_rnn::data::batches::{Batch, Gather};
use candle_rnn::data::mnist::Mnist;
use candle_rnn::data::view::View;
use candle_rnn::model::{ClassifierConfig, SequenceClassifier};
use candle_rnn::optim::{Adam, AdamConfig};
use candle_rnn::recurrence::Cell;
use candle_rnn::{Error, Result};

const BATCH_SIZE: usize = 100;
const STEPS: usize = 100;

/// Every parameter of the reference job, sorted.
const PARAMETERS: [&str; 5] =
    ["head.bias", "head.weight", "rnn.bias_ih_l0", "rnn.weight_hh_l0", "rnn.weight_ih_l0"];

/// How far a computation may be off PyTorch's in the same dtype.
#[derive(Clone, Copy)]
struct Tolerances {
    /// Logits, loss and gradients of the first batch: max|a - b| / max|b| of each tensor.
    first_batch: f64,
    /// The loss of each step, |a - b| / |b|.
    losses: f64,
}

/// `f32`: sums over 28 steps and 100 images in another order than PyTorch's differ by about 1e-6,
/// and Adam turns that into steps that differ. `f64`: the same, 2^29 times finer.
fn tolerances(dtype: DType) -> Tolerances {
    match dtype {
        DType::F64 => Tolerances { first_batch: 1e-12, losses: 1e-10 },
        _ => Tolerances { first_batch: 1e-5, losses: 1e-3 },
    }
}

/// What PyTorch computed in `dtype`.
fn computed(golden: &Golden, dtype: DType, name: &str) -> Result<Vec<f64>> {
    Ok(values(golden.get(&format!("{}.{name}", dtype.as_str()))?))
}

/// The model of the reference job with the golden file's initial values, and its batches.
struct Job {
    dtype: DType,
    /// Sorted by name.
    vars: BTreeMap<String, Var>,
    model: SequenceClassifier,
    data: Mnist,
    order: Vec<u32>,
}

impl Job {
    fn new(golden: &Golden, dtype: DType) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for name in golden.names("initial.") {
            let initial = golden.get(&format!("initial.{name}"))?.to_dtype(dtype)?;
            vars.insert(name.to_string(), Var::from_tensor(&initial)?);
        }
        assert!(vars.keys().eq(&PARAMETERS), "{:?}", vars.keys());
        let var_map = VarMap::new();
        match var_map.data().lock() {
            Ok(mut data) => data.extend(vars.clone()),
            Err(_) => return Err(Error::Config("the variables are lost".into())),
        }
        let config = ClassifierConfig::new(Cell::Tanh, 28, 150, 10);
        let vb = VarBuilder::from_varmap(&var_map, dtype, &Device::Cpu);
        let model = SequenceClassifier::new(&config, vb)?;
        // A name that the model did not find would have been made, at random.
        assert_eq!(var_map.all_vars().len(), PARAMETERS.len());
        let order = golden.get("order")?.to_vec1::<u32>()?;
        Ok(Self { dtype, vars, model, data: Mnist::sample()?, order })
    }

    /// The batch of a step, from 0.
    fn batch(&self, step: usize) -> Result<Batch> {
        let batches = self.order.len() / BATCH_SIZE;
        let indices = &self.order[step % batches * BATCH_SIZE..][..BATCH_SIZE];
        Gather::new(View::Rows, self.dtype, &Device::Cpu)?
            .batch(&self.data.train, indices.iter().map(|index| *index as usize))
    }

    /// Changes by 0.01 the weight with the largest gradient.
    fn disturb(&self, golden: &Golden, name: &str) -> Result<()> {
        let grad = computed(golden, self.dtype, &format!("grad.{name}"))?;
        let at = (0..grad.len()).max_by(|i, j| grad[*i].abs().total_cmp(&grad[*j].abs()));
        let var = &self.vars[name];
        let mut weight = values(var);
        weight[at.unwrap_or(0)] += 0.01;
        let weight = Tensor::from_vec(weight, var.shape(), &Device::Cpu)?;
        Ok(var.set(&weight.to_dtype(self.dtype)?)?)
    }
}

/// A way from inputs `(B, T, I)` to logits `(B, C)`.
type Forward = fn(&SequenceClassifier, &Tensor) -> Result<Tensor>;

fn of_whole_sequences(model: &SequenceClassifier, x: &Tensor) -> Result<Tensor> {
    model.forward(x)
}

fn last_of_every_step(model: &SequenceClassifier, x: &Tensor) -> Result<Tensor> {
    let logits = model.forward_steps(x)?;
    let last = logits.dim(1)? - 1;
    Ok(logits.narrow(1, last, 1)?.squeeze(1)?)
}

/// How far the first batch's results are off: [`difference`] of `logits`, `loss` and `grad.NAME`
/// for each parameter's name; NaN for a gradient that the backward pass did not reach.
fn first_batch(golden: &Golden, job: &Job, forward: Forward) -> Result<BTreeMap<String, f64>> {
    let batch = job.batch(0)?;
    let logits = forward(&job.model, &batch.x)?;
    let loss = candle_rnn::train::cross_entropy(&logits, &batch.labels)?;
    let grads = loss.backward()?;
    let expected = |name: &str| computed(golden, job.dtype, name);
    let mut differences = BTreeMap::from([
        ("logits".to_string(), difference(&values(&logits), &expected("logits")?)),
        ("loss".to_string(), difference(&values(&loss), &expected("losses")?[..1])),
    ]);
    for (name, var) in &job.vars {
        let name = format!("grad.{name}");
        let off = match grads.get(var) {
            Some(grad) if grad.shape() == var.shape() => {
                difference(&values(grad), &expected(&name)?)
            }
            _ => f64::NAN,
        };
        differences.insert(name, off);
    }
    Ok(differences)
}

/// How far the losses of the Adam steps are off, each by itself, from the initial values on.
fn adam_losses(golden: &Golden, job: &Job) -> Result<Vec<f64>> {
    let expected = computed(golden, job.dtype, "losses")?;
    let mut adam = Adam::new(job.vars.clone(), AdamConfig::default())?;
    let mut differences = Vec::new();
    for (step, expected) in expected.iter().enumerate() {
        let batch = job.batch(step)?;
        let logits = job.model.forward(&batch.x)?;
        let loss = candle_rnn::train::cross_entropy(&logits, &batch.labels)?;
        adam.step(&loss.backward()?)?;
        differences.push(difference(&values(&loss), &[*expected]));
    }
    Ok(differences)
}

#[test]
fn logits_loss_and_gradients_of_the_first_batch_are_pytorchs() -> Result<()> {
    let golden = Golden::read("reference_job.safetensors")?;
    let ways: [(&str, Forward); 2] =
        [("forward", of_whole_sequences), ("forward_steps", last_of_every_step)];
    let expected: Vec<String> = PARAMETERS
        .iter()
        .map(|name| format!("grad.{name}"))
        .chain(["logits".into(), "loss".into()])
        .collect();
    for dtype in [DType::F32, DType::F64] {
        let job = Job::new(&golden, dtype)?;
        assert_eq!(golden.names(&format!("{}.grad.", dtype.as_str())), PARAMETERS);
        for (way, forward) in ways {
            let differences = first_batch(&golden, &job, forward)?;
            println!("{} {way}: {differences:?}", dtype.as_str());
            assert!(differences.keys().eq(&expected), "{:?}", differences.keys());
            let failed = failures(&differences, tolerances(dtype).first_batch);
            assert!(failed.is_empty(), "{dtype:?} {way}: {failed:?} of {differences:?}");
        }
    }
    Ok(())
}

#[test]
fn the_losses_of_a_hundred_adam_steps_are_pytorchs() -> Result<()> {
    let golden = Golden::read("reference_job.safetensors")?;
    for dtype in [DType::F32, DType::F64] {
        let differences = adam_losses(&golden, &Job::new(&golden, dtype)?)?;
        println!("{}: {:.1e}", dtype.as_str(), differences.iter().copied().fold(0., f64::max));
        assert_eq!(differences.len(), STEPS);
        let tolerance = tolerances(dtype).losses;
        let failed = differences.iter().position(|off| !is_close(*off, tolerance));
        assert_eq!(failed, None, "{dtype:?}, counted from 0: {differences:?}");
    }
    Ok(())
}

#[test]
fn a_weight_that_is_off_by_a_hundredth_is_noticed() -> Result<()> {
    let golden = Golden::read("reference_job.safetensors")?;
    for name in PARAMETERS {
        let job = Job::new(&golden, DType::F32)?;
        job.disturb(&golden, name)?;
        let differences = first_batch(&golden, &job, of_whole_sequences)?;
        let failed = failures(&differences, tolerances(DType::F32).first_batch);
        assert_eq!(failed.len(), differences.len(), "{name}: only {failed:?} of {differences:?}");
    }
    Ok(())
}

#[test]
fn a_gradient_that_is_missing_is_noticed() -> Result<()> {
    let golden = Golden::read("reference_job.safetensors")?;
    let job = Job::new(&golden, DType::F32)?;
    let differences = first_batch(&golden, &job, |model, x| model.detach().forward(x))?;
    let failed = failures(&differences, tolerances(DType::F32).first_batch);
    assert_eq!(failed, PARAMETERS.map(|name| format!("grad.{name}")));
    Ok(())
}

#[test]
fn a_difference_is_relative_and_never_hides_nan() {
    assert_eq!(difference(&[1., -2.], &[1., -2.]), 0.);
    assert_eq!(difference(&[0.], &[0.]), 0.);
    assert_eq!(difference(&[1., -3.], &[1., -4.]), 0.25);
    assert_eq!(difference(&[1.], &[0.]), f64::INFINITY);
    assert!(is_close(difference(&[1., -3.], &[1., -4.]), 0.25));
    assert!(!is_close(difference(&[1., -3.], &[1., -4.]), 0.24));
    let nan = f64::NAN;
    let infinity = f64::INFINITY;
    let not_comparable: [(&[f64], &[f64]); 7] = [
        (&[nan, 1., 2.], &[1., 1., 2.]),
        (&[1., 1., nan], &[1., 1., 2.]),
        (&[1., 2.], &[nan, 2.]),
        (&[nan], &[nan]),
        (&[infinity], &[infinity]),
        (&[1., 2.], &[1.]),
        (&[], &[]),
    ];
    for (a, b) in not_comparable {
        assert!(difference(a, b).is_nan(), "{a:?} {b:?}");
        assert!(!is_close(difference(a, b), 1e300), "{a:?} {b:?}");
    }
}
