//! What is not this run's: other settings and data, checkpoints of other runs, files of other programs. None of
//! it is gone on from, nor lost.

use candle_rnn::data::idx::{images_header, labels_header};
use candle_rnn::data::mnist::{Mnist, Split};

use crate::Place;

impl Place {
    /// Writes a data set of the first images of the sample into the folder `name`.
    pub(super) fn write_images(&self, name: &str, count: usize) {
        std::fs::create_dir(self.path(name)).unwrap();
        let sample = Mnist::sample().unwrap();
        let write = |split: &Split, count: usize, part: &str| {
            let images = [&images_header(count as u32, 28, 28)[..], &split.pixels()[..count * 784]];
            let labels = [&labels_header(count as u32)[..], &split.labels()[..count]];
            self.write(&format!("{name}/{part}-images-idx3-ubyte"), images.concat());
            self.write(&format!("{name}/{part}-labels-idx1-ubyte"), labels.concat());
        };
        write(&sample.train, count, "train");
        write(&sample.test, 50, "t10k");
    }

    /// Goes on with `run`, in vain: nothing there may change.
    #[track_caller]
    fn cannot_resume(&self, run: &str, flags: &str, expected: &[&str]) {
        let before = self.files(run);
        let args = format!("train {flags} --out {run} --resume");
        self.run(&args).failed_saying(expected);
        assert_eq!(self.files(run), before);
    }
}

#[test]
fn resuming_with_other_settings_or_data_names_what_differs() {
    let place = Place::new();
    place.train("run", "");
    for (other, named) in [
        ("--hidden 13", "model.hidden_size: the run has 12, this command 13"),
        ("--seed 1", "training.seed"),
        ("--epochs 3 --schedule cosine", "training.schedule"),
        ("--batching split", "training.batching"),
        ("--validation stratified", "training.validation"),
        ("--lr 0.01", "training.learning_rate"),
        ("--cell relu", "model.cell"),
    ] {
        place.cannot_resume("run", &crate::small(other), &["run: cannot resume", named]);
    }
    // The same settings, and an image less.
    place.write_images("images", 300);
    place.write_images("fewer", 299);
    let args = |data: &str| crate::small(&format!("--data {data}"));
    place.train("of-files", &args("images"));
    let expected = ["of-files: cannot resume", "data.sha256: the run has "];
    place.cannot_resume("of-files", &args("fewer"), &expected);
}

#[test]
fn a_folder_with_files_that_a_run_would_replace_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.path("mine")).unwrap();
    for name in ["README.md", "train.toml", "model.safetensors", "config.json", "checkpoints/mine"]
    {
        std::fs::create_dir_all(place.path("mine/checkpoints")).unwrap();
        place.write(&format!("mine/{name}"), "precious");
        let args = format!("train {} --out mine", crate::small(""));
        for how in ["", " --resume", " --overwrite"] {
            let expected = match (name, how) {
                ("config.json", " --resume") => "mine/config.json: not a run's configuration",
                _ => "mine: the folder is not a run and holds ",
            };
            place.run(&format!("{args}{how}")).failed_saying(&[expected, "not a run"]);
        }
        assert_eq!(place.text(&format!("mine/{name}")), "precious");
        std::fs::remove_dir_all(place.path("mine")).unwrap();
        std::fs::create_dir(place.path("mine")).unwrap();
    }
    place.train("run", "");
    let before = place.files("run");
    let inside = format!("train {} --out run/checkpoints/best --resume", crate::small(""));
    place.run(&inside).failed_saying(&[
        "run/checkpoints/best: the folder is not a run and holds model.safetensors",
    ]);
    assert_eq!(place.files("run"), before);
}

