//! Whatever bytes stand where a file is read: they are refused, or they are what was written.
//!
//! The files of `fuzz/corpus` go through the fuzz targets here, without a fuzzer; so do files that are
//! changed, cut or prolonged in every way that proptest draws.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_rnn::data::idx::{self, Images};
use candle_rnn::data::mnist::ImageSet;
use candle_rnn::files::tensors;
use candle_rnn::files::tensors::WeightFile;
use candle_rnn::model::NetworkConfig;
use candle_rnn::optim::Clip;
use candle_rnn::run;
use candle_rnn::run::{DataConfig, ImageConfig, RunConfig};
use candle_rnn::train::{TrainConfig, TrainerConfig};
use candle_rnn_fuzz_targets::{self as targets, gzip, seeds, settings, CUT};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

/// The files that fuzzing begins with, a folder a target.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus");

/// A fuzz target: whether it accepts an input; it writes to the folder.
type Target = fn(&Path, &[u8]) -> bool;

const TARGETS: [(&str, Target); 12] = [
    ("idx", targets::idx),
    ("weights", targets::weights),
    ("checkpoint", targets::checkpoint),
    ("config", targets::config),
    ("toml", targets::toml),
    ("csv", targets::csv),
    ("ts", targets::ts),
    ("arff", targets::arff),
    ("jsonl", targets::jsonl),
    ("npz", targets::npz),
    ("safetensors", targets::safetensors),
    ("text", targets::text),
];

/// A folder that is removed when it is dropped; in memory where there is one such, as the fuzzer's.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = memory.is_dir().then(|| tempfile::tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// This many cases, the same each time.
fn cases(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(42);
    ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// Name and content of each file of a target's corpus.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(CORPUS).join(target);
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    let mut files: Vec<_> = entries.map(file).collect();
    files.sort();
    files
}

/// The content of a seed.
fn seed(target: &str, name: &str) -> Vec<u8> {
    let mut files = corpus(target).into_iter();
    files.find(|(found, _)| found == name).expect("no such seed").1
}

#[test]
fn every_file_of_the_corpus_is_judged_as_its_name_says() {
    let folder = folder();
    for (target, run) in TARGETS {
        let files = corpus(target);
        let named = |start| files.iter().filter(|(name, _)| name.starts_with(start)).count();
        assert!(named("right") > 1 && named("wrong") > 1, "{target} has {} files", files.len());
        for (name, content) in files {
            let is_accepted = run(folder.path(), &content);
            assert!(!name.starts_with("right") || is_accepted, "{target}/{name} is refused");
            assert!(!name.starts_with("wrong") || !is_accepted, "{target}/{name} is accepted");
        }
    }
}

#[test]
#[ignore = "writes the seeds of fuzz/corpus"]
fn the_seeds_of_the_corpus_are_written() {
    seeds::write(Path::new(CORPUS));
}

/// Images of at least one pixel.
fn some_images() -> impl Strategy<Value = Images> {
    let pixels =
        |(count, rows, columns)| {
            prop::collection::vec(any::<u8>(), count * rows * columns)
                .prop_map(move |pixels| Images { pixels, count, rows, columns })
        };
    (1usize..5, 1usize..5, 1usize..5).prop_flat_map(pixels)
}

fn file_of(images: &Images) -> Vec<u8> {
    let header = [images.count, images.rows, images.columns].map(|size| size as u32);
    [idx::images_header(header[0], header[1], header[2]), images.pixels.clone()].concat()
}

/// What images a file holds, plain and gzipped, in memory and on disk: all the same.
fn images_of(file: &[u8]) -> Option<Images> {
    let folder = folder();
    targets::idx(folder.path(), file);
    idx::parse_images(file, Path::new("images")).ok()
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn images_are_read_as_they_were_written(images in some_images()) {
        let file = file_of(&images);
        prop_assert_eq!(images_of(&gzip(&file)), Some(images.clone()));
        prop_assert_eq!(images_of(&file), Some(images));
    }

    #[test]
    fn labels_are_read_as_they_were_written(labels in prop::collection::vec(any::<u8>(), 0..50)) {
        let file = [idx::labels_header(labels.len() as u32), labels.clone()].concat();
        for file in [gzip(&file), file.clone()] {
            let read = idx::parse_labels(&file, Path::new("labels"));
            prop_assert_eq!(read.ok(), Some(labels.clone()));
        }
    }

    #[test]
    fn another_header_than_that_of_the_pixels_is_refused(
        images in some_images(), at in 0usize..16, bits in 1u8..,
    ) {
        let mut file = file_of(&images);
        file[at] ^= bits;
        prop_assert_eq!(images_of(&file), None);
    }

    #[test]
    fn images_that_end_early_or_late_are_refused(
        images in some_images(), at: Index, more in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        let file = file_of(&images);
        let cut = at.index(file.len());
        prop_assert_eq!(images_of(&file[..cut]), None);
        prop_assert_eq!(images_of(&[&file[..], &more].concat()), None);
        let gzipped = gzip(&file);
        let cut = at.index(gzipped.len());
        prop_assert_eq!(images_of(&gzipped[..cut]), None);
        prop_assert_eq!(images_of(&[&gzipped[..], &more].concat()), None);
    }

    #[test]
    fn a_changed_byte_of_a_gzipped_file_never_changes_a_pixel(
        images in some_images(), at: Index, bits in 1u8..,
    ) {
        let mut file = gzip(&file_of(&images));
        let at = at.index(file.len());
        file[at] ^= bits;
        // Of the header there are bytes that mean nothing, such as the time.
        prop_assert!(images_of(&file).is_none_or(|found| found == images), "byte {}", at);
    }
}

