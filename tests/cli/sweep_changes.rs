//! Sweeps before the first trial, and after their files have changed.

use serde_json::Value;

use crate::sweep::objects;
use crate::Place;

/// Small trainings with these learning rates and seeds.
fn text(rates: &str, seeds: &str) -> String {
    format!(
        "seeds = {seeds}\n[settings]\ndata = \"sample\"\nhidden_size = 12\nbatch_size = 160\nepochs = 1\n\
         cell = \"relu\"\n[grid]\nlearning_rate = {rates}\n"
    )
}

#[test]
fn all_trials_are_checked_before_the_first_is_trained() {
    let place = Place::with_files();
    let own = "[data]\nfile = \"long.csv\"\nid = \"run\"\ntime = \"t\"\nlabel = \"state\"\n";
    let images = "[settings]\ndata = \"sample\"\n";
    for (file, said) in [
        (
            format!("{images}[grid]\ncell = [\"gru\", \"lstm\"]\ndropout = [0.1, 1.5]"),
            "a.toml: trial 0002 (cell gru, dropout 1.5): dropout",
        ),
        (
            format!("{images}readout = \"mean-max\"\n[grid]\nloss_at = [\"last\", \"every\"]"),
            "a.toml: trial 0002 (loss_at every): the readouts mean-max and all exclude",
        ),
        (
            format!("{images}[grid]\ndevice = [\"cpu\", \"gpu\"]"),
            "a.toml: trial 0002 (device gpu): device: one of auto, cpu",
        ),
        (
            format!("{images}[grid]\nhorizon = [3]"),
            "a.toml: trial 0001 (horizon 3): horizon applies to a FILE of sequences only",
        ),
        ("seeds = [1]\n[settings]\ndata = \"nowhere\"".into(), "(seed 1): nowhere"),
        (
            format!("{own}[grid]\nshift = [1]"),
            "a.toml: trial 0001 (shift 1): shift applies to MNIST only",
        ),
        (format!("{own}[grid]\ndropout = [0, 1.5]"), "trial 0002 (dropout 1.5): dropout"),
        (
            format!("{own}[grid]\nloss = [\"mse\", \"mae\"]"),
            "trial 0002 (loss mae): loss means nothing where the target is",
        ),
        (format!("{own}[grid]\nvalid_fraction = [0.1, 1.5]"), "trial 0002 (valid_fraction 1.5): "),
        (format!("seeds = [1]\n{}", own.replace("state", "stat")), "(seed 1): long.csv: "),
        (format!("seeds = [1]\n{}", own.replace("long", "short")), "(seed 1): short.csv: "),
    ] {
        place.write("a.toml", &file);
        let outcome = place.run("sweep a.toml --jobs 1");
        assert!(!place.exists("sweeps"), "{file}: {}", outcome.stderr);
        outcome.failed_saying(&[said]);
    }
}

