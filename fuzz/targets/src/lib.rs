//! Fuzz targets: any bytes where a file is read are refused or read, and nothing else happens.
//!
//! Each target writes the input, as it is or cut into files, to a folder, reads it as the library's
//! users do, and returns whether it was accepted. What is accepted is written and read again: it must
//! be what it was.

mod formats;
pub mod seeds;
mod seeds_of_formats;

pub use formats::{arff, csv, jsonl, npz, safetensors, text, ts};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use candle_core::Tensor;
use candle_rnn::data::batches::Batching;
use candle_rnn::data::idx;
use candle_rnn::data::mnist::{ImageSet, Validation};
use candle_rnn::files::tensors;
use candle_rnn::model::{ClassifierConfig, NetworkConfig, Readout};
use candle_rnn::predict::Predictor;
use candle_rnn::recurrence::Cell;
use candle_rnn::run;
use candle_rnn::run::Checkpoint;
use candle_rnn::run::{DataConfig, ImageConfig, RunConfig};
use candle_rnn::settings::Settings;
use candle_rnn::train::{Precision, TrainConfig, TrainerConfig};
use sha2::{Digest, Sha256};

/// Stands between the files of one input; libFuzzer moves it about as it does everything else.
pub const CUT: &[u8] = b"\n--8<--\n";

const MODEL: &str = "model.safetensors";

/// An IDX file of images or of labels, gzipped or not.
pub fn idx(folder: &Path, input: &[u8]) -> bool {
    let path = folder.join("idx");
    fs::write(&path, input).unwrap();
    let images = alike(idx::parse_images(input, &path), idx::read_images(&path));
    let labels = alike(idx::parse_labels(input, &path), idx::read_labels(&path));
    assert!(images.is_none() || labels.is_none(), "both images and labels");
    if !input.starts_with(&[0x1f, 0x8b]) {
        let gzipped = gzip(input);
        assert_eq!(idx::parse_images(&gzipped, &path).ok(), images);
        assert_eq!(idx::parse_labels(&gzipped, &path).ok(), labels);
    }
    if let Some(images) = &images {
        let size = |size: usize| u32::try_from(size).unwrap();
        let header =
            idx::images_header(size(images.count), size(images.rows), size(images.columns));
        let again = idx::parse_images(&[&header, &images.pixels[..]].concat(), &path);
        assert_eq!(again.as_ref().ok(), Some(images), "{again:?}");
    }
    if let Some(labels) = &labels {
        let header = idx::labels_header(u32::try_from(labels.len()).unwrap());
        let again = idx::parse_labels(&[&header, &labels[..]].concat(), &path);
        assert_eq!(again.as_ref().ok(), Some(labels), "{again:?}");
    }
    images.is_some() || labels.is_some()
}

/// What was read from memory, which must be what was read from the file.
fn alike<T: PartialEq + std::fmt::Debug>(
    memory: candle_rnn::Result<T>,
    file: candle_rnn::Result<T>,
) -> Option<T> {
    let text = |error: candle_rnn::Error| error.to_string();
    let (memory, file) = (memory.map_err(text), file.map_err(text));
    assert_eq!(memory, file);
    memory.ok()
}

/// A gzip file of this content.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A safetensors file, as tensors and as the weights of each of [`settings`].
pub fn weights(folder: &Path, input: &[u8]) -> bool {
    let path = folder.join(MODEL);
    fs::write(&path, framed(input)).unwrap();
    let loaded = settings().map(|training| {
        let model = training.model();
        let weights = run::load_weights(&path, model.parameters(), training.dtype.dtype()).ok();
        weights.inspect(|weights| check(weights, &model, &training))
    });
    let Ok(tensors) = tensors::read(&path) else {
        assert!(loaded.iter().all(Option::is_none));
        return false;
    };
    // Of what Candle reads there is what it does not write.
    if let Ok(written) = tensors::serialize(&tensors) {
        fs::write(&path, &written).unwrap();
        let again = tensors::serialize(&tensors::read(&path).unwrap()).unwrap();
        assert!(written == again, "other bytes than were written");
    }
    true
}

/// Loaded weights are those that the model has, and finite.
fn check(weights: &BTreeMap<String, Tensor>, model: &ClassifierConfig, training: &TrainConfig) {
    let found: Vec<_> = weights.iter().map(|(name, t)| (name.clone(), t.dims().to_vec())).collect();
    assert_eq!(found, model.parameters());
    for tensor in weights.values() {
        assert_eq!(tensor.dtype(), training.dtype.dtype());
        let values = tensor.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap();
        assert!(values.to_vec1::<f64>().unwrap().iter().all(|value| value.is_finite()));
    }
}

