use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use crate::data::batches::Batching;
use crate::data::{
    DataSplits, Dataset, DatasetBuilder, LabelsBuilder, Numbers, Target, TargetKind,
};
use crate::distributed::threads;
use crate::files::tensors;
use crate::nn::dropout;
use crate::train::tasks::{ClassWeights, SequenceSource, SequenceTask, SequenceTraining};
use crate::train::{
    EpochMetrics, Event, Precision, Score, StepContext, Task, Trainer, TrainerConfig, TrainerState,
};
use crate::Result;

/// Sequences of 1 to 9 steps, of classes that are not alike in number.
fn data(kind: TargetKind, count: usize) -> Dataset {
    let mut builder = DatasetBuilder::unnamed(2);
    let (mut labels, mut values) = (LabelsBuilder::new(), Vec::new());
    let class = |n: usize| ["a", "a", "b", "a", "c", "a", "b"][n % 7];
    for n in 0..count {
        let steps = 1 + (5 * n) % 9;
        let value = |step: usize| ((n + 3 * step) as f32 * 0.37).sin();
        for step in 0..steps {
            builder.push_step(&[value(step), value(step + 1)]).unwrap();
            if kind == TargetKind::StepClass {
                labels.push(class(n + step * step));
            }
        }
        builder.end_sequence().unwrap();
        if kind == TargetKind::Class {
            labels.push(class(n));
        }
        values.extend([value(0), 10. * value(steps)]);
    }
    let target = match kind {
        TargetKind::None => Target::None,
        TargetKind::Class => Target::Class(labels.build()),
        TargetKind::StepClass => Target::StepClass(labels.build()),
        TargetKind::Numbers => {
            Target::Numbers(Numbers { names: vec!["y".into(), "z".into()], values })
        }
    };
    builder.build(target).unwrap()
}

/// A small network in `f64`; batches are made of sequences of about the same length.
fn task(kind: TargetKind, class_weights: ClassWeights) -> SequenceTask {
    let mut training = SequenceTraining {
        dtype: Precision::F64,
        class_weights,
        label_smoothing: if kind == TargetKind::Numbers { 0. } else { 0.1 },
        ..SequenceTraining::default()
    };
    training.network.hidden_size = 5;
    let splits = DataSplits { train: data(kind, 30), valid: data(kind, 20), test: None };
    SequenceTask::new(&training, splits, SequenceSource::default(), &Device::Cpu).unwrap()
}

/// Steps of 12, 12 and 6 examples an epoch.
fn config() -> TrainerConfig {
    TrainerConfig {
        epochs: 1,
        batch_size: 12,
        batching: Some(Batching::Exact),
        ..SequenceTraining::default().trainer
    }
}

/// Trains on so many ranks to the end: the state of each, and its last epoch's metrics.
fn train<T: Task>(
    ranks: usize,
    make: impl Fn() -> T + Sync,
    config: &TrainerConfig,
) -> Vec<Result<(TrainerState, EpochMetrics)>> {
    threads::run(ranks, |team| {
        team.guard(|| {
            let mut trainer = Trainer::new(make(), config.clone())?;
            trainer.join(&team, b"same")?;
            let mut last = EpochMetrics::default();
            loop {
                match trainer.next_event()? {
                    Event::Step { .. } => {}
                    Event::Epoch(metrics) => last = metrics,
                    Event::Done => return Ok((trainer.state()?, last)),
                }
            }
        })
    })
}

fn alone<T: Task>(
    make: impl Fn() -> T + Sync,
    config: &TrainerConfig,
) -> (TrainerState, EpochMetrics) {
    train(1, make, config).remove(0).unwrap()
}

/// The largest difference of two states' weights, in parts of each tensor's largest.
fn difference(found: &TrainerState, expected: &TrainerState) -> f64 {
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let largest = |numbers: &[f64]| numbers.iter().fold(0f64, |most, x| most.max(x.abs()));
    let of = |(name, expected): (&String, &Tensor)| {
        let (found, expected) = (numbers(&found.weights[name]), numbers(expected));
        let apart: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
        largest(&apart) / largest(&expected)
    };
    expected.weights.iter().map(of).fold(0., f64::max)
}

fn bits(state: &TrainerState) -> [Vec<u8>; 2] {
    [&state.weights, &state.adam.moments].map(|tensors| tensors::serialize(tensors).unwrap())
}

/// Compares with a training in whole batches.
fn check<T: Task>(name: &str, make: impl Fn() -> T + Sync, whole: &TrainerConfig) {
    let (expected, metrics) = alone(&make, whole);
    let size = whole.batch_size;
    for (batch_size, accumulate, parts) in
        [(size, 1, 2), (size, 1, 4), (size / 2, 2, 1), (size / 2, 2, 2)]
    {
        let name = format!("{name}: {accumulate} times {batch_size} in {parts}");
        let config = TrainerConfig { batch_size, accumulate, parts, ..whole.clone() };
        let (found, other) = alone(&make, &config);
        let apart = difference(&found, &expected);
        assert!(apart <= 1e-12, "{name}: weights {apart}");
        let mut pairs = vec![
            ("train_loss", other.train_loss, metrics.train_loss),
            ("valid_loss", other.valid_loss, metrics.valid_loss),
        ];
        if accumulate == 1 {
            pairs.push(("loss_batch", other.loss_batch, metrics.loss_batch));
        }
        for (of, found, expected) in pairs {
            let apart = (found - expected).abs();
            assert!(apart <= 1e-12 * expected.abs(), "{name}: {of} {found}, not {expected}");
        }
    }
}

