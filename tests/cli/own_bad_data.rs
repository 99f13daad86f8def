//! Data of one's own that are not what they must be: one line that names the file and the remedy, and nothing written.

use crate::own_files::{self, tiny, LONG};
use crate::{Outcome, Place};

impl Place {
    /// Training on a file fails with one line that says all of `expected`, and leaves nothing behind.
    #[track_caller]
    fn refuses(&self, file: &str, args: &str, expected: &[&str]) -> Outcome {
        let before = self.files("");
        let args = format!("train {file} {} --quiet", tiny(args));
        let outcome = self.run(&args).failed_saying(expected);
        if !args.contains("--out ") {
            self.run(&format!("{args} --out run")).failed_saying(expected);
        }
        assert!(self.files("") == before, "{:?}", self.files("").keys());
        outcome
    }

    /// The same of a file that is written first, and is named in the line.
    #[track_caller]
    fn refuses_content(
        &self,
        file: &str,
        content: impl AsRef<[u8]>,
        args: &str,
        expected: &[&str],
    ) {
        self.write(file, content);
        self.refuses(file, args, &[&[file], expected].concat());
    }

    /// Wrong usage: exit code 2, nothing written.
    #[track_caller]
    fn misuses(&self, args: &str) {
        let before = self.files("");
        self.run(args).misused();
        assert!(self.files("") == before, "{:?}", self.files("").keys());
    }
}

/// The file with a line changed, counted from 1.
fn with_line(text: &str, line: usize, change: impl Fn(&str) -> String) -> String {
    let change =
        |(at, text): (usize, &str)| if at + 1 == line { change(text) } else { text.into() };
    text.lines().enumerate().map(|pair| change(pair) + "\n").collect()
}

#[test]
fn files_that_hold_no_data_are_refused() {
    let place = Place::new();
    place.refuses_content("a.csv", "", "", &["is empty"]);
    place.refuses_content("a.csv", "label,t1,t2\n", "", &["holds a header and no rows"]);
    place.refuses_content("a.ts", "@problemName x\n@data\n", "", &[]);
    place.refuses("nowhere.csv", "", &["nowhere.csv: cannot open the file"]);
    std::fs::create_dir(place.path("folder")).unwrap();
    place.refuses("folder", "", &["folder: is a folder: give a file"]);
    place.run("data nowhere.csv").failed_saying(&["nowhere.csv: cannot open the file"]);
    place.run("data folder").failed_saying(&["folder: is a folder: give a file"]);
}

