use super::*;
use crate::data::batches::Batching;
use crate::data::mnist::Validation;
use crate::model::NetworkConfig;
use crate::optim::Clip;
use crate::recurrence::Truncation;
use crate::train::{LossAt, ObjectiveConfig, TrainerConfig};

fn config(text: &str) -> TrainConfig {
    Settings::from_toml(text).unwrap().config(&TrainConfig::default()).unwrap()
}

#[test]
fn a_file_has_the_names_of_the_configuration() {
    let text = "hidden_size = 40\nbatch_size = 20\nschedule = \"one-cycle\"\ntruncation = 5\n\
                loss_at = \"every\"\nclip = { norm = 1 }\nbidirectional = false\nseed = 7\n";
    let expected = TrainConfig {
        network: NetworkConfig { hidden_size: 40, ..NetworkConfig::default() },
        trainer: TrainerConfig {
            batch_size: 20,
            schedule: Schedule::OneCycle,
            clip: Clip::Norm(1.),
            seed: 7,
            ..TrainerConfig::default()
        },
        objective: ObjectiveConfig {
            truncation: Truncation::segments(5).unwrap(),
            loss_at: LossAt::EVERY,
            ..ObjectiveConfig::default()
        },
        ..TrainConfig::default()
    };
    assert_eq!(config(text), expected);
    let as_before = "hidden = 40\nbatch-size = 20\nschedule = \"one-cycle\"\ntruncate = 5\n\
                     loss-at = \"every\"\nclip-norm = 1\nbidirectional = false\nseed = 7\n";
    assert_eq!(config(as_before), expected);
    let windows = Truncation::window(5, 10).unwrap();
    assert_eq!(config("truncation = \"5:10\"").objective.truncation, windows);
    assert_eq!(
        config("truncation = { window = { k1 = 5, k2 = 10 } }").objective.truncation,
        windows
    );
}

