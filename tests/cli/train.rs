//! What a training run prints and leaves behind.

use serde_json::Value;

use crate::Place;

#[test]
fn json_on_stdout_is_the_metrics_file_and_nothing_else() {
    let place = Place::new();
    let outcome = place.train("run", "--json");
    assert_eq!(outcome.stdout, place.text("run/metrics.jsonl"));
    assert!(outcome.stderr.starts_with("run run\n"), "{}", outcome.stderr);
    let keys = [
        "acc_batch",
        "epoch",
        "examples_per_second",
        "learning_rate",
        "loss_batch",
        "seconds",
        "train_loss",
        "valid_accuracy",
        "valid_loss",
    ];
    let lines: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (index, line) in lines.iter().enumerate() {
        let mut found: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, keys);
        assert_eq!(line["epoch"], index + 1);
        assert_eq!(line["learning_rate"], 1e-3);
        assert!(line["seconds"].as_f64().unwrap() > 0.);
        for accuracy in ["acc_batch", "valid_accuracy"] {
            assert!((0.0..=1.0).contains(&line[accuracy].as_f64().unwrap()), "{line}");
        }
    }
    // Ten classes at first, fewer doubts after.
    let loss = |line: &Value| line["train_loss"].as_f64().unwrap();
    assert!(loss(&lines[1]) < loss(&lines[0]) && loss(&lines[0]) < 3.0, "{lines:?}");
}

#[test]
fn eval_gives_the_validation_accuracy_of_the_last_epoch() {
    let place = Place::new();
    let outcome = place.train("run", "--cell relu --init orthogonal --view columns");
    let last = place.metrics("run").pop().unwrap();
    let found = place.run("eval run --split valid --json").succeeded().json();
    assert_eq!(found["split"], "valid");
    assert_eq!(found["examples"], 400);
    assert_eq!(found["accuracy"], last["valid_accuracy"]);
    assert_eq!(found["loss"], last["valid_loss"]);
    let printed = format!("acc_valid {:.4}", found["accuracy"].as_f64().unwrap());
    let line = outcome.stdout.lines().find(|line| line.starts_with("epoch 2/2")).unwrap();
    assert!(line.contains(&printed), "{line}");
    for name in ["acc_batch ", "loss_batch ", " s ", " examples/s"] {
        assert!(line.contains(name), "{line}");
    }
    let test = place.run("eval run --json").succeeded().json();
    assert_eq!((&test["split"], &test["examples"]), (&"test".into(), &500.into()));
    let text = place.run("eval run").succeeded().stdout;
    assert!(text.starts_with("test ") && text.lines().count() == 1, "{text}");
}

#[test]
fn the_same_seed_gives_the_same_files_and_another_seed_others() {
    let place = Place::new();
    for (run, seed) in [("a", 7), ("b", 7), ("c", 8)] {
        place.train(run, &format!("--seed {seed}"));
    }
    for file in ["model.safetensors", "checkpoints/step-00000020/training_state.safetensors"] {
        let read = |run: &str| place.read(&format!("{run}/{file}"));
        assert_eq!(read("a"), read("b"), "{file}");
        assert_ne!(read("a"), read("c"), "{file}");
    }
    let timeless = |run: &str| {
        let mut metrics = place.metrics(run);
        for line in &mut metrics {
            line.as_object_mut()
                .unwrap()
                .retain(|key, _| !["seconds", "examples_per_second"].contains(&key.as_str()));
        }
        metrics
    };
    assert_eq!(timeless("a"), timeless("b"));
    assert_ne!(timeless("a"), timeless("c"));
}

