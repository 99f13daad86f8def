//! Pictures, the model card, event files, and runs side by side.

use std::path::PathBuf;

use crate::Place;

#[test]
fn a_run_ends_with_curves_and_a_card_that_match_its_metrics() {
    let place = Place::new();
    place.train("run", "--epochs 3");
    let last = place.metrics("run").pop().unwrap();
    let accuracy = last["valid_accuracy"].as_f64().unwrap();
    let confusion = place.text("run/confusion.svg");
    let right = (accuracy * 400.).round();
    assert!(confusion.contains(&format!("validation: {right} of 400 right")), "{confusion}");
    let curves = place.text("run/curves.svg");
    assert!(curves.starts_with("<svg") && curves.trim_end().ends_with("</svg>"), "{curves}");
    // Two lines with a dot an epoch, twice.
    assert_eq!(curves.matches("<circle").count(), 12, "{curves}");
    let lines = curves.matches("stroke-width=\"2\"").count();
    // And each again in its legend.
    assert_eq!(lines, 8, "{curves}");
    let card = place.text("run/README.md");
    for expected in [
        "library_name: candle-rnn",
        "28 steps of 28 pixels",
        "622 numbers were trained",
        &format!("| last of 3 epochs (`model.safetensors`) | {accuracy:.4} |"),
        "hidden_size = 12",
    ] {
        assert!(card.contains(expected), "{expected}: {card}");
    }
    // An average of weights is what the picture shows too.
    place.train("ema", "--ema 0.9");
    let last = place.metrics("ema").pop().unwrap();
    let right = (last["valid_accuracy"].as_f64().unwrap() * 400.).round();
    let confusion = place.text("ema/confusion.svg");
    assert!(confusion.contains(&format!("validation: {right} of 400 right")), "{confusion}");
    let eval = place.run("eval ema --split valid --json").succeeded().json();
    assert_eq!(eval["accuracy"], last["valid_accuracy"]);
}

/// The records of all event files of the run, file after file.
fn event_records(place: &Place) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for file in event_files(place) {
        let bytes = std::fs::read(file).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            records.push(rest[12..12 + length].to_vec());
            rest = &rest[12 + length + 4..];
        }
    }
    records
}

fn event_files(place: &Place) -> Vec<PathBuf> {
    let files = std::fs::read_dir(place.path("run")).unwrap().map(|entry| entry.unwrap().path());
    let is_event_file = |path: &PathBuf| {
        path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents.")
    };
    let mut files: Vec<PathBuf> = files.filter(is_event_file).collect();
    files.sort();
    files
}

fn holds(record: &[u8], part: &[u8]) -> bool {
    record.windows(part.len()).any(|found| found == part)
}

#[test]
fn an_epoch_saved_and_not_recorded_is_recorded_by_resume() {
    let place = Place::new();
    for (settings, epochs) in [("", 2), ("--epochs 3", 3)] {
        place.train("run", "--overwrite --epochs 2");
        // Killed after the last epoch's checkpoint was saved, before its record, the last one, was written.
        let file = event_files(&place).pop().unwrap();
        let length = event_records(&place).pop().unwrap().len() + 16;
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - length]).unwrap();
        let recorded = || {
            let records = event_records(&place);
            records.iter().filter(|record| holds(record, b"loss/valid")).count()
        };
        assert_eq!(recorded(), 1);
        for _ in 0..2 {
            place.run(&format!("train --out run --resume {settings}")).succeeded();
            assert_eq!(recorded(), epochs);
        }
    }
}

#[test]
fn event_files_are_whole_records_with_the_values_of_the_metrics() {
    let place = Place::new();
    // Fast enough for two accuracies that differ.
    place.train("run", "--lr 0.01");
    let records = event_records(&place);
    assert!(holds(&records[0], b"brain.Event:2"));
    for metrics in place.metrics("run") {
        for (tag, name) in [("loss/valid", "valid_loss"), ("accuracy/valid", "valid_accuracy")] {
            let mut value = tag.as_bytes().to_vec();
            value.push(2 << 3 | 5);
            value.extend((metrics[name].as_f64().unwrap() as f32).to_le_bytes());
            assert_eq!(records.iter().filter(|record| holds(record, &value)).count(), 1, "{tag}");
        }
    }
    // Every tenth step's loss: of 20 steps two.
    assert_eq!(records.iter().filter(|record| holds(record, b"loss/batch")).count(), 2);
}

