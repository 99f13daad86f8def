//! Data of one's own from file to prediction: train, data, eval, predict, info.

use serde_json::Value;

use crate::own_files::{self, LONG};
use crate::Place;

/// The rows of a CSV file, its header first.
fn table(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(',').collect()).collect()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}

#[test]
fn classes_of_a_wide_table_are_learnt_and_predicted() {
    let place = Place::with_files();
    let shown = place.train_on("wide.csv", "run", "--epochs 30 --hidden 8 --lr 0.01").stdout;
    let found = "wide.csv: CSV, 40 sequences, 16 steps each, 1 feature: x\n\
                 target: a class of a sequence, 2 classes: down (20), up (20)\n";
    assert!(shown.starts_with(found), "{shown}");
    assert!(shown.contains("split: 36 sequences train, 4 validate\n"), "{shown}");
    assert!(shown.contains("saved; next: candle-rnn predict run FILE\n"), "{shown}");
    for file in ["README.md", "confusion.svg", "curves.svg", "model.safetensors", "train.toml"] {
        assert!(place.exists(&format!("run/{file}")), "{file}");
    }
    place.write("test.csv", own_files::wide(20, 9));
    let text = place.run("eval run test.csv").succeeded().stdout;
    assert!(text.starts_with("test.csv  accuracy 1.0000  macro F1 1.0000"), "{text}");
    assert!(text.contains("  down         10     1.0000  1.0000  1.0000\n"), "{text}");
    let json = place.run("eval run test.csv --json").succeeded().json();
    assert_eq!((&json["accuracy"], &json["examples"]), (&Value::from(1.), &Value::from(20)));
    assert_eq!(json["confusion"], serde_json::json!([[10, 0], [0, 10]]));
    let lines = place.run("predict run test.csv").succeeded().stdout;
    assert_eq!(lines.lines().count(), 20);
    assert!(lines.starts_with("0: down ("), "{lines}");
    assert!(lines.lines().nth(1).unwrap().ends_with("; its label is up"), "{lines}");
    let lines = place.run("predict run test.csv --json").succeeded().stdout;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["id"], &first["label"]), (&"0".into(), &"down".into()));
    let shown = place.run("predict run test.csv --output p.csv").succeeded();
    assert!(shown.stdout.is_empty(), "{}", shown.stdout);
    let count = place.text("p.csv").lines().count() - 1;
    assert_eq!(shown.stderr, format!("p.csv: {count} sequences predicted\n"));
    let quiet = place.run("predict run test.csv --output p.csv --quiet").succeeded();
    assert_eq!(quiet.stderr, "");
    let text = place.text("p.csv");
    let rows = table(&text);
    assert_eq!((rows.len(), &rows[0]), (21, &vec!["id", "label", "p(down)", "p(up)"]));
    for (row, probabilities) in rows[1..].iter().zip(lines.lines()) {
        let line: Value = serde_json::from_str(probabilities).unwrap();
        assert_eq!(row[1], line["label"].as_str().unwrap());
        assert_eq!(number(row[2]), line["probabilities"][0].as_f64().unwrap());
        assert!((number(row[2]) + number(row[3]) - 1.).abs() < 1e-12);
    }
}

