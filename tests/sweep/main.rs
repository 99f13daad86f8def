//! Plans of sweeps: the trials of a file, the rounds of halving, what follows from records; [`folder`]: where they are kept.
#![cfg(feature = "settings")]
#![allow(clippy::unwrap_used)]

mod folder;

use std::collections::BTreeSet;

use candle_rnn::sweep::{HalvingConfig, SweepPlan, Trial, TrialRecord, TrialState};
use candle_rnn::train::{EpochMetrics, TrainConfig};
use proptest::prelude::*;

fn plan(text: &str) -> SweepPlan {
    SweepPlan::from_toml(text).unwrap()
}

const RANDOM: &str = "seeds = [1, 2]\n[settings]\nepochs = 3\n[random]\ntrials = 40\nseed = 7\n\
                      learning_rate = { log = [0.0001, 0.1] }\ndropout = { uniform = [0, 0.5] }\n\
                      hidden_size = { integers = [8, 11] }\ncell = { choices = [\"gru\", \"lstm\"] }\n";

#[test]
fn a_grid_is_the_product_of_its_lists_with_all_seeds() {
    let plan = plan(
        "seeds = [5, 6]\n[settings]\nepochs = 9\n[grid]\nlr = [0.1, 0.2]\nclip-norm = [1, 2, 3]\n",
    );
    let choices: Vec<Vec<String>> = plan
        .trials()
        .iter()
        .map(|trial| trial.choices.iter().map(|(_, value)| value.clone()).collect())
        .collect();
    let mut expected = Vec::new();
    for lr in ["0.1", "0.2"] {
        for clip in ["1", "2", "3"] {
            expected.extend(["5", "6"].map(|seed| vec![lr, clip, seed]));
        }
    }
    assert_eq!(choices, expected);
    let numbers: Vec<usize> = plan.trials().iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    let last = &plan.trials()[11];
    assert_eq!(last.choices[1].0, "clip_norm");
    let config: TrainConfig = last.settings.config(&TrainConfig::default()).unwrap();
    let trainer = config.trainer;
    assert_eq!((trainer.learning_rate, trainer.seed, trainer.epochs), (0.2, 6, 9));
    assert_eq!(trainer.clip, candle_rnn::Clip::Norm(3.));
}

#[test]
fn seeds_alone_are_a_sweep_and_a_choice_wins_over_no_setting() {
    assert_eq!(plan("seeds = [1, 2, 3]").trials().len(), 3);
    // A schedule that does not rise has no warm-up, though all trials were given one.
    let plan = plan("[settings]\nwarmup = 0.1\n[grid]\nschedule = [\"cosine\", \"constant\"]");
    let warmup =
        |trial: &Trial| trial.settings.config(&TrainConfig::default()).unwrap().trainer.warmup;
    assert_eq!(plan.trials().iter().map(warmup).collect::<Vec<_>>(), [Some(0.1), None]);
}

#[test]
fn a_seed_draws_the_same_trials_and_more_are_added_behind() {
    let first = plan(RANDOM);
    assert_eq!(first, plan(RANDOM));
    assert_eq!(first.trials().len(), 80);
    let more = plan(&RANDOM.replace("trials = 40", "trials = 50"));
    assert_eq!(more.trials()[..80], *first.trials());
    assert_ne!(plan(&RANDOM.replace("seed = 7", "seed = 8")).trials()[0], first.trials()[0]);
    // A setting that is added leaves what the others draw.
    let wider = plan(&format!("{RANDOM}ema = {{ choices = [0.9, 0.99] }}\n"));
    for (wider, first) in wider.trials().iter().zip(first.trials()) {
        assert_eq!(wider.choices[..4], first.choices[..4]);
    }
}

#[test]
fn what_is_drawn_is_spread_over_its_range() {
    let plan = plan(&RANDOM.replace("trials = 40", "trials = 2000"));
    let of = |place: usize| plan.trials().iter().map(move |trial| trial.choices[place].1.clone());
    let rates: Vec<f64> = of(0).map(|value| value.parse().unwrap()).collect();
    // A third of the logarithms lies in each of three decades.
    for decade in [1e-4, 1e-3, 1e-2] {
        let count = rates.iter().filter(|rate| (decade..10. * decade).contains(*rate)).count();
        assert!((1150..1520).contains(&count), "{count} from {decade}");
    }
    assert_eq!(of(2).collect::<BTreeSet<_>>(), ["8", "9", "10", "11"].map(String::from).into());
    assert_eq!(of(3).collect::<BTreeSet<_>>(), ["gru", "lstm"].map(String::from).into());
}

