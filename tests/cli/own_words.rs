//! What is said of data of one's own: notes, hints, model cards, comparisons, and how commands are used.

use crate::own_files::LONG;
use crate::Place;

#[test]
fn flags_say_which_data_they_apply_to() {
    let place = Place::with_files();
    place.train_on("numbers.csv", "run", "");
    for (args, expected) in [
        ("wide.csv --view pixels", "--view applies to MNIST only"),
        ("wide.csv --truncate 5", "--truncate applies to MNIST only"),
        ("wide.csv --recipe tanh", "--recipe applies to MNIST only"),
        ("wide.csv --seq-len 8", "--seq-len applies to a FILE of text only"),
        (
            "book.txt --label-smoothing 0.1",
            "--label-smoothing applies to images and sequences only",
        ),
        ("wide.csv --readout all", "--readout all is for images alone"),
    ] {
        let error = place.run(&format!("train {args} --out x")).misused().stderr;
        assert!(error.contains(expected), "{args}: {error}");
        // How this command is used, not how all are.
        assert!(error.contains("Usage: candle-rnn train "), "{error}");
    }
    // What a file of settings says, flags did not.
    let toml = place.text("run/train.toml");
    let line = 1 + toml.lines().position(|line| line.starts_with("loss = ")).unwrap();
    let said = format!("run/train.toml: line {line}: loss applies to a FILE of sequences only");
    place.run("train --config run/train.toml --out x").failed_saying(&[&said]);
    let help = place.run("data --help").succeeded().stdout;
    assert!(!help.contains("the data of the run") && help.contains("[default: the user's"));
    let help = place.run("train --help").succeeded().stdout;
    let (general, images) = help.split_once("MNIST and its like only").unwrap();
    for flag in ["--view", "--shift", "--truncate", "--loss-at", "--recipe"] {
        assert!(images.contains(&format!("\n      {flag} ")), "{flag}: {help}");
        assert!(!general.contains(&format!("\n      {flag} ")), "{flag}: {help}");
    }
}

#[test]
fn guesses_are_true_and_name_the_flag_that_replaces_them() {
    let place = Place::with_files();
    let rows = |label: &dyn Fn(usize) -> &'static str| {
        let row = |n: usize| format!("{},{},{}.5,{}\n", n / 4, n % 4, n % 7, label(n));
        format!("id,t,x,label\n{}", (0..40).map(row).collect::<String>())
    };
    place.write("halves.csv", rows(&|n| ["0.5", "1.5"][n / 4 % 2]));
    let said = place.run("data halves.csv").succeeded().stdout;
    let note =
        "assumed: label has numbers with fractions: they are the target (else --target class)\n";
    assert!(said.contains(note), "{said}");
    place.write("whole.csv", rows(&|n| ["1", "2"][n / 4 % 2]));
    let said = place.run("data whole.csv").succeeded().stdout;
    let note = "label has few distinct whole numbers: they are classes (else --target numbers)\n";
    assert!(said.contains(note), "{said}");
    place.write("quiet.csv", "t,x,is_anomaly\n1,0.5,0\n2,0.75,0\n3,0.5,0\n");
    let said = place.run("data quiet.csv").succeeded().stdout;
    assert!(
        said.contains("column is_anomaly has a label at each step: a class for each"),
        "{said}"
    );
    assert!(!said.contains("changes within"), "{said}");
    place.write("spaces.csv", "recording id,time (s),x\na,0,1\na,1,2\nb,0,3\nb,1,4\n");
    let said = place.run("data spaces.csv").succeeded().stdout;
    assert!(said.contains("2 sequences, 2 steps each, 1 feature: x\n"), "{said}");
    let error = ["no target to learn", "--label", "--layout wide", "--horizon N"];
    place.run("train spaces.csv --quiet --out run").failed_saying(&error);
    assert!(place.run("data one.csv").code == Some(1));
    place.write("one.csv", "id,x,y\na,1,2\nb,2,3\n");
    let said = place.run("data one.csv").succeeded().stdout;
    assert!(
        said.contains("1 step each") && said.contains("sequence a, 1 step, class 2\n"),
        "{said}"
    );
}

#[test]
fn a_path_with_a_blank_is_quoted() {
    let place = Place::with_files();
    let mut args: Vec<&str> = "train wide.csv --epochs 1 --hidden 4 --out".split(' ').collect();
    args.push("my run");
    let said = place.run_args(&args).succeeded().stdout;
    assert!(said.contains("saved; next: candle-rnn predict 'my run' FILE\n"), "{said}");
}