#[test]
fn data_are_described_without_training() {
    let place = Place::with_files();
    let text = place.run("data levels.ts --show 1").succeeded().stdout;
    assert!(
        text.contains("levels.ts: .ts, 30 sequences, 3 to 6 steps, median 4, 2 features"),
        "{text}"
    );
    assert!(text.contains("3 classes: high (10), low (10), mid (10)"), "{text}");
    assert!(text.contains("\n  3 steps  "), "{text}");
    assert!(text.contains("sequence 0, 3 steps, class low\n"), "{text}");
    let text = place.run(&format!("data long.csv {LONG} --show 0")).succeeded().stdout;
    assert!(text.contains("target: a class at each step, 2 classes: neg"), "{text}");
    let text = place.run("data book.txt --show 0").succeeded().stdout;
    assert_eq!(text, "book.txt: text, 2,700 characters, 13 different ones\n");
    let left: Vec<_> = std::fs::read_dir(&place.0).unwrap().flatten().collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

#[test]
fn ragged_sequences_of_a_ts_file_are_learnt() {
    let place = Place::with_files();
    place.train_on("levels.ts", "run", "--epochs 30 --hidden 8 --lr 0.01");
    place.write("test.ts", own_files::ts(12, 9));
    let json = place.run("eval run test.ts --json").succeeded().json();
    assert_eq!((&json["accuracy"], &json["macro_f1"]), (&Value::from(1.), &Value::from(1.)));
    // In another process, and each sequence for itself: no padding is seen.
    let whole = place.run("predict run test.ts --json").succeeded().stdout;
    let one = own_files::ts(12, 9).lines().take(8).collect::<Vec<_>>().join("\n");
    place.write("one.ts", one);
    let one: Value = place.run("predict run one.ts --json").succeeded().json();
    let first: Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    let of = |value: &Value| value["probabilities"][0].as_f64().unwrap();
    assert!((of(&one) - of(&first)).abs() < 1e-6, "{one} {first}");
}

#[test]
fn classes_of_steps_are_learnt_and_predicted() {
    let place = Place::with_files();
    place.train_on("long.csv", "run", &format!("{LONG} --epochs 60 --hidden 8 --lr 0.02"));
    let json = place.run("eval run long.csv --json").succeeded().json();
    assert!(json["accuracy"].as_f64().unwrap() > 0.9, "{json}");
    assert_eq!(json["examples"], 150);
    // What is to be predicted has no labels, and no persons.
    let unknown: String = place
        .text("long.csv")
        .lines()
        .take(1 + 3 + 4)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|cells| [cells[0], cells[1], cells[3], cells[4]].join(",") + "\n")
        .collect();
    place.write("unknown.csv", unknown);
    place.run("predict run unknown.csv --output p.csv").succeeded();
    let text = place.text("p.csv");
    let rows = table(&text);
    assert_eq!(rows[0], ["id", "step", "label", "p(neg)", "p(pos)"]);
    let steps: Vec<_> = rows[1..].iter().map(|row| format!("{} {}", row[0], row[1])).collect();
    assert_eq!(steps, ["r0 1", "r0 2", "r0 3", "r1 1", "r1 2", "r1 3", "r1 4"]);
    let line = place.run("predict run unknown.csv").succeeded().stdout;
    assert_eq!(line.lines().next().unwrap().split(' ').count(), 1 + 3, "{line}");
    // It cannot be measured.
    place.run("eval run unknown.csv").failed_saying(&["unknown.csv", "has no column \"person\""]);
}

#[test]
fn numbers_are_learnt_in_their_own_units() {
    let place = Place::with_files();
    let shown = place.train_on("numbers.csv", "run", "--epochs 60 --hidden 8 --lr 0.02").stdout;
    assert!(shown.contains("target: numbers, target\n"), "{shown}");
    let json = place.run("eval run numbers.csv --json").succeeded().json();
    let of = |name: &str| json[name].as_f64().unwrap();
    assert!(of("rmse") < 0.5 * of("mean_rmse") && of("r2") > 0.75, "{json}");
    place.run("predict run numbers.csv --output p.csv").succeeded();
    let text = place.text("p.csv");
    let rows = table(&text);
    assert_eq!((rows.len(), &rows[0]), (31, &vec!["id", "target"]));
    // The same numbers from the file of predictions as from the report.
    let truth = place.text("numbers.csv");
    let truth = table(&truth);
    let square = |row: &Vec<&str>| {
        let of = truth.iter().find(|of| of[0] == row[0]).unwrap();
        (number(row[1]) - number(of[3])).powi(2)
    };
    let rmse = (rows[1..].iter().map(square).sum::<f64>() / 30.).sqrt();
    assert!((rmse - of("rmse")).abs() < 1e-6, "{rmse} {json}");
    let line = place.run("predict run numbers.csv").succeeded().stdout;
    assert!(line.starts_with("s0: ") && line.contains("; its target is "), "{line}");
    // Without the column of targets.
    let unknown = truth.iter().map(|row| format!("{}\n", row[..3].join(",")));
    place.write("unknown.csv", unknown.collect::<String>());
    place.run("predict run unknown.csv --output q.csv").succeeded();
    assert_eq!(place.text("q.csv"), place.text("p.csv"));
}