proptest! {
    #[test]
    fn drawn_values_are_in_their_ranges(
        low in 1e-6f64..1e3, factor in 1f64..1e4, from in 1i64..5000, count in 0i64..3000, seed in any::<u32>(),
    ) {
        let high = low * factor;
        let text = format!(
            "[random]\ntrials = 20\nseed = {seed}\nlearning_rate = {{ log = [{low:?}, {high:?}] }}\n\
             weight_decay = {{ uniform = [{low:?}, {high:?}] }}\nhidden_size = {{ integers = [{from}, {}] }}\n",
            from + count
        );
        let plan = plan(&text);
        prop_assert_eq!(plan.trials().len(), 20);
        for trial in plan.trials() {
            for place in 0..2 {
                let value: f64 = trial.choices[place].1.parse().unwrap();
                prop_assert!((low..=high).contains(&value), "{} {}", value, text);
            }
            let units: i64 = trial.choices[2].1.parse().unwrap();
            prop_assert!((from..=from + count).contains(&units));
            trial.settings.config(&TrainConfig::default()).unwrap();
        }
    }

    #[test]
    fn a_grid_has_every_combination_once(sizes in proptest::collection::vec(1usize..5, 1..4)) {
        let names = ["hidden_size", "batch_size", "epochs"];
        let lists = sizes.iter().zip(names).map(|(size, name)| {
            format!("{name} = {:?}\n", (1..=*size).collect::<Vec<_>>())
        });
        let plan = plan(&format!("[grid]\n{}", lists.collect::<String>()));
        let distinct: BTreeSet<_> = plan.trials().iter().map(|trial| &trial.choices).collect();
        prop_assert_eq!(distinct.len(), sizes.iter().product::<usize>());
        prop_assert_eq!(plan.trials().len(), distinct.len());
    }

    #[test]
    fn rounds_grow_and_trials_shrink(
        trials in 1usize..500, epochs in 1usize..300, rounds in 2usize..6, keep in 0.05f64..0.95,
    ) {
        match (HalvingConfig { rounds, keep }).rounds(trials, epochs) {
            Err(error) => prop_assert!(error.to_string().contains("too few"), "{}", error),
            Ok(found) => {
                prop_assert_eq!(found.len(), rounds);
                prop_assert_eq!(found[0].trials, trials);
                prop_assert_eq!(found.iter().map(|round| round.length).sum::<usize>(), epochs);
                let ends: Vec<_> = found.iter().map(|round| round.epochs.unwrap_or(epochs)).collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", ends);
                for pair in found.windows(2) {
                    let part = pair[0].trials as f64 * keep;
                    prop_assert!(pair[1].trials >= 1 && pair[1].trials as f64 >= part - 1e-6);
                    prop_assert!((pair[1].trials as f64) < part + 1. || pair[1].trials == 1);
                }
                prop_assert_eq!(found[rounds - 1].epochs, None);
            }
        }
    }

    /// Whoever trains what in which order, the same trials go on.
    #[test]
    fn the_order_of_training_changes_no_decision(
        losses in proptest::collection::vec(0u8..20, 9), failing in 0usize..12, seed in any::<u64>(),
    ) {
        let plan = plan("seeds = [1, 2, 3, 4, 5, 6, 7, 8, 9]\n[settings]\nepochs = 8\n[halving]\nrounds = 3");
        prop_assert_eq!(plan.rounds(), HalvingConfig { rounds: 3, keep: 0.5 }.rounds(9, 8).unwrap());
        let end = |seed: u64| {
            let mut rng = candle_rnn::SeededRng::user(seed, "order");
            let mut records = vec![TrialRecord::default(); 9];
            loop {
                let standing = plan.standing(&records);
                if standing.is_complete() {
                    return (standing.states.clone(), standing.order(&records), standing.best(&records));
                }
                let trial = standing.open[rng.below(standing.open.len())];
                // One epoch more, as if it had been killed behind it.
                let record = &mut records[trial];
                let epoch = record.history.len() + 1;
                record.history.push(metrics(epoch, f64::from(losses[trial]) / epoch as f64));
                record.is_finished = epoch == 8;
                if trial == failing && epoch == 3 {
                    record.error = Some("diverged".into());
                }
            }
        };
        let first = end(seed);
        prop_assert_eq!(&first, &end(seed.wrapping_add(1)));
        let count = |state: TrialState| first.0.iter().filter(|found| **found == state).count();
        prop_assert_eq!(count(TrialState::Open), 0);
        prop_assert_eq!(count(TrialState::Stopped(1)), 4);
        let failed = count(TrialState::Failed);
        prop_assert_eq!(count(TrialState::Stopped(2)) + count(TrialState::Finished) + failed, 5);
        // Of those that came to the end the best stands first.
        let best = first.2.unwrap();
        let least = (0..9).filter(|trial| first.0[*trial] == TrialState::Finished).map(|trial| losses[trial]).min();
        prop_assert_eq!(Some(losses[best]), least);
    }
}

