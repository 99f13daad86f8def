//! Run directories that are not whole: every command that loads one says so in one line.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use candle_rnn::files::tensors;
use serde_json::Value;

use crate::Place;

/// Damages a copy of a run and checks that no command loads it.
#[track_caller]
fn refused(place: &Place, damage: impl FnOnce(), expected: &[&str]) {
    if place.exists("run") {
        std::fs::remove_dir_all(place.path("run")).unwrap();
    }
    place.copy("whole", "run");
    place.run("info run").succeeded();
    damage();
    for command in [
        "eval run",
        "eval run --json",
        "predict run test:0",
        "info run",
        "info run --json",
        "export run --onnx m.onnx --pytorch m.pt --half half",
    ] {
        place.run(command).failed_saying(expected);
    }
}

fn trained() -> Place {
    let place = Place::new();
    place.train("whole", "");
    place
}

/// Changes the tensors of `run/model.safetensors`.
fn change_tensors(place: &Place, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let mut tensors = tensors::read(&place.path("run/model.safetensors")).unwrap();
    change(&mut tensors);
    place.write("run/model.safetensors", tensors::serialize(&tensors).unwrap());
}

/// Changes a value of `run/config.json`.
fn change_config(place: &Place, change: impl FnOnce(&mut Value)) {
    let mut config = serde_json::from_str(&place.text("run/config.json")).unwrap();
    change(&mut config);
    place.write("run/config.json", serde_json::to_vec(&config).unwrap());
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn a_folder_that_is_no_run_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.path("empty")).unwrap();
    place.write("file", "text");
    for command in ["eval", "predict", "info"] {
        let image = if command == "predict" { "test:0" } else { "" };
        place
            .run(&format!("{command} empty {image}"))
            .failed_saying(&["empty", "not a run directory"]);
        place.run(&format!("{command} missing {image}")).failed_saying(&["missing"]);
        place.run(&format!("{command} file {image}")).failed_saying(&["file: not a"]);
    }
}

#[test]
fn a_missing_or_truncated_weight_file_is_refused() {
    let place = trained();
    let file = "run/model.safetensors";
    refused(
        &place,
        || std::fs::remove_file(place.path(file)).unwrap(),
        &[file, "no such file", "train --resume"],
    );
    let whole = place.read("whole/model.safetensors");
    for cut in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        let damage = || place.write(file, &whole[..cut]);
        refused(&place, damage, &[file, "not a valid safetensors file"]);
    }
    let long = || place.write(file, [&whole[..], b"0"].concat());
    refused(&place, long, &[file, "not a valid safetensors file"]);
    // A header of 2^63 bytes, and one that is no JSON.
    let mut header = whole.clone();
    header[7] = 0x7f;
    refused(&place, || place.write(file, &header), &[file, "not a valid safetensors file"]);
    let mut header = whole.clone();
    header[9] = b'!';
    refused(&place, || place.write(file, &header), &[file, "not a valid safetensors file"]);
}

#[test]
fn missing_extra_and_renamed_tensors_are_refused_and_named() {
    let place = trained();
    let missing = || change_tensors(&place, |tensors| drop(tensors.remove("head.bias")));
    refused(&place, missing, &["model.safetensors", "lacks head.bias"]);
    let extra = || {
        change_tensors(&place, |tensors| drop(tensors.insert("rnn.extra".into(), zeros(&[1]))));
    };
    refused(&place, extra, &["holds rnn.extra"]);
    let renamed = || {
        change_tensors(&place, |tensors| {
            let tensor = tensors.remove("rnn.weight_hh_l0").unwrap();
            tensors.insert("rnn.weight_hh".into(), tensor);
        });
    };
    refused(&place, renamed, &["lacks rnn.weight_hh_l0", "rnn.weight_hh"]);
}