#[test]
fn several_numbers_are_learnt_and_predicted() {
    let place = Place::new();
    let mut text = "id,t,x,u,v\n".to_string();
    for n in 0..24 {
        let (u, v) = (n as f64 / 10., 100. - n as f64);
        (0..3).for_each(|t| text.push_str(&format!("{n},{t},{},{u},{v}\n", n + t)));
    }
    place.write("two.csv", &text);
    place.train_on("two.csv", "run", "--id id --time t --label u,v --epochs 40 --lr 0.02");
    let json = place.run("eval run two.csv --json").succeeded().json();
    let names: Vec<_> =
        json["numbers"].as_array().unwrap().iter().map(|of| of["name"].clone()).collect();
    assert_eq!(names, ["u", "v"]);
    let shown = place.run("eval run two.csv").succeeded().stdout;
    assert!(shown.contains("\n  u  RMSE ") && shown.contains("\n  v  RMSE "), "{shown}");
    place.run("predict run two.csv --output p.csv").succeeded();
    assert!(place.text("p.csv").starts_with("id,u,v\n0,"), "{}", place.text("p.csv"));
    // Neither with one of the targets nor without any are they features.
    for columns in [4, 3] {
        let cut = |line: &str| line.split(',').take(columns).collect::<Vec<_>>().join(",") + "\n";
        place.write("unknown.csv", text.lines().map(cut).collect::<String>());
        place.run("predict run unknown.csv --output q.csv").succeeded();
        assert_eq!(place.text("q.csv"), place.text("p.csv"), "{columns}");
    }
}

#[test]
fn forecasts_are_measured_beside_naive_ones() {
    let place = Place::with_files();
    let args = "--horizon 3 --window 12 --test-steps 12";
    let shown = place.train_on("series.csv", "run", args).stdout;
    assert!(shown.contains("windows train, "), "{shown}");
    assert!(
        shown.contains("forecast: 3 steps from 12 known ones; a season of 12 steps\n"),
        "{shown}"
    );
    let measured = place.run("eval run --split test").succeeded().stdout;
    assert!(measured.starts_with("test  10 forecasts\n  model "), "{measured}");
    assert!(measured.contains("\n  seasonal naive  RMSE     1.2000  MAE     1.2000"), "{measured}");
    assert!(shown.contains(&measured), "{shown}\n{measured}");
    let json = place.run("eval run series.csv --json").succeeded().json();
    assert_eq!(json["forecasts"][1]["name"], "naive");
    place.run("predict run series.csv --output p.csv").succeeded();
    let text = place.text("p.csv");
    let rows = table(&text);
    assert_eq!((rows.len(), &rows[0]), (4, &vec!["id", "last_time", "step", "sales"]));
    let line = place.run("predict run series.csv --json").succeeded().json();
    assert_eq!(line["forecast"][2][0].as_f64().unwrap(), number(rows[3][3]));
    assert!(place.exists("run/forecast.svg"));
}

#[test]
fn several_series_and_features_are_forecast() {
    let place = Place::new();
    let mut text = "id,t,a,b\n".to_string();
    for (id, level) in [("u", 0.), ("v", 50.)] {
        for t in 0..50 {
            let a = level + f64::from(t % 7);
            text.push_str(&format!("{id},{t},{a},{}\n", 2. * a + 1.));
        }
    }
    place.write("two.csv", text);
    place.train_on("two.csv", "run", "--horizon 2");
    place.run("predict run two.csv --output p.csv").succeeded();
    let text = place.text("p.csv");
    let rows = table(&text);
    assert_eq!((rows.len(), &rows[0]), (5, &vec!["id", "last_time", "step", "a", "b"]));
    assert!(number(rows[3][3]) > 40. && number(rows[1][3]) < 10., "{text}");
}

#[test]
fn runs_on_other_data_are_shown_and_compared() {
    let place = Place::with_files();
    place.train_on("wide.csv", "wide", "");
    place.train_on("wide.csv", "lstm", "--cell lstm");
    place.train_on("numbers.csv", "numbers", "");
    let info = place.run("info wide").succeeded().stdout;
    for line in ["target                     class", "outputs                    [\"down\",\"up\"]"]
    {
        assert!(info.contains(line), "{info}");
    }
    let json = place.run("info numbers --json").succeeded().json();
    assert_eq!(json["config"]["outputs"], serde_json::json!(["target"]));
    let table = place.run("info wide lstm numbers").succeeded().stdout;
    assert!(table.contains("wide.csv  ") && table.contains("numbers.csv  "), "{table}");
    assert!(table.contains(" cell\n") && !table.contains(" epochs  hidden"), "{table}");
}

#[test]
fn a_file_of_settings_trains_the_same_bits_again() {
    let place = Place::with_files();
    let more =
        "--class-weights balanced --label-smoothing 0.1 --dropout 0.2 --scaling min-max --seed 7";
    for (file, args) in
        [("wide.csv", more), ("series.csv", "--horizon 3 --loss huber"), ("numbers.csv", "")]
    {
        place.train_on(file, "run", args);
        place.run(&format!("train {file} --config run/train.toml --out again")).succeeded();
        assert_eq!(
            place.read("run/model.safetensors"),
            place.read("again/model.safetensors"),
            "{file}"
        );
        assert_eq!(place.text("run/train.toml"), place.text("again/train.toml"));
        place
            .run(&format!("train {file} --config run/train.toml --seed 8 --out other"))
            .succeeded();
        assert_ne!(place.read("run/model.safetensors"), place.read("other/model.safetensors"));
        place.remove(&["run", "again", "other"]);
    }
}