#[test]
fn a_run_without_validation_claims_none() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", "--valid-fraction 0");
    let card = place.text("run/README.md");
    assert!(card.contains("| | training data loss | training data accuracy |"), "{card}");
    assert!(card.contains("which classes are taken for which, on the training data"), "{card}");
    assert!(!card.contains("validation"), "{card}");
    let confusion = place.text("run/confusion.svg");
    assert!(confusion.contains("training data: ") && !confusion.contains("validation"));
    place.run("eval run").failed_saying(&["kept no test data: name a file to measure on\n"]);
    // One with it says what its losses are.
    place.train_on("wide.csv", "other", "--label-smoothing 0.1");
    let curves = place.text("other/curves.svg");
    assert!(curves.contains("training (mean over batches, with label smoothing)"), "{curves}");
    let card = place.text("other/README.md");
    assert!(card.contains(" parameters, 36 training sequences; 4 others validated.\n"), "{card}");
    let confusion = place.text("other/confusion.svg");
    assert!(confusion.contains("rows: true class, columns: predicted class"), "{confusion}");
    place.run("eval other").failed_saying(&["or measure --split valid"]);
}

#[test]
fn a_picture_of_a_forecast_names_its_lines() {
    let place = Place::with_files();
    place.train_on("series.csv", "seasonal", "--horizon 3");
    place.train_on("series.csv", "naive", "--horizon 3 --window 4");
    for (run, name) in [("seasonal", "seasonal naive forecast"), ("naive", "naive forecast")] {
        let picture = place.text(&format!("{run}/forecast.svg"));
        let names: Vec<&str> =
            picture.lines().map(str::trim).filter(|l| l.contains("naive")).collect();
        assert_eq!(names, [name], "{run}");
        assert!(picture.contains("true values") && picture.contains("known"), "{picture}");
    }
}

#[test]
fn forecasts_of_several_features_are_measured_one_by_one() {
    let place = Place::new();
    let rows = (0..60).map(|t| format!("{t},{},{}\n", t % 5, 1000 + 10 * (t % 7)));
    place.write("two.csv", format!("t,small,large\n{}", rows.collect::<String>()));
    let trained = place.train_on("two.csv", "run", "--horizon 2 --window 6").stdout;
    assert!(
        trained.contains("scaled_rmse_valid ") && !trained.contains(" rmse_valid "),
        "{trained}"
    );
    assert!(trained.contains("each feature in its own units\nsmall\n  model "), "{trained}");
    let said = place.run("eval run two.csv").succeeded().stdout;
    assert!(said.contains(" forecasts, each feature in its own units\nsmall\n"), "{said}");
    assert!(said.contains("\nsmall\n  model ") && said.contains("\nlarge\n  model "), "{said}");
    let json = place.run("eval run two.csv --json").succeeded().json();
    let mae = |of: &serde_json::Value| of["forecasts"][1]["mae"].as_f64().unwrap();
    let both = (mae(&json["features"][0]) + mae(&json["features"][1])) / 2.;
    assert!((mae(&json) - both).abs() < 1e-9, "{json}");
    let card = place.text("run/README.md");
    assert!(card.contains("| feature | forecast | RMSE |") && card.contains("| large | naive |"));
}

#[test]
fn runs_are_compared_with_those_on_the_same_data() {
    let place = Place::with_files();
    place.train_on("wide.csv", "wide", "");
    place.train_on("numbers.csv", "a", "--lr 0.0001");
    place.train_on("numbers.csv", "b", "--epochs 9");
    place.train_on("series.csv", "series", "--horizon 3");
    place.train_on("book.txt", "text", "--batch-size 4 --seq-len 16");
    place.train_on("long.csv", "long", LONG);
    let said = place.run("info a wide series b text long").succeeded().stdout;
    let tables: Vec<&str> = said.split("\n\n").filter(|table| table.starts_with("run ")).collect();
    assert_eq!(tables.len(), 5, "{said}");
    let lines: Vec<&str> = tables[0].lines().collect();
    assert!(lines[0].contains(" best loss_valid  rmse_valid  at epoch "), "{said}");
    assert!(!lines[0].contains("acc_valid"), "{said}");
    assert!(lines[1].starts_with("b ") && lines[2].starts_with("a "), "{said}");
    assert!(tables[1].contains(" best acc_valid "), "{said}");
    let shown = place.run("info a").succeeded().stdout;
    assert!(!shown.contains("acc_batch"), "{shown}");
}
