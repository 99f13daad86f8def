//! Runs that are put to work without Candle: the crate of the kernels predicts of them what the library predicts, for
//! every cell, depth, direction, readout, target and preprocessing, whole and step by step.

use std::ops::ControlFlow;
use std::path::Path;

use crate::common;
use crate::common::compare::assert_close;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_rnn::data::view::View;
use candle_rnn::data::{
    DataSplits, Dataset, DatasetBuilder, LabelsBuilder, MissingPolicy, Numbers, PreprocessConfig,
    Scaling, SequenceValues, Target,
};
use candle_rnn::model::{LanguageModel, Readout};
use candle_rnn::predict::{
    GenerateConfig, Generator, SequencePrediction, SequencePredictor, SequenceStream,
};
use candle_rnn::recurrence::Cell;
use candle_rnn::rng::{Purpose, SeededRng};
use candle_rnn::run::{read_config, read_weights, RunTask, Session, SessionConfig};
use candle_rnn::train::tasks::{
    SequenceSource, SequenceTask, SequenceTraining, TaskKind, TextConfig, TextTask, TextTraining,
};
use candle_rnn::train::{Precision, TrainerConfig};
use candle_rnn_kernels::{ImageView, Model, ModelStream, Number, Prediction};

/// What a model may be trained to.
const TARGETS: [TaskKind; 4] =
    [TaskKind::Class, TaskKind::StepClass, TaskKind::Numbers, TaskKind::Forecast];

/// Sequences of 4 to 9 steps of two features, some values of which are missing if they may be.
fn data(kind: TaskKind, has_missing: bool) -> Dataset {
    let mut rng = SeededRng::new(5, Purpose::Shuffle);
    let (mut builder, mut labels) = (DatasetBuilder::new(["a", "b"]), LabelsBuilder::new());
    let mut numbers = Vec::new();
    let count = if kind == TaskKind::Forecast { 4 } else { 24 };
    for n in 0..count {
        let len = if kind == TaskKind::Forecast { 40 } else { 4 + n % 6 };
        for step in 0..len {
            let wave = (step as f64 * 1.3).sin() + rng.unit();
            let is_missing = has_missing && rng.unit() < 0.2;
            let b = if is_missing { f64::NAN } else { 5. * wave - 3. };
            builder.push_step(&[(wave + n as f64 % 3.) as f32, b as f32]).unwrap();
            if kind == TaskKind::StepClass {
                labels.push(["x", "y", "z"][(step + n) % 3]);
            }
        }
        builder.end_sequence().unwrap();
        if kind == TaskKind::Class {
            labels.push(["x", "y", "z"][n % 3]);
        }
        numbers.extend([n as f32, 3. - 2. * (n % 4) as f32]);
    }
    builder
        .build(match kind {
            TaskKind::Class => Target::Class(labels.build()),
            TaskKind::StepClass => Target::StepClass(labels.build()),
            TaskKind::Numbers => {
                Target::Numbers(Numbers { names: vec!["p".into(), "q".into()], values: numbers })
            }
            TaskKind::Forecast => Target::None,
        })
        .unwrap()
}

/// Trains one epoch and leaves a run.
fn saved(folder: &Path, task: impl RunTask) {
    let (mut session, _) = Session::open(folder, task, SessionConfig::default()).unwrap();
    session.run(&mut |_| ControlFlow::Continue(())).unwrap();
}

fn model<E: Number>(run: &Path) -> Model<E> {
    let read = |name: &str| std::fs::read(run.join(name)).unwrap();
    Model::from_bytes(&read("config.json"), &read("model.safetensors")).unwrap()
}

/// The values of a sequence.
fn values<E: Number>(data: &Dataset, index: usize) -> Vec<E> {
    let SequenceValues::F32(values) = data.sequence(index) else { panic!("floats") };
    values.iter().map(|value| E::from_f64(f64::from(*value))).collect()
}

/// All numbers of a prediction.
fn flat<E: Number>(prediction: &Prediction<E>) -> Vec<f64> {
    let values = match prediction {
        Prediction::Class(values) | Prediction::Numbers(values) => values.clone(),
        Prediction::Steps(steps) => steps.concat(),
    };
    values.into_iter().map(|value| value.to_f64()).collect()
}

fn flat_of_library(prediction: &SequencePrediction) -> Vec<f64> {
    match prediction {
        SequencePrediction::Class(class) => class.probabilities.clone(),
        SequencePrediction::Steps(steps) => {
            steps.iter().flat_map(|step| step.probabilities.clone()).collect()
        }
        SequencePrediction::Numbers(numbers) => numbers.clone(),
    }
}

fn wide<E: Number>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// The first steps of a sequence as data of their own.
fn prefix(data: &Dataset, index: usize, steps: usize) -> Dataset {
    data.select(&[index as u32]).parts(|_| 0..steps)
}