/// An epoch with this validation loss.
fn metrics(epoch: usize, valid_loss: f64) -> EpochMetrics {
    serde_json::from_value(serde_json::json!({
        "epoch": epoch, "loss_batch": 0., "train_loss": 0., "valid_loss": valid_loss, "seconds": 0.,
        "examples_per_second": 0., "learning_rate": 0.,
    }))
    .unwrap()
}

#[test]
fn a_classic_halving_spends_as_much_in_each_round() {
    let rounds = HalvingConfig { rounds: 4, keep: 0.5 }.rounds(16, 16).unwrap();
    let found: Vec<_> = rounds.iter().map(|round| (round.trials, round.epochs)).collect();
    assert_eq!(found, [(16, Some(2)), (8, Some(4)), (4, Some(8)), (2, None)]);
    let tenths = HalvingConfig { rounds: 2, keep: 0.1 }.rounds(30, 20).unwrap();
    assert_eq!((tenths[0].epochs, tenths[1].trials), (Some(2), 3));
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_line() {
    for (text, said) in [
        (
            "[grid]\n\nlearnig_rate = [1]",
            "line 3: no setting is called learnig_rate: did you mean learning_rate?",
        ),
        (
            "[settings]\nhiden = 3\n[grid]\nlr = [1]",
            "line 2: no setting is called hiden: did you mean hidden_size?",
        ),
        ("[grid]\ncell = [\"gru\", \"gur\"]", "line 2: cell: "),
        ("[grid]\nlr = 0.1", "line 2: lr needs a list of values"),
        ("[grid]\nlr = []", "line 2: lr needs a list of values"),
        ("[grid]\nlr = [1]\nlearning_rate = [2]", "line 3: lr and learning_rate are the same"),
        ("[settings]\nlr = 1\n[grid]\nlr = [2]", "line 4: lr is named twice"),
        (
            "[settings]\nlr = 1\nlearning-rate = 2\n[grid]\nseed = [2]",
            "line 3: lr and learning_rate are the same",
        ),
        ("seeds = [1]\n[grid]\nseed = [2]", "line 1: seed is named twice"),
        ("seeds = 3", "line 1: seeds needs a list"),
        ("seeds = [-1]", "line 1: seed: "),
        ("seeds = [3, 4, 3]", "line 1: seeds has 3 twice"),
        ("[grid]\nclip_norm = [1, 2.5, 1.0]", "line 2: clip_norm has 1.0 twice"),
        ("[grid]\ncell = [\"gru\", \"gru\"]", "line 2: cell has \"gru\" twice"),
        ("numbers = [1, 1]\nseeds = [3, 4]", "line 1: numbers must name 2 different ones"),
        ("numbers = [0]\nseeds = [3]", "line 1: numbers must name 1 different ones"),
        ("seeds = [1]\nlr = 3", "line 2: unknown field `lr`"),
        ("[settings]\nlr = 3", "nothing is searched"),
        (
            "[grid]\nlr = [1]\n[random]\ntrials = 3\nema = { uniform = [0, 1] }",
            "line 3: give [grid] or [random]",
        ),
        ("[random]\nlr = { log = [1, 2] }", "line 1: [random] needs trials"),
        ("[random]\ntrials = 3", "line 1: [random] names no setting"),
        (
            "[random]\ntrials = \"3\"\nlr = { log = [1, 2] }",
            "line 2: trials must be a whole number",
        ),
        (
            "[random]\ntrials = 3\nlr = { log = [0.1, 0.01] }",
            "line 3: lr needs two numbers above 0 for log, the lower",
        ),
        ("[random]\ntrials = 3\nlr = { log = [0, 0.01] }", "line 3: lr needs two numbers above 0"),
        (
            "[random]\ntrials = 3\nlr = { normal = [0, 0.01] }",
            "line 3: lr needs { uniform = [a, b] }",
        ),
        ("[random]\ntrials = 3\nlr = [0, 0.01]", "line 3: lr needs { uniform = [a, b] }"),
        (
            "[random]\ntrials = 3\nlr = { log = [1, 2], uniform = [1, 2] }",
            "line 3: lr needs { uniform",
        ),
        (
            "[random]\ntrials = 3\nhidden = { integers = [1.5, 2] }",
            "line 3: hidden needs two whole numbers",
        ),
        ("[random]\ntrials = 3\nhidden = { uniform = [1, 2] }", "line 3: hidden: "),
        (
            "[random]\ntrials = 3\nhidden = { integers = [1, 99999] }",
            "line 3: hidden must be at most",
        ),
        (
            "[random]\ntrials = 200000\nlr = { log = [1, 2] }",
            "line 1: these are more than 100000 trials",
        ),
        (
            "[settings]\nmax_minutes = 3\n[grid]\nlr = [1]",
            "line 2: max_minutes is no setting of a sweep",
        ),
        ("[grid]\nthreads = [1, 2]", "line 2: threads cannot be searched"),
        ("[grid]\nlr = [1]\n[halving]\nrounds = 2", "line 3: [halving] needs the setting epochs"),
        (
            "[settings]\nepochs = 2\n[grid]\nlr = [1]\n[halving]\nrounds = 3",
            "line 5: [halving] 2 epochs are too few",
        ),
        (
            "[settings]\nepochs = 8\n[grid]\nlr = [1]\n[halving]\nrounds = 1",
            "line 5: [halving] rounds must be",
        ),
        (
            "[settings]\nepochs = 8\n[grid]\nlr = [1]\n[halving]\nrounds = 2\nkeep = 1",
            "line 5: [halving] keep must",
        ),
        ("[grid]\nlr = [1]\n[data]\nlabel = \"y\"", "line 3: [data] needs a file"),
        ("[grid]\nlr = [1]\n[data]\nfile = \"a\"\nlable = \"y\"", "line 5: unknown field `lable`"),
        ("[grid]\nlr = [1]\n[data]\nfile = \"a\"\nlabel = 3", "line 5: a column's name"),
        (
            "[settings]\ndata = \"sample\"\n[grid]\nlr = [1]\n[data]\nfile = \"a\"",
            "line 2: data says which images",
        ),
        ("[grid\nlr = [1]", "line 1: "),
        ("data = [\"a\"]\n[grid]\nlr = [1]", "line 1: invalid type: sequence, expected an object"),
        ("halving = [2]\n[grid]\nlr = [1]", "line 1: invalid type: sequence, expected an object"),
    ] {
        let error = SweepPlan::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(said), "`{text}`: {error}");
    }
}