#[test]
fn info_of_several_runs_sorts_them_and_says_how_they_differ() {
    let place = Place::new();
    place.train("bad", "--lr 0.0001");
    place.train("good", "--lr 0.01 --epochs 4");
    let text = place.run("info bad good").succeeded().stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("run ") && lines[0].contains("best acc_valid"), "{text}");
    assert!(lines[1].starts_with("good ") && lines[2].starts_with("bad "), "{text}");
    let best = |run: &str| {
        let all = place.metrics(run).into_iter().map(|m| m["valid_accuracy"].as_f64().unwrap());
        all.fold(0., f64::max)
    };
    assert!(lines[1].contains(&format!("{:.4}", best("good"))), "{text}");
    assert!(lines[2].contains(&format!("{:.4}", best("bad"))), "{text}");
    let differing = lines.iter().position(|line| line.starts_with("settings in which")).unwrap();
    let names: Vec<&str> = lines[differing + 1].split_whitespace().collect();
    assert_eq!(names, ["run", "epochs", "learning_rate"], "{text}");
    assert!(lines[differing + 2].split_whitespace().eq(["good", "4", "0.01"]), "{text}");
    let json = place.run("info bad good --json").succeeded().stdout;
    let runs: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&runs[0]["run"], &runs[1]["run"]), (&"bad".into(), &"good".into()));
    assert_eq!(*runs[1]["history"].as_array().unwrap(), place.metrics("good"));
    place.copy("good", "of-other-data");
    let config = place.text("good/config.json").replace("\"sha256\": \"", "\"sha256\": \"0");
    place.write("of-other-data/config.json", config);
    let other = place.run("info good of-other-data").succeeded().stdout;
    // They are no part of MNIST that is known: no comparison with those that are.
    assert_eq!(other.matches("best acc_valid").count(), 2, "{other}");
    let outcome = place.run("info bad missing good").succeeded();
    assert!(outcome.stderr.starts_with("skipped: missing: not a run"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, text);
    let outcome = place.run("info missing lost");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.ends_with("error: none of these folders is a run\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn data_that_are_not_known_are_claimed_to_be_no_data_set() {
    let place = Place::new();
    place.write_images("shapes", 300);
    let args = |run: &str, data: &str| crate::small(&format!("--data {data} --out {run}"));
    place.run(&format!("train {}", args("run", "shapes"))).succeeded();
    let card = place.text("run/README.md");
    for expected in [
        "metrics: [accuracy]",
        "on images of 28 x 28 pixels",
        "into 10 classes, which are named by their numbers: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "240 images to train on, 60 to validate and 50 to test, from the folder `shapes`",
        "no data set that candle-rnn knows",
        "--config RUN/train.toml --data FOLDER",
    ] {
        assert!(card.contains(expected), "{expected}: {card}");
    }
    let folder = place.path("shapes").display().to_string();
    assert!(!card.contains(&folder), "{card}");
    let info = place.run("info run").succeeded().stdout;
    place.train("sampled", "");
    let both = place.run("info run sampled").succeeded().stdout;
    let line =
        |run: &str| both.lines().skip(1).find(|line| line.starts_with(run)).unwrap().to_string();
    assert!(line("run ").contains(" shapes "), "{both}");
    assert!(line("sampled ").contains(" mnist-sample "), "{both}");
    let eval = place.run("eval run").succeeded().stdout;
    let predicted = place.run("predict run test:0").succeeded().stdout;
    let mut said = vec![card, info, eval, predicted];
    for name in ["config.json", "train.toml", "confusion.svg", "curves.svg"] {
        said.push(place.text(&format!("run/{name}")));
    }
    for text in said {
        let text = text.to_lowercase();
        assert!(!["mnist", "digit", "datasets:"].iter().any(|word| text.contains(word)), "{text}");
    }
    // The sample is a part of a data set, and not that one.
    let card = place.text("sampled/README.md");
    for expected in ["It has seen a part of MNIST", "2000 training digits", "first 500 test digits"]
    {
        assert!(card.contains(expected), "{expected}: {card}");
    }
    assert!(!card.contains("datasets:"), "{card}");
}

#[test]
fn a_run_whose_data_were_called_mnist_before_is_gone_on_with() {
    let place = Place::new();
    place.write_images("shapes", 300);
    place.train("run", "--data shapes");
    // As versions wrote it that took the folder for MNIST.
    let text = place.text("run/config.json");
    let named = text.replace("\"data\": {", "\"data\": {\n    \"dataset\": \"mnist\",");
    assert_ne!(named, text);
    place.write("run/config.json", named);
    place.run("train --out run --resume").succeeded();
}