#[test]
fn files_of_their_own_validate_and_test() {
    let place = Place::with_files();
    place.write("valid.csv", own_files::wide(10, 5));
    place.write("test.csv", own_files::wide(6, 6));
    let shown = place.train_on("wide.csv", "run", "--valid valid.csv --test test.csv").stdout;
    assert!(shown.contains("split: 40 sequences train, 10 validate, 6 are the test\n"), "{shown}");
    for (split, file) in [("valid", "valid.csv"), ("test", "test.csv")] {
        let of_split = place.run(&format!("eval run --split {split}")).succeeded().stdout;
        let of_file = place.run(&format!("eval run {file}")).succeeded().stdout;
        assert_eq!(of_split.split_once("  ").unwrap().1, of_file.split_once("  ").unwrap().1);
        assert!(shown.contains(of_split.lines().next().unwrap()), "{shown}\n{of_split}");
    }
    // The other files are the run's, whoever resumes it.
    place.run("train wide.csv --resume --out run").succeeded();
    place.run("train --resume --out run").succeeded();
}

#[test]
fn few_sequences_are_all_trained_on_beside_a_test_file() {
    let place = Place::with_files();
    place.write("test.csv", own_files::wide(6, 6));
    let assumed = "assumed: 40 sequences are too few to hold some out beside the test file";
    let shown = place.train_on("wide.csv", "run", "--test test.csv").stdout;
    assert!(shown.contains(assumed), "{shown}");
    assert!(shown.contains("split: 40 sequences train, nothing validates"), "{shown}");
    let shown = place.run("train --resume --out run").succeeded().stdout;
    assert!(!shown.contains("assumed: 40"), "{shown}");
    // What was asked for is done.
    let shown = place.train_on("wide.csv", "asked", "--test test.csv --valid-fraction 0.1").stdout;
    assert!(shown.contains("split: 36 sequences train, 4 validate, 6 are the test\n"), "{shown}");
    assert!(!shown.contains(assumed), "{shown}");
    let shown = place.train_on("wide.csv", "none", "--test test.csv --valid-fraction 0").stdout;
    assert!(!shown.contains(assumed), "{shown}");
    place.write("more.csv", own_files::wide(50, 1));
    let shown = place.train_on("more.csv", "more", "--test test.csv").stdout;
    assert!(shown.contains("split: 45 sequences train, 5 validate, 6 are the test\n"), "{shown}");
}

#[test]
fn a_fraction_is_kept_for_a_test() {
    let place = Place::with_files();
    let shown =
        place.train_on("wide.csv", "run", "--test-fraction 0.2 --valid-fraction 0.2").stdout;
    assert!(shown.contains("split: 24 sequences train, 8 validate, 8 are the test\n"), "{shown}");
    let text = place.run("eval run --split test").succeeded().stdout;
    assert!(shown.contains(text.lines().next().unwrap()), "{shown}\n{text}");
    // Of a file that has changed, the test could be what was trained on.
    place.write("wide.csv", own_files::wide(40, 77));
    let error = ["wide.csv", "has changed since the run was trained on it"];
    place.run("eval run --split test").failed_saying(&error);
    place.run("eval run wide.csv").succeeded();
    place.train_on("levels.ts", "none", "");
    place.run("eval none").failed_saying(&["kept no test data", "--split valid"]);
}

#[test]
fn groups_are_never_on_both_sides() {
    let place = Place::with_files();
    let args = format!("{LONG} --split-by group --valid-fraction 0.2");
    let shown = place.train_on("long.csv", "run", &args).stdout;
    assert!(shown.contains("split: 24 sequences train, 6 validate\n"), "{shown}");
    let by_chance = place.train_on("long.csv", "other", &format!("{LONG} --valid-fraction 0.2"));
    assert!(by_chance.stdout.contains("split: 24 sequences train, 6 validate\n"));
    assert_ne!(place.read("run/model.safetensors"), place.read("other/model.safetensors"));
}

