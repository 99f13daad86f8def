//! What would be lost in silence: labels, classes, names and steps of data of one's own.

use crate::own_files;
use crate::Place;

/// Rows of a whole number as the label and six whole steps, without a header.
fn bare(with_label: bool) -> String {
    let row = |n: usize| {
        let label = if with_label { format!("{},", n % 2) } else { String::new() };
        let steps = (0..6).map(|t| ((n % 2) * t + n % 3).to_string());
        format!("{label}{}\n", steps.collect::<Vec<_>>().join(","))
    };
    (0..40).map(row).collect()
}

#[test]
fn the_first_step_of_a_bare_table_is_no_label() {
    let place = Place::new();
    place.write("all.csv", bare(true));
    place.write("steps.csv", bare(false));
    place.write("short.csv", "1,2,3\n4,5,6\n");
    for (run, flags) in [("a", "--layout wide"), ("b", "--layout wide --label 1")] {
        place.train_on("all.csv", run, flags);
        let known = place.run(&format!("predict {run} all.csv")).succeeded().stdout;
        let unknown = place.run(&format!("predict {run} steps.csv")).succeeded().stdout;
        let plain: Vec<&str> =
            known.lines().map(|line| line.split_once("; its label").unwrap().0).collect();
        assert_eq!(unknown.lines().collect::<Vec<_>>(), plain, "{run}");
        let said = ["has 6 columns and no header, where a table with the label has 7"];
        place.run(&format!("eval {run} steps.csv")).failed_saying(&said);
        place.run(&format!("predict {run} short.csv")).failed_saying(&["has 3 columns", "--label"]);
        place.run(&format!("eval {run} all.csv")).succeeded();
    }
    // A table that is wide by its look stays so where it is a column less.
    let wide = own_files::wide(40, 1).lines().skip(1).fold(String::new(), |all, line| {
        let cells: Vec<&str> = line.split(',').take(12).collect();
        all + &cells.join(",") + "\n"
    });
    let steps: String =
        wide.lines().map(|line| format!("{}\n", line.split_once(',').unwrap().1)).collect();
    place.write("wide.csv", wide);
    place.write("less.csv", steps);
    place.train_on("wide.csv", "c", "");
    assert_eq!(place.run("predict c less.csv").succeeded().stdout.lines().count(), 40);
}

#[test]
fn names_steer_neither_terminal_nor_model_card() {
    let place = Place::new();
    let wide =
        own_files::wide(40, 1).replace("up,", "\"u|\u{1b}[2J\",").replace("down,", "\"<b>\n\",");
    place.write("names.csv", wide);
    let shown = place.train_on("names.csv", "run", "").stdout;
    let predicted = place.run("predict run names.csv").succeeded().stdout;
    let measured = place.run("eval run names.csv").succeeded().stdout;
    for text in [&shown, &predicted, &measured] {
        assert!(text.contains("u|\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    }
    assert_eq!(predicted.lines().count(), 40);
    let card = place.text("run/README.md");
    assert!(card.contains("\n| u\\|\\\\u{1b}\\[2J | 2 |"), "{card}");
    assert!(card.contains("\n| &lt;b> | 2 |") && !card.contains("<b>"), "{card}");
}

#[test]
fn a_class_that_is_only_held_out_is_refused() {
    let place = Place::new();
    let wide = own_files::wide(40, 1);
    let (header, rows) = wide.split_once('\n').unwrap();
    let mut sorted: Vec<&str> = rows.lines().collect();
    sorted.sort_unstable();
    place.write("sorted.csv", format!("{header}\n{}\n", sorted.join("\n")));
    let refused = place.run("train sorted.csv --quiet --split-by time --valid-fraction 0.5");
    refused.failed_saying(&["\"up\" went to the validation data", "--split-by"]);
    place.write("two.csv", own_files::wide(2, 1));
    let refused = place.run("train two.csv --quiet");
    refused.failed_saying(&["none is left to train on", "--valid-fraction"]);
    place.train_on("two.csv", "run", "--valid-fraction 0");
}

#[test]
fn ids_that_come_back_are_refused() {
    let place = Place::new();
    let line =
        |n: usize| format!("{{\"id\": \"s{}\", \"x\": [1, {n}], \"y\": {}}}\n", n % 20, n % 2);
    place.write("a.jsonl", (0..60).map(line).collect::<String>());
    place
        .run("train a.jsonl --quiet")
        .failed_saying(&["a.jsonl: line 21: the id \"s0\" is that of"]);
    let steps: Vec<String> = (0..14).map(|step| format!("t{step}")).collect();
    let row = |n: usize| format!("s{},{},{}\n", n % 3, n % 2, vec![n.to_string(); 14].join(","));
    let rows: String = (0..6).map(row).collect();
    place.write("a.csv", format!("id,label,{}\n{rows}", steps.join(",")));
    place
        .run("train a.csv --quiet")
        .failed_saying(&["a.csv: line 5, column id: the id \"s0\" is that of"]);
}

#[test]
fn a_single_recording_with_labels_at_its_steps_is_trained_on() {
    let place = Place::new();
    let rows = (0..60).map(|t| format!("{t},{},{}\n", t % 5, if t % 5 > 2 { "hi" } else { "lo" }));
    place.write("one.csv", format!("time,x,state\n{}", rows.collect::<String>()));
    let shown = place.train_on("one.csv", "run", "--test-fraction 0.2").stdout;
    assert!(shown.contains("split: 1 sequence trains, 1 validates, 1 is the test\n"), "{shown}");
    assert!(shown.contains("cut by time: its first 42 steps train\n"), "{shown}");
    place.run("eval run").succeeded();
    place.run("eval run --split valid").succeeded();
    let shown = place.train_on("one.csv", "all", "--valid-fraction 0 --test one.csv").stdout;
    assert!(shown.contains("nothing validates"), "{shown}");
    place.run("train --resume --out run").succeeded();
}
