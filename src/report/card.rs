//! The model card, the run directory's `README.md`.

use crate::data::known::Known;
use crate::data::mnist::{ImageSet, Mnist, Validation, COLUMNS, ROWS};
use crate::run::{best_of, RunConfig};
use crate::train::{EpochMetrics, ImageConfig};

/// A model card in the form of the Hugging Face hub's: front matter, then Markdown.
///
/// - `parameters`: how many numbers were trained
/// - `data`: what was trained on
/// - `kept`: the epoch whose weights `model.safetensors` holds; `None` for the last
///
/// The card claims a data set where the SHA-256 of the configuration is that data set's, and else says
/// what is known: how many images there are, in which classes, from which folder.
pub fn card(
    config: &RunConfig,
    history: &[EpochMetrics],
    parameters: usize,
    data: &Mnist,
    kept: Option<usize>,
) -> String {
    let ImageConfig { model, training, data: about } = &config.task;
    let json = |value: serde_json::Value| value.as_str().unwrap_or_default().to_string();
    let cell = json(serde_json::json!(model.network.cell));
    let both = if model.network.bidirectional { "in both directions" } else { "forward in time" };
    let layers = if model.network.num_layers == 1 { "layer" } else { "layers" };
    let view = json(serde_json::json!(training.view));
    let best = best_of(history);
    let accuracy = |m: Option<&EpochMetrics>| {
        m.and_then(|m| m.valid_accuracy).map_or("-".into(), |accuracy| format!("{accuracy:.4}"))
    };
    let known = Known::of(&about.sha256);
    let datasets = match known {
        Some(Known::Whole(dataset)) => format!("datasets: [{}]\n", dataset.name()),
        _ => String::new(),
    };
    let has_accuracy = history.iter().any(|m| m.valid_accuracy.is_some());
    let metrics = if has_accuracy { "metrics: [accuracy]\n" } else { "" };
    let (title, task) = (title(known), task(known, config, data));
    let validation = validation(config, data);
    let again = match (known, &about.source) {
        (None, Some(_)) => " --data FOLDER",
        _ => "",
    };
    let holds = |epoch: usize| if kept == Some(epoch) { "`model.safetensors`, " } else { "" };
    let best_epoch = best.map_or(0, |m| m.epoch);
    let last_holds = match kept {
        Some(epoch) if epoch != history.len() => "",
        _ => " (`model.safetensors`)",
    };
    let stopping = kept.zip(training.trainer.patience).map_or(String::new(), |(epoch, patience)| {
        let ended = if history.len() < training.trainer.epochs {
            format!("ran out at epoch {}", history.len())
        } else {
            "did not run out".into()
        };
        format!("`model.safetensors` holds epoch {epoch}: early stopping with patience {patience}, which {ended}.\n\n")
    });
    let settings = super::settings_of(config).map(|settings| settings.to_toml());
    format!(
        include_str!("card.md"),
        hidden = model.network.hidden_size,
        count = model.network.num_layers,
        steps = training.view.seq_len(),
        inputs = model.input_size,
        version = config.candle_rnn_version,
        epochs = history.len(),
        last_accuracy = accuracy(history.last()),
        last_loss = history.last().map_or("-".into(), |m| format!("{:.4}", m.valid_loss)),
        best_holds = holds(best_epoch),
        best_accuracy = accuracy(best),
        best_loss = best.map_or("-".into(), |m| format!("{:.4}", m.valid_loss)),
        settings = settings.unwrap_or_default(),
        sha256 = about.sha256,
        again = again,
        best_epoch = best_epoch,
        both = both,
        cell = cell,
        datasets = datasets,
        last_holds = last_holds,
        layers = layers,
        metrics = metrics,
        parameters = parameters,
        stopping = stopping,
        task = task,
        title = title,
        validation = validation,
        view = view,
    )
}

/// The name of the training data, in a few words.
fn title(known: Option<Known>) -> String {
    match known {
        Some(Known::Whole(dataset)) => dataset.name().into(),
        Some(Known::Sample) => "a part of mnist".into(),
        None => format!("images of {ROWS} x {COLUMNS} pixels"),
    }
}

/// A sentence on the model's task and its training data.
fn task(known: Option<Known>, config: &RunConfig, data: &Mnist) -> String {
    match known {
        Some(Known::Whole(ImageSet::Mnist)) => "Tells hand-written digits apart (MNIST).".into(),
        Some(Known::Whole(ImageSet::FashionMnist)) => {
            "Tells photographs of clothes apart (Fashion-MNIST).".into()
        }
        Some(Known::Sample) => format!(
            "Tells hand-written digits apart. It has seen a part of MNIST, the sample in candle-rnn: \
             the first\n{} training digits, {} of which validate, and the first {} test digits.",
            data.train.len() + data.valid.len(),
            data.valid.len(),
            data.test.len()
        ),
        None => {
            let mut labels: Vec<u8> =
                [&data.train, &data.valid, &data.test].iter().flat_map(|s| s.labels()).copied().collect();
            labels.sort_unstable();
            labels.dedup();
            let count = labels.len();
            let numbers: Vec<String> = labels.iter().map(u8::to_string).collect();
            // The folder's own name: the path to it is this machine's.
            let folder = config.task.data.source.as_ref().and_then(|source| source.file_name());
            let folder = folder.map_or_else(String::new, |name| {
                let name = name.to_string_lossy();
                let is_plain = |c: &char| !c.is_control() && *c != '`';
                format!(", from the folder `{}`", name.chars().filter(is_plain).collect::<String>())
            });
            format!(
                "Classifies images of {ROWS} x {COLUMNS} pixels into {count} classes, which are named by their \
                 numbers: {}.\nThe data are {} images to train on, {} to validate and {} to test{folder}; \
                 by their SHA-256 they\nare no data set that candle-rnn knows.",
                numbers.join(", "),
                data.train.len(),
                data.valid.len(),
                data.test.len()
            )
        }
    }
}

/// A sentence on the validation images.
fn validation(config: &RunConfig, data: &Mnist) -> String {
    let (count, all) = (data.valid.len(), data.train.len() + data.valid.len());
    if config.task.training.validation == Some(Validation::Stratified) {
        let seed = config.task.training.trainer.seed;
        return format!(
            "Validation images are {count} of the training file's {all}, drawn with seed {seed}, the same part \
             of each class."
        );
    }
    format!("Validation images are the first {count} of the training file.")
}
