//! Training by several processes that `mpirun`, or the program that `MPIRUN` names, starts; `just check-mpi` runs it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;

mod kills;

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

/// Waits for `mpirun` to end.
fn ended(mut mpirun: Child, within: Duration) -> Output {
    let start = Instant::now();
    while mpirun.try_wait().unwrap().is_none() {
        if start.elapsed() > within {
            kills::ranks_of(&mpirun).into_iter().for_each(|rank| kills::signal(rank, "-KILL"));
            mpirun.kill().unwrap();
            panic!("mpirun hangs: {}", text(&mpirun.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    mpirun.wait_with_output().unwrap()
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
fn a_launcher_of_another_mpi_is_refused() {
    let place = Place::new();
    // As it starts each process: with variables of its own, and nothing that this library knows.
    let library = text(&place.mpirun(["--version"]).output().unwrap());
    let names = if library.contains("Open MPI") {
        ["PMI_RANK", "PMI_SIZE"]
    } else {
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"]
    };
    for rank in ["0", "1"] {
        let mut command = Command::new(cargo_bin("candle-rnn"));
        command.arg("train").args(SHORT.split_whitespace()).current_dir(place.0.path());
        let output = command.env(names[0], rank).env(names[1], "2").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let said =
            format!("error: {} says that 2 processes were started, and MPI connects 1", names[1]);
        assert_eq!(text(&output).contains(&said), rank == "0", "{}", text(&output));
        assert!(!place.path("runs").exists());
    }
}
