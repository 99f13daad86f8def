//! `train --config` and `--recipe`.

use candle_rnn::run::{read_config, TaskConfig};
use candle_rnn::train::tasks::{SequenceConfig, TextConfig};
use serde_json::Value;

use crate::{small, Place};

fn training(place: &Place, run: &str) -> Value {
    let config: Value = serde_json::from_str(&place.text(&format!("{run}/config.json"))).unwrap();
    let mut settings = config["training"].as_object().unwrap().clone();
    for name in ["cell", "hidden_size", "num_layers", "bidirectional", "dropout", "readout"] {
        // A setting has one place.
        assert!(settings.insert(name.into(), config["model"][name].clone()).is_none(), "{name}");
        assert!(!config["model"][name].is_null(), "{name}");
    }
    settings.into()
}

#[test]
fn a_file_of_settings_does_what_flags_do_and_flags_win() {
    let place = Place::new();
    place.train(
        "flags",
        "--lr 0.004 --schedule one-cycle --clip-norm 1 --seed 7 --save-every 9 --keep 1",
    );
    let file = "# mine\ndata = \"sample\"\nhidden = 12\nepochs = 2\nbatch-size = 160\nlr = 0.004\n\
                schedule = \"one-cycle\"\nclip-value = 3\nseed = 8\nsave-every = 9\nkeep = 1\n\
                threads = 1\ndevice = \"cpu\"\n";
    place.write("mine.toml", file);
    place.run("train --config mine.toml --seed 7 --clip-norm 1 --out file").succeeded();
    assert_eq!(training(&place, "file"), training(&place, "flags"));
    assert_eq!(place.read("file/model.safetensors"), place.read("flags/model.safetensors"));
    // Of steps 9, 18 and 20 the last was kept.
    let kept = std::fs::read_dir(place.path("file/checkpoints")).unwrap();
    let mut kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["best", "step-00000020"]);
}

#[test]
fn the_settings_that_a_run_leaves_train_it_again() {
    let place = Place::new();
    place.train(
        "first",
        "--cell gru --view columns --ema 0.9 --truncate 5 --patience 9 --max-minutes 60",
    );
    let toml = place.text("first/train.toml");
    for line in ["cell = \"gru\"", "source = \"sample\"", "truncation = 5", "patience = 9"] {
        assert!(toml.lines().any(|found| found == line), "{line}: {toml}");
    }
    place.run("train --config first/train.toml --out again").succeeded();
    assert_eq!(place.read("again/model.safetensors"), place.read("first/model.safetensors"));
    assert_eq!(place.text("again/train.toml"), toml);
    place.run("train --config first/train.toml --out first --resume").succeeded();
    // Where it is computed is written too, as it was named last; how long one process may take is not.
    place.write("mine.toml", "threads = 1\ndevice = \"cuda:7\"\nmax-minutes = 1e300\n");
    place.train("cpu", "--config mine.toml --device cpu --threads 2");
    let toml = place.text("cpu/train.toml");
    assert!(toml.contains("threads = 2\n") && toml.contains("device = \"cpu\"\n"), "{toml}");
    assert!(!toml.contains("max_minutes"), "{toml}");
    // Larger than what TOML holds.
    let huge = "train --data sample --out no --patience 18446744073709551615";
    place.run(huge).misused();
    let other = "train --config first/train.toml --out first --resume --lr 0.1";
    place.run(other).failed_saying(&["training.learning_rate"]);
}

#[test]
fn a_wrong_settings_file_is_refused_before_anything_is_written() {
    let place = Place::new();
    for (file, said) in [
        ("hiden = 12", "no setting is called hiden: did you mean hidden_size?"),
        ("epochs = 2\nlr = \"fast\"", "line 2"),
        ("epochs 2", "line 1"),
        ("recipe = \"best\"", "no setting is called recipe"),
    ] {
        place.write("mine.toml", file);
        place
            .run("train --data sample --config mine.toml --out no")
            .failed_saying(&["mine.toml", said]);
    }
    place.write("mine.toml", [0xff, 0xfe]);
    place.run("train --config mine.toml --out no").failed_saying(&["mine.toml", "cannot read"]);
    place
        .run("train --config missing.toml --out no")
        .failed_saying(&["missing.toml", "cannot read"]);
    // What only the whole of the settings shows is the file's error too.
    for (file, said) in [
        ("seed = 1\nepochs = 0", "mine.toml: line 2: "),
        ("device = \"gpu\"", "mine.toml: line 1: device: "),
        ("shift = 28", "mine.toml: line 1: "),
        ("lr = -1.0", "mine.toml: line 1: lr must be above 0"),
        ("seed = 18446744073709551616", "line 1: a whole number is at most 9223372036854775807"),
        ("\n\nlayers = 0", "mine.toml: line 3: layers must be"),
        ("warmup = 0.5", "mine.toml: line 1: "),
        ("horizon = 3", "mine.toml: line 1: horizon applies to a FILE of sequences only"),
        ("clip = {norm = 1.0, value = 2.0}", "mine.toml: line 1: clip: "),
        ("patience = \"long\"", "expected a whole number"),
    ] {
        place.write("mine.toml", file);
        place.run("train --data sample --config mine.toml --out no").failed_saying(&[said]);
    }
    // A flag's error is not the file's.
    place.write("mine.toml", "epochs = 3");
    place.run("train --data sample --config mine.toml --epochs 2 --shift 28 --out no").misused();
    assert!(!place.exists("no"));
}

