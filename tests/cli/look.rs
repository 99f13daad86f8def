//! `info` and `data`.

use candle_core::DType;
use candle_rnn::data::mnist::Mnist;
use candle_rnn::files::tensors;

use crate::Place;

#[test]
fn info_shows_configuration_parameters_and_history() {
    let place = Place::new();
    place.train("run", "");
    let text = place.run("info run").succeeded().stdout;
    for expected in ["training.seed", "rnn.weight_hh_l0", "[12, 12]", "f32", "622 values in all"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("acc_valid")).count(), 2, "{text}");
    let found = place.run("info run --json").succeeded().json();
    let config: serde_json::Value = serde_json::from_str(&place.text("run/config.json")).unwrap();
    assert_eq!(found["config"], config);
    assert_eq!(*found["history"].as_array().unwrap(), place.metrics("run"));
    let parameters = found["parameters"].as_array().unwrap();
    let expected = serde_json::json!(
        { "name": "rnn.weight_ih_l0", "shape": [12, 28], "dtype": "f32" }
    );
    assert!(parameters.len() == 5 && parameters.contains(&expected), "{parameters:?}");
    // A checkpoint has the run's configuration and no history; a run without its history is not whole.
    let best = place.run("info run/checkpoints/best --json").succeeded().json();
    assert_eq!((&best["config"], best["history"].as_array().unwrap().len()), (&config, 0));
    let file = place.run("info run/model.safetensors --json").succeeded().json();
    assert_eq!(file["parameters"], found["parameters"]);
    let text = place.run("info run/model.safetensors").succeeded().stdout;
    assert!(text.contains("rnn.weight_hh_l0"), "{text}");
    // A checkpoint's files are safetensors files as well.
    let state = "run/checkpoints/step-00000020/training_state.safetensors";
    let text = place.run(&format!("info {state}")).succeeded().stdout;
    assert!(text.contains("adam.m.rnn.weight_hh_l0"), "{text}");
    std::fs::remove_file(place.path("run/metrics.jsonl")).unwrap();
    place.run("info run").failed_saying(&["metrics.jsonl"]);
}

#[test]
fn data_prints_the_shapes_of_the_splits_and_draws_digits() {
    let place = Place::new();
    let outcome = place.run("data --data sample --show 1").succeeded();
    assert_eq!(outcome.stderr, "");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "train  images (1600, 28, 28) u8  labels (1600,) u8",
            "valid  images (400, 28, 28) u8  labels (400,) u8",
            "test   images (500, 28, 28) u8  labels (500,) u8",
        ]
    );
    let steps: Vec<&&str> = lines.iter().filter(|line| line.starts_with("step ")).collect();
    assert_eq!(steps.len(), 28);
    let train = Mnist::sample().unwrap().train;
    for (step, pixels) in steps.iter().zip(train.image(0).chunks(28)) {
        let inked = pixels.iter().any(|pixel| *pixel > 51);
        assert_eq!(step.contains(['░', '▒', '▓', '█']), inked, "{step}");
    }
    let three = place.run("data --data sample --show 3").succeeded().stdout;
    assert_eq!(three.lines().filter(|line| line.starts_with("step ")).count(), 84);
    assert_eq!(place.run("data --data sample").succeeded().stdout.lines().count(), 3);
}

