//! Checkpoints whose files have changed since they were written: no bit of them goes unnoticed.

use std::path::Path;

use candle_rnn::run::Checkpoint;
use candle_rnn::run::{self, RunConfig};
use candle_rnn::Error;

use crate::{Place, STOPPED};

const FILES: [&str; 4] =
    ["SHA256SUMS", "model.safetensors", "trainer_state.json", "training_state.safetensors"];
const CHECKPOINT: &str = "run/checkpoints/step-00000030";

fn load(folder: &Path, config: &RunConfig) -> Result<Checkpoint, Error> {
    Checkpoint::load(folder, config)
}

/// Loading says that a file of the checkpoint is damaged, and not what a parser made of it.
#[track_caller]
fn refused(folder: &Path, config: &RunConfig, damage: &str) {
    let error = match load(folder, config) {
        Err(error @ Error::Checkpoint { .. }) => error.to_string(),
        other => panic!("{damage}: {other:?}"),
    };
    let names_a_file = FILES.iter().any(|file| error.contains(&format!("step-00000030/{file}: ")));
    assert!(names_a_file && error.contains(": damaged: "), "{damage}: {error}");
}

/// Calls `check` with the checkpoint of a run, its configuration, and each of the files.
fn for_each_file(check: impl Fn(&Path, &RunConfig, &str, &[u8])) {
    let place = Place::stopped();
    let (folder, config) = (place.path(CHECKPOINT), run::read_config(&place.path("run")).unwrap());
    for file in FILES {
        let whole = std::fs::read(folder.join(file)).unwrap();
        check(&folder, &config, file, &whole);
        std::fs::write(folder.join(file), &whole).unwrap();
        load(&folder, &config).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_noticed_before_parsing() {
    for_each_file(|folder, config, file, whole| {
        for offset in 0..whole.len() {
            let mut damaged = whole.to_vec();
            // Each bit has its turn, from one byte to the next.
            damaged[offset] ^= 1 << (offset % 8);
            std::fs::write(folder.join(file), damaged).unwrap();
            refused(folder, config, &format!("{file}, byte {offset}"));
        }
    });
}

#[test]
fn a_file_of_a_checkpoint_of_any_other_length_is_noticed() {
    for_each_file(|folder, config, file, whole| {
        for length in 0..whole.len() {
            std::fs::write(folder.join(file), &whole[..length]).unwrap();
            refused(folder, config, &format!("{file}, {length} bytes"));
        }
        std::fs::write(folder.join(file), [whole, b"\0"].concat()).unwrap();
        refused(folder, config, &format!("{file}, a byte longer"));
    });
}

#[test]
fn a_checkpoint_that_lacks_a_file_is_not_whole() {
    for_each_file(|folder, config, file, _| {
        std::fs::remove_file(folder.join(file)).unwrap();
        let error = load(folder, config).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
        let expected = format!("step-00000030/{file}: no such file");
        assert!(error.to_string().contains(&expected), "{error}");
    });
}

#[test]
fn weights_of_another_checkpoint_are_noticed_though_valid() {
    let place = Place::stopped();
    let of_step_40 = place.read("whole/checkpoints/step-00000040/model.safetensors");
    place.write(&format!("{CHECKPOINT}/model.safetensors"), of_step_40);
    let config = run::read_config(&place.path("run")).unwrap();
    refused(&place.path(CHECKPOINT), &config, "model.safetensors of step 40");
}

#[test]
fn the_checkpoint_before_a_damaged_one_gives_the_same_bits() {
    let place = Place::stopped();
    let checkpoint = "whole/checkpoints/step-00000040";
    for file in FILES {
        let whole = place.read(&format!("{checkpoint}/{file}"));
        for offset in [0, whole.len() - 1] {
            let _ = std::fs::remove_dir_all(place.path("again"));
            place.copy("run", "again");
            place.copy(checkpoint, "again/checkpoints/step-00000040");
            let mut damaged = whole.clone();
            damaged[offset] ^= 1;
            place.write(&format!("again/checkpoints/step-00000040/{file}"), damaged);
            let outcome = place.train("again", &format!("{STOPPED} --resume"));
            let passed_over = "skipped: again/checkpoints/step-00000040/";
            assert!(outcome.stderr.contains(passed_over), "{}", outcome.stderr);
            assert!(outcome.stdout.contains("resuming after step 30"), "{}", outcome.stdout);
            place.assert_ended_alike("again", "whole");
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_not_measured_nor_shown() {
    let place = Place::new();
    place.train("run", "");
    place.run("eval run/checkpoints/best").succeeded();
    let model = "run/checkpoints/best/model.safetensors";
    let mut damaged = place.read(model);
    *damaged.last_mut().unwrap() ^= 1;
    place.write(model, damaged);
    for command in ["eval", "info", "predict"] {
        let image = if command == "predict" { " test:0" } else { "" };
        place
            .run(&format!("{command} run/checkpoints/best{image}"))
            .failed_saying(&["run/checkpoints/best/model.safetensors: damaged: "]);
    }
}