#[test]
fn a_run_directory_holds_what_its_contract_names() {
    let place = Place::new();
    place.train("run", "--epochs 3 --save-every 7");
    let mut names: Vec<String> =
        place.files("run").keys().map(|path| path.display().to_string()).collect();
    names.retain(|name| !name.starts_with("checkpoints/best/"));
    // TensorBoard's file has the time in its name.
    let is_event_file = |name: &String| name.starts_with("events.out.tfevents.");
    assert_eq!(names.iter().filter(|name| is_event_file(name)).count(), 1, "{names:?}");
    names.retain(|name| !is_event_file(name));
    let expected = [
        ".lock",
        "README.md",
        "checkpoints/step-00000028/SHA256SUMS",
        "checkpoints/step-00000028/model.safetensors",
        "checkpoints/step-00000028/trainer_state.json",
        "checkpoints/step-00000028/training_state.safetensors",
        "checkpoints/step-00000030/SHA256SUMS",
        "checkpoints/step-00000030/model.safetensors",
        "checkpoints/step-00000030/trainer_state.json",
        "checkpoints/step-00000030/training_state.safetensors",
        "config.json",
        "confusion.svg",
        "curves.svg",
        "metrics.jsonl",
        "model.safetensors",
        "train.toml",
    ];
    assert_eq!(names, expected);
    let model = place.read("run/model.safetensors");
    let (_, header) = safetensors::SafeTensors::read_metadata(&model).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata.into_iter().collect::<Vec<_>>(), [("format".into(), "pt".into())]);
    let tensors = safetensors::SafeTensors::deserialize(&model).unwrap();
    let mut shapes: Vec<(&str, Vec<usize>)> =
        tensors.iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    shapes.sort();
    let expected = [
        ("head.bias", vec![10]),
        ("head.weight", vec![10, 12]),
        ("rnn.bias_ih_l0", vec![12]),
        ("rnn.weight_hh_l0", vec![12, 12]),
        ("rnn.weight_ih_l0", vec![12, 28]),
    ];
    assert_eq!(shapes, expected);
    // The best epoch's own checkpoint, whole.
    let best = place.files("run/checkpoints/best");
    assert_eq!(best.len(), 4);
    assert_eq!(place.read("run/checkpoints/step-00000030/model.safetensors"), model);
    let config: serde_json::Value = serde_json::from_str(&place.text("run/config.json")).unwrap();
    assert_eq!(config["training"]["seed"], 42);
    assert_eq!(config["candle_rnn_version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_cell_trains_is_saved_measured_and_resumed() {
    let place = Place::new();
    for (cell, gates) in [("tanh", 1), ("relu", 1), ("gru", 3), ("lstm", 4)] {
        let deep = format!("--cell {cell} --layers 2 --bidirectional --dropout 0.3 --save-every 7");
        place.train(cell, &deep);
        let model = place.read(&format!("{cell}/model.safetensors"));
        let tensors = safetensors::SafeTensors::deserialize(&model).unwrap();
        let shape = |name: &str| tensors.tensor(name).ok().map(|view| view.shape().to_vec());
        assert_eq!(shape("head.weight"), Some(vec![10, 24]));
        for direction in ["", "_reverse"] {
            let of = |name: &str| shape(&format!("rnn.{name}{direction}"));
            assert_eq!(of("weight_ih_l0"), Some(vec![12 * gates, 28]));
            assert_eq!(of("weight_ih_l1"), Some(vec![12 * gates, 24]));
            assert_eq!(of("weight_hh_l1"), Some(vec![12 * gates, 12]));
            assert_eq!(of("bias_hh_l0").is_some(), gates > 1);
        }
        let last = place.metrics(cell).pop().unwrap();
        let found = place.run(&format!("eval {cell} --split valid --json")).succeeded().json();
        assert_eq!(found["accuracy"], last["valid_accuracy"]);
        // What dropout drew is part of what is resumed.
        let whole = model.clone();
        std::fs::remove_file(place.path(&format!("{cell}/model.safetensors"))).unwrap();
        std::fs::remove_dir_all(place.path(&format!("{cell}/checkpoints/step-00000020"))).unwrap();
        place.train(cell, &format!("{deep} --resume"));
        assert_eq!(place.read(&format!("{cell}/model.safetensors")), whole);
        let text = place.run(&format!("predict {cell} test:3")).succeeded().stdout;
        assert!(text.contains("test:3"), "{text}");
        place.run(&format!("predict {cell} test:3 --steps")).misused();
    }
    let one = |flags: &str| {
        place.train("one", &format!("{flags} --overwrite"));
        place.read("one/model.safetensors")
    };
    assert_ne!(one("--dropout 0.5"), one(""));
    assert_eq!(one("--layers 1 --dropout 0 --cell tanh"), one(""));
}

#[test]
fn without_out_the_next_free_folder_is_taken_and_printed_first() {
    let place = Place::new();
    for run in ["runs/0001", "runs/0002"] {
        let outcome = place.run("train --data sample --hidden 4 --epochs 1").succeeded();
        assert_eq!(outcome.stdout.lines().next().unwrap(), format!("run {run}"));
        assert!(place.exists(&format!("{run}/model.safetensors")));
    }
    std::fs::create_dir(place.path("runs/0007")).unwrap();
    let outcome = place.run("train --data sample --hidden 4 --epochs 1").succeeded();
    assert!(outcome.stdout.starts_with("run runs/0008\n"), "{}", outcome.stdout);
}

#[test]
fn quiet_prints_nothing_and_quiet_json_only_json() {
    let place = Place::new();
    let outcome = place.train("run", "--quiet");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    let outcome = place.train("other", "--quiet --json");
    assert_eq!(outcome.stdout, place.text("other/metrics.jsonl"));
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_run_can_be_moved_and_its_data_named_anew() {
    let place = Place::new();
    place.train("run", "");
    let before = place.run("eval run --json").succeeded().stdout;
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    std::fs::rename(place.path("run"), place.path("elsewhere/moved")).unwrap();
    let after = place.run("eval elsewhere/moved --data sample --json").succeeded().stdout;
    assert_eq!(before, after);
}

#[test]
fn a_training_in_f64_is_saved_and_measured_as_such() {
    let place = Place::new();
    place.train("run", "--dtype f64 --threads 1 --device cpu");
    let found = place.run("eval run --split valid --json --threads 1").succeeded().json();
    assert_eq!(found["accuracy"], place.metrics("run")[1]["valid_accuracy"]);
    let info = place.run("info run --json").succeeded().json();
    assert_eq!(info["parameters"][0]["dtype"], "f64");
}

#[test]
fn wrong_flags_are_wrong_usage_and_write_nothing() {
    let place = Place::new();
    let wrong = [
        "",
        "tain",
        "train --no-such-flag",
        "train --epochs 0",
        "train --epochs many",
        "train --batch-size 0",
        "train --batch-size -1",
        "train --hidden 0",
        "train --hidden 1000000",
        "train --lr 0",
        "train --lr -1",
        "train --lr nan",
        "train --lr inf",
        "train --seed -1",
        "train --seed 18446744073709551616",
        "train --threads 0",
        "train --save-every 0",
        "train --cell cosine",
        "train --layers 0",
        "train --layers 65",
        "train --dropout 1",
        "train --dropout -0.5",
        "train --dropout some",
        "train --bidirectional --truncate 5",
        "train --bidirectional --loss-at every",
        "train --layers 2 --truncate 2:5",
        "train --view diagonal",
        "train --init zeros",
        "train --dtype f16",
        "train --truncate 0",
        "train --truncate 5:3",
        "train --truncate 0:3",
        "train --truncate 5:",
        "train --truncate some",
        "train --loss-at first",
        "train --loss-at 3",
        "train --device tpu",
        "train --device cuda:x",
        "train --dataset letters",
        "train --resume",
        "train --overwrite",
        "train --out run --resume --overwrite",
        "train surplus",
        "eval",
        "eval run --split train",
        "predict run",
        "info",
        "data --show -1",
        "data --show some",
    ];
    for args in wrong {
        let data = if args.starts_with("train") { " --data sample" } else { "" };
        let outcome = place.run(&format!("{args}{data}"));
        if args.is_empty() {
            // clap answers a bare call with its help.
            assert_eq!(outcome.code, Some(2));
            assert!(outcome.stderr.contains("Usage: candle-rnn"), "{}", outcome.stderr);
        } else {
            outcome.misused();
        }
    }
    place.train("run", "");
    place.run("predict run test:x").misused();
    place.run("predict run test:-1").misused();
    let left: Vec<_> = std::fs::read_dir(&place.0).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn help_shows_an_example_for_every_command() {
    let place = Place::new();
    let all = place.run("--help").succeeded().stdout;
    for command in ["data", "train", "eval", "predict", "info"] {
        assert!(all.contains(&format!("\n  {command} ")), "{all}");
        let help = place.run(&format!("{command} --help")).succeeded().stdout;
        assert!(help.contains(&format!("Example:\n  candle-rnn {command}")), "{help}");
    }
    let version = place.run("--version").succeeded().stdout;
    assert_eq!(version, format!("candle-rnn {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_loss_at_every_step_reports_the_accuracy_after_each_row() {
    let place = Place::new();
    let outcome = place.train("run", "--json --loss-at every --truncate 3:7");
    for line in outcome.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let by_step = line["valid_accuracy_by_step"].as_array().unwrap();
        assert_eq!(by_step.len(), 28);
        // What is told after the last row is what is told.
        assert_eq!(by_step[27], line["valid_accuracy"]);
    }
    let config: Value = serde_json::from_str(&place.text("run/config.json")).unwrap();
    assert_eq!(config["training"]["truncation"], "3:7");
    assert_eq!(config["training"]["loss_at"], "every");
    let shown = place.train("again", "--loss-at every").stdout;
    assert!(shown.contains("step  28  0."), "{shown}");
    // Its last checkpoint lost, it continues from the first, with the settings of the run.
    let whole = place.read("run/model.safetensors");
    std::fs::remove_dir_all(place.path("run/checkpoints/step-00000020")).unwrap();
    place.run("train --out run --resume").succeeded();
    assert_eq!(place.read("run/model.safetensors"), whole);
    place.run("train --out run --resume --truncate 5").failed_saying(&["truncation"]);
}

#[test]
fn truncation_and_the_place_of_the_loss_change_what_is_learnt() {
    let place = Place::new();
    let weights = |name: &str, flags: &str| {
        place.train(name, flags);
        std::fs::read(place.0.path().join(name).join("model.safetensors")).unwrap()
    };
    let full = weights("full", "");
    assert_eq!(weights("longer", "--truncate 28"), full);
    assert_eq!(weights("window", "--truncate 28:28"), full);
    assert_ne!(weights("short", "--truncate 5"), full);
    assert_ne!(weights("every", "--loss-at every"), full);
}

#[test]
fn the_best_checkpoint_can_be_measured() {
    let place = Place::new();
    place.train("run", "");
    let best = place.run("eval run/checkpoints/best --split valid --json").succeeded().json();
    let highest = place
        .metrics("run")
        .iter()
        .map(|m| m["valid_accuracy"].as_f64().unwrap())
        .fold(0., f64::max);
    assert_eq!(best["accuracy"].as_f64().unwrap(), highest);
    place.run("info run/checkpoints/best/model.safetensors").succeeded();
}

#[test]
fn a_missing_instruction_set_is_refused_before_any_writing() {
    let place = Place::new();
    let mut command = place.command();
    command.env("CANDLE_RNN_ISA", "avx1024").args(["train", "--data", "sample"]);
    crate::Outcome::from(command.output().unwrap()).failed_saying(&[
        "CANDLE_RNN_ISA",
        "avx1024",
        "portable",
    ]);
    assert!(!place.exists("runs"));
    let with = |isa: &str, run: &str| {
        let mut command = place.command();
        let args = format!("train {} --out {run}", crate::small(""));
        command.env("CANDLE_RNN_ISA", isa).args(args.split_whitespace());
        crate::Outcome::from(command.output().unwrap()).succeeded();
        place.read(&format!("{run}/model.safetensors"))
    };
    // The portable kernels round products before they add them: other bits than with fused ones.
    let (portable, best) = (with("portable", "portable"), with("", "best"));
    assert_eq!(portable != best, has_fused_kernels());
}

/// Whether this CPU has an instruction set besides the portable one.
fn has_fused_kernels() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let found = cfg!(target_arch = "aarch64");
    found
}
