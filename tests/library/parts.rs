//! The library put together: it learns, it continues where it was, and a stream says what a whole
//! sequence says.

use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_rnn::data::batches::{Batching, Gather};
use candle_rnn::data::mnist::{ImageSet, Mnist, COLUMNS};
use candle_rnn::data::view::View;
use candle_rnn::model::{NetworkConfig, SequenceClassifier};
use candle_rnn::nn::{Init, Lstm, LstmConfig};
use candle_rnn::optim::{Adam, AdamConfig};
use candle_rnn::predict::Predictor;
use candle_rnn::recurrence::Cell;
use candle_rnn::recurrence::Truncation;
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::run::{DataConfig, ImageConfig, Session, SessionConfig};
use candle_rnn::train::LossAt;
use candle_rnn::train::{Event, Precision, TrainConfig, Trainer, TrainerConfig};
use candle_rnn::{Error, VarSink};

use crate::common;

fn small() -> TrainConfig {
    TrainConfig {
        network: NetworkConfig { hidden_size: 20, ..NetworkConfig::default() },
        trainer: TrainerConfig { epochs: 2, batch_size: 160, ..TrainerConfig::default() },
        ..TrainConfig::default()
    }
}

/// The small run's settings, with this change.
fn with(change: impl FnOnce(&mut TrainConfig)) -> TrainConfig {
    let mut config = small();
    change(&mut config);
    config
}

/// Trains to the end and returns the metrics' validation accuracies.
fn train(trainer: &mut Trainer) -> Vec<f64> {
    let mut accuracies = Vec::new();
    loop {
        match trainer.next_event().unwrap() {
            Event::Step { .. } => {}
            Event::Epoch(metrics) => accuracies.push(metrics.valid_accuracy.unwrap()),
            Event::Done => return accuracies,
        }
    }
}

