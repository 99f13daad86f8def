//! Flags that would do nothing for a file: each is refused, none is ignored in silence.

use crate::own_files::LONG;
use crate::Place;

/// Wrong usage: exit code 2, a line that says so, nothing written.
#[track_caller]
fn refused(place: &Place, args: &str, expected: &str) {
    let before = place.files("");
    let error = place.run(args).misused().stderr;
    assert!(error.contains(expected), "{args}: {error}");
    assert!(place.files("") == before, "{args}");
}

#[test]
fn fractions_beside_files_of_their_own_are_refused() {
    let place = Place::with_files();
    place.write("other.csv", place.text("wide.csv"));
    for (args, expected) in [
        ("--valid other.csv --valid-fraction 0.2", "cannot be used with"),
        ("--valid other.csv --valid-fraction 0", "cannot be used with"),
        ("--test other.csv --test-fraction 0.2", "cannot be used with"),
        ("--valid other.csv --split-by time", "--split-by means nothing here"),
        ("--valid-fraction 0 --split-by random", "--split-by means nothing here"),
    ] {
        refused(&place, &format!("train wide.csv --out run {args}"), expected);
    }
    let more = "--valid other.csv --test-fraction 0.2 --split-by time";
    let said = place.train_on("wide.csv", "run", more).stdout;
    assert!(said.contains("split: 32 sequences train, 40 validate, 8 are the test"), "{said}");
    // A run that is resumed has its file.
    let resume = "train wide.csv --out run --resume --epochs 3 --extend";
    refused(&place, &format!("{resume} --valid-fraction 0.3"), "--valid-fraction means nothing");
}

#[test]
fn settings_that_a_target_has_no_use_for_are_refused() {
    let place = Place::with_files();
    let rows: String = (0..60).map(|n| format!("{n},{},{}\n", n % 12, n % 7)).collect();
    place.write("two.csv", format!("month,a,b\n{rows}"));
    for (args, expected) in [
        ("wide.csv --loss huber", "loss means nothing where the target is a class"),
        ("wide.csv --loss mse", "--loss is for numbers and forecasts"),
        ("wide.csv --test-steps 3", "--test-steps means nothing"),
        ("wide.csv --missing-mask", "--missing-mask means nothing where"),
        ("numbers.csv --class-weights balanced", "--class-weights means nothing"),
        ("numbers.csv --label-smoothing 0.1", "--label-smoothing means nothing"),
        ("series.csv --horizon 3 --class-weights balanced", "--class-weights means nothing"),
        ("two.csv --horizon 3 --label b", "--label and --target mean nothing"),
        ("two.csv --horizon 3 --label b --target step-class", "--label and --target mean nothing"),
        ("series.csv --horizon 3 --split-by group", "--split-by group means nothing"),
        ("series.csv --horizon 3 --split-by random", "--split-by means nothing for a forecast"),
        ("series.csv --horizon 3 --test-steps 9 --test-fraction 0.2", "cannot be used with"),
        ("book.txt --loss mae", "--loss applies to a FILE of sequences only"),
        ("book.txt --horizon 3", "--horizon applies to a FILE of sequences only"),
        ("book.txt --test-fraction 0.1", "--test-fraction applies to a FILE of sequences only"),
        ("book.txt --bidirectional", "it cannot be --bidirectional"),
        ("book.txt --readout mean-max", "its --readout is last"),
    ] {
        refused(&place, &format!("train {args} --out run"), expected);
    }
    let long = format!("train long.csv {LONG} --out run");
    refused(&place, &format!("{long} --readout mean-max"), "--readout is for a target of whole");
    refused(&place, &format!("{long} --split-by time"), "--group means nothing beside");
    refused(&place, "data wide.csv --dataset mnist", "cannot be used with");
    refused(&place, "data --data wide.csv --dataset mnist", "--dataset is for images");
    place
        .run("data series.csv --target class")
        .failed_saying(&["series.csv: holds no target, which --target asks for"]);
    // The same in a file.
    place.write("mine.toml", "epochs = 1\nloss = \"mae\"\n");
    place
        .run("train wide.csv --config mine.toml --out run")
        .failed_saying(&["mine.toml: line 2: loss means nothing where the target is a class"]);
    assert!(!place.exists("run"));
    // What is of use is taken.
    place.train_on("numbers.csv", "a", "--loss mae --test-fraction 0.1");
    place.train_on("wide.csv", "b", "--class-weights balanced --label-smoothing 0");
    place.train_on("series.csv", "c", "--horizon 3 --window 6 --split-by time");
}

#[test]
fn groups_that_are_not_kept_whole_are_mentioned() {
    let place = Place::with_files();
    let said = place.train_on("long.csv", "a", LONG).stdout;
    assert!(said.contains("groups are not kept whole: --split-by group does that"), "{said}");
    let said = place.train_on("long.csv", "b", &format!("{LONG} --split-by group")).stdout;
    assert!(!said.contains("not kept whole"), "{said}");
}
