//! Runs that are trained on when they are finished, and runs that end early.

use crate::Place;

impl Place {
    fn rates(&self, run: &str) -> Vec<f64> {
        self.metrics(run).iter().map(|m| m["learning_rate"].as_f64().unwrap()).collect()
    }
}

#[test]
fn a_finished_run_trains_on_to_the_bits_of_a_longer_one() {
    let place = Place::new();
    let plateau = "--schedule plateau --lr 0.02 --ema 0.9 --dropout 0.1 --shift 1 --save-every 7 \
                   --batch-size 150 --accumulate 2 --patience 9";
    for (number, flags) in ["", plateau].into_iter().enumerate() {
        let (whole, run) = (format!("whole-{number}"), format!("run-{number}"));
        place.train(&whole, &format!("{flags} --epochs 5"));
        place.train(&run, &format!("{flags} --epochs 2"));
        let outcome = place.run(&format!("train --out {run} --resume --epochs 5")).succeeded();
        assert!(outcome.stdout.contains("resuming after step"), "{}", outcome.stdout);
        place.assert_ended_alike(&run, &whole);
        for file in ["README.md", "config.json", "train.toml"] {
            assert_eq!(
                place.text(&format!("{run}/{file}")),
                place.text(&format!("{whole}/{file}"))
            );
        }
        // From an interruption too.
        let interrupted = format!("interrupted-{number}");
        place.copy(&run, &interrupted);
        place.forget_after(&interrupted, place.step_of(&newest(&place, &run)) - 1);
        place.run(&format!("train --out {interrupted} --resume")).succeeded();
        place.assert_ended_alike(&interrupted, &whole);
    }
}

/// The newest checkpoint of a run.
fn newest(place: &Place, run: &str) -> String {
    let entries = std::fs::read_dir(place.path(&format!("{run}/checkpoints"))).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let newest = names.filter(|name| name.starts_with("step-")).max().unwrap();
    format!("{run}/checkpoints/{newest}")
}

#[test]
fn a_finished_run_asked_for_no_more_epochs_stays_as_it_is() {
    let place = Place::new();
    for (run, schedule) in [("constant", ""), ("cosine", "--schedule cosine")] {
        place.train(run, &format!("{schedule} --epochs 3"));
        let before = place.files(run);
        for more in ["", "--epochs 3", "--epochs 1", "--epochs 2 --extend"] {
            let outcome = place.run(&format!("train --out {run} --resume {more}")).succeeded();
            let said = "this run is finished: 3 epochs are done";
            assert!(outcome.stdout.contains(said), "{}", outcome.stdout);
            assert_eq!(place.files(run), before, "{run} {more}");
        }
    }
    place.run("train --data sample --out new --extend").misused();
    place.run("train --data sample --out constant --overwrite --extend").misused();
}

#[test]
fn a_schedule_that_knows_its_end_goes_on_only_when_extended() {
    let place = Place::new();
    let args = "--save-every 5 --keep 9 --dropout 0.1 --lr 0.01";
    for schedule in ["one-cycle", "cosine", "step"] {
        let run = schedule;
        place.train(run, &format!("{args} --epochs 3 --schedule {schedule}"));
        let before = place.files(run);
        let first = place.metrics(run);
        place
            .run(&format!("train --out {run} --resume --epochs 5"))
            .failed_saying(&[run, schedule, "--extend", "5 epochs"]);
        assert_eq!(place.files(run), before);
        place.run(&format!("train --out {run} --resume --epochs 5 --extend")).succeeded();
        assert_eq!(place.metrics(run)[..3], first);
        let rates = place.rates(run);
        assert_eq!(rates.len(), 5);
        // It begins at its peak again and ends where it ended before.
        assert!(rates[3] > rates[2], "{rates:?}");
        assert!((rates[4] - rates[2]).abs() <= 1e-2 * 0.01 || schedule == "step", "{rates:?}");
        let card = place.text(&format!("{run}/README.md"));
        assert!(card.contains("last of 5 epochs"), "{card}");
        // Interrupted behind the restart, and before it.
        for step in [40, 25] {
            let part = format!("{run}-{step}");
            place.copy(run, &part);
            place.forget_after(&part, step);
            let outcome = place.run(&format!("train --out {part} --resume")).succeeded();
            assert!(outcome.stdout.contains("resuming after step"), "{}", outcome.stdout);
            place.assert_ended_alike(&part, run);
        }
        // Its settings train it again in one go.
        let again = format!("{run}-again");
        place.run(&format!("train --config {run}/train.toml --out {again}")).succeeded();
        place.assert_ended_alike(&again, run);
    }
    // Not before it is finished.
    place.forget_after("cosine-40", 45);
    place
        .run("train --out cosine-40 --resume --extend --epochs 9")
        .failed_saying(&["epochs", "finish the run"]);
}