fn weights(trainer: &Trainer) -> Vec<Vec<f32>> {
    let weights = trainer.weights().unwrap();
    weights.values().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

/// A small run in a folder of its own.
fn trained(config: TrainConfig) -> (tempfile::TempDir, Predictor) {
    let folder = common::folder();
    let data = DataConfig { dataset: Some(ImageSet::Mnist), source: None, sha256: String::new() };
    let run = ImageConfig::new(config, data);
    let sample = Mnist::sample().unwrap();
    let opened =
        Session::images(folder.path(), run, sample, &Device::Cpu, SessionConfig::default())
            .unwrap();
    let (mut session, _) = opened;
    session.run(&mut |_| ControlFlow::Continue(())).unwrap();
    let predictor = Predictor::load(folder.path()).unwrap();
    (folder, predictor)
}

#[test]
fn a_batch_of_digits_is_learned_by_heart() {
    let deep = |cell| {
        with(|c| {
            c.network.cell = cell;
            c.network.num_layers = 2;
            c.network.bidirectional = true;
        })
    };
    for config in [
        small(),
        with(|c| {
            c.network.cell = Cell::Relu;
            c.init = Init::Identity;
        }),
        with(|c| c.network.cell = Cell::Gru),
        with(|c| {
            c.network.cell = Cell::GruResetBefore;
            c.init = Init::Pytorch;
        }),
        with(|c| c.network.cell = Cell::MinimalGru),
        TrainConfig { init: Init::Orthogonal, ..deep(Cell::Lstm) },
        deep(Cell::Tanh),
    ] {
        let mut config = config;
        config.network.hidden_size = 40;
        let init = config.init;
        let mut rng = SeededRng::new(3, Purpose::Init);
        let (dtype, device) = (DType::F32, Device::Cpu);
        let sink = VarSink::new(dtype, &device);
        let model = SequenceClassifier::init(&config.model(), init, &mut rng, &sink).unwrap();
        let settings = AdamConfig { learning_rate: 3e-3, ..AdamConfig::default() };
        let mut adam = Adam::new(&sink, settings).unwrap();
        let train = Mnist::sample().unwrap().train;
        let gather = Gather::new(View::Rows, dtype, &device).unwrap();
        let batch = gather.batch(&train, 0..32).unwrap();
        let mut last = f32::NAN;
        // Within 300 steps; when it knows them, that is it.
        for _ in 0..300 {
            let logits = model.forward(&batch.x).unwrap();
            let loss = candle_rnn::train::cross_entropy(&logits, &batch.labels).unwrap();
            last = loss.to_scalar().unwrap();
            if last <= 0.02 {
                break;
            }
            adam.step(&loss.backward().unwrap()).unwrap();
        }
        assert!(last <= 0.02, "{config:?}: {last}");
    }
}

#[test]
fn the_sample_is_learned_far_beyond_chance() {
    let config = TrainConfig {
        network: NetworkConfig { hidden_size: 64, ..NetworkConfig::default() },
        trainer: TrainerConfig {
            epochs: 8,
            batch_size: 40,
            learning_rate: 2e-3,
            ..TrainerConfig::default()
        },
        init: Init::Orthogonal,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
    let accuracies = train(&mut trainer);
    // Seven times chance, from 1,600 digits seen eight times.
    assert!(*accuracies.last().unwrap() >= 0.7, "{accuracies:?}");
}

#[test]
fn every_epoch_trains_on_every_image_in_even_batches() {
    let batching = Some(Batching::Split);
    let config = with(|c| {
        c.trainer.batch_size = 90;
        c.trainer.batching = batching;
        c.network.hidden_size = 4;
    });
    let mut trainer = Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
    let mut sizes = vec![Vec::new(); 2];
    while let event @ (Event::Step { .. } | Event::Epoch(_)) = trainer.next_event().unwrap() {
        if let Event::Step { epoch, examples, batches, .. } = event {
            assert_eq!(batches, 17);
            sizes[epoch - 1].push(examples);
        }
    }
    let expected = [vec![95; 2], vec![94; 15]].concat();
    assert_eq!(sizes, [expected.clone(), expected]);
    assert_eq!(trainer.step_count(), 34);
}

#[test]
fn a_trainer_restored_in_mid_epoch_ends_with_the_same_bits() {
    let dropout = with(|c| {
        c.network.cell = Cell::Lstm;
        c.network.num_layers = 2;
        c.network.dropout = 0.3;
    });
    for config in [small(), with(|c| c.dtype = Precision::F64), dropout] {
        let new = || Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
        let mut whole = new();
        for _ in 0..13 {
            whole.next_event().unwrap();
        }
        let state = whole.state().unwrap();
        assert_eq!((state.position.epoch, state.position.batch), (1, 2));
        let mut continued = new();
        continued.restore(&state).unwrap();
        let accuracies = train(&mut whole);
        assert_eq!(train(&mut continued), accuracies);
        let serialized = |trainer: &Trainer| {
            candle_rnn::files::tensors::serialize(&trainer.weights().unwrap()).unwrap()
        };
        assert_eq!(serialized(&whole), serialized(&continued));
    }
}

#[test]
fn a_state_of_another_model_is_refused_and_changes_nothing() {
    let sample = || Mnist::sample().unwrap();
    let other = with(|c| c.network.hidden_size = 21);
    let state = Trainer::classifier(&other, sample(), &Device::Cpu).unwrap().state().unwrap();
    let mut trainer = Trainer::classifier(&small(), sample(), &Device::Cpu).unwrap();
    let before = weights(&trainer);
    assert!(trainer.restore(&state).is_err());
    assert_eq!(weights(&trainer), before);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_trainer() {
    let config = with(|c| {
        c.network.cell = Cell::Relu;
        c.trainer.learning_rate = 1e30;
    });
    let mut trainer = Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu).unwrap();
    let error = (0..20).find_map(|_| trainer.next_event().err());
    assert!(matches!(error, Some(Error::NotFinite { epoch: 1, .. })), "{error:?}");
}

#[test]
fn a_stream_says_after_each_row_what_the_sequence_says_there() {
    let deep = with(|c| {
        c.network.cell = Cell::Lstm;
        c.network.num_layers = 2;
        c.network.dropout = 0.2;
    });
    let gru = with(|c| c.network.cell = Cell::Gru);
    for config in [small(), with(|c| c.dtype = Precision::F64), gru, deep] {
        let (_folder, model) = trained(config);
        let digits = Mnist::sample().unwrap().test;
        let image = digits.image(4);
        let steps = &model.predict_steps(&[image]).unwrap()[0];
        assert_eq!(steps.len(), 28);
        let mut stream = model.stream();
        for (row, expected) in image.chunks(COLUMNS).zip(steps) {
            let x_t: Vec<f64> = row.iter().map(|pixel| f64::from(*pixel) / 255.).collect();
            let found = stream.push(&x_t).unwrap();
            for (a, b) in found.probabilities.iter().zip(&expected.probabilities) {
                // Sums over 28 inputs and 20 units in another order, in f32.
                assert!((a - b).abs() <= 1e-5, "{a} {b}");
            }
        }
        let whole = &model.predict(&[image]).unwrap()[0];
        assert_eq!(whole.label, steps[27].label);
    }
}

#[test]
fn a_bidirectional_model_tells_nothing_step_by_step() {
    let (_folder, model) = trained(with(|c| c.network.bidirectional = true));
    let digits = Mnist::sample().unwrap().test;
    let error = model.predict_steps(&[digits.image(0)]).unwrap_err();
    assert!(error.to_string().contains("bidirectional"), "{error}");
    assert!(model.stream().push(&[0.; 28]).is_err());
    assert_eq!(model.predict(&[digits.image(0)]).unwrap().len(), 1);
}

#[test]
fn inputs_of_another_size_are_refused() {
    let (_folder, model) = trained(small());
    for image in [&[0; 783][..], &[0; 785], &[]] {
        let error = model.predict(&[image]).unwrap_err();
        assert!(matches!(error, Error::Shape { op: "predict", .. }), "{error}");
    }
    assert!(model.predict(&[]).unwrap().is_empty());
    assert!(matches!(model.stream().push(&[0.; 27]), Err(Error::Shape { op: "stream", .. })));
}

#[test]
fn settings_out_of_range_are_refused() {
    for config in [
        with(|c| c.network.hidden_size = 0),
        with(|c| c.trainer.epochs = 0),
        with(|c| c.trainer.batch_size = 0),
        with(|c| c.trainer.learning_rate = 0.),
        with(|c| c.trainer.learning_rate = f64::NAN),
        with(|c| c.network.num_layers = 0),
        with(|c| c.network.num_layers = 65),
        with(|c| c.network.dropout = 1.),
        with(|c| c.network.dropout = -0.1),
        with(|c| {
            c.network.bidirectional = true;
            c.objective.truncation = Truncation::segments(5).unwrap();
        }),
        with(|c| {
            c.network.bidirectional = true;
            c.objective.loss_at = LossAt::EVERY;
        }),
        with(|c| {
            c.network.num_layers = 2;
            c.objective.truncation = Truncation::window(2, 5).unwrap();
        }),
    ] {
        let made = Trainer::classifier(&config, Mnist::sample().unwrap(), &Device::Cpu);
        assert!(matches!(made.err(), Some(Error::Config(_))), "{config:?}");
    }
}

#[test]
fn a_missing_tensor_is_one_line_where_backtraces_are_asked_for() {
    const NAME: &str = "a_missing_tensor_is_one_line_where_backtraces_are_asked_for";
    if std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value != "1") {
        // Whether there are backtraces is read once in a process.
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.arg(NAME).env("RUST_BACKTRACE", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let empty = || VarBuilder::from_tensors(Default::default(), DType::F32, &Device::Cpu);
    let candle = empty().get(3, "x").unwrap_err();
    assert!(candle.to_string().lines().count() > 1, "{candle}");
    let errors = [
        candle_rnn::Error::from(candle).to_string(),
        Lstm::new(LstmConfig::new(3, 4), empty()).unwrap_err().to_string(),
        candle_rnn::Error::from(
            Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap().dims2().unwrap_err(),
        )
        .to_string(),
    ];
    for error in errors {
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
