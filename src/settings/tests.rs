use super::*;

#[test]
fn a_file_has_the_names_of_the_flags() {
    let text = "hidden = 40\nbatch-size = 20\nschedule = \"one-cycle\"\ntruncate = 5\n\
                loss-at = \"every\"\nclip-norm = 1\nbidirectional = false\nseed = 7\n";
    let config = Settings::from_toml(text).unwrap().config(&TrainConfig::default());
    let expected = TrainConfig {
        hidden_size: 40,
        batch_size: 20,
        schedule: Schedule::OneCycle,
        truncation: Truncation::segments(5).unwrap(),
        loss_at: LossAt::EVERY,
        clip: Clip::Norm(1.),
        seed: 7,
        ..TrainConfig::default()
    };
    assert_eq!(config, expected);
    let windows = Settings::from_toml("truncate = \"5:10\"").unwrap();
    assert_eq!(windows.truncate, Some(Truncation::window(5, 10).unwrap()));
}

#[test]
fn what_is_no_setting_is_refused_with_the_most_like_it() {
    for (text, expected) in [
        ("hiden = 3", "no setting is called hiden: did you mean hidden?"),
        ("batch_size = 3", "no setting is called batch_size: did you mean batch-size?"),
        ("learning-rate = 3", "no setting is called learning-rate: "),
        ("zzz = 3", "no setting is called zzz: there are accumulate, batch-size, "),
    ] {
        let error = Settings::from_toml(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_is_no_value_is_refused_with_its_line() {
    for (text, line, said) in [
        ("lr = 1\nhidden = \"many\"", "line 2: ", "many"),
        ("cell = \"tahn\"", "line 1: ", "tahn"),
        ("lr = = 1", "line 1: ", ""),
        ("seed = 1\n\ntruncate = \"5:1\"", "line 3: ", "k2 = 1"),
        ("keep = 0", "keep must be at least 1", ""),
        ("hidden = 1000000", "hidden must be at most 16384", ""),
        ("max-minutes = nan", "max-minutes must be", ""),
        ("clip-norm = 1\nclip-value = 1", "clip-norm and clip-value", ""),
    ] {
        let error = Settings::from_toml(text).unwrap_err().to_string();
        assert!(error.starts_with(line) && error.contains(said), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn settings_come_back_from_their_file_as_they_were() {
    let config = TrainConfig {
        seed: u64::MAX,
        warmup: Some(0.1),
        schedule: Schedule::Cosine,
        clip: Clip::Value(0.5),
        ema: Some(0.99),
        patience: Some(3),
        truncation: Truncation::window(5, 10).unwrap(),
        learning_rate: 0.1 + 0.2,
        batching: Some(Batching::Split),
        validation: Some(Validation::First),
        extensions: "2/2,4/4".parse().unwrap(),
        ..TrainConfig::default()
    };
    let settings = Settings { keep: Some(3), data: Some("a b".into()), ..Settings::of(&config) };
    let again = Settings::from_toml(&settings.to_toml().unwrap()).unwrap();
    assert_eq!(again, settings);
    assert_eq!(again.config(&TrainConfig::default()), config);
}

#[test]
fn what_is_named_first_wins_and_one_way_to_clip_is_left() {
    let flags = Settings { lr: Some(1.), clip_value: Some(2.), ..Settings::default() };
    let file =
        Settings { lr: Some(3.), hidden: Some(4), clip_norm: Some(5.), ..Settings::default() };
    let both = flags.or(file);
    assert_eq!(
        (both.lr, both.hidden, both.clip_norm, both.clip_value),
        (Some(1.), Some(4), None, Some(2.))
    );
}

#[test]
fn every_setting_is_kept_by_putting_nothing_on_top() {
    let config = TrainConfig {
        schedule: Schedule::Cosine,
        warmup: Some(0.1),
        clip: Clip::Norm(1.),
        ema: Some(0.9),
        patience: Some(3),
        batching: Some(Batching::Exact),
        validation: Some(Validation::Stratified),
        extensions: "2/2".parse().unwrap(),
        ..TrainConfig::default()
    };
    let all = Settings {
        data: Some("sample".into()),
        dataset: Some(Dataset::Mnist),
        save_every: Some(1),
        keep: Some(2),
        max_minutes: Some(3.),
        device: Some("cpu".into()),
        threads: Some(4),
        ..Settings::of(&config)
    };
    let named = serde_json::to_value(&all).unwrap();
    let missing = named.as_object().unwrap().iter().filter(|(_, value)| value.is_null());
    assert!(missing.map(|(name, _)| name).eq(["clip-value"]), "{named}");
    assert_eq!(Settings::default().or(all.clone()), all);
    assert_eq!(all.clone().or(Settings::default()), all);
}

#[test]
fn every_recipe_is_a_training_that_can_be_done() {
    for recipe in Recipe::ALL {
        let config = recipe.settings().unwrap().config(&TrainConfig::default());
        config.check().unwrap();
        let is_reference = config == TrainConfig::default();
        assert_eq!(is_reference, recipe == Recipe::Tutorial, "{recipe:?}");
    }
}
