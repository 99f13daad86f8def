//! What `just gpu-report` makes of results, and how it takes turns, without a card: programs that only answer stand for those
//! that compute, and the results are made up.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

#[allow(dead_code)]
#[path = "../benches/device/protocol.rs"]
mod protocol;
#[path = "../benches/device/table.rs"]
mod table;

use protocol::{quartiles, run, turns, Side, Turn};

#[test]
fn made_up_results_become_a_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu_report");
    let found = table::markdown(&table::read(&[&folder.join("made_up.jsonl")]));
    let expected = folder.join("made_up.md");
    if std::env::var_os("CANDLE_RNN_WRITE_EXPECTED").is_some() {
        std::fs::write(&expected, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(expected).unwrap());
}

#[test]
fn what_is_beyond_its_limit_is_named_and_ours_alone_counts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu_report");
    let mut lines = table::read(&[&folder.join("made_up.jsonl")]);
    let found = table::beyond(&lines).unwrap();
    assert_eq!(
        found,
        ["tanh 64, 128, 256, 512, candle-rnn, f32: gradients 3.0e-4 from f64, at most 1e-5"]
    );
    // That of PyTorch, and that which is right.
    lines.retain(|line| line["gradients"].as_f64() != Some(3e-4));
    assert_eq!(table::beyond(&lines), Ok(vec![]));
    let ours =
        lines.iter_mut().find(|line| line["side"] == "candle-rnn" && line["dtype"] == "tf32");
    ours.unwrap()["outputs"] = Value::Null;
    let found = table::beyond(&lines).unwrap();
    assert!(found.len() == 1 && found[0].contains("outputs NaN"), "{found:?}");
    assert!(table::beyond(&[]).unwrap_err().contains("was held to f64"));
}

#[test]
fn no_results_are_an_empty_report() {
    assert_eq!(table::markdown(&[]), "");
    assert_eq!(table::markdown(&table::read(&[Path::new("/nowhere")])), "");
}

#[test]
fn quartiles_lie_between_the_nearest_two() {
    assert_eq!(quartiles(&[4., 1., 3., 2.]), [1.75, 2.5, 3.25]);
    assert_eq!(quartiles(&[7.]), [7.; 3]);
    let fifteen: Vec<f64> = (1..=15).map(f64::from).collect();
    assert_eq!(quartiles(&fifteen), [4.5, 8., 11.5]);
}

#[test]
fn every_shape_is_timed_in_every_dtype_of_each_program() {
    let turns = turns(&["candle-rnn", "candle-rnn, teams off", "pytorch", "candle-rnn, events"]);
    // The step, then three cells in seven shapes, twice.
    assert_eq!(turns.len(), 1 + 2 * 3 * 7);
    let dtypes = |turn: &Turn, side: usize| {
        let own = turn.variants.iter().filter(|variant| variant.0 == side);
        own.map(|(_, dtype, mode)| format!("{dtype} {mode}")).collect::<Vec<_>>()
    };
    assert_eq!(turns[0].job, "step");
    // A graph of ours is one of a whole step.
    assert_eq!(dtypes(&turns[0], 0), ["f32 eager", "f32 graph"]);
    assert_eq!(dtypes(&turns[0], 1), ["f32 eager"]);
    assert_eq!(dtypes(&turns[0], 2), ["f32 eager", "f32 graph"]);
    assert_eq!(turns[1].job, "layer tanh 150,28,28,150");
    assert_eq!(dtypes(&turns[1], 1), ["f32 eager"]);
    assert_eq!(dtypes(&turns[1], 0), ["f32 eager"]);
    assert_eq!([0, 1, 42].map(|turn| dtypes(&turns[turn], 3).len()), [1, 1, 0]);
    assert_eq!(dtypes(&turns[1], 2), ["f32 eager", "f32 graph"]);
    assert_eq!(turns[42].job, "layer lstm 256,64,256,256");
    assert_eq!(dtypes(&turns[42], 0), ["tf32 eager", "bf16 eager"]);
    // What is compared is timed in the same turn.
    let theirs =
        ["tf32", "bf16", "fp16"].map(|dtype| ["eager", "graph"].map(|m| format!("{dtype} {m}")));
    assert_eq!(dtypes(&turns[42], 2), theirs.concat());
}

/// A program of the shell that answers each line by what `case` says of `$line`.
fn side(name: &str, cases: &str) -> (tempfile::TempDir, Side) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("side.sh");
    let text = format!(
        "while read -r line; do echo \"$line\" >>{0}/asked; case $line in {cases} *) echo '{{}}';; esac; done",
        folder.path().display()
    );
    std::fs::write(&script, text).unwrap();
    let side = Side::start(&format!("{name}:sh {}", script.display())).unwrap();
    (folder, side)
}