#[test]
fn tensors_of_another_shape_or_dtype_are_refused() {
    let place = trained();
    for shape in [vec![12], vec![28, 12], vec![12, 29], vec![12, 28, 1], vec![0, 28]] {
        let damage = || {
            change_tensors(&place, |tensors| {
                tensors.insert("rnn.weight_ih_l0".into(), zeros(&shape));
            });
        };
        refused(&place, damage, &["rnn.weight_ih_l0 has shape", "[12, 28]"]);
    }
    let damage = || {
        change_tensors(&place, |tensors| {
            let wide = tensors["head.weight"].to_dtype(DType::F64).unwrap();
            tensors.insert("head.weight".into(), wide);
        });
    };
    refused(&place, damage, &["head.weight is f64"]);
}

#[test]
fn a_weight_that_is_nan_or_infinite_is_refused() {
    let place = trained();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let damage = || {
            change_tensors(&place, |tensors| {
                let mut values: Vec<f32> = tensors["rnn.bias_ih_l0"].to_vec1().unwrap();
                values[11] = bad;
                let tensor = Tensor::new(values, &Device::Cpu).unwrap();
                tensors.insert("rnn.bias_ih_l0".into(), tensor);
            });
        };
        refused(&place, damage, &["rnn.bias_ih_l0 holds a value that is NaN or infinite"]);
    }
}

#[test]
fn a_second_bias_as_pytorch_keeps_it_is_added_and_no_error() {
    let place = trained();
    place.copy("whole", "run");
    let before = place.run("predict run test:0 test:1 --json").succeeded().stdout;
    change_tensors(&place, |tensors| {
        let half = (&tensors["rnn.bias_ih_l0"] / 2.).unwrap();
        tensors.insert("rnn.bias_ih_l0".into(), half.clone());
        tensors.insert("rnn.bias_hh_l0".into(), half);
    });
    // Halving and adding lose no bit.
    assert_eq!(place.run("predict run test:0 test:1 --json").succeeded().stdout, before);
    change_tensors(&place, |tensors| drop(tensors.insert("rnn.bias_hh_l0".into(), zeros(&[12]))));
    assert_ne!(place.run("predict run test:0 test:1 --json").succeeded().stdout, before);
}

#[test]
fn a_config_that_is_damaged_or_disagrees_is_refused() {
    let place = trained();
    let text = place.text("whole/config.json");
    for cut in [0, 1, text.len() / 2] {
        let damage = || place.write("run/config.json", &text[..cut]);
        refused(&place, damage, &["run/config.json", "not a run's configuration"]);
    }
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 10] = [
        // It disagrees with the weights.
        (|config| config["model"]["hidden_size"] = 13.into(), "has shape"),
        (|config| config["training"]["dtype"] = "f64".into(), "is f32, the configuration says f64"),
        // It disagrees with itself, as a file of an earlier version can.
        (|config| config["training"]["hidden_size"] = 13.into(), "contradicts itself"),
        (|config| config["training"]["cell"] = "relu".into(), "contradicts itself"),
        (|config| config["training"]["view"] = "pixels".into(), "contradicts itself"),
        // It is no configuration.
        (|config| config["model_type"] = "bert".into(), "model_type is bert"),
        (|config| config["training"]["epochs"] = (-1).into(), "not a run's configuration"),
        (|config| config["training"]["surplus"] = 1.into(), "surplus"),
        (
            |config| {
                let of = config["data"].take();
                let fields = ["dataset", "source", "sha256"].map(|name| of[name].clone());
                config["data"] = fields.to_vec().into();
            },
            "data must be an object, got a list",
        ),
        (
            |config| drop(config["training"].as_object_mut().unwrap().remove("seed")),
            "missing field `seed`",
        ),
    ];
    for (change, expected) in changes {
        refused(&place, || change_config(&place, change), &["run/", expected]);
    }
}

#[test]
fn damaged_metrics_are_refused_by_info() {
    let place = trained();
    place.write("whole/metrics.jsonl", "{\"epoch\": 1\n");
    place.run("info whole").failed_saying(&["metrics.jsonl", "line 1"]);
}

#[test]
fn a_damaged_weight_file_by_itself_is_refused_by_info() {
    let place = trained();
    place.write("file.safetensors", "no tensors");
    place.run("info file.safetensors").failed_saying(&["not a valid safetensors file"]);
    place.run("info whole/config.json").failed_saying(&["not a valid safetensors file"]);
}
