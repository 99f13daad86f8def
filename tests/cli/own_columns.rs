//! Columns of files of one's own: those of a run, one of them replaced, and those that stand elsewhere.

use serde_json::Value;

use crate::own_files::{self, LONG};
use crate::Place;

/// The table with its columns in another order, and with more of them; `names` are columns of the table, or `extra`.
fn rearranged(text: &str, names: &[&str]) -> String {
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let mut lines = vec![names.join(",")];
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &&str| {
            let column = header.iter().position(|column| column == name);
            column.map_or("1.5", |column| cells[column])
        };
        lines.push(names.iter().map(cell).collect::<Vec<_>>().join(","));
    }
    lines.join("\n") + "\n"
}

#[test]
fn features_are_found_by_name_wherever_they_stand() {
    let place = Place::with_files();
    place.train_on("numbers.csv", "guessed", "");
    place.train_on("long.csv", "named", LONG);
    place.train_on("long.csv", "numbered", "--id 1 --time 2 --label 6 --features 4,5");
    for (run, file, names) in [
        ("guessed", "numbers.csv", &["target", "extra", "x", "t", "id"][..]),
        ("named", "long.csv", &["state", "y", "x", "extra", "t", "run", "person"]),
        ("numbered", "long.csv", &["run", "t", "person", "y", "extra", "state", "x"]),
    ] {
        place.write("new.csv", rearranged(&place.text(file), names));
        for command in ["predict", "eval"] {
            let said = |file: &str| {
                let said = place.run(&format!("{command} {run} {file} --json")).succeeded().stdout;
                said.replace(file, "FILE")
            };
            assert_eq!(said("new.csv"), said(file), "{command} {run}");
        }
    }
    // A feature that is not there is missed.
    place.write("new.csv", rearranged(&place.text("numbers.csv"), &["id", "t", "z", "target"]));
    let error = ["the model reads the features x, the data have z"];
    place.run("predict guessed new.csv").failed_saying(&error);
}

#[test]
fn a_column_flag_replaces_that_column_of_the_run_alone() {
    let place = Place::with_files();
    place.train_on("long.csv", "run", LONG);
    let all = place.run("predict run long.csv").succeeded().stdout;
    assert_eq!(all.lines().count(), 30);
    for flags in ["--features x,y", "--features 4,5", "--id 1", "--time t", "--group person"] {
        for command in ["predict", "eval"] {
            let plain = place.run(&format!("{command} run long.csv")).succeeded().stdout;
            let said = place.run(&format!("{command} run long.csv {flags}")).succeeded().stdout;
            assert_eq!(said, plain, "{command} {flags}");
        }
    }
    place.write("new.csv", place.text("long.csv").replacen("run,", "walk,", 1));
    place.run("predict run new.csv").failed_saying(&["has no column \"run\""]);
    assert_eq!(place.run("predict run new.csv --id walk").succeeded().stdout, all);
    place.write("new.csv", place.text("long.csv").replacen(",state", ",mood", 1));
    place.run("eval run new.csv").failed_saying(&["has no column \"state\""]);
    let measured = place.run("eval run new.csv --label mood").succeeded().stdout;
    let expected = place.run("eval run long.csv").succeeded().stdout;
    assert_eq!(measured.split_once(' ').unwrap().1, expected.split_once(' ').unwrap().1);
}

#[test]
fn a_series_with_a_column_of_text_is_forecast() {
    let place = Place::new();
    let mut text = "date,value,target,promo\n".to_string();
    for day in 0..90 {
        let (month, promo) = (1 + day / 28, if day % 5 == 0 { "yes" } else { "no" });
        let value = 10 + day % 7;
        text.push_str(&format!(
            "2024-{month:02}-{:02},{value},{},{promo}\n",
            1 + day % 28,
            day % 2
        ));
    }
    place.write("promo.csv", &text);
    let shown = place.train_on("promo.csv", "run", "--horizon 3 --window 8").stdout;
    assert!(shown.contains("2 features: value, target\ntarget: none\n"), "{shown}");
    assert!(shown.contains("assumed: column promo holds text and is left out\n"), "{shown}");
    place.train_on("promo.csv", "one", "--horizon 3 --window 8 --features value");
    place.run("predict run promo.csv --output p.csv").succeeded();
    let text = place.text("p.csv");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "id,last_time,step,value,target"));
    assert!(lines[1].starts_with("0,2024-04-06,1,"), "{text}");
    let line = place.run("predict run promo.csv --json").succeeded().json();
    assert_eq!(line["last_time"], "2024-04-06");
    assert_eq!(line["features"], serde_json::json!(["value", "target"]));
    let line = place.run("predict run promo.csv").succeeded().stdout;
    assert!(line.starts_with("0 after 2024-04-06: "), "{line}");
    place.run("eval run promo.csv").succeeded();
    place.run("eval run --split valid").succeeded();
    place.run("train --resume --out run").succeeded();
}

#[test]
fn a_group_may_be_the_id_of_each_sequence() {
    let place = Place::with_files();
    let shown = place.train_on("numbers.csv", "run", "--split-by group --group id").stdout;
    assert!(shown.contains("30 sequences") && shown.contains("27 sequences train"), "{shown}");
    place.train_on("numbers.csv", "other", "--split-by group --group id --id id");
    assert_eq!(place.read("run/model.safetensors"), place.read("other/model.safetensors"));
}

