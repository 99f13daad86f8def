//! The files that fuzzing begins with: small ones that are right, and some that are wrong in one place.
//! `tests/properties.rs` writes them, and holds the library to what their names say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_rnn::data::augment::AugmentConfig;
use candle_rnn::data::idx;
use candle_rnn::files::tensors;
use candle_rnn::model::NetworkConfig;
use candle_rnn::nn::Init;
use candle_rnn::optim::Clip;
use candle_rnn::recurrence::Truncation;
use candle_rnn::settings::{Recipe, Settings};
use candle_rnn::train::LossAt;
use candle_rnn::train::{ObjectiveConfig, Schedule, TrainConfig, TrainerConfig};

use crate::{gzip, run_of, seeds_of_formats, settings, CUT};

/// Name and content of every seed of a target. What begins with `right` is accepted, what begins with
/// `wrong` is refused.
type Seeds = BTreeMap<String, Vec<u8>>;

/// The seeds of every target.
pub fn all() -> BTreeMap<&'static str, Seeds> {
    let checkpoints: Vec<_> = settings().iter().map(files_of_checkpoint).collect();
    let mut all = BTreeMap::from([
        ("idx", of_idx()),
        ("weights", of_weights(&checkpoints)),
        ("checkpoint", of_checkpoint(&checkpoints)),
        ("config", of_config(&checkpoints)),
        ("toml", of_toml()),
    ]);
    all.extend(seeds_of_formats::all());
    all
}

fn of_idx() -> Seeds {
    let pixels = |count: usize| (0..count).map(|i| (i * 37) as u8).collect::<Vec<_>>();
    let mut seeds = Seeds::new();
    for count in 0..4u32 {
        let body = pixels(count as usize * 6);
        let images = [idx::images_header(count, 2, 3), body].concat();
        let labels = [idx::labels_header(count), pixels(count as usize)].concat();
        for (kind, file) in [("images", images), ("labels", labels)] {
            seeds.insert(format!("right-{kind}-{count}-gzipped"), gzip(&file));
            seeds.insert(format!("right-{kind}-{count}"), file);
        }
    }
    let digit = [idx::images_header(1, 28, 28), pixels(784)].concat();
    seeds.insert("right-digit-gzipped".into(), gzip(&digit));
    // Two members one after the other are one file.
    let parts = [gzip(&digit[..20]), gzip(&digit[20..])].concat();
    seeds.insert("right-digit-in-two-members".into(), parts);
    let promise = |dims: [u32; 3]| idx::images_header(dims[0], dims[1], dims[2]);
    seeds.insert("wrong-no-bytes".into(), Vec::new());
    seeds.insert("wrong-one-byte-short".into(), digit[..799].to_vec());
    seeds.insert("wrong-one-byte-long".into(), [&digit[..], b"x"].concat());
    seeds.insert("wrong-half-a-header".into(), digit[..9].to_vec());
    seeds.insert("wrong-promises-too-much".into(), promise([u32::MAX; 3]));
    seeds.insert("wrong-promises-4-gb".into(), promise([1 << 30, 4, 1]));
    seeds.insert("wrong-promises-too-much-gzipped".into(), gzip(&promise([u32::MAX; 3])));
    let zeros = [promise([1 << 20, 4, 1]), vec![0; 4 << 20]].concat();
    seeds.insert("right-4-mb-in-4-kb".into(), gzip(&zeros));
    seeds
}

/// The three files of a checkpoint with these settings, in the form in which they are on disk: how a
/// trainer comes to them is another matter.
fn files_of_checkpoint(training: &TrainConfig) -> [Vec<u8>; 3] {
    let tensor = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| (i as f64 - 3.) / 8.);
        let flat = Tensor::from_iter(values, &Device::Cpu).unwrap();
        flat.to_dtype(training.dtype.dtype()).unwrap().reshape(shape).unwrap()
    };
    let named = |prefix: &str| {
        let parameters = training.model().parameters().into_iter();
        let named = parameters.map(|(name, shape)| (format!("{prefix}{name}"), tensor(&shape)));
        named.collect::<BTreeMap<String, Tensor>>()
    };
    let mut state = named("adam.m.");
    state.extend(named("adam.v."));
    if training.trainer.ema.is_some() {
        state.extend(named("weights."));
    }
    let [model, state] = [named(""), state].map(|t| unframed(&tensors::serialize(&t).unwrap()));
    let mut json: serde_json::Value = serde_json::from_str(POSITION).unwrap();
    json["config"] = serde_json::to_value(run_of(training)).unwrap();
    [model, state, serde_json::to_vec_pretty(&json).unwrap()]
}

