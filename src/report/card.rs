//! The model card: what a stranger reads first.

use std::fmt::Write as _;

use crate::checkpoint::run::RunConfig;
use crate::data::mnist::{Dataset, Validation};
use crate::train::EpochMetrics;

/// A model card in the form of the Hugging Face hub's: front matter, then Markdown.
///
/// - `parameters`: how many numbers were trained
/// - `validation`: how many images were measured after each epoch
/// - `kept`: the epoch whose weights `model.safetensors` holds; `None` for the last
pub fn card(
    config: &RunConfig,
    history: &[EpochMetrics],
    parameters: usize,
    validation: usize,
    kept: Option<usize>,
) -> String {
    let RunConfig { model, training, data, .. } = config;
    let json = |value: serde_json::Value| value.as_str().unwrap_or_default().to_string();
    let cell = json(serde_json::json!(model.cell));
    let dataset = data.dataset.name();
    let mut text = String::new();
    let both = if model.bidirectional { "in both directions" } else { "forward in time" };
    let layers = if model.num_layers == 1 { "layer" } else { "layers" };
    let view = json(serde_json::json!(training.view));
    let best = history.iter().reduce(|best, m| if m.is_better_than(best) { m } else { best });
    let accuracy = |m: Option<&EpochMetrics>| {
        m.and_then(|m| m.valid_accuracy).map_or("-".into(), |accuracy| format!("{accuracy:.4}"))
    };
    let what = match data.dataset {
        Dataset::Mnist => "hand-written digits",
        Dataset::FashionMnist => "photographs of clothes",
    };
    let holds = |epoch: usize| if kept == Some(epoch) { "`model.safetensors`, " } else { "" };
    let best_epoch = best.map_or(0, |m| m.epoch);
    let last_holds = match kept {
        Some(epoch) if epoch != history.len() => "",
        _ => " (`model.safetensors`)",
    };
    let stopping = kept.zip(training.patience).map_or(String::new(), |(epoch, patience)| {
        let ended = if history.len() < training.epochs {
            format!("ran out at epoch {}", history.len())
        } else {
            "did not run out".into()
        };
        format!("`model.safetensors` holds epoch {epoch}: early stopping with patience {patience}, which {ended}.\n\n")
    });
    let chosen = match training.validation {
        Some(Validation::Stratified) => format!(
            "Validation images are {validation} of the training file, drawn with seed {}, the same part of each class.",
            training.seed
        ),
        _ => format!("Validation images are the first {validation} of the training file."),
    };
    let settings = super::settings_of(config);
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "---
library_name: candle-rnn
pipeline_tag: image-classification
tags: [candle, recurrent-neural-network, {cell}]
datasets: [{dataset}]
metrics: [accuracy]
---

# {cell}, {hidden} units, on {dataset}

Tells {what} apart. An image is read as {steps} steps of {inputs} pixels ({view}) by {count} recurrent
{layers} of {hidden} {cell} units, {both}; {parameters} numbers were trained, by candle-rnn {version}.

| | validation accuracy | validation loss |
|---|---|---|
| last of {epochs} epochs{last_holds} | {last_accuracy} | {last_loss} |
| best, epoch {best_epoch} ({best_holds}`checkpoints/best`) | {best_accuracy} | {best_loss} |

{stopping}{chosen}
The test images played no part in this training; `candle-rnn eval` measures them.

![losses and accuracies over the epochs](curves.svg)

![which classes are taken for which, on the validation images](confusion.svg)

## Use

```sh
candle-rnn eval RUN                       # accuracy and loss on the test images
candle-rnn predict RUN picture.png
candle-rnn train --config RUN/train.toml  # the same weights again, to the bit, on the same instruction set
```

```rust
let model = candle_rnn::predict::Predictor::load(\"RUN\")?;
```

Weights bear PyTorch's names (`rnn.weight_ih_l0`, ..), in safetensors.

## Settings

```toml
{settings}```

Training data: SHA-256 `{sha256}` over all pixels and labels.
",
        hidden = model.hidden_size,
        count = model.num_layers,
        steps = training.view.seq_len(),
        inputs = model.input_size,
        version = config.candle_rnn_version,
        epochs = history.len(),
        last_accuracy = accuracy(history.last()),
        last_loss = history.last().map_or("-".into(), |m| format!("{:.4}", m.valid_loss)),
        best_holds = holds(best_epoch),
        best_accuracy = accuracy(best),
        best_loss = best.map_or("-".into(), |m| format!("{:.4}", m.valid_loss)),
        settings = settings.to_toml().unwrap_or_default(),
        sha256 = data.sha256,
    );
    text
}
