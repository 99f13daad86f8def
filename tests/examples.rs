//! The examples that train on data of one's own, each run at a reduced size, and what they print.
//!
//! `cargo test` builds all examples; where this test alone is run, `cargo build --examples` comes first.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs an example, which must succeed, and returns what it printed.
fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    // The test lies in target/PROFILE/deps.
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(program.exists(), "build the example first: cargo build --example {name}");
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stdout}\n{stderr}");
    stdout
}

/// The first number behind each place of `name` in a text.
fn numbers_after(text: &str, name: &str) -> Vec<f64> {
    let number = |rest: &str| {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.e".contains(c)));
        rest[..end.unwrap_or(rest.len())].trim_end_matches('.').parse().unwrap()
    };
    text.split(name).skip(1).map(number).collect()
}

fn example_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

#[test]
fn char_lm_is_interrupted_resumed_and_writes_text() {
    let printed = run("char_lm", &[], &[("CHARACTERS", "12000")]);
    let step = numbers_after(&printed, "interrupted after step");
    assert_eq!((step.len(), &step), (1, &numbers_after(&printed, "resumed after step")));
    let batches = numbers_after(&printed, "new run,")[0];
    assert!(step[0] > batches && step[0] < 2. * batches, "{printed}");
    let bits: Vec<f64> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("epoch ")?.split_whitespace().nth(1)?.parse().ok())
        .collect();
    assert!(bits.len() == 4 && bits[3] < bits[0], "{printed}");
    let (_, text) = printed.split_once("\n\n").unwrap();
    assert!(text.starts_with("The ") && text.chars().count() > 200, "{printed}");
}

#[test]
fn tagging_learns_with_little_padding() {
    let printed = run("tagging", &["600"], &[]);
    let shuffled = numbers_after(&printed, "padding:")[0];
    let bucketed = numbers_after(&printed, "steps,").pop().unwrap();
    assert!(bucketed <= 15. && bucketed < shuffled / 2., "{printed}");
    let accuracy = numbers_after(&printed, "accuracy ")[0];
    assert!(accuracy > 0.85, "{printed}");
}

#[test]
fn csv_classifier_predicts_in_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = folder.path().join("run");
    let of = |command, file| [command, run_folder.to_str().unwrap(), file];
    let trained = run("csv_classifier", &of("train", "examples/data/gestures.csv"), &[]);
    assert!(trained.lines().count() > 5 && trained.contains("acc_valid"), "{trained}");
    let predicted = run("csv_classifier", &of("predict", "examples/data/gestures_new.csv"), &[]);
    let is_right = |line: &&str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        // The gestures take turns.
        let number: usize = cells[0].trim_start_matches('g').parse().unwrap();
        cells[1] == ["zigzag", "circle", "line"][number % 3]
    };
    assert_eq!(predicted.lines().count(), 30, "{predicted}");
    assert!(predicted.lines().filter(is_right).count() >= 27, "{predicted}");
}

#[test]
fn csv_classifier_is_short() {
    let source = std::fs::read_to_string(example_file("csv_classifier.rs")).unwrap();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    assert!(source.lines().filter(is_code).count() <= 45);
}

#[test]
fn forecast_stands_beside_naive_ones() {
    let csv = std::fs::read_to_string(example_file("data/airline.csv")).unwrap();
    let number = |line: &str| line.split(',').nth(1).unwrap().parse().unwrap();
    let series: Vec<f64> = csv.lines().skip(1).map(number).collect();
    // 13 windows end so that the twelve months behind them lie in the last 24.
    let rmse = |lag: &dyn Fn(usize) -> usize| {
        let errors = (series.len() - 24..=series.len() - 12).flat_map(|end| {
            (0..12).map(move |step| (end + step, end + step - lag(step))).collect::<Vec<_>>()
        });
        let squares: Vec<f64> =
            errors.map(|(at, known)| (series[at] - series[known]).powi(2)).collect();
        (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
    };
    let printed = run("forecast", &[], &[("EPOCHS", "30")]);
    assert!(printed.contains("13 forecasts of 12 steps from 24"), "{printed}");
    let table = printed.split("RMSE").nth(1).unwrap();
    let naive = numbers_after(table, "\nnaive")[0];
    let seasonal = numbers_after(table, "seasonal naive")[0];
    assert!((naive - rmse(&|step| step + 1)).abs() < 0.01, "{printed}");
    assert!((seasonal - rmse(&|_| 12)).abs() < 0.01, "{printed}");
    assert!(numbers_after(table, "model")[0] < seasonal, "{printed}");
    assert_eq!(table.matches("Passengers+").count(), 12, "{printed}");
}

#[test]
fn from_torch_gives_the_logits_of_pytorch() {
    let printed = run("from_torch", &[], &[]);
    let differences = numbers_after(&printed, "from PyTorch by ");
    assert!(differences.len() == 2 && differences.iter().all(|d| *d < 1e-6), "{printed}");
    assert!(printed.contains("sequence 1, 2 steps: logits [0.1547, 0.0434]"), "{printed}");
}
