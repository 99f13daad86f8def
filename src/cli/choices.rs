//! The choices of flags that have some, each with its line of help.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;

/// A name, and what help says of it.
pub(super) type Choice = (&'static str, &'static str);

/// Takes one of these names.
pub(super) fn name_of(choices: &'static [Choice]) -> PossibleValuesParser {
    let value = |(name, help): &Choice| {
        let value = PossibleValue::new(*name);
        if help.is_empty() {
            value
        } else {
            value.help(*help)
        }
    };
    PossibleValuesParser::new(choices.iter().map(value))
}

/// Takes one of these names as the value of the library's that is written so.
pub(super) fn value_of<T>(choices: &'static [Choice]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    name_of(choices).try_map(|name| serde_json::from_value(name.into()))
}

pub(super) const RECIPES: [Choice; 6] = [
    ("tutorial", "The reference job: rows of digits, 150 tanh units, 5 epochs"),
    ("fast", "The most accurate that 150 tanh units get in 5 epochs"),
    ("tanh", "The most accurate that 150 tanh units get in some minutes (60 epochs)"),
    ("best", "The most accurate recipe: two bidirectional GRU layers"),
    ("pixels", "Digits read pixel by pixel, 784 steps"),
    ("permuted", "Digits read pixel by pixel in a fixed random order"),
];

pub(super) const DATASETS: [Choice; 2] = [
    ("mnist", "Hand-written digits (LeCun, Cortes & Burges)"),
    ("fashion-mnist", "Photographs of clothes (Xiao, Rasul & Vollgraf, 2017)"),
];

pub(super) const VIEWS: [Choice; 4] = [
    ("rows", "28 steps of 28 pixels: from the top row to the bottom row"),
    ("columns", "28 steps of 28 pixels: from the left column to the right column"),
    ("pixels", "784 steps of one pixel: row by row, from left to right"),
    ("permuted", "784 steps of one pixel, in a random order that is always the same"),
];

pub(super) const CELLS: [Choice; 6] = [
    ("tanh", "Elman RNN with tanh"),
    ("relu", "Elman RNN with ReLU"),
    ("gru", "Gated recurrent unit, reset gate after the product as in PyTorch and cuDNN"),
    ("gru-reset-before", "Gated recurrent unit, reset gate before the product (Cho et al., 2014)"),
    ("lstm", "Long short-term memory"),
    ("minimal-gru", "Minimal gated unit, with one gate (Zhou et al., 2016)"),
];

pub(super) const READOUTS: [Choice; 3] = [
    ("last", "The last output (the last layer's final state)"),
    ("mean-max", "The mean over all outputs beside their maximum"),
    ("all", "All outputs, flattened: the head has a weight for each feature at each step"),
];

pub(super) const INITS: [Choice; 4] = [
    ("glorot", "Glorot uniform, zero biases (1 for an LSTM's forget gate), as TensorFlow 1"),
    ("orthogonal", "Glorot uniform input weights, orthogonal recurrent weights, as Keras"),
    (
        "identity",
        "Small normal input weights, identity recurrent weights (Le, Jaitly & Hinton, 2015)",
    ),
    ("pytorch", "Uniform in ±1/√H, as PyTorch"),
];

pub(super) const SCHEDULES: [Choice; 5] = [
    ("constant", "Constant learning rate"),
    ("one-cycle", "One-cycle: up to the peak rate, then down to almost 0"),
    ("cosine", "Cosine decay to 0, after a linear warm-up"),
    ("step", "Step decay: a tenth after each third of the epochs"),
    ("plateau", "Reduce on plateau: half, whenever the validation loss stops falling"),
];

pub(super) const DTYPES: [Choice; 2] = [("f32", "Single precision"), ("f64", "Double precision")];

pub(super) const GPU_PRECISIONS: [Choice; 3] = [
    ("f32", "Single precision"),
    ("tf32", "Both sides of a product rounded to 10 bits behind the point; compute capability 8.0 or later"),
    ("bf16", "Recurrent weights in bf16, 7 bits behind the point"),
];

pub(super) const VALIDATIONS: [Choice; 2] = [("first", ""), ("stratified", "")];

pub(super) const LAYOUTS: [Choice; 3] = [
    ("long", "A step a row"),
    ("wide", "A sequence a row, its columns the steps"),
    ("tabular", "A sequence of one step a row, its columns the features"),
];

pub(super) const TARGETS: [Choice; 3] = [
    ("class", "A class for each sequence"),
    ("step-class", "A class at each step"),
    ("numbers", "One number or several for each sequence"),
];

pub(super) const SCALINGS: [Choice; 4] = [
    ("standard", "To mean 0 and standard deviation 1 over the training data"),
    ("min-max", "To the range 0 to 1 of the training data"),
    ("per-sequence", "To mean 0 and standard deviation 1 within each sequence"),
    ("none", "Not at all"),
];

pub(super) const MISSING: [Choice; 4] = [
    ("refuse", "Missing values are an error"),
    ("zero", "Zero"),
    ("mean", "The feature's mean over the training data"),
    ("forward-fill", "The feature's last known value in the sequence"),
];

pub(super) const LOSSES: [Choice; 3] = [
    ("mse", "Mean squared error"),
    ("mae", "Mean absolute error"),
    ("huber", "Huber's: squared for small errors, absolute for large ones"),
];

pub(super) const CLASS_WEIGHTS: [Choice; 2] =
    [("none", "All examples count alike"), ("balanced", "All classes count alike")];

pub(super) const SPLITS: [Choice; 3] = [
    ("random", "At random, the same part of each class"),
    ("group", "At random, groups as a whole"),
    ("time", "The last sequences of the file"),
];

pub(super) const BATCHINGS: [Choice; 2] = [("split", ""), ("exact", "")];

#[cfg(test)]
mod tests {
    use candle_rnn::settings::Settings;

    use super::*;

    #[test]
    fn every_choice_is_one_of_the_librarys() {
        let settings: [(&str, &[Choice]); 15] = [
            ("dataset", &DATASETS),
            ("validation", &VALIDATIONS),
            ("view", &VIEWS),
            ("cell", &CELLS),
            ("readout", &READOUTS),
            ("init", &INITS),
            ("batching", &BATCHINGS),
            ("schedule", &SCHEDULES),
            ("dtype", &DTYPES),
            ("gpu_precision", &GPU_PRECISIONS),
            ("scaling", &SCALINGS),
            ("missing", &MISSING),
            ("loss", &LOSSES),
            ("class_weights", &CLASS_WEIGHTS),
            ("split_by", &SPLITS),
        ];
        for (setting, choices) in settings {
            for (name, _) in choices {
                let settings = Settings::from_toml(&format!("{setting} = \"{name}\""));
                assert!(settings.is_ok(), "{setting} {name}");
            }
        }
        for (recipe, _) in RECIPES {
            assert!(serde_json::from_value::<candle_rnn::settings::Recipe>(recipe.into()).is_ok());
        }
    }
}