#[test]
fn balanced_class_weights_heed_rare_classes() {
    let place = Place::new();
    let all = own_files::wide(200, 1);
    // Nine falling lines for each that rises; noise hides the slope.
    let rare = |(at, line): (usize, &str)| at == 0 || line.starts_with("down") || at % 20 == 2;
    let kept = all.lines().enumerate().filter(|(at, line)| rare((*at, line)));
    let text: String = kept.map(|(_, line)| format!("{}\n", short(line))).collect();
    place.write("rare.csv", text);
    let recall = |weights: &str| {
        place.train_on(
            "rare.csv",
            weights,
            &format!("--epochs 4 --layout wide --class-weights {weights}"),
        );
        let json = place.run(&format!("eval {weights} rare.csv --json")).succeeded().json();
        json["classes"][1]["examples"].as_u64().unwrap();
        let confusion = &json["confusion"][1];
        (confusion[1].as_u64().unwrap(), confusion[0].as_u64().unwrap())
    };
    let (none, balanced) = (recall("none"), recall("balanced"));
    assert!(balanced.0 > none.0, "{none:?} {balanced:?}");
}

/// The label and the first four steps of a row.
fn short(line: &str) -> String {
    line.split(',').take(5).collect::<Vec<_>>().join(",")
}

#[test]
fn missing_values_are_filled_in_as_asked() {
    let place = Place::with_files();
    let text = place.text("numbers.csv");
    let line = text.lines().position(|line| line.starts_with("s2,1,")).unwrap();
    let without = |(at, text): (usize, &str)| {
        let cells: Vec<&str> = text.split(',').collect();
        let x = if at == line { "" } else { cells[2] };
        format!("{},{},{x},{}\n", cells[0], cells[1], cells[3])
    };
    let holes: String = text.lines().enumerate().map(without).collect();
    place.write("holes.csv", holes);
    let error = [
        "holes.csv: 1 value is missing, the first at",
        &format!("line {}, column x", line + 1),
        "(zero, mean or forward-fill); train with --missing",
    ];
    place.run("train holes.csv --quiet --out run").failed_saying(&error);
    assert!(!place.exists("run"));
    let mut models = Vec::new();
    for policy in ["zero", "mean", "forward-fill"] {
        place.train_on("holes.csv", policy, &format!("--missing {policy}"));
        place.run(&format!("eval {policy} holes.csv")).succeeded();
        place.run(&format!("predict {policy} holes.csv")).succeeded();
        models.push(place.read(&format!("{policy}/model.safetensors")));
    }
    assert!(models[0] != models[1] && models[1] != models[2] && models[0] != models[2]);
    place.train_on("holes.csv", "mask", "--missing mean --missing-mask");
    let json = place.run("info mask --json").succeeded().json();
    assert_eq!(json["config"]["model"]["input_size"], 2);
    // A run that was trained without holes takes none.
    place.train_on("numbers.csv", "whole", "");
    place.run("predict whole holes.csv").failed_saying(&["holes.csv", "1 value is missing"]);
    place.run("eval whole holes.csv").failed_saying(&["holes.csv", "1 value is missing"]);
}

#[test]
fn series_with_missing_values_are_forecast() {
    let place = Place::with_files();
    let mut lines: Vec<String> = place.text("series.csv").lines().map(String::from).collect();
    for (line, value) in [(20, "NaN"), (21, ""), (70, "?"), (96, "NaN")] {
        lines[line] = format!("{},{value}", line - 1);
    }
    place.write("holes.csv", lines.join("\n"));
    place.run("train holes.csv --horizon 3 --quiet --out run").failed_saying(&["--missing"]);
    for policy in ["zero", "mean", "forward-fill"] {
        let args = format!("--horizon 3 --window 12 --test-steps 12 --missing {policy}");
        let shown = place.train_on("holes.csv", policy, &args).stdout;
        assert!(shown.contains("windows train") && !shown.contains("NaN"), "{shown}");
        let text = place.run(&format!("predict {policy} holes.csv")).succeeded().stdout;
        assert!(!text.contains("NaN"), "{text}");
        let text = place.run(&format!("eval {policy} holes.csv")).succeeded().stdout;
        assert!(!text.contains("NaN"), "{text}");
    }
    let last: String = lines.iter().take(86).map(|line| format!("{line}\n")).collect();
    let unknown: String = (85..97).map(|t| format!("{t},\n")).collect();
    place.write("unknown.csv", last + &unknown);
    let error = ["unknown.csv", "the last 12 steps of the series 0 lack all values"];
    place.run("predict mean unknown.csv --output p.csv").failed_saying(&error);
    assert!(!place.exists("p.csv"));
}