/// Compares the library with the kernels' model in `E`, of the run in a folder.
fn check_run<E: Number>(run: &Path, data: &Dataset, tolerance: f64, what: &str) {
    let library = SequencePredictor::load(run).unwrap();
    let (spec, network) = (library.spec(), &library.spec().model.network);
    let model = model::<E>(run);
    assert_eq!(model.output_names(), spec.outputs, "{what}");
    let sequences: Vec<Vec<E>> = (0..data.len()).map(|index| values(data, index)).collect();
    let slices: Vec<&[E]> = sequences.iter().map(|values| &values[..]).collect();
    let expected = library.predict(data).unwrap();
    let found = model.predict(&slices).unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_close(&flat(found), &flat_of_library(expected), tolerance, what);
        assert_eq!(found.label(), expected.class().map(|class| class.label), "{what}");
    }
    let is_stepwise = spec.preprocessor.config.scaling != Scaling::PerSequence;
    if network.bidirectional || network.readout != Readout::Last || !is_stepwise {
        assert!(model.stream().is_err(), "{what}");
        return;
    }
    let index = (0..data.len()).max_by_key(|index| data.seq_len(*index)).unwrap();
    let steps = sequences[index].chunks_exact(2);
    let mut stream = model.stream().unwrap();
    if let Some(window) = model.window() {
        // A forecast is of a window.
        for (step, x_t) in steps.take(window).enumerate() {
            let found = wide(stream.push(x_t).unwrap());
            if step + 1 == window {
                let expected = library.predict(&prefix(data, index, window)).unwrap();
                assert_close(&found, &flat_of_library(&expected[0]), tolerance, what);
            }
        }
        return;
    }
    let mut of_library = SequenceStream::new(&library).unwrap();
    for (step, x_t) in steps.enumerate() {
        let expected = library.predict(&prefix(data, index, step + 1)).unwrap();
        let expected = match &expected[0] {
            SequencePrediction::Steps(steps) => steps[step].probabilities.clone(),
            other => flat_of_library(other),
        };
        assert_close(&wide(stream.push(x_t).unwrap()), &expected, tolerance, what);
        let found = of_library.push(&wide(x_t)).unwrap();
        assert_close(&flat_of_library(&found), &expected, tolerance, what);
    }
    // Copies go on by themselves, and a reset goes back to the beginning.
    let mut copy: ModelStream<E> = stream.clone();
    let again = stream.push(&sequences[index][..2]).unwrap().to_vec();
    assert_eq!(copy.push(&sequences[index][..2]).unwrap(), again);
    copy.reset();
    let mut fresh = model.stream().unwrap();
    let expected = fresh.push(&sequences[index][2..4]).unwrap();
    assert_eq!(copy.push(&sequences[index][2..4]).unwrap(), expected, "{what}");
}

/// A small network, and one of four ways to preprocess.
fn training(cell: Cell, kind: TaskKind, number: usize) -> SequenceTraining {
    let preprocess = [
        (Scaling::Standard, MissingPolicy::Refuse, false),
        (Scaling::MinMax, MissingPolicy::ForwardFill, true),
        (Scaling::PerSequence, MissingPolicy::Mean, false),
        (Scaling::None, MissingPolicy::Zero, false),
    ];
    let (scaling, missing, missing_mask) = preprocess[number % 4];
    let mut training = SequenceTraining {
        dtype: if number.is_multiple_of(3) { Precision::F64 } else { Precision::F32 },
        preprocess: PreprocessConfig { scaling, missing, missing_mask },
        trainer: TrainerConfig { epochs: 1, batch_size: 8, ..TrainerConfig::default() },
        ..SequenceTraining::default()
    };
    training.network.cell = cell;
    training.network.hidden_size = 7;
    if kind == TaskKind::Forecast {
        (training.window, training.horizon) = (12, 3);
        if scaling == Scaling::PerSequence {
            training.preprocess.scaling = Scaling::Standard;
        }
    }
    training
}