#[test]
fn a_checkpoint_of_another_run_is_not_gone_on_from() {
    let place = Place::new();
    let seed = |seed: u32| format!("--epochs 4 --save-every 10 --keep 9 --seed {seed}");
    place.train("one", &seed(1));
    place.train("two", &seed(2));
    place.copy("one", "whole");
    place.forget_after("one", 20);
    // Beside checkpoints of its own: passed over, and the difference said.
    place.copy("two/checkpoints/step-00000040", "one/checkpoints/step-00000040");
    place.copy("one", "only-others");
    let outcome = place.train("one", &format!("{} --resume", seed(1)));
    let reason =
        "skipped: one/checkpoints/step-00000040: belongs to a run with other settings or data: \
                  training.seed: the checkpoint has 2, the run 1";
    assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("resuming after step 20"), "{}", outcome.stdout);
    place.assert_ended_alike("one", "whole");
    // Alone.
    std::fs::remove_dir_all(place.path("only-others/checkpoints")).unwrap();
    place.copy("two/checkpoints/best", "only-others/checkpoints/best");
    let expected = ["only-others/checkpoints: no valid checkpoint", "training.seed"];
    place.cannot_resume("only-others", &crate::small(&seed(1)), &expected);
}

#[test]
fn a_changed_configuration_is_told_from_its_checkpoints() {
    let place = Place::new();
    place.train("run", "--epochs 3 --schedule cosine");
    let config = place.text("run/config.json");
    for (from, to) in [
        ("\"learning_rate\": 0.001", "\"learning_rate\": 0.009"),
        ("\"epochs\": 3", "\"epochs\": 4"),
        ("\"seed\": 42", "\"seed\": 43"),
    ] {
        let changed = config.replace(from, to);
        assert_ne!(changed, config);
        place.write("run/config.json", changed);
        let name = format!("training.{}", from.split('"').nth(1).unwrap());
        place.cannot_resume("run", "", &["run/checkpoints: no valid checkpoint", &name]);
    }
    place.write("run/config.json", &config[..100]);
    place.run("train --out run --resume").failed_saying(&["run/config.json: not a run's"]);
    // That is still a run's, which may be replaced.
    place.train("run", "--overwrite");
}

#[test]
fn a_trained_model_without_checkpoints_is_not_trained_anew() {
    let place = Place::new();
    place.train("run", "");
    let expected = ["run: has a trained model but no checkpoint to resume from", "--overwrite"];
    place.copy("run", "emptied");
    for name in ["best", "step-00000010", "step-00000020"] {
        std::fs::remove_dir_all(place.path("emptied/checkpoints").join(name)).unwrap();
    }
    place.cannot_resume(
        "emptied",
        &crate::small(""),
        &[&expected[0].replace("run:", "emptied:"), expected[1]],
    );
    std::fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    place.cannot_resume("run", &crate::small(""), &expected);
    place.train("run", "--overwrite");
}

#[test]
fn what_looks_like_a_checkpoint_and_is_none_is_passed_over() {
    let place = Place::stopped();
    place.write("run/checkpoints/step-00000099", "a file");
    std::fs::create_dir_all(place.path("run/checkpoints/step-00000098/SHA256SUMS")).unwrap();
    let outcome = place.train("run", &format!("{} --resume", crate::STOPPED));
    for name in ["step-00000098", "step-00000099"] {
        let passed_over = format!("skipped: run/checkpoints/{name}");
        assert!(outcome.stderr.contains(&passed_over), "{}", outcome.stderr);
    }
    assert_eq!(place.read("run/model.safetensors"), place.read("whole/model.safetensors"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_is_not_removed_for_one_that_cannot_be_written() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    place.train("run", "");
    place.write_images("data", 300);
    let folder = OsStr::from_bytes(b"no-text-\xff");
    std::fs::rename(place.path("data"), place.0.path().join(folder)).unwrap();
    let before = place.files("run");
    let args = format!("train {} --out run --overwrite --data", crate::small(""));
    let args = args.split_whitespace().filter(|arg| *arg != "sample").map(OsString::from);
    let mut args: Vec<OsString> = args.collect();
    args.remove(args.iter().position(|arg| arg == "--data").unwrap());
    args.push(folder.into());
    place.run_args(args).failed_saying(&["run/config.json", "UTF-8"]);
    assert_eq!(place.files("run"), before);
}
