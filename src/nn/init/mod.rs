//! Seeded initial weights.
//!
//! Candle's own initialisers cannot be seeded on the CPU, so the values are drawn here, in `f64`
//! and in a fixed order, and put into the `VarMap`; a layer then finds them there by name. Nothing else
//! makes variables there: the builder of a [`VarSink`] refuses a name that it does not have.
//!
//! - `draw`: the distributions

mod draw;
#[cfg(test)]
mod tests;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{StackConfig, VarSink};
use crate::recurrence::Cell;
use crate::rng::SeededRng;
use crate::Result;
use draw::{glorot, identity, semi_orthogonal, uniform};

/// How initial weights are drawn.
///
/// "Head" is any [`Dense`](super::Dense) layer; [`Embedding::init`](super::Embedding::init) says what an
/// embedding draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Glorot uniform over the joined kernel `[W_ih | W_hh]` with fan-in I + P and fan-out G·H, as
    /// TensorFlow 1's `BasicRNNCell` and `BasicLSTMCell` draw it; zero bias, of an LSTM's forget gate
    /// 1. Head: Glorot uniform, zero bias.
    #[default]
    Glorot,
    /// Glorot uniform `W_ih`, `W_hh` random orthogonal gate by gate (Saxe et al., 2014), zero bias, of
    /// an LSTM's forget gate 1, much as Keras's layers. Head: Glorot uniform, zero bias.
    Orthogonal,
    /// `W_ih` normal with standard deviation 0.001, `W_hh` the identity gate by gate, zero bias (Le,
    /// Jaitly & Hinton, 2015). Head: Glorot uniform, zero bias.
    Identity,
    /// All weights and biases uniform in ±1/√H, as `torch.nn.RNN`, `GRU`, `LSTM` and `Linear`.
    Pytorch,
}

impl Init {
    /// The name used on the command line and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glorot => "glorot",
            Self::Orthogonal => "orthogonal",
            Self::Identity => "identity",
            Self::Pytorch => "pytorch",
        }
    }
}

/// Puts initial weights of a stack into a sink, layer by layer, forward before backward: `weight_ih`,
/// `weight_hh`, `bias_ih` and, if the cell has them, `bias_hh` and `weight_hr`.
///
/// # Errors
/// As [`Stack::init`](super::Stack::init). Nothing is inserted or drawn then.
pub(super) fn init_stack(
    config: &StackConfig,
    init: Init,
    rng: &mut SeededRng,
    sink: &VarSink,
) -> Result<()> {
    let (units, gates) = (config.hidden_size, config.cell.gates());
    let (rows, outputs) = (gates * units, config.output_size());
    let parameters = config.parameters();
    let names = sink.new_names(parameters.iter().map(|(name, _)| name))?;
    let mut tensors = Vec::with_capacity(names.len());
    for ((name, shape), full) in parameters.into_iter().zip(names) {
        let count = shape.iter().product();
        let columns = shape.last().copied().unwrap_or(1);
        let (kind, _) = name.rsplit_once("_l").unwrap_or((&name, ""));
        let mut values = match (kind, init) {
            (_, Init::Pytorch) => uniform(rng, count, 1. / (units as f64).sqrt()),
            ("weight_ih", Init::Glorot) => uniform(rng, count, glorot(columns + outputs, rows)),
            ("weight_hh", Init::Glorot) => {
                // Over the joined kernel: the inputs of this layer are those of its `weight_ih`.
                let inputs = if name.starts_with("weight_hh_l0") {
                    config.input_size
                } else {
                    config.output_features()
                };
                uniform(rng, count, glorot(inputs + outputs, rows))
            }
            ("weight_ih", Init::Orthogonal) => uniform(rng, count, glorot(columns, rows)),
            ("weight_ih", Init::Identity) => (0..count).map(|_| 0.001 * rng.normal()).collect(),
            ("weight_hh", Init::Orthogonal) => {
                (0..gates).flat_map(|_| semi_orthogonal(rng, units, outputs)).collect()
            }
            ("weight_hh", _) => (0..gates).flat_map(|_| identity(units, outputs)).collect(),
            ("weight_hr", _) => uniform(rng, count, glorot(units, outputs)),
            _ => vec![0.; count],
        };
        let own = match init {
            Init::Glorot | Init::Orthogonal => Some(1.),
            Init::Identity | Init::Pytorch => None,
        };
        if config.cell == Cell::Lstm && kind.starts_with("bias") {
            // The forget gate's part: of both biases together.
            let part = &mut values[units..2 * units];
            match (kind, config.forget_bias.or(own)) {
                ("bias_ih", Some(bias)) => part.fill(bias),
                ("bias_hh", Some(_)) => part.fill(0.),
                _ => {}
            }
        }
        tensors.push((full, Tensor::from_vec(values, shape, &Device::Cpu)?));
    }
    sink.insert_all(tensors)
}

/// Puts initial weights of a dense layer into a sink: `weight` `(O, I)`, then `bias` `(O,)` if it has one.
///
/// # Errors
/// As [`Dense::init`](super::Dense::init).
pub(crate) fn init_dense(
    [outputs, inputs]: [usize; 2],
    has_bias: bool,
    init: Init,
    rng: &mut SeededRng,
    sink: &VarSink,
) -> Result<()> {
    let shapes: [(&str, &[usize]); 2] = [("weight", &[outputs, inputs]), ("bias", &[outputs])];
    let shapes = &shapes[..if has_bias { 2 } else { 1 }];
    let names = sink.new_names(shapes.iter().map(|(name, _)| name))?;
    let limit = match init {
        Init::Pytorch => 1. / (inputs as f64).sqrt(),
        _ => glorot(inputs, outputs),
    };
    let mut tensors = Vec::new();
    for (full, (name, shape)) in names.into_iter().zip(shapes) {
        let count = shape.iter().product();
        let values = if *name == "weight" || init == Init::Pytorch {
            uniform(rng, count, limit)
        } else {
            vec![0.; count]
        };
        tensors.push((full, Tensor::from_vec(values, *shape, &Device::Cpu)?));
    }
    sink.insert_all(tensors)
}

/// Puts the initial weight `(V, D)` of an embedding into a sink.
pub(super) fn init_embedding(
    [rows, columns]: [usize; 2],
    init: Init,
    rng: &mut SeededRng,
    sink: &VarSink,
) -> Result<()> {
    let names = sink.new_names(["weight"])?;
    let count = rows * columns;
    let values = match init {
        Init::Pytorch => (0..count).map(|_| rng.normal()).collect(),
        Init::Glorot => uniform(rng, count, glorot(rows, columns)),
        Init::Orthogonal | Init::Identity => uniform(rng, count, 0.05),
    };
    let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
    sink.insert_all(names.into_iter().map(|name| (name, tensor.clone())).collect())
}
