//! Tasks on data of one's own: gradients of padded batches, and what is fitted to the training split alone.

use std::collections::BTreeMap;

use candle_core::{DType, Device};
use candle_rnn::data::{
    BatchTarget, DataSplits, Dataset, DatasetBuilder, LabelsBuilder, MissingPolicy, Scaling,
    SequenceBatch, SequenceValues, Target,
};
use candle_rnn::model::Readout;
use candle_rnn::predict::{SequencePrediction, SequencePredictor, SequenceStream};
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::run::{Session, SessionConfig};
use candle_rnn::train::tasks::{ClassWeights, SequenceSource, SequenceTask, SequenceTraining};
use candle_rnn::train::{CarriedState, Precision, StepContext, Task};

use crate::common;
use crate::common::compare::difference;

/// Sequences of 1 to 12 steps of two features with one of three classes at each step, of which the last is rare.
fn tagged(count: usize, seed: u64, offset: f64) -> Dataset {
    let mut rng = SeededRng::new(seed, Purpose::Shuffle);
    let (mut builder, mut labels) = (DatasetBuilder::unnamed(2), LabelsBuilder::new());
    for n in 0..count {
        for _ in 0..1 + (5 * n + n / 3) % 12 {
            let (x, y) = (2. * rng.unit() - 1. + offset, 3. * rng.unit());
            builder.push_step(&[x as f32, y as f32]).unwrap();
            labels.push(["a", "b", "c"][usize::from(x > offset) + usize::from(x > offset + 0.8)]);
        }
        builder.end_sequence().unwrap();
    }
    builder.build(Target::StepClass(labels.build())).unwrap()
}

fn training() -> SequenceTraining {
    let mut training = SequenceTraining { dtype: Precision::F64, ..SequenceTraining::default() };
    training.network.hidden_size = 7;
    training.network.num_layers = 2;
    training
}

fn splits(train: Dataset, valid: Dataset) -> DataSplits {
    DataSplits { train, valid, test: None }
}

fn task(training: &SequenceTraining, train: Dataset, valid: Dataset) -> SequenceTask {
    let source = SequenceSource::default();
    SequenceTask::new(training, splits(train, valid), source, &Device::Cpu).unwrap()
}

/// Loss and gradients of the training sequences with these numbers, as one batch.
fn gradients(task: &SequenceTask, numbers: &[u32]) -> (f64, BTreeMap<String, Vec<f64>>) {
    let batch = task.batch(numbers, 0).unwrap();
    let (mut rng, mut state) = (SeededRng::new(0, Purpose::Init), CarriedState::new());
    let mut context = StepContext { rng: &mut rng, state: &mut state };
    let loss = task.loss(&batch, &mut context).unwrap();
    let found = loss.backward().unwrap();
    let of = |name: &String, var: &candle_core::Var| {
        (name.clone(), common::values(found.get(var).unwrap()))
    };
    let gradients = task.vars().iter().map(|(name, var)| of(name, var)).collect();
    (loss.to_scalar().unwrap(), gradients)
}