#[test]
fn cells_that_are_wrong_are_named_by_line_and_column() {
    let place = Place::new();
    let long = own_files::long(10, 1);
    place.refuses_content("a.csv", "a,b,c\n1,2,3\n1,2\n", "", &["line 3: has 2 cells, expected 3"]);
    let text = with_line(&long, 5, |_| "r1,0,p0,oh,1,pos".into());
    place.refuses_content(
        "a.csv",
        text,
        LONG,
        &["line 5, column x: expected a number, got \"oh\""],
    );
    let text = with_line(&long, 5, |_| "r1,0,p0,1e99,1,pos".into());
    place.refuses_content("a.csv", text, LONG, &["line 5, column x", "not a finite number"]);
    let text = with_line(&long, 5, |_| "r1,0,p0,\"1,5\",1,pos".into());
    place.refuses_content("a.csv", text, LONG, &["line 5, column x", "decimal comma: write 1.5"]);
    let text = with_line(&long, 5, |_| "r1,0,p0,\"1,500\",1,pos".into());
    place.refuses_content("a.csv", text, LONG, &["line 5, column x", "write 1500 or 1.500"]);
    let text = with_line(&long, 5, |_| "r1,0,p0,1,1,\"pos".into());
    place.refuses_content("a.csv", text, LONG, &["line 5: a quote is never closed"]);
    let text = "id;x;y\na;1,5;up\na;2,5;down\n";
    place.refuses_content("a.csv", text, "", &["decimal comma: write 1.5"]);
    let text = "id;x;z;y\na;1,5;1;up\na;2,5;2;down\n";
    place.refuses_content("a.csv", text, "", &["column x", "decimal comma: write 1.5"]);
    let text = with_line(&long, 6, |line| line.replace("r1,1,", "r1,0,"));
    place.refuses_content(
        "a.csv",
        text,
        LONG,
        &["line 6, column t: the time \"0\" is there twice"],
    );
    let remedy = "name the column that says which sequence a row belongs to";
    place.refuses_content(
        "a.csv",
        long.replace("run,", "walk,"),
        "--time t --label state",
        &["line 5, column t", remedy, "--id"],
    );
    let text = format!("{long}r0,9,p0,1,1,pos\n");
    place.refuses_content("a.csv", text, LONG, &["column run: the sequence \"r0\" comes back"]);
    let text = with_line(&long, 3, |line| line.replace("p0", "p9"));
    place.refuses_content("a.csv", text, LONG, &["line 3, column person", "group changes"]);
    let text = with_line(&long, 3, |line| line.rsplit_once(',').unwrap().0.to_string() + ",");
    place.refuses_content(
        "a.csv",
        text,
        LONG,
        &["line 3, column state", "label of the step is missing"],
    );
    place.refuses_content("a.csv", b"x,y\n1,a\n\xff,b\n", "", &["line 3, column x: is not UTF-8"]);
    place.refuses_content("a.csv", b"\xff\xfea\0", "", &["is UTF-16 text: save it as UTF-8"]);
    place.refuses_content(
        "a.npz",
        b"\x80\x04\x95",
        "",
        &["is a Python pickle, which is never read"],
    );
    let text = with_line(&own_files::wide(20, 1), 4, |_| "up".to_string() + &",".repeat(16));
    place.refuses_content("a.csv", text, "", &["line 4: the sequence has no steps"]);
    let text = with_line(&own_files::ts(9, 1), 9, |line| line.replacen(',', ",x", 1));
    place.refuses_content("a.ts", text, "", &["line 9"]);
}

#[test]
fn byte_order_marks_and_line_ends_do_not_matter() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", "");
    place.write("windows.csv", format!("\u{feff}{}", own_files::wide(40, 1).replace('\n', "\r\n")));
    place.train_on("windows.csv", "other", "");
    assert_eq!(place.read("run/model.safetensors"), place.read("other/model.safetensors"));
}

#[test]
fn labels_that_teach_nothing_are_refused() {
    let place = Place::new();
    let wide = own_files::wide(20, 1);
    let of = |name: &str| {
        let kept = wide.lines().filter(|line| line.starts_with("label") || line.starts_with(name));
        kept.map(|line| format!("{line}\n")).collect::<String>()
    };
    place.refuses_content("a.csv", of("up"), "", &["of one class, up: there is nothing to learn"]);
    let one = wide.lines().take(2).collect::<Vec<_>>().join("\n");
    place.refuses_content("a.csv", one, "", &["single sequence", "--id", "--valid"]);
    place.refuses_content(
        "a.csv",
        own_files::series(40),
        "",
        &["no target", "--label", "--horizon"],
    );
    place.refuses_content(
        "a.csv",
        &wide,
        "--label state",
        &["has no column \"state\"", "label, t1"],
    );
    place.refuses_content(
        "a.csv",
        &wide,
        "--target numbers",
        &["line 2, column label", "got \"down\""],
    );
    place.refuses_content(
        "a.csv",
        &wide,
        "--target step-class --layout wide",
        &["no label for each of its steps"],
    );
    place.refuses_content(
        "a.csv",
        &wide,
        "--label t1 --features t1",
        &["\"t1\"", "give each column one use"],
    );
    let numbers = own_files::numbers(30, 1);
    let text = numbers
        .replace(&numbers.lines().last().unwrap().rsplit_once(',').unwrap().1.to_string(), "NaN");
    place.refuses_content("a.csv", text, "", &["column target: the label is missing, one of"]);
    let text = numbers
        .replace(&numbers.lines().last().unwrap().rsplit_once(',').unwrap().1.to_string(), "high");
    place.refuses_content("a.csv", text, "", &["column target", "expected a number", "\"high\""]);
}