#[test]
fn a_table_with_the_label_last_is_read_as_sequences() {
    let place = Place::new();
    let text = own_files::wide(40, 1);
    let moved = |(at, line): (usize, &str)| {
        let (label, steps) = line.split_once(',').unwrap();
        let (name, label) =
            if at == 0 { ("name".into(), "kind") } else { (format!("r{at}"), label) };
        format!("{name},{steps},{label}\n")
    };
    place.write("named.csv", text.lines().enumerate().map(moved).collect::<String>());
    let shown = place.train_on("named.csv", "run", "").stdout;
    let found = "named.csv: CSV, 40 sequences, 16 steps each, 1 feature: x\n\
                 target: a class of a sequence, 2 classes: down (20), up (20)\n";
    assert!(shown.starts_with(found), "{shown}");
    assert!(shown.contains("is taken for a sequence and each column a step (else --layout long)\n"));
    let predicted = place.run("predict run named.csv").succeeded().stdout;
    assert!(
        predicted.starts_with("r1: ") && predicted.contains("; its label is up"),
        "{predicted}"
    );
    place.train_on("named.csv", "asked", "--layout wide");
    assert_eq!(place.read("run/model.safetensors"), place.read("asked/model.safetensors"));
}

#[test]
fn predictions_of_several_files_say_which_file_they_are_of() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", "");
    place.write("a.csv", own_files::wide(2, 5));
    place.write("b.csv", own_files::wide(3, 6));
    place.run("predict run a.csv b.csv --output p.csv").succeeded();
    let text = place.text("p.csv");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["file", "id", "label", "p(down)", "p(up)"]);
    let named: Vec<[&str; 2]> = rows[1..].iter().map(|row| [row[0], row[1]]).collect();
    let expected = [["a.csv", "0"], ["a.csv", "1"], ["b.csv", "0"], ["b.csv", "1"], ["b.csv", "2"]];
    assert_eq!(named, expected);
    let lines = place.run("predict run a.csv b.csv").succeeded().stdout;
    assert!(lines.starts_with("a.csv: 0: ") && lines.contains("\nb.csv: 0: "), "{lines}");
    let json = place.run("predict run a.csv --json").succeeded().stdout;
    let line: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["classes"], serde_json::json!(["down", "up"]));
}

/// A table of sequences of one feature with a target at each step, and the same sequences as JSON Lines, `.ts` and ARFF.
fn in_all_formats(place: &Place) {
    let mut files = [
        "id,t,x,state\n".to_string(),
        String::new(),
        "@problemName n\n@univariate true\n@classLabel false\n@data\n".into(),
        "@relation n\n@attribute a numeric\n@attribute b numeric\n@attribute c numeric\n@data\n"
            .into(),
    ];
    for n in 0..30 {
        let values: Vec<i32> = (0..3).map(|t| (n * 5 + t * 3) % 11 - 5).collect();
        let states: Vec<&str> = values.iter().map(|x| if *x > 0 { "pos" } else { "neg" }).collect();
        for (t, (x, state)) in values.iter().zip(&states).enumerate() {
            files[0].push_str(&format!("s{n},{t},{x},{state}\n"));
        }
        files[1].push_str(&format!("{}\n", serde_json::json!({ "x": values, "y": states })));
        let values: Vec<String> = values.iter().map(i32::to_string).collect();
        files[2].push_str(&format!("{}\n", values.join(",")));
        files[3].push_str(&format!("{}\n", values.join(",")));
    }
    for (name, content) in ["n.csv", "n.jsonl", "n.ts", "n.arff"].iter().zip(files) {
        place.write(name, content);
    }
}

#[test]
fn columns_of_a_run_are_left_out_for_other_formats() {
    let place = Place::new();
    in_all_formats(&place);
    let columns = "--id id --time t --label state --features x --layout long --target step-class";
    place.train_on("n.csv", "run", &format!("{columns} --test n.jsonl"));
    let outputs = |file: &str| -> Vec<Value> {
        let said = place.run(&format!("predict run {file} --json")).succeeded().stdout;
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["steps"].clone()).collect()
    };
    let expected = outputs("n.csv");
    assert!(expected.len() == 30 && expected[0].is_array(), "{expected:?}");
    for file in ["n.jsonl", "n.ts", "n.arff"] {
        assert_eq!(outputs(file), expected, "{file}");
    }
    let measured = |args: &str| {
        let mut found = place.run(&format!("eval run {args} --json")).succeeded().json();
        found.as_object_mut().unwrap().remove("split");
        found
    };
    assert_eq!(measured("n.jsonl"), measured("n.csv"));
    assert_eq!(measured(""), measured("n.csv"));
    // What is said for this file still has to mean something.
    for (flag, option) in [("--label y", "label"), ("--id id", "id"), ("--layout long", "layout")] {
        let error = format!("n.jsonl: is a file of the format JSON lines, for which the option {option} means nothing");
        place.run(&format!("predict run n.jsonl {flag}")).failed_saying(&[&error]);
    }
    let error = ["n.jsonl: ", "the option id means nothing"];
    place.run("train n.jsonl --id id --out other").failed_saying(&error);
}