/// A training whose validation loss soon no longer falls.
const IMPATIENT: &str = "--epochs 60 --lr 0.02 --hidden 40";

#[test]
fn a_run_that_ends_early_keeps_the_best_weights_and_says_so() {
    let place = Place::new();
    let outcome = place.train("run", &format!("{IMPATIENT} --patience 3"));
    let metrics = place.metrics("run");
    let accuracies: Vec<f64> =
        metrics.iter().map(|m| m["valid_accuracy"].as_f64().unwrap()).collect();
    let best = accuracies.iter().copied().fold(0., f64::max);
    let epoch = accuracies.iter().position(|accuracy| *accuracy == best).unwrap() + 1;
    assert!(epoch < metrics.len() && metrics.len() < 60, "{accuracies:?}");
    let said = format!(
        "best epoch: {epoch} (validation accuracy {best:.4}), kept; stopped early after epoch {}: no lower validation loss for 3 epochs\n",
        metrics.len()
    );
    assert!(outcome.stdout.contains(&said), "{said}: {}", outcome.stdout);
    assert_eq!(
        place.read("run/model.safetensors"),
        place.read("run/checkpoints/best/model.safetensors")
    );
    let found = place.run("eval run --split valid --json").succeeded().json();
    assert_eq!(found["accuracy"].as_f64(), Some(best));
    let state = place.text(&format!("{}/trainer_state.json", newest(&place, "run")));
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["kept_epoch"], epoch);
    let card = place.text("run/README.md");
    assert!(card.contains(&format!("`model.safetensors` holds epoch {epoch}:")), "{card}");
    // Opened again it is the same, whatever became of the model.
    place.write("run/model.safetensors", "");
    let outcome = place.run("train --out run --resume").succeeded();
    assert!(outcome.stdout.contains("early stopping ended it after epoch"), "{}", outcome.stdout);
    assert_eq!(
        place.read("run/model.safetensors"),
        place.read("run/checkpoints/best/model.safetensors")
    );
}

#[test]
fn a_run_that_ended_early_goes_on_with_more_patience() {
    let place = Place::new();
    place.train("whole", &format!("{IMPATIENT} --patience 5"));
    place.train("run", &format!("{IMPATIENT} --patience 3"));
    assert!(place.metrics("run").len() < place.metrics("whole").len());
    place.run("train --out run --resume --patience 5").succeeded();
    place.assert_ended_alike("run", "whole");
    place
        .run("train --out run --resume --patience 2")
        .failed_saying(&["patience: the run has 5, this command 2", "raised"]);
}

#[test]
fn best_weights_that_cannot_be_read_are_said_to_be_missing() {
    let place = Place::new();
    let args = format!("{IMPATIENT} --patience 3 --save-every 10");
    place.train("run", &args);
    let last = place.step_of(&newest(&place, "run"));
    let best = place.step_of("run/checkpoints/best");
    assert!(best < last, "{best} {last}");
    place.write("run/checkpoints/best/model.safetensors", "");
    place.forget_after_steps("run", last - 1);
    let outcome = place.run("train --out run --resume").succeeded();
    let said = format!("the weights of epoch {}, which was better, cannot be read", best / 10);
    assert!(outcome.stdout.contains(&said), "{said}: {}", outcome.stdout);
    place.run("eval run").succeeded();
}

#[test]
fn a_finished_run_keeps_its_best_weights_without_checkpoint() {
    let place = Place::new();
    place.train("run", &format!("{IMPATIENT} --patience 3"));
    let kept = place.read("run/model.safetensors");
    let last = newest(&place, "run");
    assert_ne!(kept, place.read(&format!("{last}/model.safetensors")));
    std::fs::remove_dir_all(place.path("run/checkpoints/best")).unwrap();
    place.run("train --out run --resume").succeeded();
    assert_eq!(place.read("run/model.safetensors"), kept);
    // Neither: the run's own file is damaged, too, and is left to be seen.
    place.write("run/model.safetensors", "");
    place.run("train --out run --resume").succeeded();
    assert_eq!(place.read("run/model.safetensors"), b"");
}

impl Place {
    /// Removes the checkpoints under a step of their own that are of later steps than `step`.
    fn forget_after_steps(&self, run: &str, step: u64) {
        let folder = self.path(&format!("{run}/checkpoints"));
        for entry in std::fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let number = name.strip_prefix("step-").and_then(|number| number.parse::<u64>().ok());
            if number.is_some_and(|number| number > step) {
                std::fs::remove_dir_all(folder.join(name)).unwrap();
            }
        }
    }
}