/// The weights of one of the settings, with these bits, over and over.
fn weights_of_bits(training: &TrainConfig, bits: &[u64]) -> BTreeMap<String, Tensor> {
    let mut bits = bits.iter().copied().cycle();
    let mut tensor = |shape: Vec<usize>| {
        let count = shape.iter().product();
        let bits = bits.by_ref().take(count);
        match training.dtype.dtype() {
            DType::F64 => {
                Tensor::from_iter(bits.map(f64::from_bits), &Device::Cpu).unwrap().reshape(shape)
            }
            _ => Tensor::from_iter(bits.map(|bits| f32::from_bits(bits as u32)), &Device::Cpu)
                .unwrap()
                .reshape(shape),
        }
        .unwrap()
    };
    let parameters = training.model().parameters();
    parameters.into_iter().map(|(name, shape)| (name, tensor(shape))).collect()
}

/// Names, shapes, dtypes and bits.
fn bits_of(weights: &BTreeMap<String, Tensor>) -> Vec<(String, Vec<usize>, Vec<u64>)> {
    let bits = |tensor: &Tensor| {
        let flat = tensor.flatten_all().unwrap();
        match tensor.dtype() {
            DType::F64 => flat.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect(),
            _ => {
                let values = flat.to_vec1::<f32>().unwrap();
                values.into_iter().map(|value| u64::from(value.to_bits())).collect()
            }
        }
    };
    weights.iter().map(|(name, t)| (name.clone(), t.dims().to_vec(), bits(t))).collect()
}

/// A file with one tensor, `x`, in a folder.
fn file_of_tensor(fields: &str, data: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let header = format!("{{\"x\":{{{fields}}}}}");
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    let size = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&size, header.as_bytes(), data].concat()).unwrap();
    (folder, path)
}

/// What `weights::read` says of a file with one tensor, `x`.
fn read_tensor(fields: &str, data: &[u8]) -> candle_rnn::Result<BTreeMap<String, Tensor>> {
    tensors::read(&file_of_tensor(fields, data).1)
}

#[test]
fn a_tensor_of_a_type_candle_cannot_read_is_named_where_asked() {
    let types = [("F4", 1), ("F6_E2M3", 3), ("F6_E3M2", 3), ("F8_E8M0", 2)];
    for (dtype, bytes) in [&types[..], &[("BOOL", 2), ("I8", 2), ("F8_E5M2", 2)]].concat() {
        let count = if bytes == 3 { 4 } else { 2 };
        let fields =
            format!("\"dtype\":\"{dtype}\",\"shape\":[{count}],\"data_offsets\":[0,{bytes}]");
        let file = file_of_tensor(&fields, &[0; 3][..bytes]);
        let error = WeightFile::open(&file.1).unwrap().get("x").unwrap_err().to_string();
        let expected = format!("x is {}, a type", dtype.to_lowercase());
        assert!(error.contains(&expected), "{error}");
        assert!(tensors::read(&file.1).unwrap().is_empty());
    }
}

