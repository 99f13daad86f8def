//! Images told by `predict`.

use std::sync::LazyLock;

use candle_rnn::data::mnist::Mnist;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Luma};
use serde_json::Value;

use crate::{Outcome, Place};

/// The digits of the sample.
static SAMPLE: LazyLock<Mnist> = LazyLock::new(|| Mnist::sample().unwrap());

impl Outcome {
    fn predictions(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn digit(index: usize) -> GrayImage {
    GrayImage::from_raw(28, 28, SAMPLE.test.image(index).to_vec()).unwrap()
}

fn save(place: &Place, name: &str, picture: impl Into<DynamicImage>) {
    picture.into().save(place.path(name)).unwrap();
}

fn probabilities(prediction: &Value) -> Vec<f64> {
    let list = prediction["probabilities"].as_array().unwrap();
    list.iter().map(|p| p.as_f64().unwrap()).collect()
}

#[test]
fn json_is_one_object_an_image_with_ten_probabilities() {
    let place = Place::new();
    place.train("run", "");
    save(&place, "three.png", digit(18));
    let outcome = place.run("predict run test:17 three.png test:0 --json").succeeded();
    assert_eq!(outcome.stderr, "");
    let predictions = outcome.predictions();
    let inputs: Vec<&Value> = predictions.iter().map(|p| &p["input"]).collect();
    assert_eq!(inputs, ["test:17", "three.png", "test:0"]);
    for prediction in &predictions {
        let keys: Vec<&String> = prediction.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["input", "label", "probabilities"]);
        let probabilities = probabilities(prediction);
        assert_eq!(probabilities.len(), 10);
        assert!((probabilities.iter().sum::<f64>() - 1.).abs() < 1e-6);
        let largest = probabilities.iter().copied().fold(0., f64::max);
        assert_eq!(probabilities[prediction["label"].as_u64().unwrap() as usize], largest);
    }
}

#[test]
fn steps_are_lists_of_probabilities_that_end_in_the_prediction() {
    let place = Place::new();
    place.train("run", "");
    let predictions =
        place.run("predict run test:3 test:4 --steps --json").succeeded().predictions();
    for prediction in &predictions {
        let steps = prediction["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 28);
        for step in steps {
            let sum: f64 = step.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum();
            assert!((sum - 1.).abs() < 1e-6);
        }
        let last: Vec<f64> =
            steps[27].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
        for (a, b) in last.iter().zip(probabilities(prediction)) {
            // The same logits, perhaps from a product of another size.
            assert!((a - b).abs() <= 1e-5, "{a} {b}");
        }
    }
    let text = place.run("predict run test:3 --steps").succeeded().stdout;
    assert_eq!(text.lines().count(), 29, "{text}");
}

#[test]
fn a_picture_of_a_test_image_gives_the_bits_of_that_image() {
    let place = Place::new();
    place.train("run", "");
    for index in [0, 17, 60] {
        save(&place, "digit.png", digit(index));
        // One at a time: the last bits may depend on how many are looked at together.
        let file = place.run("predict run digit.png --json").succeeded().predictions();
        let known =
            place.run(&format!("predict run test:{index} --json")).succeeded().predictions();
        assert_eq!(probabilities(&file[0]), probabilities(&known[0]), "{index}");
    }
}

#[test]
fn known_digits_are_told_in_any_size_polarity_and_format() {
    let place = Place::new();
    let learn =
        "train --data sample --hidden 64 --epochs 8 --batch-size 40 --lr 2e-3 --init orthogonal";
    place.run(&format!("{learn} --out run --quiet")).succeeded();
    let mut names = Vec::new();
    for index in 0..25 {
        let original = digit(index);
        let scaled = |side| imageops::resize(&original, side, side, FilterType::CatmullRom);
        // On white paper, larger than the digit, and not in its middle.
        let mut page = GrayImage::from_pixel(250, 200, Luma([250]));
        for (x, y, pixel) in scaled(112).enumerate_pixels() {
            page.put_pixel(x + 10, y + 80, Luma([250 - (u32::from(pixel.0[0]) * 240 / 255) as u8]));
        }
        let mut inverted = scaled(84);
        imageops::invert(&mut inverted);
        let colours = DynamicImage::ImageLuma8(page.clone()).to_rgb8();
        for (name, picture) in [
            ("exact.png", DynamicImage::from(original.clone())),
            ("large.png", scaled(140).into()),
            ("inverted.png", inverted.into()),
            ("page.png", page.into()),
            ("photo.jpg", colours.into()),
        ] {
            let name = format!("{index}-{name}");
            save(&place, &name, picture);
            names.push((index, name));
        }
    }
    let files = names.iter().map(|(_, name)| name.as_str());
    let args = ["predict", "run", "--json"].into_iter().chain(files);
    let predictions = place.run_args(args).succeeded().predictions();
    let mut right = std::collections::BTreeMap::<&str, usize>::new();
    for ((index, name), prediction) in names.iter().zip(&predictions) {
        let correct = prediction["label"] == SAMPLE.test.labels()[*index];
        *right.entry(name.split_once('-').unwrap().1).or_default() += usize::from(correct);
    }
    // By chance it would be 2 or 3 of 25.
    assert_eq!(right.len(), 5);
    assert!(right.values().all(|count| *count >= 19), "{right:?}");
    assert!(right.values().all(|count| count.abs_diff(right["exact.png"]) <= 3), "{right:?}");
}

#[test]
fn a_picture_of_two_digits_is_told_with_a_warning() {
    let place = Place::new();
    place.train("run", "");
    let two =
        GrayImage::from_fn(56, 28, |x, y| *digit(if x < 28 { 3 } else { 4 }).get_pixel(x % 28, y));
    save(&place, "two.png", imageops::resize(&two, 560, 280, FilterType::CatmullRom));
    save(&place, "one.png", imageops::resize(&digit(3), 280, 280, FilterType::CatmullRom));
    let reason = "the picture shows several shapes, and the largest was read";
    let outcome = place.run("predict run one.png two.png --json").succeeded();
    assert_eq!(outcome.stderr, format!("warning: two.png: {reason}\n"));
    let predictions = outcome.predictions();
    assert!(predictions[0].get("warning").is_none(), "{}", predictions[0]);
    assert_eq!(predictions[1]["warning"], reason);
    let outcome = place.run("predict run two.png").succeeded();
    assert_eq!(outcome.stderr, format!("warning: two.png: {reason}\n"));
    assert_eq!(outcome.stdout.lines().count(), 1);
}

#[test]
fn text_names_the_image_the_digit_and_the_known_label() {
    let place = Place::new();
    place.train("run", "");
    let text = place.run("predict run test:17").succeeded().stdout;
    assert!(text.starts_with("test:17: ") && text.ends_with("; its label is 7\n"), "{text}");
}

#[test]
fn files_that_are_no_images_are_refused_and_nothing_is_told() {
    let place = Place::new();
    place.train("run", "");
    save(&place, "good.png", digit(0));
    let whole = place.read("good.png");
    place.write("empty.png", "");
    place.write("text.png", "a text, not a picture");
    place.write("cut.png", &whole[..whole.len() / 2]);
    place.write("header.png", &whole[..20]);
    // A PNG of 2^31 - 1 x 2^31 - 1 pixels.
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    place.write("huge.png", &huge);
    std::fs::create_dir(place.path("folder.png")).unwrap();
    save(&place, "white.png", GrayImage::from_pixel(40, 40, Luma([255])));
    for (name, reason) in [
        ("empty.png", "is empty"),
        ("text.png", "not a PNG or JPEG image"),
        ("cut.png", "not a PNG or JPEG image"),
        ("header.png", "not a PNG or JPEG image"),
        ("huge.png", "not a PNG or JPEG image"),
        ("folder.png", "cannot read the file"),
        ("missing.png", "cannot read the file"),
        ("white.png", "shows no digit"),
    ] {
        place.run(&format!("predict run good.png {name} --json")).failed_saying(&[name, reason]);
        place.run(&format!("predict run {name}")).failed_saying(&[name, reason]);
    }
    place.run("predict run test:500").failed_saying(&["test:500", "test:0 to test:499"]);
}