#[test]
fn a_corrected_file_goes_on_with_what_is_finished() {
    let place = Place::new();
    place.write("a.toml", text("[0.001, 1e30]", "[1]"));
    let outcome = place.sweep("a.toml --json --jobs 2");
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert_eq!(objects(&outcome)[1]["state"], "failed");
    // Another rate in place of that which failed, and a seed more.
    place.write("a.toml", text("[0.001, 0.01]", "[1, 2]"));
    let numbers = |listed: Vec<Value>| -> Vec<u64> {
        let mut numbers: Vec<u64> =
            listed.iter().map(|trial| trial["trial"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let listed = place.run("sweep a.toml --dry-run --json").succeeded();
    assert_eq!(numbers(objects(&listed)), [1, 3, 4, 5]);
    let outcome = place.sweep("a.toml --json --jobs 2").succeeded();
    let table = objects(&outcome);
    assert!(table.iter().all(|trial| trial["state"] == "finished"), "{}", outcome.stdout);
    assert_eq!(numbers(table), [1, 3, 4, 5]);
    assert_eq!(place.trainings("sweeps/a", 1), 1);
    // The run of the trial that is gone is still there.
    assert!(place.exists("sweeps/a/trials/0002.log"));
    let before = place.files("sweeps");
    place.write("a.toml", text("[0.01]", "[1, 2]"));
    place.run("sweep a.toml").failed_saying(&[
        "sweeps/a: holds another sweep than the file describes: trial 0001 (learning_rate 0.001, seed 1) is finished",
    ]);
    assert!(before == place.files("sweeps"));
}

#[test]
fn sweeps_are_compared_side_by_side() {
    let place = Place::new();
    place.write("a.toml", text("[0.001, 0.004]", "[1]"));
    place.write("b.toml", text("[0.002]", "[1, 2]").replace("relu", "tanh"));
    place.sweep("a.toml --jobs 2").succeeded();
    place.sweep("b.toml --jobs 2").succeeded();
    let outcome = place.run("info sweeps/a sweeps/b").succeeded();
    let lines: Vec<Vec<&str>> =
        outcome.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["sweep", "trials", "finished", "failed", "best"]);
    for (line, name) in lines[1..3].iter().zip(["sweeps/a", "sweeps/b"]) {
        assert_eq!(line[..4], [name, "2", "2", "0"]);
        // Its run stands in the table of runs.
        let run = format!("{name}/trials/{}", line[4]);
        assert_eq!(outcome.stdout.matches(&run).count(), 2, "{}", outcome.stdout);
    }
    assert!(outcome.stdout.contains("settings in which they differ"), "{}", outcome.stdout);
    let outcome = place.run("info sweeps/a sweeps/b --json").succeeded();
    let found = objects(&outcome);
    assert_eq!(
        (found.len(), &found[1]["sweep"], &found[1]["finished"]),
        (2, &"sweeps/b".into(), &2.into())
    );
    assert_eq!(found[1]["best"]["settings"]["learning_rate"], 0.002);
}

#[test]
fn the_last_task_of_an_array_measures_the_best_trial() {
    let place = Place::new();
    place.write("a.toml", text("[0.001, 0.004]", "[1]"));
    for (task, is_last) in [("2", false), ("1", true)] {
        let outcome =
            place.sweep(&format!("a.toml --json --test --array-task {task} --array-tasks 2"));
        let outcome = outcome.succeeded();
        let measured = objects(&outcome).iter().filter(|line| line["split"] == "test").count();
        assert_eq!(measured, usize::from(is_last), "{}", outcome.stdout);
        let is_told = outcome.stderr.contains("the last one that ends measures the best trial");
        assert_eq!(is_told, !is_last, "{}", outcome.stderr);
    }
}

#[test]
fn trials_that_repeat_others_are_left_out_and_said() {
    let place = Place::new();
    place.write("a.toml", "[random]\ntrials = 30\nhidden_size = { integers = [3, 4] }\n");
    let outcome = place.run("sweep a.toml --dry-run --json").succeeded();
    assert_eq!(objects(&outcome).len(), 2);
    assert_eq!(outcome.stderr, "left out: 28 trials with the same settings as another before\n");
    place.write("a.toml", "seeds = [1, 1]\n");
    place.run("sweep a.toml").failed_saying(&["a.toml: line 1: seeds has 1 twice"]);
}

#[cfg(target_os = "linux")]
#[test]
fn jobs_and_threads_are_those_of_the_cores_that_may_be_used() {
    let place = Place::new();
    place.write("a.toml", text("[0.001, 0.004]", "[1]"));
    place.sweep("a.toml --jobs 2").succeeded();
    let begun = |wrapper: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.wrapped(wrapper);
        command.args(["sweep", "a.toml"]).envs(variables.iter().copied());
        let stderr = String::from_utf8(command.output().unwrap().stderr).unwrap();
        let line = stderr.lines().next().unwrap_or_default().to_string();
        line.split_once("2 trials, ").unwrap_or_else(|| panic!("{stderr}")).1.to_string()
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    let expected = |jobs: usize, cores: usize| {
        let threads = (cores / jobs).max(1);
        format!("{jobs} at once with {threads} thread{} each", if threads == 1 { "" } else { "s" })
    };
    assert_eq!(begun(&[], &[]), expected(cores.min(2), cores));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first: String = allowed.trim().chars().take_while(char::is_ascii_digit).collect();
    let bound = ["taskset", "-c", &first];
    assert_eq!(begun(&bound, &[]), expected(1, 1));
    let rank = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "2")];
    let ends = |line: String, expected: String| {
        assert!(line.ends_with(&expected), "{line} is not {expected}")
    };
    ends(begun(&[], &rank), expected(1, cores / 2));
    ends(begun(&bound, &rank), expected(1, 1));
    // Four machines with two tasks each: two share this one's cores.
    let slurm = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "8"), ("SLURM_NODEID", "0")];
    let slurm = [&slurm[..], &[("SLURM_STEP_TASKS_PER_NODE", "2(x4)")]].concat();
    ends(begun(&[], &slurm), expected(1, cores / 2));
    let one = [&slurm[..], &[("SLURM_CPUS_PER_TASK", "1")]].concat();
    ends(begun(&[], &one), expected(1, 1));
}