#[test]
fn padded_tagging_gradients_are_those_of_each_sequence() {
    for class_weights in [ClassWeights::None, ClassWeights::Balanced] {
        for bidirectional in [false, true] {
            let mut training = SequenceTraining { class_weights, ..training() };
            training.network.bidirectional = bidirectional;
            training.label_smoothing = 0.;
            let task = task(&training, tagged(40, 1, 0.), tagged(6, 2, 0.));
            let mut order: Vec<u32> = (0..40).collect();
            task.arrange(&mut order, 8, &mut SeededRng::new(3, Purpose::Shuffle));
            let train = &task.splits().train;
            let counts = train.class_counts();
            let weight = |index: u32| -> f64 {
                let labels = train.step_labels(index as usize).unwrap();
                let of = |label: u32| match class_weights {
                    ClassWeights::None => 1.,
                    ClassWeights::Balanced => 1. / counts[label as usize] as f64,
                };
                labels.map(of).sum()
            };
            let mut padded = 0;
            // Batches as the trainer makes them, and one of all lengths.
            let all: Vec<u32> = (0..40).collect();
            for numbers in order.chunks(8).chain([&all[..]]) {
                padded += usize::from(task.batch(numbers, 0).unwrap().lengths.is_some());
                let (loss, together) = gradients(&task, numbers);
                let total: f64 = numbers.iter().map(|number| weight(*number)).sum();
                let mut expected: BTreeMap<String, Vec<f64>> = BTreeMap::new();
                let mut expected_loss = 0.;
                for number in numbers {
                    let (loss, alone) = gradients(&task, &[*number]);
                    let part = weight(*number) / total;
                    expected_loss += part * loss;
                    for (name, values) in alone {
                        let sum = expected.entry(name).or_insert_with(|| vec![0.; values.len()]);
                        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += part * value);
                    }
                }
                assert!((loss - expected_loss).abs() < 1e-12, "{loss} {expected_loss}");
                assert_eq!(together.len(), expected.len());
                for (name, found) in &together {
                    let off = difference(found, &expected[name]);
                    assert!(off < 1e-11, "{class_weights:?} {name}: {off:e}");
                }
            }
            assert!(padded > 1, "no batch was padded");
        }
    }
}

/// All that a batch holds, as numbers.
fn content(batch: &SequenceBatch) -> (Vec<f64>, Option<Vec<usize>>, Vec<f64>) {
    let target = match &batch.target {
        BatchTarget::Numbers(target) => common::values(target),
        BatchTarget::Class(target) | BatchTarget::StepClass(target) => {
            common::values(&target.to_dtype(DType::F64).unwrap())
        }
        BatchTarget::None => Vec::new(),
    };
    (common::values(&batch.x), batch.lengths.clone(), target)
}

fn training_batch(task: &SequenceTask) -> (Vec<f64>, Option<Vec<usize>>, Vec<f64>) {
    let all: Vec<u32> = (0..task.examples() as u32).collect();
    content(&task.batch(&all, 0).unwrap())
}

#[test]
fn preprocessors_are_fitted_to_the_training_split_alone() {
    for scaling in [Scaling::Standard, Scaling::MinMax] {
        let mut training = training();
        training.preprocess.scaling = scaling;
        training.preprocess.missing = MissingPolicy::Mean;
        let near = task(&training, tagged(40, 1, 0.), tagged(6, 2, 0.));
        let far = task(&training, tagged(40, 1, 0.), tagged(6, 2, 1_000.));
        assert_eq!(near.config().spec, far.config().spec);
        assert_eq!(training_batch(&near), training_batch(&far));
        assert_ne!(near.config().data.valid_sha256, far.config().data.valid_sha256);
        // Split off the same data: what is held out moves nothing either.
        let all = tagged(40, 1, 0.);
        let split = DataSplits::sequences(all, None, None, &training.split, 5).unwrap();
        let train = split.train.clone();
        let source = SequenceSource::default();
        let found = SequenceTask::new(&training, split, source, &Device::Cpu).unwrap();
        let alone = task(&training, train, tagged(6, 2, 0.));
        assert_eq!(found.config().spec, alone.config().spec);
        let mut values = Vec::new();
        let of = |data: &Dataset, values: &mut Vec<f64>| {
            for index in 0..data.len() {
                let candle_rnn::data::SequenceValues::F32(x) = data.sequence(index) else {
                    panic!()
                };
                values.extend(x.iter().step_by(2).map(|x| f64::from(*x)));
            }
        };
        of(&found.splits().train, &mut values);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((found.config().spec.preprocessor.means[0] - mean).abs() < 1e-12);
    }
}

