//! Sweeps: tables of many runs, whoever trains them and whatever is killed meanwhile.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use candle_rnn::rng::SeededRng;
use serde_json::Value;

use crate::{own_files, Outcome, Place};

/// Four small trainings.
const FOUR: &str = "seeds = [1, 2]\n[settings]\ndata = \"sample\"\nhidden_size = 12\nbatch_size = 160\n\
                    epochs = 4\nsave_every = 4\nschedule = \"one-cycle\"\n[grid]\nlearning_rate = [0.001, 0.01]\n";
/// Eight, of which two train to the end.
const HALVED: &str =
    "[settings]\ndata = \"sample\"\nbatch_size = 160\nepochs = 4\nschedule = \"cosine\"\n\
                      [random]\ntrials = 8\nlearning_rate = { log = [0.0001, 0.1] }\n\
                      hidden_size = { integers = [4, 16] }\n[halving]\nrounds = 3\n";

/// How long a sweep may take on a machine with much else to do.
const LONGEST: Duration = Duration::from_secs(300);

impl Place {
    /// Begins a sweep whose trainings have a thread each.
    fn begin_sweep(&self, args: &str, variables: &[(&str, &str)]) -> Child {
        let mut command = self.command();
        command.arg("sweep").args(args.split_whitespace()).args(["--threads", "1"]);
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[track_caller]
    pub(crate) fn sweep(&self, args: &str) -> Outcome {
        self.begin_sweep(args, &[]).wait_with_output().unwrap().into()
    }

    /// How often a trial was begun or gone on with.
    pub(crate) fn trainings(&self, sweep: &str, trial: usize) -> usize {
        let log = self.text(&format!("{sweep}/trials/{trial:04}.log"));
        log.lines().filter(|line| line.starts_with("training on ")).count()
    }

    /// The table without the folder's name.
    #[track_caller]
    fn table(&self, file: &str, sweep: &str) -> String {
        let outcome = self.run(&format!("sweep {file} --out {sweep} --table --json")).succeeded();
        outcome.stdout.replace(&format!("\"{sweep}/"), "\"")
    }
}

pub(crate) fn objects(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_sweep_trains_all_trials_and_shows_the_best_first() {
    let place = Place::new();
    place.write("four.toml", FOUR);
    let listed = place.run("sweep four.toml --dry-run --json").succeeded();
    assert_eq!(objects(&listed).len(), 4);
    assert!(!place.exists("sweeps"));
    let outcome = place.sweep("four.toml --jobs 2 --json").succeeded();
    let table = objects(&outcome);
    assert_eq!(table.len(), 4);
    let accuracies = table.iter().map(|trial| trial["best"]["valid_accuracy"].as_f64().unwrap());
    let accuracies: Vec<f64> = accuracies.collect();
    assert!(accuracies.is_sorted_by(|a, b| a >= b), "{accuracies:?}");
    assert!(table.iter().all(|trial| trial["state"] == "finished" && trial["epochs"] == 4));
    assert_eq!(outcome.stderr.lines().filter(|line| line.starts_with("trial ")).count(), 4);
    // A trial is the run that `train` makes of its settings.
    place.train("alone", "--epochs 4 --save-every 4 --schedule one-cycle --lr 0.01 --seed 1");
    place.assert_ended_alike("sweeps/four/trials/0003", "alone");
    // The same command finds nothing to train.
    let again = place.sweep("four.toml --jobs 2 --json").succeeded();
    assert_eq!(again.stdout, outcome.stdout);
    assert!((1..=4).all(|trial| place.trainings("sweeps/four", trial) == 1));
    let info = place.run("info sweeps/four").succeeded();
    assert_eq!(info.stdout.lines().count(), 5);
    let names = "trial  learning_rate  seed  epochs  best_epoch  acc_valid  loss_valid     state";
    assert_eq!(info.stdout.lines().next(), Some(names));
    let csv = place.run("sweep four.toml --table --csv").succeeded();
    let header = "trial,learning_rate,seed,epochs,best_epoch,acc_valid,loss_valid,state";
    assert_eq!(csv.stdout.lines().next(), Some(header));
    // The best one is measured on the test data, where that was asked for.
    let tested = place.sweep("four.toml --json --test").succeeded();
    let last: Value = serde_json::from_str(tested.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["split"], &last["examples"]), (&"test".into(), &500.into()));
}

#[test]
fn a_sweep_killed_at_random_moments_ends_with_the_same_table() {
    let place = Place::new();
    for (name, text) in [("four", FOUR), ("halved", HALVED)] {
        place.write(&format!("{name}.toml"), text);
        let begun = Instant::now();
        let whole = format!("whole-{name}");
        place.sweep(&format!("{name}.toml --out {whole} --jobs 2")).succeeded();
        let duration = begun.elapsed();
        let mut moments = SeededRng::user(3, name);
        let sweep = format!("{name}.toml --out {name} --jobs 2");
        for _ in 0..4 {
            let mut running = place.begin_sweep(&sweep, &[]);
            std::thread::sleep(duration.mul_f64(0.5 * moments.unit()));
            running.kill().unwrap();
            running.wait().unwrap();
        }
        place.sweep(&sweep).succeeded();
        let file = format!("{name}.toml");
        assert_eq!(place.table(&file, name), place.table(&file, &whole));
        for line in place.table(&file, name).lines() {
            let trial: Value = serde_json::from_str(line).unwrap();
            let run =
                |sweep: &str| format!("{sweep}/trials/{:04}", trial["trial"].as_u64().unwrap());
            let (run, whole) = (run(name), run(&whole));
            // Not all checkpoints: a training whose sweep is gone saves one more.
            let weights = |run: &str| place.read(&format!("{run}/model.safetensors"));
            assert!(weights(&run) == weights(&whole), "{line}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_sweep_told_to_stop_saves_and_goes_on_later() {
    let place = Place::new();
    // Each would train for hours.
    let long = FOUR.replace("epochs = 4", "epochs = 100000").replace("one-cycle", "constant");
    place.write("long.toml", long);
    for (begun_before, (signal, code)) in [("TERM", 143), ("INT", 130)].into_iter().enumerate() {
        let running = place.begin_sweep("long.toml --jobs 2", &[]);
        let begun = Instant::now();
        let log = "sweeps/long/trials/0001.log";
        let is_training = || {
            place.exists(log)
                && place.trainings("sweeps/long", 1) > begun_before
                && place.text(log).lines().last().unwrap().starts_with("epoch ")
        };
        while !is_training() {
            assert!(begun.elapsed() < LONGEST);
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = running.id().to_string();
        assert!(std::process::Command::new("kill")
            .args(["-s", signal, &id])
            .status()
            .unwrap()
            .success());
        let outcome = Outcome::from(running.wait_with_output().unwrap());
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(outcome.stderr.ends_with("interrupted and saved: the same command goes on\n"));
        // Nobody trains any more: each has saved, and its log is free.
        let last = place.text(log).lines().last().unwrap().to_string();
        assert!(last.starts_with("interrupted and saved"), "{last}");
        let file = std::fs::File::open(place.path(log)).unwrap();
        file.try_lock().unwrap();
        assert!(place.whole_checkpoints("sweeps/long/trials/0001") > 0);
    }
}

#[test]
fn a_training_whose_sweep_is_killed_saves_and_stops() {
    let place = Place::new();
    place.write("long.toml", FOUR.replace("epochs = 4", "epochs = 100000"));
    let mut running = place.begin_sweep("long.toml --jobs 1", &[]);
    let log = "sweeps/long/trials/0001.log";
    let begun = Instant::now();
    while !place.exists(log) || !place.text(log).contains("epoch ") {
        assert!(begun.elapsed() < LONGEST);
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let file = std::fs::File::open(place.path(log)).unwrap();
    while file.try_lock().is_err() {
        assert!(begun.elapsed() < LONGEST, "it trains on");
        std::thread::sleep(Duration::from_millis(5));
    }
    let last = place.text(log).lines().last().unwrap().to_string();
    assert!(last.starts_with("interrupted and saved"), "{last}");
}

#[test]
fn two_sweeps_at_once_train_no_trial_twice() {
    let place = Place::new();
    place.write("halved.toml", HALVED);
    place.sweep("halved.toml --out whole --jobs 2").succeeded();
    let running = [1, 2].map(|jobs| {
        place.begin_sweep(&format!("halved.toml --out both --json --jobs {jobs}"), &[])
    });
    let [first, second] =
        running.map(|child| Outcome::from(child.wait_with_output().unwrap()).succeeded());
    assert_eq!(first.stdout, second.stdout);
    let table = place.table("halved.toml", "both");
    assert_eq!(table, place.table("halved.toml", "whole"));
    // A training for each round that it took part in.
    let rounds = |trial: &Value| match trial["state"].as_str().unwrap() {
        "finished" => 3,
        "stopped after round 2" => 2,
        _ => 1,
    };
    for line in table.lines() {
        let trial: Value = serde_json::from_str(line).unwrap();
        let number = trial["trial"].as_u64().unwrap() as usize;
        assert_eq!(place.trainings("both", number), rounds(&trial), "{line}");
    }
}

#[test]
fn halving_leaves_the_best_with_the_bits_of_a_whole_training() {
    let place = Place::new();
    place.write("halved.toml", HALVED);
    let outcome = place.sweep("halved.toml --json --jobs 2").succeeded();
    let table = objects(&outcome);
    let states: Vec<&str> = table.iter().map(|trial| trial["state"].as_str().unwrap()).collect();
    assert_eq!(states[..2], ["finished"; 2]);
    assert_eq!(states[2..4], ["stopped after round 2"; 2]);
    assert_eq!(states[4..], ["stopped after round 1"; 4]);
    let epochs: Vec<u64> = table.iter().map(|trial| trial["epochs"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [4, 4, 2, 2, 1, 1, 1, 1]);
    let best = &table[0];
    let (rate, units) = (&best["settings"]["learning_rate"], &best["settings"]["hidden_size"]);
    place.train("alone", &format!("--epochs 4 --schedule cosine --lr {rate} --hidden {units}"));
    place.assert_ended_alike(
        &format!("sweeps/halved/trials/{:04}", best["trial"].as_u64().unwrap()),
        "alone",
    );
}

#[test]
fn a_trial_that_fails_is_named_and_the_others_go_on() {
    let place = Place::new();
    // Activations of relu units grow past all bounds; those of tanh units do not.
    let grid = "learning_rate = 1e30\n[grid]\ncell = [\"tanh\", \"relu\"]\n";
    place.write("fails.toml", FOUR.replace("[grid]\nlearning_rate = [0.001, 0.01]\n", grid));
    let outcome = place.sweep("fails.toml --json --jobs 2");
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let table = objects(&outcome);
    let states: Vec<&str> = table.iter().map(|trial| trial["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["finished", "finished", "failed", "failed"]);
    let error = table[2]["error"].as_str().unwrap();
    assert!(error.contains("is not finite at step"), "{error}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: 2 of 4 trials failed"), "{last}");
    // They have failed for good, unless asked for.
    let again = place.sweep("fails.toml --json");
    assert_eq!((again.code, &again.stdout), (Some(1), &outcome.stdout));
    assert_eq!(place.trainings("sweeps/fails", 3), 1);
    let retried = place.sweep("fails.toml --json --retry");
    assert_eq!((retried.code, &retried.stdout), (Some(1), &outcome.stdout));
    assert_eq!(place.trainings("sweeps/fails", 3), 2);
    let text = place.run("sweep fails.toml --table").succeeded().stdout;
    assert!(text.contains("\ntrial 0003 failed: "), "{text}");
}

#[test]
fn array_tasks_and_ranks_make_the_table_of_one_process() {
    let place = Place::new();
    for (name, text, submissions) in [("four", FOUR, 1), ("halved", HALVED, 3)] {
        let file = format!("{name}.toml");
        place.write(&file, text);
        let whole = format!("whole-{name}");
        place.sweep(&format!("{file} --out {whole} --jobs 2")).succeeded();
        let table = place.table(&file, &whole);
        // In any order, one after the other; with halving, once a round.
        let array = format!("array-{name}");
        for _ in 0..submissions {
            for task in ["3", "1", "2"] {
                let variables = [("SLURM_ARRAY_TASK_ID", task), ("SLURM_ARRAY_TASK_MIN", "1")];
                let variables = [variables[0], variables[1], ("SLURM_ARRAY_TASK_COUNT", "3")];
                let child = place.begin_sweep(&format!("{file} --out {array}"), &variables);
                Outcome::from(child.wait_with_output().unwrap()).succeeded();
            }
        }
        assert_eq!(place.table(&file, &array), table);
        let flags = format!("flags-{name}");
        for task in 1..=2 * submissions {
            let task = (task - 1) % 2 + 1;
            let args = format!("{file} --out {flags} --array-task {task} --array-tasks 2");
            place.sweep(&args).succeeded();
        }
        assert_eq!(place.table(&file, &flags), table);
        let ranks = format!("ranks-{name}");
        let children = ["0", "1"].map(|rank| {
            let variables = [("OMPI_COMM_WORLD_RANK", rank), ("OMPI_COMM_WORLD_SIZE", "2")];
            place.begin_sweep(&format!("{file} --out {ranks} --json"), &variables)
        });
        let [first, second] =
            children.map(|child| Outcome::from(child.wait_with_output().unwrap()).succeeded());
        assert_eq!(
            (first.stdout.replace(&format!("\"{ranks}/"), "\""), second.stdout.as_str()),
            (table, "")
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_training_that_is_killed_is_resumed() {
    let place = Place::new();
    place.write(
        "slow.toml",
        FOUR.replace("epochs = 4", "epochs = 400").replace("one-cycle", "constant"),
    );
    let mut running = place.begin_sweep("slow.toml --jobs 1", &[]);
    let log = "sweeps/slow/trials/0001.log";
    let begun = Instant::now();
    for kills in 1..=3 {
        // Of all processes that one which trains the first trial.
        let id = loop {
            assert!(begun.elapsed() < LONGEST);
            std::thread::sleep(Duration::from_millis(5));
            let is_training = place.exists(log) && place.trainings("sweeps/slow", 1) == kills;
            let children = format!("/proc/{0}/task/{0}/children", running.id());
            let children = std::fs::read_to_string(children).unwrap();
            let child = children.split_whitespace().next().map(str::to_string);
            if let Some(id) = child.filter(|_| is_training) {
                break id;
            }
        };
        assert!(std::process::Command::new("kill")
            .args(["-s", "KILL", &id])
            .status()
            .unwrap()
            .success());
    }
    while !place.text(log).lines().last().unwrap().starts_with("error: ") {
        assert!(begun.elapsed() < LONGEST);
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill().unwrap();
    let outcome = running.wait_with_output().unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(said.matches("trial 0001 was stopped").count(), 2, "{said}");
    assert!(place
        .text(log)
        .ends_with("error: the training was stopped 3 times (signal: 9 (SIGKILL))\n"));
}

#[test]
fn sweeps_that_make_no_sense_are_refused() {
    let place = Place::new();
    place.write("a.toml", "[grid]\nlearnig_rate = [1]\n");
    let said = "a.toml: line 2: no setting is called learnig_rate: did you mean learning_rate?";
    place.run("sweep a.toml").failed_saying(&[said]);
    place.run("sweep missing.toml").failed_saying(&["missing.toml: cannot read the file"]);
    place.write(
        "a.toml",
        "seeds = [1]\n[settings]\ndata = \"sample\"\nhidden_size = 4\nepochs = 1\n",
    );
    place.run("sweep a.toml --table").failed_saying(&["sweeps/a: not the folder of a sweep"]);
    place.sweep("a.toml --jobs 1").succeeded();
    place.write(
        "a.toml",
        "seeds = [2]\n[settings]\ndata = \"sample\"\nhidden_size = 4\nepochs = 1\n",
    );
    place
        .run("sweep a.toml")
        .failed_saying(&["sweeps/a: holds another sweep", "trial 0001 (seed 1) is finished"]);
    // More trials may be added.
    place.write(
        "a.toml",
        "seeds = [1, 2]\n[settings]\ndata = \"sample\"\nhidden_size = 4\nepochs = 1\n",
    );
    let outcome = place.sweep("a.toml --json").succeeded();
    assert_eq!((objects(&outcome).len(), place.trainings("sweeps/a", 1)), (2, 1));
    for args in [
        "--array-task 1",
        "--array-task 3 --array-tasks 2",
        "--table --dry-run",
        "--jobs 0",
        "--json --csv",
        "--table --retry",
    ] {
        place.run(&format!("sweep a.toml {args}")).misused();
    }
}

#[test]
fn data_of_ones_own_are_swept_and_tested_once() {
    let place = Place::with_files();
    let text = "[data]\nfile = \"long.csv\"\nid = \"run\"\ntime = \"t\"\nlabel = \"state\"\n\
                features = [\"x\", \"y\"]\ngroup = \"person\"\ntest = \"more.csv\"\n\
                [settings]\nhidden_size = 8\nepochs = 3\n[grid]\ncell = [\"gru\", \"lstm\"]\n";
    place.write("own.toml", text);
    place.write("more.csv", own_files::long(20, 9));
    let outcome = place.sweep("own.toml --json --jobs 2 --test").succeeded();
    let lines = objects(&outcome);
    assert_eq!(lines.len(), 3);
    let cells: std::collections::BTreeSet<&str> =
        lines[..2].iter().map(|trial| trial["settings"]["cell"].as_str().unwrap()).collect();
    assert_eq!(cells, ["gru", "lstm"].into());
    assert!(lines[2]["accuracy"].is_number(), "{}", lines[2]);
    // No trial has seen the file.
    for trial in ["0001", "0002"] {
        assert!(!place
            .text(&format!("sweeps/own/trials/{trial}/config.json"))
            .contains("more.csv"));
    }
    // A forecast has no accuracy: a table by the loss, with its own measures.
    let text =
        "[data]\nfile = \"series.csv\"\n[settings]\nhorizon = 3\nwindow = 6\nhidden_size = 4\n\
                epochs = 2\n[grid]\nlearning_rate = [0.001, 0.01]\n";
    place.write("series.toml", text);
    place.write("series.csv", own_files::series(120));
    let outcome = place.sweep("series.toml --jobs 2").succeeded();
    let header = outcome.stdout.lines().next().unwrap();
    assert!(header.contains("loss_valid") && header.contains("rmse_valid"), "{header}");
    assert!(!header.contains("acc_valid"), "{header}");
}
