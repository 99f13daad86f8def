//! Runs that were interrupted, killed, finished, or are being written by another process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::{Outcome, Place};

/// A training that saves often, long enough to be interrupted, with all that steers a training.
const LONG: &str =
    "train --data sample --hidden 40 --epochs 12 --batch-size 20 --save-every 20 --json \
                    --schedule one-cycle --clip-norm 1 --weight-decay 0.01 --label-smoothing 0.1 \
                    --shift 2 --rotate 9 --zoom 0.1 --mirror --dropout 0.1 --ema 0.99 --accumulate 2";

/// A running training.
struct Running(Child);

impl Running {
    fn start(place: &Place, args: &str) -> Self {
        let mut command = place.command();
        command.args(args.split_whitespace());
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits for the line of an epoch.
    fn wait_for_an_epoch(&mut self) {
        // Byte by byte: what comes after the line stays in the pipe.
        let (mut line, mut byte) = (Vec::new(), [0]);
        let stdout = self.0.stdout.as_mut().unwrap();
        while byte != *b"\n" {
            stdout.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        assert!(line.starts_with(b"{"), "{}", String::from_utf8_lossy(&line));
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success());
    }

    fn finish(self) -> Outcome {
        self.0.wait_with_output().unwrap().into()
    }
}

impl Place {
    /// A run of [`LONG`] that nothing disturbed.
    fn undisturbed(&self) -> Vec<u8> {
        self.run(&format!("{LONG} --out undisturbed")).succeeded();
        self.read("undisturbed/model.safetensors")
    }
}

#[cfg(unix)]
#[test]
fn a_run_stopped_by_a_signal_resumes_to_the_same_bits() {
    let place = Place::new();
    let undisturbed = place.undisturbed();
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let mut running = Running::start(&place, &format!("{LONG} --out {signal}"));
        running.wait_for_an_epoch();
        running.signal(signal);
        let outcome = running.finish();
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        let last = outcome.stderr.lines().last().unwrap();
        assert_eq!(last, format!("interrupted and saved: continue with --resume --out {signal}"));
        place.run(&format!("eval {signal}")).succeeded();
        assert_ne!(place.read(&format!("{signal}/model.safetensors")), undisturbed);
        let resumed = place.run(&format!("{LONG} --out {signal} --resume")).succeeded();
        assert!(resumed.stderr.contains("resuming after step "), "{}", resumed.stderr);
        assert_eq!(place.read(&format!("{signal}/model.safetensors")), undisturbed);
        let epochs: Vec<_> = place.metrics(signal).iter().map(|m| m["epoch"].clone()).collect();
        assert_eq!(epochs, (1..=12).collect::<Vec<_>>());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_to_outlive_its_terminal_ignores_hangups() {
    let place = Place::new();
    // As nohup starts it.
    let mut command = place.wrapped(&["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    command.args(format!("{LONG} --out run").split_whitespace());
    let mut running =
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    running.wait_for_an_epoch();
    running.signal("HUP");
    assert_eq!(running.finish().code, Some(0));
    assert_eq!(place.metrics("run").len(), 12);
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_a_run_at_once() {
    let place = Place::new();
    let args = format!("train {} --json", crate::small("--epochs 3"));
    place.run(&format!("{args} --out undisturbed")).succeeded();
    // Nobody reads this pipe and it is full, so that the run waits in its first line, before it can save.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = std::process::Command::new("yes");
    let mut filler = filler.stdout(writer.try_clone().unwrap()).spawn().unwrap();
    for (first, second, code) in [("INT", "INT", 130), ("INT", "TERM", 143)] {
        let run = format!("{first}-{second}");
        let mut command = place.command();
        command.args(format!("{args} --out {run}").split_whitespace());
        command.stdout(writer.try_clone().unwrap()).stderr(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        // The line is recorded before it is shown.
        while !place.exists(&format!("{run}/metrics.jsonl")) || place.metrics(&run).is_empty() {
            assert!(running.0.try_wait().unwrap().is_none(), "it ended before its first epoch did");
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal(first);
        std::thread::sleep(Duration::from_millis(300));
        assert!(running.0.try_wait().unwrap().is_none(), "the first signal waits for a save");
        running.signal(second);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while running.0.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < end, "the second signal waits too");
            std::thread::sleep(Duration::from_millis(5));
        }
        let outcome = running.finish();
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("saved"), "{}", outcome.stderr);
        place.run(&format!("{args} --out {run} --resume")).succeeded();
        assert_eq!(
            place.read(&format!("{run}/model.safetensors")),
            place.read("undisturbed/model.safetensors")
        );
    }
    drop(reader);
    filler.kill().unwrap();
    filler.wait().unwrap();
}

#[test]
fn a_killed_run_leaves_whole_files_and_resumes_to_the_same_bits() {
    let place = Place::new();
    let undisturbed = place.undisturbed();
    // Whenever it comes, the kill must do no harm.
    for milliseconds in [0, 20, 60, 110, 170] {
        let mut running = Running::start(&place, &format!("{LONG} --out run --resume"));
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.0.kill().unwrap();
        running.finish();
        let weights = place.files_if_any("run").into_iter().filter(|(name, _)| {
            let temporary = name
                .components()
                .any(|part| part.as_os_str().to_string_lossy().starts_with(".tmp-"));
            !temporary && name.extension().is_some_and(|extension| extension == "safetensors")
        });
        for (name, content) in weights {
            let whole = safetensors::SafeTensors::deserialize(&content);
            assert!(whole.is_ok(), "{}", name.display());
        }
    }
    place.run(&format!("{LONG} --out run --resume")).succeeded();
    assert_eq!(place.read("run/model.safetensors"), undisturbed);
    let leftovers =
        place.files("run").into_keys().filter(|name| name.to_string_lossy().contains(".tmp-"));
    assert_eq!(leftovers.count(), 0);
}

impl Place {
    fn files_if_any(&self, name: &str) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
        if self.exists(name) {
            self.files(name)
        } else {
            Default::default()
        }
    }
}

#[cfg(unix)]
#[test]
fn a_second_process_on_the_same_run_is_refused() {
    let place = Place::new();
    let endless = format!("train {} --json --out run", crate::small("--epochs 1000000"));
    let mut running = Running::start(&place, &endless);
    running.wait_for_an_epoch();
    for how in ["--resume", "--overwrite"] {
        place
            .run(&format!("{endless} {how}"))
            .failed_saying(&["run", "another process is writing this run"]);
    }
    // Reading is allowed meanwhile.
    place.run("eval run").succeeded();
    place.run("info run").succeeded();
    running.signal("TERM");
    assert_eq!(running.finish().code, Some(143));
}

#[test]
fn an_existing_run_is_refused_and_left_as_it_was() {
    let place = Place::new();
    place.train("run", "");
    let before = place.files("run");
    place.run("train --data sample --out run").failed_saying(&[
        "run: already holds a run",
        "--resume",
        "--overwrite",
    ]);
    assert_eq!(place.files("run"), before);
}

#[test]
fn overwriting_replaces_the_run_and_nothing_else_in_its_folder() {
    let place = Place::new();
    place.train("run", "--epochs 4 --seed 1");
    place.write("run/notes.txt", "mine");
    place.train("run", "--overwrite");
    place.train("fresh", "");
    assert_eq!(place.text("run/notes.txt"), "mine");
    std::fs::remove_file(place.path("run/notes.txt")).unwrap();
    // TensorBoard's files have the time in their names.
    let names = |run: &str| {
        let mut names: Vec<_> = place.files(run).into_keys().collect();
        for name in &mut names {
            if name.to_string_lossy().starts_with("events.out.tfevents.") {
                *name = "events".into();
            }
        }
        names
    };
    assert_eq!(names("run"), names("fresh"));
    assert_eq!(place.read("run/model.safetensors"), place.read("fresh/model.safetensors"));
}

#[test]
fn resuming_what_was_never_begun_begins_it() {
    let place = Place::new();
    place.train("plain", "");
    std::fs::create_dir(place.path("empty")).unwrap();
    // As a process leaves it that was killed while it began a run, and one before its first save.
    std::fs::create_dir_all(place.path("barely/checkpoints")).unwrap();
    place.copy("plain", "unsaved");
    std::fs::remove_dir_all(place.path("unsaved/checkpoints")).unwrap();
    for name in ["model.safetensors", "README.md"] {
        std::fs::remove_file(place.path("unsaved").join(name)).unwrap();
    }
    let metrics = place.text("plain/metrics.jsonl");
    place.write("unsaved/metrics.jsonl", format!("{}\n", metrics.lines().next().unwrap()));
    for run in ["missing", "empty", "barely", "unsaved"] {
        place.train(run, "--resume");
        let model = place.read(&format!("{run}/model.safetensors"));
        assert_eq!(model, place.read("plain/model.safetensors"), "{run}");
    }
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let place = Place::new();
    place.train("run", "");
    let before = place.files("run");
    let outcome = place.train("run", "--resume --json");
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("finished"), "{}", outcome.stderr);
    assert_eq!(place.files("run"), before);
}

#[test]
fn a_run_from_before_layers_and_dropout_is_still_read() {
    let place = Place::new();
    let small = "--epochs 4 --save-every 10";
    place.train("whole", small);
    place.train("run", small);
    std::fs::remove_file(place.path("run/model.safetensors")).unwrap();
    place.forget_after("run", 30);
    let older = |value: &mut serde_json::Value, sections: &[&str]| {
        let mut removed = 0;
        for section in sections {
            let fields = value.pointer_mut(section).unwrap().as_object_mut().unwrap();
            let newer = [
                ["num_layers", "bidirectional", "dropout", "augment", "best_loss", "waited"],
                ["plateaus", "schedule", "warmup", "clip", "weight_decay", "patience"],
                ["label_smoothing", "shift", "readout", "ema", "accumulate", "instruction_set"],
                ["rotate", "zoom", "mirror", "batching", "validation", "gpu_precision"],
            ];
            for field in newer.iter().flatten() {
                removed += usize::from(fields.remove(*field).is_some());
            }
        }
        assert!(removed > 0, "{value}");
    };
    let mut config = serde_json::from_str(&place.text("run/config.json")).unwrap();
    older(&mut config, &["/model", "/training"]);
    place.write("run/config.json", serde_json::to_vec(&config).unwrap());
    let sections = ["", "/config/model", "/config/training"];
    place.change_state("run/checkpoints/step-00000030", |state| older(state, &sections));
    let outcome = place.train("run", &format!("{small} --resume"));
    assert!(outcome.stdout.contains("resuming after step 30"), "{}", outcome.stdout);
    assert_eq!(place.read("run/model.safetensors"), place.read("whole/model.safetensors"));
    place.run("eval run").succeeded();
}

#[test]
fn early_stopping_ends_a_run_and_finishes_it() {
    let place = Place::new();
    let args = "--epochs 60 --lr 0.02 --hidden 40 --patience 3 --schedule plateau";
    let outcome = place.train("whole", args);
    assert!(outcome.stdout.contains("no lower validation loss for 3 epochs"), "{}", outcome.stdout);
    let metrics = place.metrics("whole");
    let losses: Vec<f64> = metrics.iter().map(|m| m["valid_loss"].as_f64().unwrap()).collect();
    assert!((4..60).contains(&losses.len()), "{losses:?}");
    let (before, last) = losses.split_at(losses.len() - 3);
    let best = before.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(before.last(), Some(&best));
    assert!(last.iter().all(|loss| *loss >= best), "{losses:?}");
    // The second of them halved the learning rate.
    let rates: Vec<f64> = metrics.iter().map(|m| m["learning_rate"].as_f64().unwrap()).collect();
    assert_eq!(rates[rates.len() - 1] * 2., rates[rates.len() - 2], "{rates:?}");
    let outcome = place.train("whole", &format!("{args} --resume"));
    assert!(outcome.stdout.contains("finished"), "{}", outcome.stdout);
    // What it waits for is in its checkpoints.
    place.train("part", args);
    let steps: Vec<_> = std::fs::read_dir(place.path("part/checkpoints")).unwrap().collect();
    let newest = steps.into_iter().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let newest = newest.filter_map(|name| name.strip_prefix("step-")?.parse::<u64>().ok()).max();
    place.forget_after("part", newest.unwrap() - 1);
    let outcome = place.train("part", &format!("{args} --resume"));
    assert!(outcome.stdout.contains("resuming after step"), "{}", outcome.stdout);
    assert_eq!(place.read("part/model.safetensors"), place.read("whole/model.safetensors"));
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_taken() {
    let place = Place::new();
    let small = "--epochs 4 --save-every 10";
    place.train("whole", small);
    place.train("run", small);
    // As if it had stopped after step 40 and lost the end of a file to the disk.
    std::fs::remove_file(place.path("run/model.safetensors")).unwrap();
    let _ = std::fs::remove_dir_all(place.path("run/checkpoints/best"));
    let state = place.read("run/checkpoints/step-00000040/training_state.safetensors");
    place.write(
        "run/checkpoints/step-00000040/training_state.safetensors",
        &state[..state.len() - 1],
    );
    let outcome = place.train("run", &format!("{small} --resume"));
    assert!(outcome.stderr.contains("skipped: "), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("step-00000040"), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("resuming after step 30"), "{}", outcome.stdout);
    assert_eq!(place.read("run/model.safetensors"), place.read("whole/model.safetensors"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_ends_the_run_quietly_and_saved() {
    let place = Place::new();
    let mut running = Running::start(&place, &format!("{LONG} --out run"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("error"), "{}", outcome.stderr);
    let resumed = place.run(&format!("{LONG} --out run --resume")).succeeded();
    assert!(resumed.stderr.contains("resuming after step "), "{}", resumed.stderr);
}

#[test]
fn a_run_without_a_valid_checkpoint_is_refused_and_left_alone() {
    let place = Place::new();
    place.train("run", "");
    for checkpoint in ["best", "step-00000010", "step-00000020"] {
        std::fs::remove_file(place.path(&format!("run/checkpoints/{checkpoint}/SHA256SUMS")))
            .unwrap();
    }
    let before = place.files("run");
    let args = format!("train {} --out run --resume", crate::small(""));
    place.run(&args).failed_saying(&["run/checkpoints: no valid checkpoint", "--overwrite"]);
    assert_eq!(place.files("run"), before);
    place.train("run", "--overwrite");
}

#[test]
fn damaged_checkpoints_of_later_steps_cost_no_earlier_ones() {
    let place = Place::new();
    let args = "--epochs 6 --save-every 10 --keep 3";
    place.train("whole", args);
    place.train("run", args);
    std::fs::remove_file(place.path("run/model.safetensors")).unwrap();
    if place.step_of("run/checkpoints/best") > 40 {
        std::fs::remove_dir_all(place.path("run/checkpoints/best")).unwrap();
    }
    for step in ["50", "60"] {
        let state = format!("run/checkpoints/step-000000{step}/training_state.safetensors");
        let damaged = [place.read(&state), vec![0]].concat();
        place.write(&state, damaged);
    }
    // Time for one step, whatever the machine.
    let outcome = place.train("run", "--epochs 6 --resume --save-every 1 --max-minutes 0.000001");
    assert_eq!(outcome.stderr.matches("skipped: ").count(), 2, "{}", outcome.stderr);
    for step in ["40", "50", "60"] {
        assert!(place.exists(&format!("run/checkpoints/step-000000{step}")), "{step}");
    }
    // What a run keeps is remembered, as its other settings are.
    place.train("run", "--epochs 6 --resume --save-every 10");
    assert_eq!(place.read("run/model.safetensors"), place.read("whole/model.safetensors"));
    let steps = |run: &str| {
        let entries = std::fs::read_dir(place.path(&format!("{run}/checkpoints"))).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // Three of each; it may have gone on by a step before its time was up.
    let (run, whole) = (steps("run"), steps("whole"));
    assert_eq!((run.len(), &run[2..]), (whole.len(), &whole[2..]), "{run:?} {whole:?}");
}

#[test]
fn metrics_of_an_epoch_resumed_at_its_end_are_unchanged() {
    let place = Place::new();
    let args = "--epochs 4 --save-every 10 --keep 9 --schedule one-cycle";
    place.train("whole", args);
    place.train("run", args);
    for step in ["best", "step-00000030", "step-00000040"] {
        std::fs::remove_dir_all(place.path(&format!("run/checkpoints/{step}"))).unwrap();
    }
    // Step 20 was saved before the end of its epoch was.
    let outcome = place.train("run", &format!("{args} --resume"));
    assert!(outcome.stdout.contains("resuming after step 20"), "{}", outcome.stdout);
    place.assert_ended_alike("run", "whole");
}

#[test]
fn the_best_checkpoint_is_resumed_where_it_is_the_newest() {
    let place = Place::new();
    let args = "--epochs 4 --save-every 5 --keep 9";
    place.train("whole", args);
    place.copy("whole", "run");
    let best = place.step_of("run/checkpoints/best");
    for step in (5..=40).step_by(5).filter(|step| *step >= best) {
        let checkpoint = format!("run/checkpoints/step-{step:08}");
        std::fs::remove_dir_all(place.path(&checkpoint)).unwrap();
    }
    assert!(place.exists("run/checkpoints/step-00000005"), "the best is after step {best}");
    place.copy("run/checkpoints/best", "alone/checkpoints/best");
    place.write("alone/config.json", place.text("run/config.json"));
    let expected = match best {
        40 => "this run is finished".to_string(),
        _ => format!("resuming after step {best}"),
    };
    for run in ["run", "alone"] {
        let outcome = place.train(run, &format!("{args} --resume"));
        assert!(outcome.stdout.contains(&expected), "{}", outcome.stdout);
        let model = place.read(&format!("{run}/model.safetensors"));
        assert_eq!(model, place.read("whole/model.safetensors"));
    }
}
