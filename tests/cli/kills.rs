//! Runs that are killed: at random moments, and at each system call that touches a file. Whatever was
//! killed goes on, and ends with the bits of a run that nothing disturbed.
//!
//! The long ones are ignored: `just kill-test` runs them.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use candle_rnn::files::tensors;
use candle_rnn::rng::{Purpose, SeededRng};

use crate::{Outcome, Place};

/// A run of 40 steps that spends most of its time on 20 saves of checkpoints and 4 of epochs.
const RUN: &str = "--epochs 4 --save-every 2 --quiet --schedule one-cycle --shift 1 --dropout 0.1";

const KILL: i32 = 9;

impl Place {
    /// What a killed process left under final names is whole.
    #[track_caller]
    fn assert_whole(&self, run: &str) {
        self.whole_checkpoints(run);
        if self.exists(&format!("{run}/metrics.jsonl")) {
            self.metrics(run);
        }
        let model = self.path(run).join("model.safetensors");
        if model.exists() {
            tensors::read(&model).unwrap();
        }
    }

    /// Begins a run or goes on with it, and kills it after a while; how it ended.
    fn kill_after(&self, run: &str, moment: Duration) -> ExitStatus {
        let mut command = self.command();
        let args = format!("train {} --resume --out {run}", crate::small(RUN));
        command.args(args.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = command.spawn().unwrap();
        std::thread::sleep(moment);
        running.kill().unwrap();
        running.wait().unwrap()
    }
}

/// Kills so many processes, each run up to four times.
fn kill_at_random_moments(kills: usize) {
    let place = Place::new();
    let begun = Instant::now();
    place.train("whole", RUN);
    let duration = begun.elapsed();
    let mut moments = SeededRng::new(42, Purpose::Shuffle);
    let mut killed = 0;
    while killed < kills {
        for _ in 0..4 {
            let status = place.kill_after("run", duration.mul_f64(moments.unit()));
            assert!(status.signal() == Some(KILL) || status.success(), "{status}");
            place.assert_whole("run");
            killed += usize::from(status.signal() == Some(KILL));
        }
        place.train("run", &format!("{RUN} --resume"));
        place.assert_ended_alike("run", "whole");
        std::fs::remove_dir_all(place.path("run")).unwrap();
    }
}

#[test]
fn a_run_killed_at_fifty_random_moments_ends_with_the_same_bits() {
    kill_at_random_moments(50);
}

#[test]
fn a_best_checkpoint_moved_aside_before_a_kill_is_put_back() {
    let place = Place::new();
    place.train("run", "");
    let before = place.files("run");
    let rename = |from: &str, to: &str| {
        std::fs::rename(place.path(from), place.path(to)).unwrap();
    };
    rename("run/checkpoints/best", "run/checkpoints/.old-1-best");
    place.copy("run/checkpoints/step-00000020", "run/checkpoints/.tmp-1-best");
    place.train("run", "--resume");
    let after = place.files("run");
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after == before);
}

/// A run of 12 steps, on one thread besides the main one, with 4 saves of checkpoints and 3 of epochs.
const TRACED: &str = "--epochs 3 --batch-size 400 --save-every 3 --quiet --threads 1 --resume";

/// The system calls that make, write, sync, rename and remove files. Those with a question mark are
/// not known to every kind of computer.
const CALLS: [&str; 9] = [
    "openat",
    "write",
    "fsync",
    "?rename",
    "?renameat",
    "?mkdir",
    "?mkdirat",
    "?unlink",
    "unlinkat",
];

fn strace(place: &Place, options: &[&str], run: &str) -> Command {
    let mut command = place.wrapped(&[&["strace", "-f", "-qq"][..], options].concat());
    let args = format!("train {} --out {run}", crate::small(TRACED));
    command.args(args.split_whitespace());
    command
}

/// How often a thread makes each of the calls in an undisturbed run, which becomes `whole`.
fn calls(place: &Place) -> BTreeMap<String, usize> {
    let trace = format!("trace={}", CALLS.join(","));
    let output = strace(place, &["-o", "calls", "-e", &trace], "whole").output().unwrap();
    Outcome::from(output).succeeded();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in place.text("calls").lines() {
        // A process, its call; `<... call resumed>` is the end of one that was counted.
        let mut words = line.split_whitespace();
        let (process, call) = (words.next().unwrap(), words.next().unwrap());
        if let Some((call, _)) = call.split_once('(') {
            *counts.entry((process.into(), call.into())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let entry = most.entry(call).or_insert(count);
        *entry = count.max(*entry);
    }
    most
}

/// Does something to each system call in turn, and resumes what is left.
fn at_every_call(names: &[&str], what: &str, check: impl Fn(&str, std::process::Output)) {
    let place = Place::new();
    let counts = calls(&place);
    println!("{what} at each of {counts:?}");
    for (name, count) in counts.iter().filter(|(name, _)| names.contains(&name.as_str())) {
        for n in 1..=*count {
            let inject = format!("inject={name}:{what}:when={n}");
            let trace = format!("trace={name}");
            let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
            check(name, strace(&place, &options, "run").output().unwrap());
            place.assert_whole("run");
            place.train("run", TRACED);
            place.assert_ended_alike("run", "whole");
            std::fs::remove_dir_all(place.path("run")).unwrap();
        }
    }
}

#[test]
#[ignore = "minutes, and needs strace"]
fn a_run_killed_at_any_system_call_ends_with_the_same_bits() {
    let names = CALLS.map(|name| name.trim_start_matches('?'));
    at_every_call(&names, "signal=KILL", |_, output| {
        let status = output.status;
        assert_eq!(
            status.signal(),
            Some(KILL),
            "{status} {}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}

#[test]
#[ignore = "minutes, and needs strace"]
fn a_failed_system_call_ends_a_run_which_resumes_unharmed() {
    // Not openat: without its libraries the program does not start.
    let names = ["write", "fsync", "rename", "renameat", "mkdir", "mkdirat"];
    at_every_call(&names, "error=EIO", |name, output| {
        let mut outcome = Outcome::from(output);
        // A file of events that cannot be written costs no step: the run is saved, and says so.
        if let Some(error) =
            outcome.stderr.strip_prefix("stopped and saved: continue with --resume --out run\n")
        {
            outcome.stderr = error.to_string();
        }
        if name == "write" && outcome.stderr.is_empty() {
            // Calls are counted thread by thread: the line was the main thread's write of that number.
            return assert_eq!(outcome.code, Some(1));
        }
        outcome.failed_saying(&[": cannot ", "Input/output error"]);
    });
}