#[test]
fn what_is_no_setting_is_refused_with_the_most_like_it() {
    for (text, expected) in [
        ("hiden = 3", "line 1: no setting is called hiden: did you mean hidden_size?"),
        (
            "lr = 1\nbatchsize = 3",
            "line 2: no setting is called batchsize: did you mean batch_size?",
        ),
        ("zzz = 3", "line 1: no setting is called zzz: there are accumulate, batch_size, "),
    ] {
        let error = Settings::from_toml(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_is_no_value_is_refused_with_its_line() {
    for (text, line, said) in [
        ("lr = 1\nhidden = \"many\"", "line 2: hidden: ", "many"),
        ("cell = \"tahn\"", "line 1: cell: ", "tahn"),
        ("lr = = 1", "line 1: ", ""),
        ("seed = 1\n\ntruncate = \"5:1\"", "line 3: truncate: ", "k2 = 1"),
        ("seed = true", "line 1: seed: ", "a whole number or a text"),
        ("seed = -1", "line 1: seed: ", "from 0 to 18446744073709551615, got -1"),
        ("seed = \"18446744073709551616\"", "line 1: seed: ", "got 18446744073709551616"),
        ("seed = 18446744073709551615", "line 1: a whole number is at most", "in quotes"),
        ("lr = 1\nseed = 99999999999999999999", "line 2: a whole number is at most", "in quotes"),
        ("batch-size = -1", "line 1: batch-size: ", "a whole number of at least 0"),
        ("threads = 70000", "line 1: threads: ", "from 0 to 65535"),
        ("data = 5", "line 1: data: ", "expected a text"),
        ("source = 5", "line 1: source: ", "expected a text"),
        ("clip-norm = \"a\"", "line 1: clip-norm: ", "expected a number"),
        ("save-every = 0", "line 1: save-every must be at least 1", ""),
        ("keep = 0", "line 1: keep must be at least 1", ""),
        ("hidden_size = 1000000", "line 1: hidden_size must be at most 16384", ""),
        ("max-minutes = nan", "line 1: max-minutes must be", ""),
        ("max_minutes = -1", "line 1: max_minutes must be", ""),
        (
            "clip-norm = 1\nclip-value = 1",
            "line 2: clip-norm and clip-value are the same setting",
            "",
        ),
        (
            "lr = 1\ntruncation = { window = [5, 10] }",
            "line 2: truncation: ",
            "got the list [5, 10]: write \"5:10\"",
        ),
        ("clip = [1]", "line 1: clip: ", "expected"),
        ("clip = { norm = [1] }", "line 1: clip: ", "expected a number"),
        ("lr = 1\nlearning_rate = 1", "line 2: lr and learning_rate are the same setting", ""),
    ] {
        let error = Settings::from_toml(text).unwrap_err().to_string();
        assert!(error.starts_with(line) && error.contains(said), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn settings_come_back_from_their_file_as_they_were() {
    let training = TrainConfig {
        trainer: TrainerConfig {
            seed: u64::MAX,
            warmup: Some(0.1),
            schedule: Schedule::Cosine,
            clip: Clip::Value(0.5),
            ema: Some(0.99),
            patience: Some(3),
            learning_rate: 0.1 + 0.2,
            batching: Some(Batching::Split),
            extensions: "2/2,4/4".parse().unwrap(),
            ..TrainerConfig::default()
        },
        objective: ObjectiveConfig {
            truncation: Truncation::window(5, 10).unwrap(),
            loss_at: LossAt::weighted([(3, 1.), (28, 2.5)]).unwrap(),
            ..ObjectiveConfig::default()
        },
        validation: Some(Validation::First),
        ..TrainConfig::default()
    };
    let run = RunSettings {
        source: Some("a b".into()),
        dataset: Some(ImageSet::Mnist),
        save_every: Some(1),
        keep: Some(2),
        max_minutes: Some(3.),
        device: Some("cpu".into()),
        threads: Some(4),
    };
    let settings = Settings::of(&run).unwrap().or(Settings::of(&training).unwrap());
    let again = Settings::from_toml(&settings.to_toml()).unwrap();
    assert_eq!(again, settings);
    assert_eq!(again.config(&TrainConfig::default()).unwrap(), training);
    assert_eq!(again.run(), run);
    assert_eq!(Settings::default().or(settings.clone()), settings);
    assert_eq!(settings.clone().or(Settings::default()), settings);
}

#[test]
fn what_is_named_first_wins_and_the_base_fills_in() {
    let named = |text| Settings::from_toml(text).unwrap();
    let both = named("lr = 1\nclip = { value = 2 }").or(named("lr = 3\nhidden = 4\nclip-norm = 5"));
    let found = both
        .config(&TrainConfig {
            trainer: TrainerConfig { epochs: 9, ..TrainerConfig::default() },
            ..TrainConfig::default()
        })
        .unwrap();
    assert_eq!(
        (found.trainer.learning_rate, found.network.hidden_size, found.trainer.epochs),
        (1., 4, 9)
    );
    assert_eq!(found.trainer.clip, Clip::Value(2.));
    // What no file says, neither does its training.
    assert_eq!((found.trainer.batching, found.validation), (None, None));
    let cosine = named("schedule = \"cosine\"\nwarmup = 0.1");
    let step = named("schedule = \"step\"").or(cosine.clone());
    assert_eq!(step, named("schedule = \"step\""));
    assert_eq!(named("warmup = 0.2").or(cosine), named("warmup = 0.2\nschedule = \"cosine\""));
}

#[test]
fn every_recipe_is_a_training_that_can_be_done() {
    for recipe in Recipe::ALL {
        let config = recipe.settings().unwrap().config(&TrainConfig::default()).unwrap();
        config.check().unwrap();
        let is_reference = config == TrainConfig::default();
        assert_eq!(is_reference, recipe == Recipe::Tutorial, "{recipe:?}");
    }
}