fn layer_turn(variants: Vec<(usize, &'static str, &'static str)>) -> Turn {
    Turn { job: "layer tanh 3,4,2,5".into(), variants }
}

fn results(turns: &[Turn], sides: &mut [Side], seconds: f64) -> Vec<Value> {
    let mut lines = Vec::new();
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    run(turns, sides, 3, deadline, &mut |line| lines.push(line));
    lines
}

#[test]
fn programs_take_turns_and_failures_are_told() {
    let errors = r#""errors":{"outputs":1e-7,"gradients":2e-6}"#;
    let fine = format!("prepare*) echo '{{{errors}}}';; round*) echo '{{\"ms\":2.5}}';;");
    let (asked, one) = side("one", &fine);
    let (_keep, two) =
        side("two", "prepare*bf16*) echo '{\"failed\":\"has no bf16\"}';; round*) exit;;");
    let turn = layer_turn(vec![(0, "f32", "eager"), (1, "f32", "eager"), (1, "bf16", "eager")]);
    let lines = results(&[turn, layer_turn(vec![(1, "f32", "eager")])], &mut [one, two], 60.);
    assert_eq!(lines.len(), 4);
    assert_eq!((lines[0]["side"].as_str(), lines[0]["median"].as_f64()), (Some("one"), Some(2.5)));
    assert_eq!(
        (lines[0]["rounds"].as_u64(), lines[0]["gradients"].as_f64()),
        (Some(3), Some(2e-6))
    );
    assert_eq!(lines[0]["shape"], serde_json::json!([3, 4, 2, 5]));
    assert_eq!(lines[1]["failed"], "the program has ended");
    assert_eq!(lines[2]["failed"], "has no bf16");
    // It is started again for the next turn, and ends again.
    assert_eq!(lines[3]["failed"], "the program has ended");
    let asked = std::fs::read_to_string(asked.path().join("asked")).unwrap();
    let expected = "prepare 0 layer tanh 3,4,2,5 f32 eager\n".to_string()
        + &"round 0\n".repeat(5)
        + "clear\nclear\n";
    assert_eq!(asked, expected);
}

#[test]
fn a_program_that_ended_is_started_again_for_the_next_turn() {
    // It ends in its first four rounds, and is started again three times.
    let ends = |rounds: usize| {
        format!("round*) [ $(grep -c round \"$0.asked\") -gt {rounds} ] || exit; echo '{{\"ms\":2.5}}';;")
    };
    for (rounds, last) in [(1, true), (3, true), (4, false)] {
        let cases = ends(rounds).replace("$0.asked", "$(dirname $0)/asked");
        let (_keep, one) = side("one", &cases);
        let turns: Vec<Turn> = (0..5).map(|_| layer_turn(vec![(0, "f32", "eager")])).collect();
        let lines = results(&turns, &mut [one], 60.);
        let failed = lines.iter().filter(|line| line["failed"] == "the program has ended").count();
        assert_eq!((lines.len(), failed), (5, if last { rounds } else { 5 }), "{lines:?}");
        assert_eq!(lines[4]["median"].as_f64(), last.then_some(2.5), "{lines:?}");
    }
}

#[test]
fn what_time_does_not_allow_is_told() {
    let (_keep, one) = side("one", "round*) sleep 0.3; echo '{\"ms\":300}';;");
    let turn = || layer_turn(vec![(0, "f32", "eager")]);
    let lines = results(&[turn(), turn()], &mut [one], 0.5);
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line["skipped"], "no time left", "{line}");
    }
}

#[test]
fn a_program_that_cannot_start_is_an_error_in_words() {
    for (text, named) in
        [("one", "NAME:COMMAND"), ("one:", "no command"), ("one:/nowhere", "/nowhere")]
    {
        let error = Side::start(text).err().unwrap();
        assert!(error.contains(named), "{error}");
    }
}

