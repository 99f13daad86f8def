//! What a disk can do to a run: it is full, becomes read-only, or cannot rename a folder.
//!
//! Such disks are mounted in a mount namespace, which not every user may have. The tests are ignored, and
//! `just test` and `just test-mounts` run them where there is one.

use std::process::Command;

use crate::faults::{outcome, train, STEADY};
use crate::{Place, STOPPED};

/// How to run a command whose mounts end with it.
fn own_mounts() -> &'static [&'static str] {
    let ways: [&'static [&'static str]; 2] =
        [&["unshare", "--mount"], &["unshare", "--user", "--map-root-user", "--mount"]];
    let works = |way: &&[&str]| {
        let try_it = ["sh", "-c", "mount -t tmpfs none /mnt"];
        let output = Command::new(way[0]).args(&way[1..]).args(try_it).output();
        output.is_ok_and(|output| output.status.success())
    };
    ways.into_iter().find(works).expect("this user may not have a mount namespace")
}

#[test]
#[ignore = "needs a mount namespace: just test-mounts"]
fn a_full_disk_costs_the_steps_since_the_last_checkpoint() {
    let own_mounts = own_mounts();
    let place = Place::stopped();
    std::fs::create_dir(place.path("disk")).unwrap();
    // A disk that holds the run, and whose last free pages are as many as the first argument.
    let script = "
        set -e
        mount -t tmpfs -o size=1m none disk
        cp -r run disk/run
        dd if=/dev/zero of=disk/ballast bs=4096 2>dd || true
        truncate -s -$(($1 * 4096)) disk/ballast
        shift
        cd disk
        code=0; \"$@\" || code=$?
        cp -r run ../again
        exit $code";
    let mut failed = Vec::new();
    for pages in (0..40).step_by(2).map(|pages| pages.to_string()) {
        let wrapper = [own_mounts, &["sh", "-c", script, "sh", &pages]].concat();
        let mut command = place.wrapped(&wrapper);
        command.args(train(&format!("{STOPPED} --quiet --resume --out run")));
        let outcome = outcome(command);
        if outcome.code == Some(0) {
            place.assert_ended_alike("again", "whole");
        } else {
            let outcome = outcome.failed_saying(&["error: run/", "No space left on device"]);
            failed.push(outcome.stderr);
            place.assert_goes_on("again");
        }
        std::fs::remove_dir_all(place.path("again")).unwrap();
    }
    // Files of the run and of checkpoints had their turn.
    for name in ["run/metrics.jsonl", "/training_state.safetensors"] {
        assert!(failed.iter().any(|line| line.contains(name)), "{name}: {failed:?}");
    }
    assert!((3..20).contains(&failed.len()), "{failed:?}");
}

#[test]
#[ignore = "needs a mount namespace: just test-mounts"]
fn a_disk_that_becomes_read_only_ends_the_run_with_one_line() {
    let own_mounts = own_mounts();
    let place = Place::new();
    // Refused for as long as a file there is being written.
    let script = "
        \"$@\" & running=$!
        until [ -d run/checkpoints/step-00000005 ]; do sleep 0.001; done
        mount --bind run/checkpoints run/checkpoints
        until mount -o remount,bind,ro run/checkpoints 2>refused; do :; done
        wait $running";
    let mut command = place.wrapped(&[own_mounts, &["sh", "-c", script, "sh"]].concat());
    command.args(train(&format!("{STEADY} --out run")));
    outcome(command).failed_saying(&["error: run/checkpoints/", "Read-only file system"]);
    place.assert_steady("run");
}

/// As in a container whose image holds a run: a folder of a lower layer cannot be renamed.
#[test]
#[ignore = "needs a mount namespace: just test-mounts"]
fn a_run_in_a_lower_layer_goes_on_and_is_replaced() {
    let own_mounts = own_mounts();
    let place = Place::stopped();
    for folder in ["lower", "layers", "merged"] {
        std::fs::create_dir(place.path(folder)).unwrap();
    }
    place.copy("run", "lower/run");
    let script = "
        set -e
        mount -t tmpfs none layers
        mkdir layers/upper layers/work
        mount -t overlay -o redirect_dir=off,lowerdir=lower,upperdir=layers/upper,workdir=layers/work none merged
        cd merged
        code=0; \"$@\" || code=$?
        cp -r run ../again
        exit $code";
    for flag in ["--resume", "--overwrite"] {
        let wrapper = [own_mounts, &["sh", "-c", script, "sh"]].concat();
        let mut command = place.wrapped(&wrapper);
        command.args(train(&format!("{STOPPED} --quiet {flag} --out run")));
        outcome(command).succeeded();
        place.assert_ended_alike("again", "whole");
        let mut left = std::fs::read_dir(place.path("again/checkpoints")).unwrap();
        assert!(left.all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with('.')));
        std::fs::remove_dir_all(place.path("again")).unwrap();
    }
}