#[test]
fn numbers_that_are_all_alike_are_refused() {
    let place = Place::new();
    let rows = (0..40).map(|n| format!("{},{},{n},2.5\n", n / 4, n % 4));
    let text = format!("id,t,x,target\n{}", rows.collect::<String>());
    place.refuses_content("a.csv", text, "", &["the target is 2.5 in all training examples"]);
}

#[test]
fn data_that_cannot_be_split_are_refused() {
    let place = Place::with_files();
    place.refuses(
        "wide.csv",
        "--split-by group",
        &["wide.csv: ", "no groups to be split by", "--group"],
    );
    place.write("one.csv", own_files::long(2, 1));
    place.refuses(
        "one.csv",
        &format!("{LONG} --split-by group"),
        &["one.csv: all sequences are of one group"],
    );
    place.misuses("train wide.csv --valid-fraction 0.6 --test-fraction 0.5 --out run");
    place.misuses("train wide.csv --valid-fraction -1 --out run");
    place.misuses("train wide.csv --valid-fraction 0 --patience 3 --out run");
}

#[test]
fn all_data_can_be_trained_on_without_validation() {
    let place = Place::with_files();
    let said = place.train_on("wide.csv", "all", "--valid-fraction 0").stdout;
    assert!(said.contains("nothing validates"), "{said}");
    assert!(!said.contains("best epoch"), "{said}");
    let card = String::from_utf8(place.read("all/README.md")).unwrap();
    assert!(card.contains("## Training data") && !card.contains("## Validation"), "{card}");
    place.run("eval all --split valid").failed_saying(&["no validation data"]);
}

#[test]
fn series_that_are_too_short_are_refused() {
    let place = Place::with_files();
    for (flags, part) in [
        ("--horizon 200", "82 to train on, too few for windows of 24 steps and forecasts of 200"),
        ("--horizon 30 --window 90", "82 to train on, too few for windows of 90 steps"),
        ("--horizon 3 --window 12 --test-steps 90", "0 to train on"),
        ("--horizon 3 --window 12 --valid-fraction 0.01", "1 to validate"),
    ] {
        let part = format!("series.csv: a series of 96 steps has {part}");
        place.refuses("series.csv", flags, &[&part, "; see --window, --horizon, --test-steps"]);
    }
    place.misuses("train series.csv --window 3 --out run");
    place.misuses("train series.csv --horizon 0 --out run");
    place.misuses("train series.csv --horizon 3 --scaling per-sequence --out run");
    place.misuses("train series.csv --horizon 3 --test wide.csv --out run");
    place.train_on("series.csv", "run", "--horizon 3 --window 12");
    place.write("short.csv", own_files::series(11));
    let error = ["short.csv: the series 0 has 11 steps: a forecast needs 12"];
    place.run("predict run short.csv --output p.csv").failed_saying(&error);
    assert!(!place.exists("p.csv"));
    place.run("eval run short.csv").failed_saying(&["short.csv", "takes 15 known steps"]);
}

#[test]
fn other_files_that_disagree_are_named() {
    let place = Place::with_files();
    let mut extra = own_files::wide(6, 2);
    extra.push_str(&extra.lines().last().unwrap().replace("up", "left"));
    place.write("extra.csv", extra);
    for flag in ["--test", "--valid"] {
        let refuses = |file: &str, expected: &[&str]| {
            let expected = [&[file], expected].concat();
            place.refuses("wide.csv", &format!("{flag} {file}"), &expected);
        };
        refuses("extra.csv", &["the class left is not among those of the training data: down, up"]);
        refuses("numbers.csv", &["predicts a class for each sequence, the data have numbers"]);
        refuses("series.csv", &["reads the features x, the data have sales: x and sales differ"]);
        refuses("levels.ts", &["the model reads 1 feature (x), the data have 2"]);
        refuses("book.txt", &["plain text, where a file of sequences is needed"]);
        refuses("nowhere.csv", &["cannot open the file"]);
    }
    place.write("unknown.csv", "t1,t2,t3,t4\n0.5,0.25,0.5,0.125\n0.5,0.25,0.5,0.125\n");
    place.refuses("wide.csv", "--test unknown.csv --layout wide", &["unknown.csv"]);
}