/// A machine with a card, as the script sees it: programs of the shell in the places of those that need one.
#[cfg(target_os = "linux")]
struct Machine(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Machine {
    fn new(tests: &str, bench: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.program("path/nvidia-smi", "echo 'Made Up, 9.0, 1.2'");
        machine.program("path/python3", "exit 1");
        machine.program("path/compute-sanitizer", "exit 0");
        machine.program("sm_80/tests", "exit 3");
        machine.program("sm_90/latency", "echo '{\"part\":\"latency\",\"median_ns\":1}'");
        machine.program("sm_90/tests", tests);
        machine.program("sm_90/bench", bench);
        machine
    }

    fn program(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Whether the report is free of failures, what it says, and the results.
    fn report(&self, arguments: &[&str]) -> (bool, String, String) {
        let path = std::env::var("PATH").unwrap();
        let output = std::process::Command::new("scripts/gpu-report.sh")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("PATH", format!("{}:{path}", self.0.path().join("path").display()))
            .env("CANDLE_RNN_GPU_FOLDER", self.0.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let results = std::fs::read_to_string(self.0.path().join("report/results.jsonl"));
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said, results.unwrap_or_default())
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_script_runs_all_parts_and_writes_a_report() {
    // A part that fails, and a benchmark that says what it was asked.
    let machine =
        Machine::new("case $* in *same_bits) exit 5;; esac", "[ $1 = table ] && cat $2 || echo $*");
    let (passed, said, results) = machine.report(&[]);
    assert!(!passed);
    for part in [
        "latency: passed",
        "tests: passed",
        "same-bits: failed with status 5: see same-bits.txt",
        "memcheck: passed",
        "memcheck-stepwise: passed",
        "racecheck: passed",
        "racecheck-stepwise: passed",
        "pytorch: not run: no PyTorch that sees the card",
        "protocol: passed",
        "errors from f64: passed",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let lines: Vec<Value> =
        results.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["card"], "Made Up");
    assert_eq!((&lines[0]["driver"], &lines[0]["programs"]), (&"1.2".into(), &"sm_90".into()));
    assert!(lines.iter().any(|line| line["part"] == "latency"));
    let folder = machine.0.path().join("report");
    let asked = std::fs::read_to_string(folder.join("protocol.txt")).unwrap();
    assert!(asked.starts_with("protocol ") && asked.contains("CANDLE_RNN_TEAMS=off"), "{asked}");
    assert!(asked.contains("candle-rnn, events:") && asked.contains("serve events"), "{asked}");
    let report = std::fs::read_to_string(folder.join("report.md")).unwrap();
    assert_eq!(report, results);
}

#[cfg(target_os = "linux")]
#[test]
fn the_script_fails_where_numbers_are_beyond_their_limits() {
    let bench =
        "[ $1 = check ] && echo 'tanh is wrong' && exit 1; [ $1 = table ] && cat $2 || echo $*";
    let machine = Machine::new("exit 0", bench);
    let (passed, said, results) = machine.report(&[]);
    assert!(!passed && said.contains("errors from f64: failed: see errors.txt"), "{said}");
    assert!(results.contains("errors from f64"), "{results}");
    let errors = std::fs::read_to_string(machine.0.path().join("report/errors.txt")).unwrap();
    assert_eq!(errors, "tanh is wrong\n");
    // Nothing else is wrong with that machine.
    machine.program("sm_90/bench", "[ $1 = table ] && cat $2 || echo $*");
    assert!(machine.report(&[]).0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_script_takes_the_latest_programs_that_the_card_runs() {
    let machine = Machine::new("exit 0", "[ $1 = table ] && cat $2 || echo $*");
    for arch in ["86", "100", "120"] {
        for program in ["tests", "bench", "latency"] {
            machine.program(&format!("sm_{arch}/{program}"), "exit 0");
        }
    }
    for (capability, expected) in
        [("8.6", "86"), ("8.9", "86"), ("9.0", "90"), ("10.3", "100"), ("12.1", "120")]
    {
        machine.program("path/nvidia-smi", &format!("echo 'Made Up, {capability}, 1.2'"));
        let (_, said, results) = machine.report(&[]);
        assert!(
            results.contains(&format!("\"programs\":\"sm_{expected}\"")),
            "{capability}: {said}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_script_stops_in_time_and_tells_what_did_not_fit() {
    let machine = Machine::new("sleep 60", "[ $1 = table ] || [ $1 = check ] || sleep 60");
    let start = Instant::now();
    let (passed, said, results) = machine.report(&["6"]);
    assert!(!passed && start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert!(said.contains("tests: stopped after"), "{said}");
    assert!(said.contains("protocol: not run: no time left"), "{said}");
    assert!(results.contains("memcheck") && results.contains("no time left"), "{results}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_script_says_what_is_missing() {
    let machine = Machine::new("exit 0", "exit 0");
    for arguments in [&["0"][..], &["1h"], &["1", "2"]] {
        let (passed, said, _) = machine.report(arguments);
        assert!(!passed && said.contains("usage: gpu-report.sh"), "{said}");
    }
    let ldd = "case $1 in */bench) echo '	libcublas.so.13 => not found';; esac";
    machine.program("path/ldd", ldd);
    let (passed, said, _) = machine.report(&[]);
    assert!(!passed && said.contains("bench finds no libcublas.so.13: install CUDA 13"), "{said}");
    machine.program("path/nvidia-smi", "echo 'Old, 7.5, 1.2'");
    let (passed, said, _) = machine.report(&[]);
    assert!(!passed && said.contains("no programs for compute capability 75"), "{said}");
    assert!(said.contains("just gpu-build"), "{said}");
    machine.program("path/nvidia-smi", "exit 9");
    let (passed, said, _) = machine.report(&[]);
    assert!(!passed && said.contains("no NVIDIA GPU answers"), "{said}");
}
