//! How an epoch is cut into batches, and which images validate.

use std::path::Path;

use candle_rnn::data::idx::{images_header, labels_header};
use candle_rnn::data::mnist::{Mnist, FILES};
use serde_json::Value;

use crate::Place;

impl Place {
    fn config(&self, run: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{run}/config.json"))).unwrap()
    }

    /// Has a run forget settings, as if it were from before there were such.
    fn forget_settings(&self, run: &str, checkpoint: &str, names: &[&str]) {
        let forget = |training: &mut Value| {
            for name in names {
                assert!(training.as_object_mut().unwrap().remove(*name).is_some(), "{name}");
            }
        };
        let mut config = self.config(run);
        forget(&mut config["training"]);
        self.write(&format!("{run}/config.json"), serde_json::to_vec(&config).unwrap());
        self.change_state(&format!("{run}/checkpoints/{checkpoint}"), |state| {
            forget(&mut state["config"]["training"]);
        });
    }

    /// A folder of IDX files of 500 training images of the sample, sorted by class, and 50 test images.
    fn write_sorted(&self, folder: &str) {
        let sample = Mnist::sample().unwrap();
        std::fs::create_dir_all(self.path(folder)).unwrap();
        for (split, count, part) in [(&sample.train, 500, "train"), (&sample.test, 50, "t10k")] {
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_key(|index| split.labels()[*index]);
            let mut images = images_header(count as u32, 28, 28);
            let mut labels = labels_header(count as u32);
            for index in order {
                images.extend(split.image(index));
                labels.push(split.labels()[index]);
            }
            self.write(&format!("{folder}/{part}-images-idx3-ubyte"), images);
            self.write(&format!("{folder}/{part}-labels-idx1-ubyte"), labels);
        }
    }
}

#[test]
fn batches_exceed_the_size_asked_for_only_where_split_is() {
    let place = Place::new();
    for (flags, batches, batching) in [
        ("--batch-size 900", 2, "exact"),
        ("--batch-size 900 --batching split", 1, "split"),
        ("--batch-size 150", 11, "exact"),
        ("--batch-size 150 --batching split", 10, "split"),
        ("--batch-size 75 --accumulate 2", 11, "exact"),
        ("--batch-size 160", 10, "exact"),
    ] {
        let outcome = place.train("run", &format!("{flags} --epochs 1 --overwrite"));
        let said = format!("epochs 1, batches {batches} each");
        assert!(outcome.stdout.contains(&said), "{flags}: {}", outcome.stdout);
        assert_eq!(place.config("run")["training"]["batching"], batching, "{flags}");
        assert!(place.text("run/train.toml").contains(&format!("batching = \"{batching}\"")));
    }
    let help = place.run("train --help").succeeded().stdout;
    assert!(help.contains("--batching") && help.contains("366 batches of 150 and 151"), "{help}");
}

#[test]
fn a_run_from_before_there_was_batching_goes_on_with_split() {
    let place = Place::new();
    let args = "--epochs 4 --batch-size 150 --save-every 10";
    place.train("whole", &format!("{args} --batching split"));
    place.copy("whole", "run");
    place.forget_after("run", 30);
    place.forget_settings("run", "step-00000030", &["batching", "validation"]);
    place.train("run", &format!("{args} --resume"));
    place.assert_ended_alike("run", "whole");
    let outcome = place.run("train --out whole --resume --batching exact");
    outcome.failed_saying(&["training.batching"]);
}

#[test]
fn a_folder_sorted_by_class_validates_on_every_class() {
    let place = Place::new();
    place.write_sorted("data");
    let args = "--data data --epochs 3 --batch-size 64 --save-every 5 --keep 9";
    place.train("whole", args);
    assert_eq!(place.config("whole")["training"]["validation"], "stratified");
    // The same images, however it is come to.
    place.copy("whole", "run");
    place.forget_after("run", 10);
    place.train("run", &format!("{args} --resume --threads 1"));
    place.assert_ended_alike("run", "whole");
    let last = place.metrics("whole").pop().unwrap();
    let found = place.run("eval whole --split valid --json").succeeded().json();
    assert_eq!((&found["examples"], &found["loss"]), (&100.into(), &last["valid_loss"]));
    // Another seed has others, and the data are the same.
    place.train("seeded", &format!("{args} --seed 7"));
    let sha256 = |run: &str| place.config(run)["data"]["sha256"].clone();
    assert_eq!(sha256("seeded"), sha256("whole"));
    let last = place.metrics("seeded").pop().unwrap();
    let found = place.run("eval seeded --split valid --json").succeeded().json();
    assert_eq!(found["loss"], last["valid_loss"]);
    // Images of the first two classes alone are what the head of the file has.
    place.train("first", &format!("{args} --validation first"));
    let (first, drawn) = (place.metrics("first"), place.metrics("whole"));
    assert_ne!(first[0]["valid_loss"], drawn[0]["valid_loss"]);
    let card = |run: &str| place.text(&format!("{run}/README.md"));
    assert!(card("whole").contains("drawn with seed 42"), "{}", card("whole"));
    assert!(card("first").contains("the first 100 of the training file"), "{}", card("first"));
}

#[test]
fn an_older_run_keeps_the_validation_images_that_it_had() {
    let place = Place::new();
    place.write_sorted("data");
    let args = "--data data --epochs 3 --batch-size 64 --save-every 5 --keep 9";
    place.train("whole", &format!("{args} --batching split --validation first"));
    place.copy("whole", "run");
    place.forget_after("run", 10);
    for step in [5, 10] {
        let checkpoint = format!("step-{step:08}");
        place.write("run/config.json", place.read("whole/config.json"));
        place.forget_settings("run", &checkpoint, &["batching", "validation"]);
    }
    place.train("run", &format!("{args} --resume"));
    place.assert_ended_alike("run", "whole");
}

#[test]
fn files_are_found_as_archives_and_torchvision_leave_them() {
    let place = Place::new();
    place.write_sorted("data");
    let shapes = place.run("data --data data").succeeded().stdout;
    let fill = |folder: &str, name: &dyn Fn(&str) -> String| {
        for file in FILES {
            let to = place.path(folder).join(name(file));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(place.path("data").join(file), to).unwrap();
        }
    };
    fill("dots", &|file| file.replace("-idx", ".idx"));
    fill("torchvision", &|file| format!("MNIST/raw/{file}"));
    fill("MNIST", &|file| format!("raw/{file}"));
    fill("nested", &|file| format!("{file}/{file}"));
    for folder in ["dots", "torchvision", "MNIST", "nested"] {
        assert_eq!(place.run(&format!("data --data {folder}")).succeeded().stdout, shapes);
    }
    std::fs::create_dir(place.path("other")).unwrap();
    place.write("other/cat.png", "");
    place.run("data --data other").failed_saying(&[
        "other",
        "train-images-idx3-ubyte and train-images.idx3-ubyte",
        ".gz",
        "MNIST/raw",
        "the folder holds cat.png",
    ]);
    assert!(Path::new(&place.path("other/cat.png")).exists());
}