#[test]
fn a_recipe_is_a_set_of_settings_that_flags_win_over() {
    let place = Place::new();
    let args =
        "train --recipe fast --data sample --hidden 12 --epochs 1 --batch-size 160 --out run";
    place.run(args).succeeded();
    let found = training(&place, "run");
    let recipe = candle_rnn::settings::Recipe::Fast.settings().unwrap();
    let recipe = recipe.config(&candle_rnn::train::TrainConfig::default()).unwrap();
    assert_eq!(found["readout"], serde_json::json!(recipe.network.readout));
    assert_eq!(found["learning_rate"], recipe.trainer.learning_rate);
    assert_eq!(found["hidden_size"], 12);
    place.train("default", "");
    let args = small("--recipe tutorial");
    place.run(&format!("train {args} --out tutorial")).succeeded();
    assert_eq!(training(&place, "tutorial"), training(&place, "default"));
    place.run("train --recipe slow --data sample --out no").misused();
    let help = place.run("train --help").succeeded().stdout;
    for recipe in ["tutorial", "fast", "tanh", "best", "pixels", "permuted"] {
        assert!(help.contains(recipe), "{help}");
    }
}

#[test]
fn a_resumed_run_keeps_its_device_and_threads() {
    let place = Place::stopped();
    let toml = place.text("whole/train.toml");
    place.write("run/train.toml", format!("{toml}threads = 1\ndevice = \"cpu\"\n"));
    let resume = format!("{} --resume", crate::STOPPED.replace("--save-every 10 ", ""));
    place.copy("run", "unreadable");
    place.train("run", &resume);
    let kept = place.text("run/train.toml");
    for line in ["threads = 1\n", "device = \"cpu\"\n", "save_every = 10\n"] {
        assert!(kept.contains(line), "{kept}");
    }
    place.assert_ended_alike("run", "whole");
    place.write("unreadable/train.toml", format!("{toml}of-a-later-version = 1\n"));
    let outcome = place.train("unreadable", &format!("{} --resume", crate::STOPPED));
    let note = "skipped: unreadable/train.toml: ";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    place.assert_ended_alike("unreadable", "whole");
}

/// Runs that the version before this one left; their settings had the names of flags, with hyphens, and their
/// configurations truncation as it is built up.
#[test]
fn files_of_the_previous_version_still_load() {
    let previous = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/previous");
    let place = Place::new();
    for run in ["wide", "deep"] {
        let folder = std::path::Path::new(previous).join(run);
        let config = candle_rnn::run::read_config::<candle_rnn::run::ImageConfig>(&folder).unwrap();
        let settings = candle_rnn::run::read_settings(&folder).unwrap().unwrap();
        let base = candle_rnn::train::TrainConfig::default();
        assert_eq!(settings.config(&base).unwrap(), config.task.training, "{run}");
        assert_eq!(
            (settings.run().keep, settings.run().dataset),
            (Some(1), config.task.data.dataset)
        );
        let toml = folder.join("train.toml");
        place.run(&format!("train --config {} --out {run}", toml.display())).succeeded();
        let again =
            candle_rnn::run::read_config::<candle_rnn::run::ImageConfig>(&place.path(run)).unwrap();
        assert_eq!(again.task.training, config.task.training);
    }
    place.copy(&format!("{previous}/deep"), "old");
    let outcome = place.run("train --out old --resume --epochs 2").succeeded();
    assert!(outcome.stdout.contains("resuming after step 1"), "{}", outcome.stdout);
    place.run("eval old").succeeded();
}

/// Runs whose configurations have settings in two places: under `model` and `training`, `forecast` and `training`.
#[test]
fn configurations_with_settings_in_two_places_still_load() {
    fn is_alike<C: TaskConfig>(place: &Place, run: &str) -> (C, C) {
        let config = |run: &str| read_config::<C>(&place.path(run)).unwrap().task;
        (config(run), config(&format!("{run}-again")))
    }
    let previous = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/previous");
    let place = Place::new();
    for (run, data, columns) in [
        ("images", "", ""),
        ("steps", "steps.csv", "--id id --time t --label label"),
        ("forecast", "series.csv", ""),
        ("text", "book.txt", ""),
    ] {
        place.copy(&format!("{previous}/{run}"), run);
        let file = if data.is_empty() { data.into() } else { format!("{previous}/{data}") };
        let toml = place.path(run).join("train.toml");
        let toml = toml.display();
        place.run(&format!("train {file} {columns} --config {toml} --out {run}-again")).succeeded();
        place.run(&format!("train {file} --out {run} --resume")).succeeded();
        assert!(place.exists(&format!("{run}/README.md")));
        let config: Value =
            serde_json::from_str(&place.text(&format!("{run}-again/config.json"))).unwrap();
        for part in ["model", "preprocessor", "forecast"] {
            for name in config[part].as_object().into_iter().flatten().map(|(name, _)| name) {
                // Of a text, the steps that gradients flow back; no size of its model.
                assert!(config["training"][name].is_null(), "{run}: {part}.{name}");
            }
        }
        place.run(&format!("info {run}")).succeeded();
    }
    let (before, after) = is_alike::<candle_rnn::run::ImageConfig>(&place, "images");
    assert_eq!((before.model, before.training), (after.model, after.training));
    for run in ["steps", "forecast"] {
        let (before, after) = is_alike::<SequenceConfig>(&place, run);
        assert_eq!((before.spec, before.training), (after.spec, after.training));
    }
    let (before, after) = is_alike::<TextConfig>(&place, "text");
    assert_eq!((before.model, before.training), (after.model, after.training));
}