#[test]
fn a_damaged_trial_is_named_and_tried_again() {
    let place = Place::new();
    place.write("a.toml", text("[0.001, 0.004]", "[1]"));
    let whole = place.sweep("a.toml --json --jobs 2").succeeded();
    let run = |trial: usize| format!("sweeps/a/trials/{trial:04}");
    let metrics = place.text(&format!("{}/metrics.jsonl", run(2)));
    for damage in [b"garbage\n", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\n"] {
        place.write(&format!("{}/metrics.jsonl", run(2)), [metrics.as_bytes(), damage].concat());
        let shown = place.run("sweep a.toml --table").succeeded().stdout;
        assert!(shown.contains("\n0001 ") && shown.contains("\ntrial 0002 failed: "), "{shown}");
        assert!(
            shown.contains("metrics.jsonl: ") && shown.contains("try the trial again"),
            "{shown}"
        );
        let outcome = place.sweep("a.toml --json");
        assert_eq!((outcome.code, objects(&outcome).len()), (Some(1), 2), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("error: 1 of 2 trials failed"), "{}", outcome.stderr);
        let outcome = place.sweep("a.toml --json --retry").succeeded();
        assert_eq!(outcome.stdout, whole.stdout);
        assert_eq!(place.text(&format!("{}/metrics.jsonl", run(2))), metrics);
    }
    // Weights that are gone come back from the last checkpoint.
    let weights = format!("{}/model.safetensors", run(1));
    let before = place.read(&weights);
    std::fs::remove_file(place.path(&weights)).unwrap();
    let shown = place.run("sweep a.toml --table").succeeded().stdout;
    assert!(shown.contains(" unfinished"), "{shown}");
    assert_eq!(place.sweep("a.toml --json").succeeded().stdout, whole.stdout);
    assert!(place.read(&weights) == before);
    // Who was trained for longer than the others is told from them.
    place.run(&format!("train --resume --out {} --epochs 2", run(1))).succeeded();
    let outcome = place.sweep("a.toml --json").succeeded();
    let mut states: Vec<_> = objects(&outcome).iter().map(|trial| trial["state"].clone()).collect();
    states.sort_by_key(|state| state.to_string().len());
    assert_eq!(states, ["finished", "finished, trained on by hand after epoch 1"]);
}

#[test]
fn what_is_wrong_with_a_sweep_is_said_by_its_first_rank() {
    let place = Place::new();
    for (file, said) in [
        ("", "nothing is searched"),
        ("[settings]\ndata = \"sample\"\n[grid]\ndropout = [1.5]\n", "trial 0001 (dropout 1.5)"),
    ] {
        place.write("a.toml", file);
        for variables in
            [["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"], ["PMI_RANK", "PMI_SIZE"]]
        {
            for rank in ["0", "1"] {
                let mut command = place.command();
                command.args(["sweep", "a.toml"]);
                command.env(variables[0], rank).env(variables[1], "2");
                let outcome = crate::Outcome::from(command.output().unwrap());
                assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
                assert_eq!(outcome.stderr.contains(said), rank == "0", "{}", outcome.stderr);
                assert_eq!(outcome.stderr.is_empty(), rank == "1", "{}", outcome.stderr);
            }
        }
    }
    // What a disk has may be one machine's alone.
    let mut command = place.command();
    command.args(["sweep", "nowhere.toml"]);
    command.env("PMI_RANK", "1").env("PMI_SIZE", "2");
    let outcome = crate::Outcome::from(command.output().unwrap());
    assert!(outcome.stderr.contains("rank 1: nowhere.toml"), "{}", outcome.stderr);
    place.write("a.toml", text("[inf, 0.1]", "[1]"));
    place.run("sweep a.toml").failed_saying(&["learning_rate must be a finite number, got inf"]);
}