#[test]
fn an_empty_tensor_whose_other_sizes_overflow_is_refused() {
    let fields = r#""dtype":"F32","shape":[0,9223372036854775808,4],"data_offsets":[0,0]"#;
    let error = read_tensor(fields, &[]).unwrap_err().to_string();
    assert!(error.contains("impossible shape"), "{error}");
    let empty = r#""dtype":"F32","shape":[3,0],"data_offsets":[0,0]"#;
    assert_eq!(read_tensor(empty, &[]).unwrap()["x"].dims(), [3, 0]);
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn tensors_are_read_bit_for_bit_as_written_nan_included(
        number in 0usize..3, bits in prop::collection::vec(any::<u64>(), 1..60),
    ) {
        let written = weights_of_bits(&settings()[number], &bits);
        let folder = folder();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, tensors::serialize(&written).unwrap()).unwrap();
        prop_assert_eq!(bits_of(&tensors::read(&path).unwrap()), bits_of(&written));
    }

    #[test]
    fn weights_are_loaded_bit_for_bit_unless_one_is_nan_or_infinite(
        number in 0usize..3,
        values in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO, 1..60),
        at: Index,
        bad in prop::sample::select(vec![f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ) {
        let training = &settings()[number];
        let is_double = training.dtype.dtype() == DType::F64;
        let bits = |value: f64| {
            if is_double {
                value.to_bits()
            } else {
                u64::from((value as f32).to_bits())
            }
        };
        let mut all: Vec<u64> = values.iter().map(|value| bits(f64::from(*value))).collect();
        let folder = folder();
        let path = folder.path().join("model.safetensors");
        let load = |weights: &BTreeMap<String, Tensor>| {
            tensors::write(&path, weights).unwrap();
            run::load_weights(&path, training.model().parameters(), training.dtype.dtype())
        };
        let written = weights_of_bits(training, &all);
        prop_assert_eq!(bits_of(&load(&written).unwrap()), bits_of(&written));
        // Where there are more values than weights, the last is none of them.
        let count = written.values().map(Tensor::elem_count).sum::<usize>().min(all.len());
        all[at.index(count)] = bits(bad);
        let error = load(&weights_of_bits(training, &all)).unwrap_err().to_string();
        prop_assert!(error.contains("NaN or infinite"), "{}", error);
    }

    #[test]
    fn a_file_of_weights_that_ends_early_or_late_is_refused(
        at: Index, more in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        let file = seed("weights", "right-every-dtype-as-it-is-written");
        let folder = folder();
        let cut = at.index(file.len());
        prop_assert!(!targets::weights(folder.path(), &file[..cut]), "cut at {}", cut);
        prop_assert!(!targets::weights(folder.path(), &[&file[..], &more].concat()));
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused_or_read_never_a_panic(
        target in prop::sample::select(TARGETS.to_vec()), file: Index, at: Index, bits in 1u8..,
    ) {
        let (name, run) = target;
        let right = corpus(name).into_iter().filter(|(name, _)| name.starts_with("right"));
        let right: Vec<_> = right.map(|(_, content)| content).collect();
        let mut content = file.get(&right).clone();
        let at = at.index(content.len());
        content[at] ^= bits;
        let folder = folder();
        run(folder.path(), &content);
    }

    #[test]
    fn any_bytes_at_all_are_refused_or_read_never_a_panic(
        target in prop::sample::select(TARGETS.to_vec()),
        files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
    ) {
        let folder = folder();
        (target.1)(folder.path(), &files.join(CUT));
    }

    #[test]
    fn a_configuration_is_read_as_written_or_refused_out_of_range(
        hidden_size in 0usize..1000,
        num_layers in prop::sample::select(vec![0usize, 1, 2, 64, 65, usize::MAX]),
        learning_rate in prop::num::f64::POSITIVE | prop::num::f64::ZERO | prop::num::f64::NEGATIVE,
        seed: u64,
        dropout in -0.5f64..1.5,
        norm in -1f64..3.,
        ema in prop::option::of(-0.5f64..1.5),
    ) {
        let training = TrainConfig {
            network: NetworkConfig { hidden_size, num_layers, dropout, ..NetworkConfig::default() },
            trainer: TrainerConfig {
                learning_rate, seed, ema, clip: Clip::Norm(norm),
                ..TrainerConfig::default()
            },
            ..TrainConfig::default()
        };
        let data = DataConfig { dataset: Some(ImageSet::Mnist), source: None, sha256: String::new() };
        let config = RunConfig::new(ImageConfig::new(training.clone(), data));
        let folder = folder();
        let path = folder.path().join("config.json");
        fs::write(path, serde_json::to_vec_pretty(&config).unwrap()).unwrap();
        let is_right = hidden_size > 0
            && (1..=64).contains(&num_layers)
            && learning_rate > 0. && learning_rate.is_finite()
            && (0. ..1.).contains(&dropout)
            && norm > 0.
            && ema.is_none_or(|decay| (0. ..1.).contains(&decay));
        let read = run::read_config(folder.path());
        prop_assert_eq!(read.as_ref().ok(), is_right.then_some(&config), "{:?}", read);
    }
}