/// A series of two features; behind `cut` it goes its own way.
fn series(cut: usize, tail: f64) -> Dataset {
    let mut builder = DatasetBuilder::new(["a", "b"]);
    for t in 0..80 {
        let wave = (t as f64 * std::f64::consts::TAU / 7.).sin() + 0.02 * t as f64;
        let more = if t >= cut { tail * (t as f64 + 1.) } else { 0. };
        builder.push_step(&[(wave + more) as f32, (2. * wave - more) as f32]).unwrap();
    }
    builder.end_sequence().unwrap();
    builder.build(Target::None).unwrap()
}

#[test]
fn forecasts_leak_nothing_from_behind_a_cut() {
    for scaling in [Scaling::Standard, Scaling::MinMax, Scaling::None] {
        let mut training = SequenceTraining { window: 14, horizon: 3, ..training() };
        training.network.bidirectional = false;
        training.preprocess.scaling = scaling;
        training.split.valid_fraction = 0.2;
        training.split.test_steps = 12;
        let (train_end, valid_end) = training.split.cuts(80);
        assert_eq!((train_end, valid_end), (52, 68));
        let of = |data: &Dataset| {
            let source = SequenceSource::default();
            SequenceTask::forecast(&training, data, source, &Device::Cpu).unwrap()
        };
        let whole = of(&series(80, 0.));
        assert_eq!(whole.config().spec.forecast.unwrap().season, 7);
        // What comes behind the training steps changes nothing that is trained on, nor what was fitted.
        let changed = of(&series(train_end, 9.));
        assert_eq!(whole.examples(), 52 - 14 - 3 + 1);
        assert_eq!(training_batch(&whole), training_batch(&changed));
        assert_eq!(whole.config().spec, changed.config().spec);
        assert_eq!(whole.config().data.sha256, changed.config().data.sha256);
        assert_ne!(whole.validate().unwrap().loss, changed.validate().unwrap().loss);
        // The last training step is used.
        assert_ne!(training_batch(&whole), training_batch(&of(&series(train_end - 1, 9.))));
        // What comes behind the validation steps changes nothing that validates.
        let changed = of(&series(valid_end, 9.));
        assert_eq!(training_batch(&whole), training_batch(&changed));
        assert_eq!(whole.validate().unwrap().loss, changed.validate().unwrap().loss);
        assert_ne!(
            whole.validate().unwrap().loss,
            of(&series(valid_end - 1, 9.)).validate().unwrap().loss
        );
    }
}

/// A run of a unidirectional network whose last output is read, saved for a predictor.
fn saved(training: &mut SequenceTraining, data: Dataset, folder: &std::path::Path) {
    training.network.bidirectional = false;
    training.network.readout = Readout::Last;
    training.trainer.epochs = 1;
    let task = task(training, data.clone(), data);
    let (mut session, _) = Session::open(folder, task, SessionConfig::default()).unwrap();
    session.run(&mut |_| std::ops::ControlFlow::Continue(())).unwrap();
}

#[test]
fn a_stream_predicts_what_the_whole_sequence_gives() {
    let folder = tempfile::tempdir().unwrap();
    let data = tagged(30, 5, 1.);
    for mask in [false, true] {
        let mut training = training();
        training.preprocess.missing = MissingPolicy::ForwardFill;
        training.preprocess.missing_mask = mask;
        let run = folder.path().join(mask.to_string());
        saved(&mut training, data.clone(), &run);
        let model = SequencePredictor::load(&run).unwrap();
        let index = (0..30).find(|index| data.seq_len(*index) > 5).unwrap();
        let predicted = model.predict(&data).unwrap();
        let whole = predicted[index].steps().unwrap();
        let SequenceValues::F32(values) = data.sequence(index) else { panic!("floats") };
        let mut stream = SequenceStream::new(&model).unwrap();
        for (step, expected) in values.chunks_exact(2).zip(whole) {
            let step: Vec<f64> = step.iter().map(|value| f64::from(*value)).collect();
            let SequencePrediction::Class(found) = stream.push(&step).unwrap() else {
                panic!("a class at each step")
            };
            let pairs = found.probabilities.iter().zip(&expected.probabilities);
            assert!(
                pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12),
                "{found:?} {expected:?}"
            );
        }
        assert!(stream.push(&[1.]).is_err());
        // What is missing takes the value before.
        let (mut one, mut other) = (stream.clone(), stream);
        let last = f64::from(values[values.len() - 2]);
        let filled = one.push(&[f64::NAN, 1.]).unwrap();
        assert_eq!(filled == other.push(&[last, 1.]).unwrap(), !mask);
    }
}