#[test]
fn parts_and_accumulated_batches_train_as_the_whole_batch() {
    use ClassWeights::{Balanced, None};
    use TargetKind::{Class, Numbers, StepClass};
    for (kind, class_weights) in [
        (Class, None),
        (Class, Balanced),
        (StepClass, None),
        (StepClass, Balanced),
        (Numbers, None),
    ] {
        let name = format!("{kind:?} {class_weights:?}");
        check(&name, || task(kind, class_weights), &config());
    }
}

#[test]
fn weighed_parts_have_the_same_bits_on_any_number_of_ranks() {
    let make = || task(TargetKind::StepClass, ClassWeights::Balanced);
    let config = TrainerConfig { parts: 4, ..config() };
    let (expected, metrics) = alone(make, &config);
    for ranks in [2, 3] {
        for ended in train(ranks, make, &config) {
            let (state, found) = ended.unwrap();
            assert_eq!(bits(&state), bits(&expected), "{ranks}");
            assert_eq!(found.train_loss, metrics.train_loss, "{ranks}");
        }
    }
}

/// y = a x + b of examples that have a weight each: their mean loss is NaN where these sum to 0.
struct Weighed {
    vars: BTreeMap<String, Var>,
    weights: Vec<f64>,
    dropout: f64,
}

impl Weighed {
    fn new(weights: Vec<f64>, dropout: f64) -> Self {
        let var = |value: f64| Var::new(&[[value]], &Device::Cpu).unwrap();
        let vars = [("a", var(0.3)), ("b", var(-0.2))].map(|(name, var)| (name.to_string(), var));
        Self { vars: vars.into(), weights, dropout }
    }
}

impl Task for Weighed {
    /// Numbers and weights, `(B, 1)`.
    type Batch = [Tensor; 2];

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn examples(&self) -> usize {
        self.weights.len()
    }

    fn weight(&self, numbers: &[u32]) -> f64 {
        numbers.iter().map(|number| self.weights[*number as usize]).sum()
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<Self::Batch> {
        let column = |of: &dyn Fn(u32) -> f64| {
            let values = numbers.iter().map(|number| of(*number)).collect::<Vec<_>>();
            Ok::<_, crate::Error>(Tensor::from_vec(values, (numbers.len(), 1), &Device::Cpu)?)
        };
        let weight = |number: u32| self.weights[number as usize];
        Ok([column(&|number| f64::from(number).sin())?, column(&weight)?])
    }

    fn loss(&self, [x, weights]: &Self::Batch, context: &mut StepContext<'_>) -> Result<Tensor> {
        let read = dropout(x, self.dropout, context.rng)?;
        let y = read.broadcast_mul(&self.vars["a"])?.broadcast_add(&self.vars["b"])?;
        let losses = (y - (x * 2.)?)?.sqr()?.mul(weights)?;
        Ok(losses.sum_all()?.div(&weights.sum_all()?)?)
    }

    fn dropout_draws(&self, numbers: &[u32]) -> Option<u64> {
        let elements = if self.dropout > 0. { numbers.len() } else { 0 };
        Some(64 * elements.div_ceil(64) as u64)
    }

    fn score(&self, _batch: &Self::Batch) -> Result<Score> {
        Ok(Score::default())
    }

    fn validate(&self) -> Result<Score> {
        Ok(Score {
            loss: self.vars["a"].to_dtype(DType::F64)?.sum_all()?.to_scalar()?,
            ..Score::default()
        })
    }
}

#[test]
fn a_part_without_weight_contributes_nothing() {
    // Five weights in six pairs: in every epoch a part has none.
    let weights: Vec<f64> =
        (0..12).map(|n| [1., 0.5, 3., 0.25, 2.].get(n).copied().unwrap_or(0.)).collect();
    let config = TrainerConfig { epochs: 4, batch_size: 12, parts: 6, ..config() };
    let whole = TrainerConfig { parts: 1, ..config.clone() };
    let make = |dropout: f64| {
        let weights = &weights;
        move || Weighed::new(weights.clone(), dropout)
    };
    let (expected, _) = alone(make(0.), &whole);
    let apart = difference(&alone(make(0.), &config).0, &expected);
    assert!(apart <= 1e-12, "{apart}");
    let (expected, metrics) = alone(make(0.3), &config);
    for ranks in [2, 6] {
        for ended in train(ranks, make(0.3), &config) {
            let (state, found) = ended.unwrap();
            assert_eq!(bits(&state), bits(&expected), "{ranks}");
            assert_eq!(state.position.dropout, expected.position.dropout, "{ranks}");
            assert_eq!(found.train_loss, metrics.train_loss, "{ranks}");
        }
    }
}

#[test]
fn weights_that_mean_nothing_are_refused() {
    let config = TrainerConfig { parts: 2, ..config() };
    for (weight, reason) in [
        (0., "the weights of the 2 parts of a step of 12 examples sum to 0"),
        (f64::NAN, "the weight of 6 examples is NaN"),
        (-1., "the weight of 6 examples is -6"),
    ] {
        let ended = train(1, || Weighed::new(vec![weight; 12], 0.), &config).remove(0);
        let text = ended.map(drop).unwrap_err().to_string();
        assert!(text.contains(reason), "{text}");
    }
}
