//! `info` and `data`.

use candle_rnn::data::mnist::Mnist;

use crate::Place;

#[test]
fn info_shows_configuration_parameters_and_history() {
    let place = Place::new();
    place.train("run", "");
    let text = place.run("info run").succeeded().stdout;
    for expected in ["training.seed", "rnn.weight_hh_l0", "[12, 12]", "f32", "622 values in all"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("acc_valid")).count(), 2, "{text}");
    let found = place.run("info run --json").succeeded().json();
    let config: serde_json::Value = serde_json::from_str(&place.text("run/config.json")).unwrap();
    assert_eq!(found["config"], config);
    assert_eq!(*found["history"].as_array().unwrap(), place.metrics("run"));
    let parameters = found["parameters"].as_array().unwrap();
    let expected = serde_json::json!(
        { "name": "rnn.weight_ih_l0", "shape": [12, 28], "dtype": "f32" }
    );
    assert!(parameters.len() == 5 && parameters.contains(&expected), "{parameters:?}");
    // A checkpoint has the run's configuration and no history; a run without its history is not whole.
    let best = place.run("info run/checkpoints/best --json").succeeded().json();
    assert_eq!((&best["config"], best["history"].as_array().unwrap().len()), (&config, 0));
    let file = place.run("info run/model.safetensors --json").succeeded().json();
    assert_eq!(file["parameters"], found["parameters"]);
    let text = place.run("info run/model.safetensors").succeeded().stdout;
    assert!(text.contains("rnn.weight_hh_l0"), "{text}");
    // A checkpoint's files are safetensors files as well.
    let state = "run/checkpoints/step-00000020/training_state.safetensors";
    let text = place.run(&format!("info {state}")).succeeded().stdout;
    assert!(text.contains("adam.m.rnn.weight_hh_l0"), "{text}");
    std::fs::remove_file(place.path("run/metrics.jsonl")).unwrap();
    place.run("info run").failed_saying(&["metrics.jsonl"]);
}

#[test]
fn data_prints_the_shapes_of_the_splits_and_draws_digits_row_by_row() {
    let place = Place::new();
    let outcome = place.run("data --data sample --show 1").succeeded();
    assert_eq!(outcome.stderr, "");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "train  images (1600, 28, 28) u8  labels (1600,) u8",
            "valid  images (400, 28, 28) u8  labels (400,) u8",
            "test   images (500, 28, 28) u8  labels (500,) u8",
        ]
    );
    let steps: Vec<&&str> = lines.iter().filter(|line| line.starts_with("step ")).collect();
    assert_eq!(steps.len(), 28);
    let train = Mnist::sample().unwrap().train;
    for (step, pixels) in steps.iter().zip(train.image(0).chunks(28)) {
        let inked = pixels.iter().any(|pixel| *pixel > 51);
        assert_eq!(step.contains(['░', '▒', '▓', '█']), inked, "{step}");
    }
    let three = place.run("data --data sample --show 3").succeeded().stdout;
    assert_eq!(three.lines().filter(|line| line.starts_with("step ")).count(), 84);
    assert_eq!(place.run("data --data sample").succeeded().stdout.lines().count(), 3);
}