#[test]
fn a_run_and_a_file_that_disagree_are_refused() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", "");
    let mut extra = own_files::wide(6, 2);
    extra.push_str(&extra.lines().last().unwrap().replace("up", "left"));
    place.write("extra.csv", extra);
    let error = ["extra.csv: the class left is not among those of the training data: down, up"];
    place.run("eval run extra.csv").failed_saying(&error);
    let error =
        ["numbers.csv: the model predicts a class for each sequence, the data have numbers"];
    place.run("eval run numbers.csv").failed_saying(&error);
    let features =
        ["series.csv: the model reads the features x, the data have sales: x and sales differ"];
    let two = ["levels.ts: the model reads 1 feature (x), the data have 2"];
    for command in ["eval", "predict"] {
        place.run(&format!("{command} run series.csv")).failed_saying(&features);
        place.run(&format!("{command} run levels.ts")).failed_saying(&two);
        place.run(&format!("{command} run book.txt")).failed_saying(&["book.txt: plain text"]);
        place
            .run(&format!("{command} run nowhere.csv"))
            .failed_saying(&["nowhere.csv: cannot open"]);
        place.run(&format!("{command} nowhere wide.csv")).failed_saying(&["nowhere"]);
    }
    // One bad file of several: not even the first is predicted.
    place.run("predict run wide.csv levels.ts --output p.csv").failed_saying(&two);
    place.run("predict run wide.csv levels.ts").failed_saying(&two);
    assert!(!place.exists("p.csv"));
    place
        .run("generate run --prompt x")
        .failed_saying(&["generate needs a run that was trained on a text: use predict"]);
    place.run("eval run").failed_saying(&["kept no test data"]);
}

#[test]
fn predictions_that_cannot_be_written_are_an_error() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", "");
    let error = ["nowhere/p.csv: cannot create the file"];
    place.run("predict run wide.csv --output nowhere/p.csv").failed_saying(&error);
    place.run("predict run wide.csv --output run").failed_saying(&["run: cannot create the file"]);
    place.misuses("predict run wide.csv --output p.csv --json");
    // The file that is predicted stays.
    place.misuses("predict run wide.csv --output wide.csv");
    if cfg!(target_os = "linux") {
        let full = place.run("predict run wide.csv --output /dev/full");
        full.failed_saying(&["/dev/full"]);
    }
    place.write("file", "");
    place.refuses("wide.csv", "--out file/run", &["file/run"]);
}

#[test]
fn settings_of_other_tasks_are_refused() {
    let place = Place::with_files();
    for wrong in [
        "--view pixels",
        "--rotate 3",
        "--shift 1",
        "--mirror",
        "--validation first",
        "--loss-at every",
        "--truncate 5",
        "--seq-len 8",
        "--embedding-size 8",
        "--dataset fashion-mnist",
        "--recipe tanh",
        "--readout all",
        "--data sample",
    ] {
        place.misuses(&format!("train wide.csv --out run {wrong}"));
    }
    for wrong in [
        "--scaling none",
        "--horizon 3",
        "--label x",
        "--test wide.csv",
        "--valid wide.csv",
        "--seq-len 3",
    ] {
        place.misuses(&format!("train --data sample --out run {wrong}"));
    }
    place.write("mine.toml", "epochs = 1\nview = \"rows\"\n");
    let said = ["mine.toml: line 2: view applies to MNIST only"];
    place.run("train wide.csv --config mine.toml --out run").failed_saying(&said);
    assert!(!place.exists("run"));
    place.train_on("wide.csv", "run", "");
    for wrong in [
        "eval run --label x",
        "eval run --data sample",
        "eval run wide.csv --split valid",
        "predict run wide.csv --data sample",
        "predict run wide.csv --steps",
        "data wide.csv --data long.csv",
        "data --data sample --label x",
    ] {
        place.misuses(wrong);
    }
}
