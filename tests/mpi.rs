//! Training by several processes that `mpirun`, or the program that `MPIRUN` names, starts; `just check-mpi` runs it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use candle_rnn::rng::SeededRng;

/// A training of a second or two.
const SHORT: &str = "--data sample --hidden 12 --epochs 1 --batch-size 50 --device cpu";

/// A folder in which trainings run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// One process.
    fn alone(&self, arguments: &str) -> Output {
        let mut command = Command::new(cargo_bin("candle-rnn"));
        command.arg("train").args(arguments.split_whitespace());
        let output = command.current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        output
    }

    /// `mpirun` with arguments of its own.
    fn mpirun(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let program = std::env::var_os("MPIRUN").unwrap_or_else(|| "mpirun".into());
        let mut command = Command::new(&program);
        let version = Command::new(&program).arg("--version").output().unwrap();
        if text(&version).contains("Open MPI") {
            // MPICH's starts as many as it is told to, unbound.
            command.args(["--oversubscribe", "--bind-to", "none"]);
        }
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn ranks(&self, ranks: usize, arguments: &str) -> Command {
        let mut command = self.mpirun(["-n".to_string(), ranks.to_string()]);
        command.arg(cargo_bin("candle-rnn")).arg("train").args(arguments.split_whitespace());
        command
    }

    fn train(&self, ranks: usize, arguments: &str) -> Output {
        let output = self.ranks(ranks, arguments).output().unwrap();
        assert!(output.status.success(), "{ranks} {arguments}: {}", text(&output));
        output
    }

    /// Ranks 0 and 1 with arguments of their own.
    fn two(&self, first: &str, second: &str) -> Output {
        self.two_behind(first, ([], second))
    }

    /// Ranks 0 and 1 with arguments of their own, the second behind another program.
    fn two_behind<const N: usize>(&self, first: &str, second: ([&str; N], &str)) -> Output {
        let mut command = self.mpirun(["-n", "1"]);
        command.arg(cargo_bin("candle-rnn")).arg("train").args(first.split_whitespace());
        command.args([":", "-n", "1"]).args(second.0);
        command.arg(cargo_bin("candle-rnn")).arg("train").args(second.1.split_whitespace());
        ended(command.spawn().unwrap(), Duration::from_secs(60))
    }

    fn weights(&self, run: &str) -> Vec<u8> {
        fs::read(self.path(run).join("model.safetensors")).unwrap()
    }
}

/// The figures of each epoch, without those of time.
fn figures(run: &Path) -> Vec<serde_json::Value> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let figures = |line: &str| {
        let mut figures: serde_json::Value = serde_json::from_str(line).unwrap();
        let all = figures.as_object_mut().unwrap();
        assert!(all.remove("seconds").is_some() && all.remove("examples_per_second").is_some());
        figures
    };
    lines.lines().map(figures).collect()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// The ranks that an `mpirun` has started, itself or through a program for each machine.
fn ranks_of(mpirun: &Child) -> Vec<u32> {
    let (mut looked_at, mut ranks) = (vec![mpirun.id()], Vec::new());
    while let Some(parent) = looked_at.pop() {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            let child = child.parse().unwrap();
            if name.starts_with("candle-rnn") {
                ranks.push(child);
            } else {
                looked_at.push(child);
            }
        }
    }
    ranks.sort_unstable();
    ranks
}

fn signal(process: u32, signal: &str) {
    // The process may have ended by then.
    let _ =
        Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status();
}

