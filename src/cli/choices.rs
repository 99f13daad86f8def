//! What flags can be that have a choice, and what each choice is.

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

pub(super) const CELLS: [Choice; 4] = [
    ("tanh", "`h_t = tanh(W_ih x_t + b + W_hh h_{t-1})`: Elman's network (1990)"),
    ("relu", "`h_t = max(W_ih x_t + b + W_hh h_{t-1}, 0)`"),
    ("gru", "Gated recurrent unit, gates `r z n`; the reset gate acts after the product, as in cuDNN and PyTorch: `r, z = σ(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`, `n = tanh(W_in x_t + b_in + r ⊙ (W_hn h_{t-1} + b_hn))`, `h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}`"),
    ("lstm", "Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate of Gers et al., 2000), gates `i f g o`: `i, f, o = σ(..)`, `g = tanh(..)`, `c_t = f ⊙ c_{t-1} + i ⊙ g`, `h_t = o ⊙ tanh(c_t)`; with a projection (Sak et al., 2014), `h_t = W_hr (o ⊙ tanh(c_t))`"),
];

pub(super) const READOUTS: [Choice; 3] = [
    ("last", "The last output (the last layer's final state)"),
    ("mean-max", "The mean over all outputs beside their maximum"),
    ("all", "All outputs, flattened: the head has a weight for each feature at each step"),
];

pub(super) const INITS: [Choice; 4] = [
    ("glorot", "Glorot uniform over the joined kernel `[W_ih | W_hh]` with fan-in I + P and fan-out G·H, as TensorFlow 1's `BasicRNNCell` and `BasicLSTMCell` draw it; zero bias, of an LSTM's forget gate 1. Head: Glorot uniform, zero bias"),
    ("orthogonal", "Glorot uniform `W_ih`, `W_hh` random orthogonal gate by gate (Saxe et al., 2014), zero bias, of an LSTM's forget gate 1, much as Keras's layers. Head: Glorot uniform, zero bias"),
    ("identity", "`W_ih` normal with standard deviation 0.001, `W_hh` the identity gate by gate, zero bias (Le, Jaitly & Hinton, 2015). Head: Glorot uniform, zero bias"),
    ("pytorch", "All weights and biases uniform in ±1/√H, as `torch.nn.RNN`, `GRU`, `LSTM` and `Linear`"),
];

pub(super) const SCHEDULES: [Choice; 5] = [
    ("constant", "Constant learning rate"),
    ("one-cycle", "One-cycle: up to the peak rate, then down to almost 0"),
    ("cosine", "Cosine decay to 0, after a linear warm-up"),
    ("step", "Step decay: a tenth after each third of the epochs"),
    ("plateau", "Reduce on plateau: half, whenever the validation loss stops falling"),
];

pub(super) const DTYPES: [Choice; 2] = [("f32", "Single precision"), ("f64", "Double precision")];

pub(super) const VALIDATIONS: [Choice; 2] = [("first", ""), ("stratified", "")];

pub(super) const BATCHINGS: [Choice; 2] = [("split", ""), ("exact", "")];

#[cfg(test)]
mod tests {
    use candle_rnn::settings::Settings;

    use super::*;

    #[test]
    fn every_choice_is_one_of_the_librarys() {
        let settings: [(&str, &[Choice]); 9] = [
            ("dataset", &DATASETS),
            ("validation", &VALIDATIONS),
            ("view", &VIEWS),
            ("cell", &CELLS),
            ("readout", &READOUTS),
            ("init", &INITS),
            ("batching", &BATCHINGS),
            ("schedule", &SCHEDULES),
            ("dtype", &DTYPES),
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