#[test]
fn kernels_predict_of_every_run_what_the_library_does() {
    let shapes = [
        (1, false, Readout::Last),
        (3, false, Readout::Last),
        (2, true, Readout::Last),
        (1, true, Readout::MeanMax),
    ];
    let mut number = 0;
    for cell in Cell::ALL {
        for (depth, (num_layers, bidirectional, readout)) in shapes.into_iter().enumerate() {
            for kind in TARGETS {
                // Every target once a cell and direction.
                let is_wanted =
                    num_layers == 3 || (depth + kind as usize + number).is_multiple_of(3);
                number += 1;
                if !is_wanted {
                    continue;
                }
                let mut training = training(cell, kind, number);
                training.network.num_layers = num_layers;
                training.network.bidirectional = bidirectional;
                training.network.readout = readout;
                let has_missing = training.preprocess.missing != MissingPolicy::Refuse;
                let data = data(kind, has_missing);
                let source = SequenceSource::default();
                let task = if kind == TaskKind::Forecast {
                    SequenceTask::forecast(&training, &data, source, &Device::Cpu)
                } else {
                    let splits =
                        DataSplits { train: data.clone(), valid: data.clone(), test: None };
                    SequenceTask::new(&training, splits, source, &Device::Cpu)
                };
                let folder = common::folder();
                saved(folder.path(), task.unwrap());
                let what = format!("{cell:?} {num_layers} {bidirectional} {readout:?} {kind:?}");
                if training.dtype == Precision::F64 {
                    check_run::<f64>(folder.path(), &data, 1e-12, &what);
                } else {
                    check_run::<f32>(folder.path(), &data, 1e-6, &what);
                }
            }
        }
    }
}

#[test]
fn pixels_are_read_in_the_same_order() {
    let pairs = [
        (ImageView::Rows, View::Rows),
        (ImageView::Columns, View::Columns),
        (ImageView::Pixels, View::Pixels),
        (ImageView::Permuted, View::Permuted),
    ];
    for (found, expected) in pairs {
        assert_eq!(found.order(), expected.order(), "{expected:?}");
        assert_eq!(found.seq_len(), expected.seq_len());
    }
}

#[cfg(feature = "sample")]
#[test]
fn kernels_tell_digits_as_the_library_does() {
    use candle_rnn::data::mnist::Mnist;
    use candle_rnn::model::NetworkConfig;
    use candle_rnn::predict::Predictor;
    use candle_rnn::run::{DataConfig, ImageConfig};
    use candle_rnn::train::TrainConfig;

    for (cell, view, readout) in [
        (Cell::Tanh, View::Rows, Readout::Last),
        (Cell::Lstm, View::Columns, Readout::All),
        (Cell::Gru, View::Rows, Readout::MeanMax),
    ] {
        let network = NetworkConfig { readout, ..NetworkConfig::new(cell, 12) };
        let trainer = TrainerConfig { epochs: 1, batch_size: 400, ..TrainerConfig::default() };
        let training = TrainConfig { view, network, trainer, ..TrainConfig::default() };
        let data = DataConfig { dataset: None, source: None, sha256: String::new() };
        let config = ImageConfig::new(training, data);
        let (folder, sample) = (common::folder(), Mnist::sample().unwrap());
        let (session, path) = (SessionConfig::default(), folder.path());
        let (mut session, _) =
            Session::images(path, config, sample.clone(), &Device::Cpu, session).unwrap();
        session.run(&mut |_| ControlFlow::Continue(())).unwrap();
        let library = Predictor::load(path).unwrap();
        let model = model::<f32>(path);
        let images: Vec<&[u8]> = (0..300).map(|index| sample.test.image(index)).collect();
        let expected = library.predict(&images).unwrap();
        let found = model.predict_images(&images).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(&flat(found), &expected.probabilities, 1e-6, cell.name());
        }
        assert!(model.predict_images(&[&[0; 783]]).is_err());
        if readout != Readout::Last {
            continue;
        }
        let expected = &library.predict_steps(&images[..1]).unwrap()[0];
        let (mut stream, mut of_library) = (model.stream().unwrap(), library.stream());
        for (row, expected) in images[0].chunks_exact(28).zip(expected) {
            let x_t: Vec<f64> = row.iter().map(|pixel| f64::from(*pixel) / 255.).collect();
            let of_row: Vec<f32> = row.iter().map(|pixel| f32::from(*pixel) / 255.).collect();
            let found = wide(stream.push(&of_row).unwrap());
            assert_close(&found, &expected.probabilities, 1e-6, "a stream");
            let found = of_library.push(&x_t).unwrap();
            assert_close(&found.probabilities, &expected.probabilities, 1e-6, "the library's");
        }
    }
}