#[test]
fn a_stream_forecasts_what_each_window_gives() {
    let folder = tempfile::tempdir().unwrap();
    let series = series(80, 0.);
    let mut training = SequenceTraining { window: 14, horizon: 3, ..training() };
    training.network.bidirectional = false;
    training.network.readout = Readout::Last;
    training.preprocess.missing = MissingPolicy::Mean;
    training.preprocess.missing_mask = true;
    training.trainer.epochs = 1;
    let source = SequenceSource::default();
    let task = SequenceTask::forecast(&training, &series, source, &Device::Cpu).unwrap();
    let (mut session, _) = Session::open(folder.path(), task, SessionConfig::default()).unwrap();
    session.run(&mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    drop(session);
    let model = SequencePredictor::load(folder.path()).unwrap();
    let SequenceValues::F32(values) = series.sequence(0) else { panic!("floats") };
    let mut stream = SequenceStream::new(&model).unwrap();
    for (step, values) in (1..).zip(values.chunks_exact(2)) {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        let found = stream.push(&values).unwrap();
        let found = found.numbers().unwrap();
        if step < 14 {
            assert!(found.is_empty(), "{step}");
            continue;
        }
        let whole = model.predict(&series.parts(|_| 0..step)).unwrap();
        let pairs = found.iter().zip(whole[0].numbers().unwrap());
        assert_eq!(found.len(), 6);
        assert!(
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12),
            "{step}: {found:?} {whole:?}"
        );
    }
    // A window without a value of a feature is refused, and changes nothing.
    let mut empty = SequenceStream::new(&model).unwrap();
    (0..13).for_each(|t| drop(empty.push(&[f64::from(t), f64::NAN]).unwrap()));
    assert!(empty.push(&[13., f64::NAN]).unwrap_err().to_string().contains("nothing to forecast"));
    assert_eq!(empty.push(&[13., 1.]).unwrap().numbers().map(<[f64]>::len), Some(6));
}

#[cfg(feature = "sample")]
#[test]
fn mnist_is_a_data_set_as_others_are() {
    use candle_rnn::train::tasks::Report;
    use candle_rnn::train::Trainer;

    let mut splits = candle_rnn::data::mnist::Mnist::sample().unwrap().sequences().unwrap();
    let every = |data: &Dataset, by: usize| {
        data.select(&(0..data.len() as u32).step_by(by).collect::<Vec<_>>())
    };
    (splits.train, splits.valid) = (every(&splits.train, 4), every(&splits.valid, 8));
    splits.test = splits.test.map(|test| every(&test, 10));
    let mut training = SequenceTraining::default();
    training.network.hidden_size = 32;
    training.trainer.epochs = 40;
    let source = SequenceSource::default();
    let task = SequenceTask::new(&training, splits, source, &Device::Cpu).unwrap();
    let mut trainer = Trainer::new(task, training.trainer.clone()).unwrap();
    trainer.events().try_for_each(|event| event.map(drop)).unwrap();
    let test = trainer.task().splits().test.clone().unwrap();
    let Report::Classes(report) = trainer.measured(|task| task.report(&test)).unwrap() else {
        panic!("classes")
    };
    assert_eq!((report.examples, report.classes[9].name.as_str()), (50, "9"));
    assert!(report.accuracy > 0.5, "{}", report.accuracy);
}
