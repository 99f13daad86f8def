//! Processes that are killed, hang or get a signal: nobody waits for long, and nothing that was saved is lost.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use candle_rnn::rng::SeededRng;

use crate::{ended, text, Place, SHORT};

/// The ranks that an `mpirun` has started, itself or through a program for each machine.
pub(crate) fn ranks_of(mpirun: &Child) -> Vec<u32> {
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

pub(crate) fn signal(process: u32, signal: &str) {
    // The process may have ended by then.
    let _ =
        Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status();
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