#[test]
fn data_of_ones_own_are_named_as_train_names_them() {
    let found = plan(
        "seeds = [1]\n[data]\nfile = \"a.csv\"\ntest = \"b.csv\"\nid = \"run\"\nlabel = \"y\"\n\
         features = [\"u\", \"v\"]\nlayout = \"long\"\ntarget = \"step-class\"\n",
    );
    let data = found.data();
    assert_eq!(data.file.as_deref(), Some("a.csv".as_ref()));
    assert_eq!(
        (&data.label[..], &data.features[..]),
        (&["y".to_string()][..], &["u".into(), "v".into()][..])
    );
    assert_eq!(data.layout, Some(candle_rnn::data::formats::Layout::Long));
}

#[test]
fn trials_with_the_same_settings_are_trained_once() {
    // A schedule that does not rise has no warm-up.
    let text = "[grid]\nschedule = [\"constant\", \"cosine\"]\nwarmup = [0.1, 0.2]";
    let found = plan(text);
    assert_eq!((found.trials().len(), found.repeated()), (3, 1));
    let numbers: Vec<usize> = found.trials().iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let few = plan("[random]\ntrials = 50\nhidden_size = { integers = [3, 5] }");
    assert_eq!((few.trials().len(), few.repeated()), (3, 47));
    assert_eq!(plan("seeds = [1, 2]").repeated(), 0);
}
