//! What an operating system can do to a run: a disk that is full, folders that may not be written or
//! are gone. Each costs one line and the steps since the last checkpoint, no more.
//!
//! Limits and permissions are there for every user; what needs mounts is in `mounts`.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, Place, STOPPED};

/// A run of 120 steps, saved 24 times: long enough for something to happen to it.
pub(super) const STEADY: &str = "--epochs 12 --save-every 5 --quiet";

pub(super) fn train(args: &str) -> Vec<String> {
    let args = format!("train {}", crate::small(args));
    args.split_whitespace().map(str::to_string).collect()
}

#[track_caller]
pub(super) fn outcome(mut command: Command) -> Outcome {
    command.output().unwrap().into()
}

impl Place {
    /// A run that [`Place::stopped`] at step 30 and then failed is as it was there, and goes on to the
    /// end of the undisturbed one.
    #[track_caller]
    pub(super) fn assert_goes_on(&self, run: &str) {
        let checkpoint = |run: &str| self.files(&format!("{run}/checkpoints/step-00000030"));
        assert_eq!(checkpoint(run), checkpoint("run"));
        self.whole_checkpoints(run);
        let outcome = self.train(run, &format!("{STOPPED} --resume"));
        assert_eq!(outcome.stderr, "");
        // Step 40 may have been saved and the end of its epoch not, or that too, and its pictures not.
        let resumed = ["resuming after step 30", "resuming after step 40", "this run is finished"];
        assert!(resumed.iter().any(|text| outcome.stdout.contains(text)), "{}", outcome.stdout);
        self.assert_ended_alike(run, "whole");
    }

    /// Starts a steady run and waits until it has saved something.
    fn start(&self, mut command: Command, run: &str) -> Child {
        command.args(train(&format!("{STEADY} --out {run}")));
        let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while !self.exists(&format!("{run}/checkpoints/step-00000005")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint yet");
            std::thread::sleep(Duration::from_millis(1));
        }
        running
    }

    /// Resumes a steady run that failed, to the end of one that did not.
    #[track_caller]
    pub(super) fn assert_steady(&self, run: &str) {
        assert!(self.whole_checkpoints(run) > 0);
        self.train(run, &format!("{STEADY} --resume"));
        self.train("steady", STEADY);
        self.assert_ended_alike(run, "steady");
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// A command for which permissions hold: of root's rights, the one to pass them over is taken away.
fn bound_by_permissions(place: &Place) -> Command {
    let without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    place.wrapped(if is_root() { without.as_slice() } else { &[] })
}

fn set_permissions(place: &Place, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(place.path(name), PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_may_not_grow_ends_the_run_which_resumes_later() {
    let place = Place::stopped();
    for name in [
        "metrics.jsonl",
        "model.safetensors",
        "checkpoints/step-00000040/training_state.safetensors",
    ] {
        place.copy("run", "again");
        // As many blocks of 512 bytes as the file does not fit into, or for the first one none; the
        // signal for it would end the process.
        let size = place.read(&format!("whole/{name}")).len();
        let blocks = if name == "metrics.jsonl" { 0 } else { (size - 1) / 512 };
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let mut command = place.wrapped(&["sh", "-c", &limit, "sh"]);
        command.args(train(&format!("{STOPPED} --quiet --resume --out again")));
        // Of `best` or of step 40, as the accuracies may be.
        let file = name.rsplit('/').next().unwrap();
        let says = format!("/{file}: cannot write the file: File too large");
        outcome(command).failed_saying(&["error: again/", &says]);
        place.assert_goes_on("again");
        std::fs::remove_dir_all(place.path("again")).unwrap();
    }
    // With no checkpoint yet, it begins anew.
    let mut command = place.wrapped(&["sh", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]);
    command.args(train(&format!("{STOPPED} --quiet --out again")));
    outcome(command)
        .failed_saying(&["again/checkpoints/step-00000010/training_state", "too large"]);
    assert_eq!(place.whole_checkpoints("again"), 0);
    place.train("again", &format!("{STOPPED} --resume"));
    place.assert_ended_alike("again", "whole");
}

#[test]
fn a_folder_made_unwritable_ends_the_run_with_its_name() {
    let place = Place::new();
    let running = place.start(bound_by_permissions(&place), "run");
    set_permissions(&place, "run/checkpoints", 0o555);
    let outcome = Outcome::from(running.wait_with_output().unwrap());
    outcome.failed_saying(&["error: run/checkpoints/", "cannot ", "Permission denied"]);
    // Nor can it be resumed before that is put right.
    let mut command = bound_by_permissions(&place);
    command.args(train(&format!("{STEADY} --resume --out run")));
    self::outcome(command).failed_saying(&["run/checkpoints/", "Permission denied"]);
    set_permissions(&place, "run/checkpoints", 0o755);
    place.assert_steady("run");
}

#[test]
fn a_run_in_a_folder_that_may_not_be_written_is_refused() {
    let place = Place::stopped();
    let before = place.files("run");
    set_permissions(&place, "run", 0o555);
    let mut command = bound_by_permissions(&place);
    command.args(train(&format!("{STOPPED} --quiet --resume --out run")));
    outcome(command).failed_saying(&["error: run/", "Permission denied"]);
    set_permissions(&place, "run", 0o755);
    assert_eq!(place.files("run"), before);
    place.copy("run", "again");
    place.assert_goes_on("again");
}

#[test]
fn a_run_moved_while_it_trains_ends_and_resumes_where_it_is() {
    let place = Place::new();
    let running = place.start(place.command(), "run");
    std::fs::rename(place.path("run"), place.path("elsewhere")).unwrap();
    let outcome = Outcome::from(running.wait_with_output().unwrap());
    // Between two files of a save, or between two saves.
    let reason = if outcome.stderr.contains("No such file or directory") {
        "error: run/"
    } else {
        "error: run: the folder was moved, removed or replaced"
    };
    outcome.failed_saying(&[reason]);
    assert!(!place.exists("run"));
    place.assert_steady("elsewhere");
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_that_is_always_full_is_no_place_for_a_run() {
    let place = Place::new();
    for out in ["/dev/full", "/dev/full/run"] {
        let command = format!("train {} --quiet --out {out}", crate::small(""));
        place.run(&command).failed_saying(&[out, "cannot create the folder"]);
    }
    // A link to it is replaced, as a file is.
    place.train("whole", "");
    place.copy("whole", "run");
    std::fs::remove_file(place.path("run/metrics.jsonl")).unwrap();
    std::os::unix::fs::symlink("/dev/full", place.path("run/metrics.jsonl")).unwrap();
    place.train("run", "--overwrite");
    place.assert_ended_alike("run", "whole");
}

#[test]
fn files_and_folders_of_a_run_have_the_modes_that_umask_says() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    for (umask, file, folder) in [("027", 0o640, 0o750), ("0", 0o666, 0o777)] {
        let script = format!("umask {umask} && exec \"$@\"");
        let mut command = place.wrapped(&["sh", "-c", &script, "sh"]);
        let run = format!("run-{umask}");
        command.args(train(&format!("--quiet --out {run}")));
        outcome(command).succeeded();
        let mut folders = vec![place.path(&run)];
        while let Some(path) = folders.pop() {
            let mode = |path: &std::path::Path| path.metadata().unwrap().mode() & 0o777;
            assert_eq!(mode(&path), folder, "{}", path.display());
            for entry in std::fs::read_dir(path).unwrap() {
                match entry.unwrap().path() {
                    path if path.is_dir() => folders.push(path),
                    path => assert_eq!(mode(&path), file, "{}", path.display()),
                }
            }
        }
    }
}
