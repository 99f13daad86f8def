//! Tables whose rows are examples, and measures that data leave undefined.

use serde_json::Value;

use crate::Place;

/// A row an example: four numbers, of which the first tells two kinds of flowers apart.
fn flowers(count: usize) -> String {
    let row = |n: usize| {
        let (name, length) = if n.is_multiple_of(2) { ("setosa", 1.4) } else { ("virginica", 5.5) };
        format!("{:.2},{},{},{},{name}\n", length + n as f64 * 0.01, n % 3, n % 5, n % 7)
    };
    format!("length,width,a,b,species\n{}", (0..count).map(row).collect::<String>())
}

#[test]
fn rows_with_a_class_each_are_learnt_and_predicted() {
    let place = Place::new();
    place.write("iris.csv", flowers(60));
    let said = place.train_on("iris.csv", "run", "--epochs 30 --hidden 8 --lr 0.01").stdout;
    let found = "iris.csv: CSV, 60 sequences, 1 step each, 4 features: length, width, a, b\n\
                 target: a class of a sequence, 2 classes: setosa (30), virginica (30)\n\
                 assumed: each row is taken for a sequence of one step and each column for a feature";
    assert!(said.starts_with(found), "{said}");
    let json = place.run("eval run iris.csv --json").succeeded().json();
    assert_eq!(json["accuracy"], 1., "{json}");
    // Without labels, rows are still examples.
    let unknown: String =
        flowers(4).lines().map(|line| format!("{}\n", line.rsplit_once(',').unwrap().0)).collect();
    place.write("unknown.csv", unknown);
    let lines = place.run("predict run unknown.csv").succeeded().stdout;
    let labels: Vec<_> = lines.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(labels, ["setosa", "virginica", "setosa", "virginica"], "{lines}");
    // The choice is the user's.
    let text = place.run("data iris.csv --layout long --show 0").succeeded().stdout;
    assert!(text.contains("1 sequence, 60 steps, "), "{text}");
    let text = place.run("data iris.csv --target step-class --show 0").succeeded().stdout;
    assert!(text.contains("target: a class at each step"), "{text}");
    place
        .run("train iris.csv --layout tabular --time width")
        .failed_saying(&["a column of times means nothing in the tabular layout"]);
}

#[test]
fn rows_of_a_series_stay_steps_where_they_are_forecast() {
    let place = Place::new();
    let row = |n: usize| format!("{},{},k\n", n % 12, (n * 7) % 12);
    place.write("s.csv", format!("a,b,kind\n{}", (0..90).map(row).collect::<String>()));
    place.train_on("s.csv", "run", "--horizon 3 --window 12");
    place.run("predict run s.csv --output p.csv").succeeded();
    assert_eq!(place.text("p.csv").lines().count(), 1 + 3);
}

#[test]
fn measures_that_are_undefined_are_dashes() {
    let place = Place::with_files();
    place.train_on("numbers.csv", "run", "");
    let rows = (0..8).map(|n| format!("s{},{},0.{n},2.5\n", n / 2, n % 2));
    place.write("equal.csv", format!("id,t,x,target\n{}", rows.collect::<String>()));
    let text = place.run("eval run equal.csv --target numbers").succeeded().stdout;
    assert!(text.contains("R2 -  (the training mean"), "{text}");
    assert!(text.contains("R2 is undefined where all targets are equal"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
    let json = place.run("eval run equal.csv --target numbers --json").succeeded().json();
    assert_eq!(json["r2"], Value::Null);
    // The whole training, with such a test.
    place.train_on("numbers.csv", "tested", "--test equal.csv --target numbers");
    let card = place.text("tested/README.md");
    assert!(card.contains("| - |") && !card.contains("NaN"), "{card}");
}

#[test]
fn classes_without_examples_have_no_recall() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", "--epochs 30 --hidden 8 --lr 0.01");
    let up = place.text("wide.csv");
    let up = up.lines().filter(|line| !line.starts_with("down")).map(|line| format!("{line}\n"));
    place.write("up.csv", up.collect::<String>());
    let text = place.run("eval run up.csv").succeeded().stdout;
    assert!(text.contains("1 of 2 classes have no examples here"), "{text}");
    assert!(text.contains("balanced accuracy 1.0000"), "{text}");
    assert!(text.contains("  down          0          -       -       -\n"), "{text}");
    let json = place.run("eval run up.csv --json").succeeded().json();
    assert_eq!(json["classes"][0]["recall"], Value::Null);
}

#[test]
fn a_series_of_zeros_is_forecast_without_nan() {
    let place = Place::new();
    let rows: String = (0..60).map(|n| format!("{n},0\n")).collect();
    place.write("zeros.csv", format!("month,sales\n{rows}"));
    let said = place.train_on("zeros.csv", "run", "--horizon 3 --window 6 --test-steps 9").stdout;
    assert!(said.contains("MAPE      - %"), "{said}");
    assert!(said.contains("MAPE is undefined where all values are 0"), "{said}");
    let card = place.text("run/README.md");
    assert!(!said.contains("NaN") && !card.contains("NaN"), "{said} {card}");
}