/// `trainer_state.json` after the first of two epochs, without the run's configuration.
const POSITION: &str = r#"{
  "step": 11,
  "epoch": 1,
  "batch": 0,
  "loss_sum": 0.0,
  "seconds": 0.0,
  "shuffle": 1599,
  "dropout": 0,
  "augment": 0,
  "best_loss": 0.75,
  "waited": 0,
  "plateaus": 0,
  "history": [
    {
      "epoch": 1,
      "loss_batch": 0.5,
      "acc_batch": 0.875,
      "train_loss": 0.625,
      "valid_loss": 0.75,
      "valid_accuracy": 0.8125,
      "seconds": 1.5,
      "examples_per_second": 10000.0,
      "learning_rate": 0.001,
      "valid_accuracy_by_step": [0.25, 0.5]
    }
  ]
}"#;

/// A safetensors file in the form in which libFuzzer can change its header: see `framed`.
fn unframed(file: &[u8]) -> Vec<u8> {
    let size = usize::from(file[0]) + 256 * usize::from(file[1]);
    let (header, data) = file[8..].split_at(size);
    [header, b"\n", data].concat()
}

fn of_weights(checkpoints: &[[Vec<u8>; 3]]) -> Seeds {
    let mut seeds = Seeds::new();
    for (number, [model, ..]) in checkpoints.iter().enumerate() {
        seeds.insert(format!("right-model-{number}"), model.clone());
    }
    let dtypes =
        [DType::U8, DType::U32, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64];
    let tensors = dtypes.map(|dtype| {
        let tensor = Tensor::ones((2, 1), dtype, &Device::Cpu).unwrap();
        (dtype.as_str().to_string(), tensor)
    });
    let all = tensors::serialize(&tensors.into()).unwrap();
    let empty = tensors::serialize(&BTreeMap::new()).unwrap();
    seeds.insert("right-every-dtype-as-it-is-written".into(), all.clone());
    seeds.insert("right-every-dtype".into(), unframed(&all));
    seeds.insert("right-no-tensor".into(), empty);
    let header = |text: &str| [text.as_bytes(), b"\n", &[0; 8]].concat();
    let tensor = |fields: &str| header(&format!("{{\"x\":{{{fields}}}}}"));
    for (name, fields) in [
        ("right-scalar", r#""dtype":"F64","shape":[],"data_offsets":[0,8]"#),
        ("wrong-offsets-too-large", r#""dtype":"F32","shape":[3],"data_offsets":[0,12]"#),
        ("wrong-offsets-backwards", r#""dtype":"F32","shape":[2],"data_offsets":[8,0]"#),
        (
            "wrong-shape-too-large",
            r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]"#,
        ),
        ("right-bool", r#""dtype":"BOOL","shape":[8],"data_offsets":[0,8]"#),
    ] {
        seeds.insert(name.into(), tensor(fields));
    }
    seeds.insert("wrong-no-bytes".into(), Vec::new());
    seeds.insert("wrong-one-byte-short".into(), all[..all.len() - 1].to_vec());
    seeds.insert("wrong-one-byte-long".into(), [&all[..], b"x"].concat());
    seeds.insert("wrong-header-of-100-mb".into(), 100_000_000u64.to_le_bytes().to_vec());
    seeds.insert("wrong-nested-deeply".into(), header(&format!("{{\"x\":{}", "[".repeat(500))));
    seeds
}

fn of_checkpoint(checkpoints: &[[Vec<u8>; 3]]) -> Seeds {
    let mut seeds = Seeds::new();
    for (number, files) in checkpoints.iter().enumerate() {
        let digit = number.to_string().into_bytes();
        let [model, state, json] = files;
        let joined = |files: &[&Vec<u8>]| {
            let files: Vec<&[u8]> = files.iter().map(|file| file.as_slice()).collect();
            [&digit[..], &files.join(CUT)].concat()
        };
        seeds.insert(format!("right-{number}"), joined(&[model, state, json]));
        seeds.insert(format!("wrong-{number}-no-position"), joined(&[model, state]));
        let cut = json[..json.len() - 3].to_vec();
        seeds.insert(format!("wrong-{number}-half-a-position"), joined(&[model, state, &cut]));
        seeds.insert(format!("wrong-{number}-state-as-model"), joined(&[state, model, json]));
    }
    seeds.insert("wrong-no-bytes".into(), Vec::new());
    seeds
}

fn of_config(checkpoints: &[[Vec<u8>; 3]]) -> Seeds {
    let json = |training: &TrainConfig| serde_json::to_string(&run_of(training)).unwrap();
    let mut seeds = Seeds::new();
    for (number, training) in settings().iter().enumerate() {
        let run = [json(training).as_bytes(), &checkpoints[number][0]].join(CUT);
        seeds.insert(format!("right-run-{number}"), run);
    }
    let [small, ..] = settings();
    let others = [
        TrainConfig {
            init: Init::Orthogonal,
            objective: ObjectiveConfig {
                truncation: Truncation::segments(7).unwrap(),
                loss_at: LossAt::weighted([(3, 1.), (784, 2.5)]).unwrap(),
                ..small.clone().objective
            },
            trainer: TrainerConfig {
                schedule: Schedule::OneCycle,
                warmup: Some(0.25),
                clip: Clip::Norm(1.5),
                ..small.clone().trainer
            },
            ..small.clone()
        },
        TrainConfig {
            objective: ObjectiveConfig {
                loss_at: LossAt::EVERY,
                truncation: Truncation::window(2, 5).unwrap(),
                label_smoothing: 0.1,
            },
            trainer: TrainerConfig {
                schedule: Schedule::Plateau,
                clip: Clip::Value(0.5),
                weight_decay: 0.01,
                patience: Some(3),
                ..small.clone().trainer
            },
            augment: AugmentConfig { shift: 2, ..small.clone().augment },
            network: NetworkConfig { dropout: 0.25, ..small.clone().network },
            ..small.clone()
        },
    ];
    for (number, training) in others.iter().enumerate() {
        seeds.insert(format!("right-settings-{number}"), json(training).into_bytes());
    }
    let right = json(&small);
    for (name, from, to) in [
        ("no-units", "\"hidden_size\":2", "\"hidden_size\":0"),
        ("too-many-units", "\"hidden_size\":2", "\"hidden_size\":18446744073709551615"),
        ("too-many-layers", "\"num_layers\":1", "\"num_layers\":1000000000"),
        ("disagrees-with-itself", "\"hidden_size\":2", "\"hidden_size\":3"),
        ("no-learning-rate", "\"learning_rate\":0.001", "\"learning_rate\":1e999"),
        ("another-model", "candle-rnn", "candle-cnn"),
        ("one-setting-too-many", "{\"model_type\"", "{\"x\":1,\"model_type\""),
    ] {
        let times = if name == "disagrees-with-itself" { 1 } else { usize::MAX };
        let wrong = right.replacen(from, to, times);
        assert!(wrong != right, "{name} changes nothing: {right}");
        seeds.insert(format!("wrong-{name}"), wrong.into_bytes());
    }
    seeds.insert("wrong-no-bytes".into(), Vec::new());
    seeds
}

fn of_toml() -> Seeds {
    let mut seeds = Seeds::new();
    for recipe in Recipe::ALL {
        let name = format!("right-{recipe:?}").to_lowercase();
        seeds.insert(name, recipe.toml().as_bytes().to_vec());
    }
    for (number, training) in settings().iter().enumerate() {
        let text = Settings::of(training).unwrap().to_toml();
        seeds.insert(format!("right-all-{number}"), text.into_bytes());
    }
    for (name, text) in [
        ("right-comment", "# nothing yet\n"),
        (
            "right-truncated",
            "truncate = \"5:10\"\nloss-at = \"every\"\nseed = \"18446744073709551615\"\n",
        ),
        ("right-weighted", "loss-at = { weighted = [[3, 1.0], [28, 2.5]] }\n"),
        (
            "right-kept",
            "keep = 3\nsave-every = 7\nmax-minutes = 0.5\ndevice = \"cpu\"\nthreads = 2\n",
        ),
        ("wrong-name", "hiden = 3\n"),
        ("wrong-table", "[hidden]\nunits = 3\n"),
        ("wrong-value", "hidden = \"many\"\n"),
        ("wrong-twice", "lr = 1\nlr = 2\n"),
        ("wrong-both-clips", "clip-norm = 1\nclip-value = 1\n"),
        ("wrong-zero", "keep = 0\n"),
        ("wrong-nested", "hidden = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n"),
        ("wrong-end", "lr = 0.00."),
    ] {
        seeds.insert(name.into(), text.as_bytes().to_vec());
    }
    seeds
}

/// Writes all seeds, each target's to a folder of its name.
pub fn write(corpus: &Path) {
    for (target, seeds) in all() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in seeds {
            fs::write(folder.join(name), content).unwrap();
        }
    }
}