#[test]
fn kernels_continue_texts_as_the_library_does() {
    let text = "the cat sat on the mat, and the hat sat on the cat.\n".repeat(12);
    for (cell, num_layers) in [(Cell::Lstm, 1), (Cell::GruResetBefore, 2), (Cell::MinimalGru, 1)] {
        let mut training = TextTraining::default();
        training.network.cell = cell;
        training.network.num_layers = num_layers;
        training.network.hidden_size = 11;
        (training.seq_len, training.embedding_size, training.valid_fraction) = (8, 5, 0.1);
        (training.trainer.batch_size, training.trainer.epochs) = (4, 2);
        let folder = common::folder();
        saved(folder.path(), TextTask::new(&training, &text, None, &Device::Cpu).unwrap());
        let model = model::<f32>(folder.path());

        let config = read_config::<TextConfig>(folder.path()).unwrap();
        let weights = read_weights(folder.path(), &config).unwrap();
        let vb = VarBuilder::from_tensors(weights.into_iter().collect(), DType::F32, &Device::Cpu);
        let of_candle = LanguageModel::new(&config.task.model, vb).unwrap();
        let ids = config.task.vocabulary.encode(&text[..60]).unwrap();
        let ids: Vec<u32> = ids.into_iter().map(u32::from).collect();
        let ids = Tensor::from_vec(ids, (1, 60), &Device::Cpu).unwrap();
        let (logits, _) = of_candle.forward(&ids, None).unwrap();
        let expected = candle_nn::ops::softmax_last_dim(&logits).unwrap();
        let expected = expected.squeeze(0).unwrap().to_vec2::<f32>().unwrap();

        let whole = model.predict_text(&text[..60]).unwrap();
        let mut stream = model.stream().unwrap();
        for ((character, whole), expected) in text.chars().zip(&whole).zip(&expected) {
            assert_close(&wide(whole), &wide(expected), 1e-6, cell.name());
            assert_eq!(stream.push_char(character).unwrap(), whole);
        }
        assert!(stream.push_char('Z').is_err() && stream.push(&[0.]).is_err());

        // The likeliest character each time.
        let generator = Generator::load(folder.path()).unwrap();
        let config = GenerateConfig { length: 40, temperature: 0., ..GenerateConfig::default() };
        let expected = generator.generate("the ", &config).unwrap();
        stream.reset();
        for character in "the ".chars() {
            stream.push_char(character).unwrap();
        }
        let found: String = (0..40)
            .map(|_| {
                let best = Prediction::Class(stream.outputs().to_vec()).label().unwrap();
                let character = model.vocabulary()[best];
                stream.push_char(character).unwrap();
                character
            })
            .collect();
        assert_eq!(found, expected, "{cell:?}");
    }
}

/// Waves of 20 to 30 steps of two features: the value, and a slower one of the same shape.
fn waves() -> Dataset {
    let mut rng = SeededRng::new(8, Purpose::Shuffle);
    let (mut builder, mut labels) = (DatasetBuilder::new(["fast", "slow"]), LabelsBuilder::new());
    for n in 0..90 {
        let name = ["saw", "sine", "square"][n % 3];
        let shape = |phase: f64| match name {
            "saw" => 2. * phase.fract() - 1.,
            "sine" => (std::f64::consts::TAU * phase).sin(),
            _ => {
                if phase.fract() < 0.5 {
                    1.
                } else {
                    -1.
                }
            }
        };
        let (start, pace) = (rng.unit(), 0.08 + 0.06 * rng.unit());
        for step in 0..20 + n % 11 {
            let phase = start + pace * step as f64;
            let mut noisy = |value: f64| (value + 0.3 * (rng.unit() - 0.5)) as f32;
            let values = [noisy(shape(phase)), 40. + 10. * noisy(shape(0.3 * phase))];
            builder.push_step(&values).unwrap();
        }
        builder.end_sequence().unwrap();
        labels.push(name);
    }
    builder.build(Target::Class(labels.build())).unwrap()
}

/// Writes the run that the kernels' tests and example read, and what the library predicts of it.
#[test]
#[ignore = "writes kernels/cpu/tests/data/waves"]
fn writes_the_run_of_the_kernels_tests() {
    let data = waves();
    let mut training = SequenceTraining::for_data(&data);
    training.network.cell = Cell::Gru;
    training.network.hidden_size = 12;
    training.network.bidirectional = false;
    training.network.readout = Readout::Last;
    (training.trainer.epochs, training.trainer.patience) = (60, None);
    training.trainer.learning_rate = 0.02;
    let splits = training.splits(data.clone()).unwrap();
    let task = SequenceTask::new(&training, splits, SequenceSource::default(), &Device::Cpu);
    let folder = common::folder();
    saved(folder.path(), task.unwrap());
    let library = SequencePredictor::load(folder.path()).unwrap();
    let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/cpu/tests/data/waves");
    std::fs::create_dir_all(&to).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(folder.path().join(name), to.join(name)).unwrap();
    }
    let some = data.select(&[0, 1, 2]);
    let sequences: Vec<Vec<f32>> = (0..some.len()).map(|index| values(&some, index)).collect();
    let predicted: Vec<Vec<f64>> =
        library.predict(&some).unwrap().iter().map(flat_of_library).collect();
    let expected = serde_json::json!({ "sequences": sequences, "probabilities": predicted });
    std::fs::write(to.join("expected.json"), format!("{expected}\n")).unwrap();
    let line = |step: &[f32]| format!("{},{}\n", step[0], step[1]);
    std::fs::write(to.join("wave.csv"), sequences[1].chunks(2).map(line).collect::<String>())
        .unwrap();
}