/// Waits for `mpirun` to end.
fn ended(mut mpirun: Child, within: Duration) -> Output {
    let start = Instant::now();
    while mpirun.try_wait().unwrap().is_none() {
        if start.elapsed() > within {
            ranks_of(&mpirun).into_iter().for_each(|rank| signal(rank, "-KILL"));
            mpirun.kill().unwrap();
            panic!("mpirun hangs: {}", text(&mpirun.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    mpirun.wait_with_output().unwrap()
}

/// The step of the newest checkpoint of a run, 0 if there is none.
fn newest(run: &Path) -> u64 {
    let saved = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let step = |name: &str| name.strip_prefix("step-")?.parse().ok();
    saved.filter_map(|entry| step(entry.file_name().to_str()?)).max().unwrap_or(0)
}

/// Waits until a run has a newer checkpoint than that of a step; returns its step.
fn wait_for_newer(run: &Path, step: u64) -> u64 {
    let start = Instant::now();
    loop {
        let newest = newest(run);
        if newest > step {
            return newest;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint after step {step}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn any_number_of_processes_makes_the_bits_of_one() {
    let place = Place::new();
    place.alone(&format!("{SHORT} --parts 4 --out one"));
    for ranks in [1, 2, 4] {
        let output = place.train(ranks, &format!("{SHORT} --parts 4 --out of{ranks}"));
        assert_eq!(place.weights(&format!("of{ranks}")), place.weights("one"), "{ranks}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.matches("epoch 1/1").count(), 1, "{said}");
        assert_eq!(said.contains("exchanging gradients"), ranks > 1, "{said}");
    }
    // The default, where the number of processes does not divide a batch.
    place.alone(&format!("{SHORT} --parts 3 --out three"));
    place.train(3, &format!("{SHORT} --out of3"));
    assert_eq!(place.weights("of3"), place.weights("three"));
    place.alone(&format!("{SHORT} --accumulate 2 --out sums"));
    place.train(2, &format!("{SHORT} --accumulate 2 --out sums2"));
    assert_eq!(place.weights("sums2"), place.weights("sums"));
}

#[test]
fn what_training_can_be_asked_for_is_shared_out_too() {
    let place = Place::new();
    for (name, more) in [
        ("gru", "--cell gru --layers 2 --dropout 0.2 --ema 0.9 --patience 2 --shift 1"),
        ("lstm", "--cell lstm --bidirectional --readout mean-max --dropout 0.3 --clip-norm 0.5"),
        ("f64", "--dtype f64 --loss-at every --dropout 0.1 --schedule one-cycle --mirror"),
    ] {
        let arguments = format!("{SHORT} {more} --parts 3");
        place.alone(&format!("{arguments} --out {name}"));
        place.train(3, &format!("{arguments} --out {name}3"));
        assert_eq!(place.weights(&format!("{name}3")), place.weights(name), "{name}");
        assert_eq!(figures(&place.path(&format!("{name}3"))), figures(&place.path(name)), "{name}");
    }
}

#[test]
fn data_of_ones_own_are_shared_out() {
    let place = Place::new();
    let mut table = "id,x,y,label\n".to_string();
    for id in 0..900u32 {
        for step in 0..1 + id % 5 {
            let x = f64::from((id * 7 + step * 3) % 11) / 5.;
            table +=
                &format!("{id},{x},{},{}\n", f64::from(step) * x, ["a", "b"][(id % 2) as usize]);
        }
    }
    fs::write(place.path("own.csv"), table).unwrap();
    // More validation sequences than are looked at together.
    let arguments =
        "own.csv --id id --label label --valid-fraction 0.6 --epochs 2 --layers 2 --dropout 0.2 \
                     --hidden 6 --parts 4";
    place.alone(&format!("{arguments} --out one"));
    for ranks in [2, 4] {
        let run = format!("of{ranks}");
        place.train(ranks, &format!("{arguments} --out {run}"));
        assert_eq!(place.weights(&run), place.weights("one"), "{ranks}");
        assert_eq!(figures(&place.path(&run)), figures(&place.path("one")), "{ranks}");
    }
}

#[test]
fn a_run_resumes_on_another_number_of_processes() {
    let place = Place::new();
    let arguments = SHORT.replace("--epochs 1", "--epochs 2 --parts 4 --dropout 0.1");
    place.alone(&format!("{arguments} --out whole"));
    let begun = place.train(4, &format!("{arguments} --out run --max-minutes 0.0001"));
    assert!(text(&begun).contains("time is up after step"), "{}", text(&begun));
    place.train(2, &format!("{arguments} --out run --resume --max-minutes 0.0001"));
    place.train(3, "--out run --resume --max-minutes 0.0001");
    place.alone("--out run --resume");
    assert_eq!(place.weights("run"), place.weights("whole"));
    let finished = place.train(2, "--out run --resume");
    assert!(text(&finished).contains("this run is finished"), "{}", text(&finished));
}

#[test]
fn an_error_of_a_process_ends_all_with_its_rank() {
    let place = Place::new();
    let bad = SHORT.replace("--data sample", "--data nowhere");
    let output = place.two(&format!("{SHORT} --out a"), &format!("{bad} --out a"));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("error: rank 1: nowhere").count(), 1, "{said}");
    // Of rank 0 the error is its own; the others say nothing.
    let output = place.two(&format!("{bad} --out b"), &format!("{SHORT} --out b"));
    says_once(&output, "error: rank 0: nowhere");
    let output = place.two(&format!("{SHORT} --out c"), &format!("{SHORT} --out c --seed 1"));
    says_once(&output, "error: rank 1: has other settings or data than rank 0");
    let output = place.ranks(2, &format!("{SHORT} --lr 1e37 --out d")).output().unwrap();
    says_once(&output, "is not finite");
    says_once(&output, "error: rank ");
    fs::write(place.path("book.txt"), "to be or not to be, ".repeat(500)).unwrap();
    let output = place.ranks(2, "book.txt --out e").output().unwrap();
    assert_eq!(text(&output).matches("trained by one process").count(), 1, "{}", text(&output));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

/// A failed training says something, and says it once.
#[track_caller]
fn says_once(output: &Output, expected: &str) {
    let said = text(output);
    assert_eq!(said.matches(expected).count(), 1, "`{expected}`: {said}");
    // Open MPI's mpirun returns the exit code of one rank, MPICH's those of all, bit by bit.
    assert!(matches!(output.status.code(), Some(1..=3)), "{}: {said}", output.status);
}

#[test]
fn errors_before_mpi_begins_name_their_rank() {
    let place = Place::new();
    let good = format!("{SHORT} --out a");
    // All have the same arguments.
    let output = place.ranks(2, "--no-such-flag").output().unwrap();
    says_once(&output, "error: rank 0: unexpected argument '--no-such-flag' found");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    says_once(&output, "Usage: candle-rnn train");
    let output = place.two(&good, &format!("{SHORT} --no-such-flag"));
    says_once(&output, "error: rank 1: unexpected argument '--no-such-flag' found");
    let output = place.two(&format!("{SHORT} --no-such-flag"), &good);
    says_once(&output, "error: rank 0: unexpected argument");
    for wrong in ["0", "soon"] {
        let variable = format!("CANDLE_RNN_MPI_TIMEOUT={wrong}");
        let output = place.two_behind(&good, (["env", &variable], &good));
        says_once(
            &output,
            "error: rank 1: CANDLE_RNN_MPI_TIMEOUT must be a number of seconds above 0",
        );
    }
    assert!(!place.path("a").exists());
    // Help is no error, and one of them shows it.
    let output = place.ranks(2, "--help").output().unwrap();
    assert!(output.status.success());
    // mpirun gives it a terminal, for which some words are marked.
    assert_eq!(text(&output).matches("Train a model on MNIST or on a file").count(), 1);
}

#[test]
fn a_panic_of_a_process_ends_all_with_its_rank() {
    let place = Place::new();
    let good = format!("{SHORT} --out a");
    // No thread has room for such a stack: the pool that would start it panics.
    let output = place.two_behind(&good, (["env", "RUST_MIN_STACK=1152921504606846976"], &good));
    says_once(&output, "error: rank 1: panicked: ");
}

#[test]
fn processes_share_the_cores_that_mpirun_may_use() {
    let place = Place::new();
    let threads = |wrapper: &[&str]| {
        let mut command = place.mpirun(["-n", "2"]);
        command.arg(cargo_bin("candle-rnn")).arg("train").args(SHORT.split_whitespace());
        command.args(["--out", "a", "--overwrite"]);
        let mpirun: Vec<_> =
            std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let all: Vec<_> =
            wrapper.iter().map(OsStr::new).chain(mpirun).map(OsStr::to_os_string).collect();
        let mut wrapped = Command::new(&all[0]);
        wrapped.args(&all[1..]).current_dir(place.0.path()).env_remove("RAYON_NUM_THREADS");
        wrapped.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        let output = wrapped.output().unwrap();
        let said = text(&output);
        let found =
            said.split_once("2 processes (").and_then(|(_, rest)| rest.split_once(" thread"));
        found.unwrap_or_else(|| panic!("{said}")).0.parse::<usize>().unwrap()
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(threads(&[]), (cores / 2).max(1));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first: String = allowed.trim().chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(threads(&["taskset", "-c", &first]), 1);
}

#[test]
fn a_process_that_is_killed_leaves_nobody_waiting() {
    let place = Place::new();
    let arguments = format!("{SHORT} --save-every 1 --keep 3 --parts 3 --out run")
        .replace("--epochs 1", "--epochs 500");
    let run = place.path("run");
    for (attempt, milliseconds) in [0, 7, 31, 130, 370, 610].into_iter().enumerate() {
        let resume = if attempt > 0 { "--resume" } else { "" };
        let before = newest(&run);
        let mpirun = place.ranks(3, &format!("{arguments} {resume}")).spawn().unwrap();
        wait_for_newer(&run, before);
        std::thread::sleep(Duration::from_millis(milliseconds));
        let ranks = ranks_of(&mpirun);
        assert_eq!(ranks.len(), 3);
        signal(ranks[attempt % ranks.len()], "-KILL");
        let output = ended(mpirun, Duration::from_secs(30));
        assert!(!output.status.success(), "{}", text(&output));
    }
    let last = newest(&run);
    let output = place.train(2, &format!("{arguments} --resume --max-minutes 0.0001"));
    assert!(text(&output).contains(&format!("resuming after step {last}\n")), "{}", text(&output));
    assert!(!text(&output).contains("skipped"), "{}", text(&output));
}

#[test]
fn a_process_that_does_not_answer_is_not_waited_for_long() {
    let place = Place::new();
    let arguments =
        format!("{SHORT} --save-every 1 --out run").replace("--epochs 1", "--epochs 500");
    let mut command = place.ranks(2, &arguments);
    let mpirun = command.env("CANDLE_RNN_MPI_TIMEOUT", "1.5").spawn().unwrap();
    wait_for_newer(&place.path("run"), 0);
    let rank = *ranks_of(&mpirun).last().unwrap();
    signal(rank, "-STOP");
    let output = ended(mpirun, Duration::from_secs(40));
    let said = text(&output);
    assert!(said.contains("have not answered for"), "{said}");
    signal(rank, "-KILL");
}

#[test]
fn a_signal_to_any_process_saves_and_stops_all() {
    let place = Place::new();
    let arguments =
        format!("{SHORT} --save-every 1 --out run").replace("--epochs 1", "--epochs 500");
    let run = place.path("run");
    for (index, more) in ["", "--resume"].into_iter().enumerate() {
        let mpirun = place.ranks(2, &format!("{arguments} {more}")).spawn().unwrap();
        wait_for_newer(&run, newest(&run));
        signal(ranks_of(&mpirun)[index], "-TERM");
        let output = ended(mpirun, Duration::from_secs(40));
        assert!(text(&output).contains("interrupted and saved"), "{}", text(&output));
        assert_eq!(output.status.code(), Some(143), "{}", text(&output));
    }
}

/// More epochs than processes can train before they are killed.
const MORE_EPOCHS: u64 = 100;
/// Steps in one of them.
const EPOCH_STEPS: u64 = 40;

#[test]
#[ignore = "a minute: `just kill-test-mpi` runs it"]
fn ranks_killed_at_random_moments_lose_nothing() {
    let seed = std::env::var("CANDLE_RNN_KILL_SEED").map_or(0, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut rng = SeededRng::user(seed, "kills");
    let place = Place::new();
    let run = place.path("run");
    let job =
        SHORT.replace("--epochs 1", "--parts 3 --dropout 0.1 --save-every 1 --keep 3 --out run");
    let mut slowest = Duration::ZERO;
    let kills = std::env::var("CANDLE_RNN_KILLS").map_or(20, |kills| kills.parse().unwrap());
    for attempt in 0..kills {
        let epochs = newest(&run) / EPOCH_STEPS + MORE_EPOCHS;
        let arguments = format!("{job} --epochs {epochs} --resume");
        let mpirun = place.ranks(3, &arguments).spawn().unwrap();
        let started = Instant::now();
        while ranks_of(&mpirun).len() < 3 {
            assert!(started.elapsed() < Duration::from_secs(30), "mpirun starts nobody");
            std::thread::sleep(Duration::from_millis(1));
        }
        // From MPI's own beginning to the middle of a training.
        let moment = Duration::from_secs_f64(3. * rng.unit());
        std::thread::sleep(moment);
        let saved = newest(&run);
        let ranks = ranks_of(&mpirun);
        assert_eq!(ranks.len(), 3, "the training ended before {moment:?}");
        let victim = rng.below(ranks.len());
        signal(ranks[victim], "-KILL");
        let killed = Instant::now();
        let output = ended(mpirun, Duration::from_secs(60));
        assert!(!output.status.success(), "{}", text(&output));
        let took = killed.elapsed();
        slowest = slowest.max(took);
        // Whatever had been saved by then is read again.
        let last = newest(&run);
        assert!(last >= saved, "step {saved} was saved, and now the newest is {last}");
        let resumed = place.alone(&format!("{arguments} --max-minutes 0.0001"));
        let said = text(&resumed);
        let expected = if last > 0 {
            format!("resuming after step {last}\n")
        } else {
            "nothing to resume".into()
        };
        assert!(said.contains(&expected) && !said.contains("skipped"), "{expected}: {said}");
        println!(
            "{attempt}: rank {victim} was killed after {moment:.2?}, all had ended {took:.2?} later; resumed after step {last}"
        );
    }
    let rest = job.replace("--save-every 1 ", "");
    // Some epochs behind the last kill: the learning rate does not depend on their number.
    let epochs = newest(&run) / EPOCH_STEPS + 3;
    place.train(2, &format!("{rest} --epochs {epochs} --resume"));
    place.alone(&format!("{rest} --epochs {epochs}").replace("--out run", "--out whole"));
    assert!(place.weights("run") == place.weights("whole"), "the weights are others");
    println!("{kills} kills, {epochs} epochs; the slowest end took {slowest:.2?}; the weights are those of a whole run");
}