/// The folder of a checkpoint. The input begins with the number of its [`settings`]; behind it come
/// the three files in the order in which they are written, with [`CUT`] between them; what is not
/// there is not written.
pub fn checkpoint(folder: &Path, input: &[u8]) -> bool {
    let Some((number, files)) = input.split_first() else { return false };
    let training = &settings()[usize::from(*number) % settings().len()];
    let [model, state, json] = cut(files);
    let path = folder.join("checkpoint");
    write_folder(
        &path,
        &[
            (MODEL, model.map(framed)),
            ("training_state.safetensors", state.map(framed)),
            ("trainer_state.json", json.map(Cow::Borrowed)),
        ],
    );
    let run = run_of(training);
    let load = |path: &Path| Checkpoint::load(path, &run);
    let Ok(checkpoint) = load(&path) else { return false };
    check(checkpoint.state.model(), &training.model(), training);
    // What was not to be there is gone from the first copy, and so only the second is the same.
    let copies = ["first", "second"].map(|name| folder.join(name));
    let mut last = checkpoint;
    for copy in &copies {
        if last.save(copy).is_err() {
            return true;
        }
        last = load(copy).unwrap();
    }
    for file in fs::read_dir(&copies[0]).unwrap().map(|entry| entry.unwrap().file_name()) {
        let [first, second] = copies.each_ref().map(|copy| fs::read(copy.join(&file)).unwrap());
        assert!(first == second, "{file:?} is another when it was read and written");
    }
    true
}

/// A run directory with `config.json` and, behind [`CUT`], `model.safetensors`.
pub fn config(folder: &Path, input: &[u8]) -> bool {
    let [json, model] = cut(input);
    let path = folder.join("run");
    write_folder(&path, &[("config.json", json.map(Cow::Borrowed)), (MODEL, model.map(framed))]);
    let Ok(config) = run::read_config::<ImageConfig>(&path) else { return false };
    if let Ok(predictor) = Predictor::load(&path) {
        let image = [0; 784];
        let predicted = predictor.predict(&[&image]);
        assert_eq!(predicted.unwrap()[0].probabilities.len(), config.task.model.num_classes);
    }
    fs::write(path.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    assert_eq!(run::read_config::<ImageConfig>(&path).unwrap(), config);
    true
}

/// A TOML file of settings.
pub fn toml(_folder: &Path, input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(settings) = Settings::from_toml(text) else { return false };
    let written = settings.to_toml();
    assert_eq!(Settings::from_toml(&written).unwrap(), settings);
    let training = settings.config(&TrainConfig::default()).unwrap();
    if training.check().is_ok() {
        let again = Settings::of(&training).unwrap().to_toml();
        let again = Settings::from_toml(&again).unwrap().config(&TrainConfig::default());
        assert_eq!(again.unwrap(), training);
    }
    true
}

/// Settings of small models that differ in what their checkpoints hold. Batching and validation are what a run
/// resolves them to, and what files from before them are read as.
pub fn settings() -> [TrainConfig; 3] {
    let small = TrainConfig {
        view: candle_rnn::data::view::View::Pixels,
        network: NetworkConfig { hidden_size: 2, ..NetworkConfig::default() },
        trainer: TrainerConfig { batching: Some(Batching::Split), ..TrainerConfig::default() },
        validation: Some(Validation::First),
        ..TrainConfig::default()
    };
    [
        small.clone(),
        TrainConfig {
            network: NetworkConfig { cell: Cell::Gru, ..small.clone().network },
            dtype: Precision::F64,
            trainer: TrainerConfig { ema: Some(0.5), ..small.clone().trainer },
            ..small.clone()
        },
        TrainConfig {
            network: NetworkConfig {
                cell: Cell::Lstm,
                hidden_size: 1,
                num_layers: 2,
                bidirectional: true,
                readout: Readout::MeanMax,
                ..small.network
            },
            ..small
        },
    ]
}

/// A run with these settings.
pub fn run_of(training: &TrainConfig) -> RunConfig {
    let data = DataConfig {
        dataset: Some(ImageSet::FashionMnist),
        source: Some("a/folder".into()),
        sha256: "00".repeat(32),
    };
    RunConfig::new(ImageConfig::new(training.clone(), data))
}

/// The first N files of an input; `None` for those that are not there.
pub(crate) fn cut<const N: usize>(input: &[u8]) -> [Option<&[u8]>; N] {
    let mut rest = Some(input);
    std::array::from_fn(|_| {
        let input = rest?;
        let Some(at) = input.windows(CUT.len()).position(|window| window == CUT) else {
            return rest.take();
        };
        rest = Some(&input[at + CUT.len()..]);
        Some(&input[..at])
    })
}

/// A safetensors file of a header, a line feed and data: the header's size is put in front of it,
/// which libFuzzer could not keep right. Anything else is left as it is.
pub(crate) fn framed(file: &[u8]) -> Cow<'_, [u8]> {
    let line_feed = file.iter().position(|byte| *byte == b'\n');
    match line_feed.filter(|_| file.starts_with(b"{")) {
        Some(at) => [&(at as u64).to_le_bytes(), &file[..at], &file[at + 1..]].concat().into(),
        None => file.into(),
    }
}

/// Puts a folder with these files at `path`, and the checksums that belong to them: a checksum
/// that is wrong would keep every file from being parsed.
fn write_folder(path: &Path, files: &[(&str, Option<Cow<'_, [u8]>>)]) {
    let _ = fs::remove_dir_all(path);
    fs::create_dir_all(path).unwrap();
    let there = files.iter().filter_map(|(name, file)| Some((*name, file.as_deref()?)));
    for (name, file) in there.clone() {
        fs::write(path.join(name), file).unwrap();
    }
    fs::write(path.join("SHA256SUMS"), checksums(there)).unwrap();
}

/// A line for each file, sorted by name, as `sha256sum` writes them.
fn checksums<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let line = |(name, file): (&'a str, &'a [u8])| {
        let sum: String = Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
        (name, format!("{sum}  {name}\n"))
    };
    files.map(line).collect::<BTreeMap<_, _>>().into_values().collect()
}