/// A safetensors file of these tensors: name, dtype, shape and the number of bytes.
fn file_of(tensors: &[(&str, &str, &str, usize)]) -> Vec<u8> {
    let (mut entries, mut end) = (Vec::new(), 0);
    for (name, dtype, shape, bytes) in tensors {
        let (start, after) = (end, end + bytes);
        end = after;
        entries.push(format!(
            "{name:?}:{{\"dtype\":{dtype:?},\"shape\":{shape},\"data_offsets\":[{start},{after}]}}"
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; end]].concat()
}

#[test]
fn info_lists_tensors_of_every_type_with_their_own_types() {
    let place = Place::new();
    let tensors = [
        ("bool", "BOOL", "[3]", 3),
        ("c64", "C64", "[2]", 16),
        ("f4", "F4", "[4]", 2),
        ("f6_e2m3", "F6_E2M3", "[4]", 3),
        ("f6_e3m2", "F6_E3M2", "[4]", 3),
        ("f8_e4m3", "F8_E4M3", "[4]", 4),
        ("f8_e4m3fnuz", "F8_E4M3FNUZ", "[4]", 4),
        ("f8_e5m2", "F8_E5M2", "[4]", 4),
        ("f8_e8m0", "F8_E8M0", "[4]", 4),
        ("i8", "I8", "[2, 3]", 6),
        ("u16", "U16", "[1]", 2),
        ("u64", "U64", "[]", 8),
        ("f16", "F16", "[1]", 2),
        ("bf16", "BF16", "[1]", 2),
        ("f32", "F32", "[2, 0]", 0),
        ("f64", "F64", "[1]", 8),
    ];
    let file = file_of(&tensors);
    place.write("mixed.safetensors", &file);
    let found = place.run("info mixed.safetensors --json").succeeded().json();
    let parameters = found["parameters"].as_array().unwrap();
    assert_eq!(parameters.len(), tensors.len());
    for (name, _, shape, _) in tensors {
        let shape: serde_json::Value = serde_json::from_str(shape).unwrap();
        let expected = serde_json::json!({ "name": name, "shape": shape, "dtype": name });
        assert!(parameters.contains(&expected), "{expected}: {parameters:?}");
    }
    let text = place.run("info mixed.safetensors").succeeded().stdout;
    assert!(text.ends_with("  44 values in all\n"), "{text}");
    place.write("cut.safetensors", &file[..file.len() - 1]);
    place.run("info cut.safetensors").failed_saying(&["not a valid safetensors file"]);
}

#[test]
fn blank_lines_and_a_last_line_cut_off_are_left_out_of_metrics() {
    let place = Place::new();
    place.train("run", "");
    let metrics = place.metrics("run");
    let text = place.text("run/metrics.jsonl");
    let history = || {
        let outcome = place.run("info run --json").succeeded();
        (outcome.json()["history"].as_array().unwrap().clone(), outcome.stderr)
    };
    for blank in [format!("{text}\n"), format!("\n{text} \r\n\n"), text.replace('\n', "\n\n")] {
        place.write("run/metrics.jsonl", blank);
        assert_eq!(history(), (metrics.clone(), String::new()));
    }
    place.write("run/metrics.jsonl", &text[..text.len() - 9]);
    let cut = "skipped: run/metrics.jsonl: line 2 is incomplete: the file ends in it\n";
    assert_eq!(history(), (metrics[..1].to_vec(), cut.to_string()));
    // Within the file a line that is not whole is damage.
    place.write("run/metrics.jsonl", format!("{}\n{text}", &text[..40]));
    place.run("info run").failed_saying(&["metrics.jsonl", "line 1"]);
}

#[test]
fn weights_of_half_precision_are_read_and_listed_as_they_are() {
    let place = Place::new();
    place.train("run", "");
    let file = place.path("run/model.safetensors");
    let mut tensors = tensors::read(&file).unwrap();
    let probability = || {
        let found = place.run("predict run test:0 --json").succeeded().json();
        found["probabilities"][7].as_f64().unwrap()
    };
    let whole = probability();
    tensors.values_mut().for_each(|tensor| *tensor = tensor.to_dtype(DType::F16).unwrap());
    tensors::write(&file, &tensors).unwrap();
    let half = probability();
    assert!(half != whole && (half - whole).abs() <= 1e-3, "{half} {whole}");
    let info = place.run("info run").succeeded().stdout;
    assert_eq!(info.matches(" f16").count(), 5, "{info}");
    // A type that Candle cannot read is named.
    let sizes = [("rnn.weight_ih_l0", "[12, 28]", 336), ("rnn.weight_hh_l0", "[12, 12]", 144)];
    let sizes = [&sizes[..], &[("rnn.bias_ih_l0", "[12]", 12), ("head.bias", "[10]", 10)]].concat();
    let mut all: Vec<_> =
        sizes.iter().map(|(n, shape, count)| (*n, "F32", *shape, 4 * count)).collect();
    all.push(("head.weight", "F8_E5M2", "[10, 12]", 120));
    place.write("run/model.safetensors", file_of(&all));
    let expected = "head.weight is f8_e5m2, a type that candle cannot read";
    place.run("predict run test:0").failed_saying(&["model.safetensors", expected]);
    place.run("info run/model.safetensors").succeeded();
}

#[test]
fn weights_behind_a_prefix_are_refused_and_the_prefix_is_named() {
    let place = Place::new();
    place.train("run", "");
    let file = place.path("run/model.safetensors");
    let tensors = tensors::read(&file).unwrap();
    for prefix in ["module.", "_orig_mod.", "model.module."] {
        let renamed =
            tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()));
        tensors::write(&file, &renamed.collect()).unwrap();
        let expected = format!("whose names begin with \"{prefix}\"");
        let holds = format!("lacks head.bias and holds {prefix}head.bias: ");
        place.run("predict run test:0").failed_saying(&[&holds, &expected]);
    }
}
