//! Runs on data of one's own that were interrupted or killed: they go on to the same bits.

use std::process::Stdio;
use std::time::Duration;

use crate::own_files::{self, tiny, LONG};
use crate::Place;

/// All that draws random numbers or averages, saved often.
const HARD: &str =
    "--epochs 4 --save-every 3 --schedule one-cycle --dropout 0.2 --layers 2 --ema 0.9 \
                    --patience 9 --keep 20";

impl Place {
    /// A copy of the run `whole` as if it had stopped after a step, in `run`.
    fn stop_after(&self, step: u64) {
        self.copy("whole", "run");
        self.forget_after("run", step);
        std::fs::remove_file(self.path("run/model.safetensors")).unwrap();
    }
}

#[test]
fn a_stopped_run_on_sequences_goes_on_to_the_same_bits() {
    let place = Place::with_files();
    for (file, args) in [
        ("wide.csv", "--label-smoothing 0.1"),
        ("long.csv", LONG),
        ("series.csv", "--horizon 2 --window 6"),
    ] {
        place.train_on(file, "whole", &format!("{args} {HARD}"));
        place.stop_after(8);
        // The file, its columns and all settings are the run's.
        let shown = place.run("train --resume --out run").succeeded().stdout;
        assert!(shown.contains("resuming after step "), "{shown}");
        place.assert_ended_alike("run", "whole");
        let shown = place.run("train --resume --out run").succeeded().stdout;
        assert!(shown.contains("this run is finished"), "{shown}");
        // The same with the file named again.
        std::fs::remove_dir_all(place.path("run")).unwrap();
        place.stop_after(5);
        place.run(&format!("train {file} --resume --out run")).succeeded();
        place.assert_ended_alike("run", "whole");
        place.remove(&["run", "whole"]);
    }
}

#[test]
fn runs_on_own_data_stopped_by_the_clock_go_on() {
    let place = Place::with_files();
    let text = "--epochs 2 --batch-size 4 --seq-len 8 --save-every 1000";
    for (file, args) in [("wide.csv", HARD), ("book.txt", text)] {
        place.train_on(file, "whole", args);
        let args = format!("train {file} {} --max-minutes 0.00003 --resume --out run", tiny(args));
        let mut stops = 0;
        loop {
            let outcome = place.run(&args).succeeded();
            if !outcome.stderr.contains("time is up after step") {
                break;
            }
            stops += 1;
            assert!(stops < 500, "{}", outcome.stderr);
        }
        assert!(stops > 0, "{file}: one stretch sufficed");
        let model = |run: &str| place.read(&format!("{run}/model.safetensors"));
        assert_eq!(model("run"), model("whole"), "{file} after {stops} stops");
        place.remove(&["run", "whole"]);
    }
}

#[test]
fn runs_on_own_data_killed_at_any_moment_go_on() {
    let place = Place::with_files();
    let text = "--epochs 6 --batch-size 4 --seq-len 8 --save-every 1";
    let sequences =
        format!("{HARD} --save-every 1 --epochs 20").replacen("--epochs 4 --save-every 3", "", 1);
    for (file, args) in [("wide.csv", &sequences[..]), ("book.txt", text)] {
        let begun = std::time::Instant::now();
        place.train_on(file, "whole", args);
        let duration = begun.elapsed();
        let args = format!("train {file} {} --quiet --resume --out run", tiny(args));
        let mut killed = 0;
        for tenth in [1, 5, 3, 7, 2] {
            let mut command = place.command();
            command.args(args.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut running = command.spawn().unwrap();
            std::thread::sleep(duration.mul_f64(0.1 * f64::from(tenth)) + Duration::from_millis(5));
            running.kill().unwrap();
            killed += usize::from(!running.wait().unwrap().success());
        }
        assert!(killed > 0);
        place.run(&args).succeeded();
        place.assert_ended_alike("run", "whole");
        place.remove(&["run", "whole"]);
    }
}

#[test]
fn a_text_goes_on_with_the_state_that_was_carried() {
    let place = Place::with_files();
    // 2,565 characters in 4 streams of 16 at a time: 40 steps an epoch, the stop is within the second.
    place.train_on(
        "book.txt",
        "whole",
        "--epochs 3 --batch-size 4 --seq-len 16 --save-every 7 --keep 30",
    );
    place.stop_after(63);
    let state: serde_json::Value = serde_json::from_str(
        &place.text(&format!("run/checkpoints/{}/trainer_state.json", "step-00000063")),
    )
    .unwrap();
    assert_eq!(state["step"], 63);
    let shown = place.run("train --resume --out run").succeeded().stdout;
    assert!(shown.contains("resuming after step 63\n"), "{shown}");
    place.assert_ended_alike("run", "whole");
}

#[test]
fn a_run_is_not_resumed_on_other_data() {
    let place = Place::with_files();
    place.train_on("wide.csv", "run", HARD);
    place.forget_after("run", 8);
    let before = place.files("run");
    place.write("other.csv", own_files::wide(40, 9));
    place
        .run("train other.csv --resume --quiet --out run")
        .failed_saying(&["other.csv: holds other data than", "wide.csv, which the run began with"]);
    // With other features, and a test file that has the run's.
    let lines = |more: &str| {
        let line = |n: usize| {
            let label = ["u", "v"][n % 2];
            format!("{{\"x\": [[{n}, 2{more}], [1, {n}{more}]], \"y\": \"{label}\"}}\n")
        };
        (0..12).map(line).collect::<String>()
    };
    place.write("two.jsonl", lines(""));
    place.write("three.jsonl", lines(", 3"));
    place.train_on("two.jsonl", "two", "--epochs 1 --test two.jsonl");
    place.run("train three.jsonl --resume --quiet --out two").failed_saying(&[
        "three.jsonl: holds other data than",
        "two.jsonl, which the run began with",
    ]);
    place.write("wide.csv", own_files::wide(40, 9));
    for args in ["train --resume --quiet --out run", "train wide.csv --resume --quiet --out run"] {
        place.run(args).failed_saying(&["wide.csv: has changed since the run began"]);
    }
    place
        .run("train --resume --quiet --out run --seed 7")
        .failed_saying(&["other settings or data"]);
    place.write("wide.csv", own_files::wide(40, 1));
    place.run("train book.txt --resume --quiet --out run").failed_saying(&["sequences, not text"]);
    place.run("train --resume --out run --label x").misused();
    place.run("train --resume --out run --test other.csv").misused();
    assert!(place.files("run") == before);
    std::fs::remove_file(place.path("wide.csv")).unwrap();
    place.run("train --resume --quiet --out run").failed_saying(&["wide.csv", "No such file"]);
    // The same data in another place.
    place.write("moved.csv", own_files::wide(40, 1));
    place.run("train moved.csv --resume --out run").succeeded();
    // A run that is there is not written over.
    place.run("train moved.csv --quiet --out run").failed_saying(&["--resume or --overwrite"]);
}
