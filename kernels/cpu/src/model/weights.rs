//! The tensors of `model.safetensors` as the weights of a network.

use std::collections::BTreeSet;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::config::{ModelConfig, ModelTask};
use super::error::ModelError;
use crate::network::{LayerShape, Network, Number};
use crate::weights::WeightSlices;
use crate::Isa;

/// A file of tensors, and which of them were asked for.
struct TensorFile<'a> {
    tensors: SafeTensors<'a>,
    found: BTreeSet<String>,
}

fn wrong(reason: String) -> ModelError {
    ModelError::new(format!("model.safetensors: {reason}"))
}

impl<'a> TensorFile<'a> {
    /// A tensor's elements, if it is there.
    fn get<E: Number>(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<Vec<E>>, ModelError> {
        let Ok(tensor) = self.tensors.tensor(name) else { return Ok(None) };
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(wrong(format!(
                "{name} has shape {found:?}, the configuration says {shape:?}"
            )));
        }
        let elements = elements(name, &tensor)?;
        self.found.insert(name.into());
        Ok(Some(elements))
    }

    fn need<E: Number>(&mut self, name: &str, shape: &[usize]) -> Result<Vec<E>, ModelError> {
        self.get(name, shape)?.ok_or_else(|| wrong(format!("lacks {name}")))
    }
}

/// The network that the configuration and the weights make.
pub(super) fn network<E: Number>(
    isa: Isa,
    config: &ModelConfig,
    bytes: &[u8],
) -> Result<Network<E>, ModelError> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| wrong(format!("not a safetensors file: {error}")))?;
    let has_biases = tensors.names().into_iter().any(|name| name.starts_with("rnn.bias_"));
    let mut file = TensorFile { tensors, found: BTreeSet::new() };
    let ModelConfig { cell, input_size, hidden_size, num_layers, bidirectional, outputs, .. } =
        *config;
    let mut network = Network::new(isa);
    if let ModelTask::Text { vocabulary } = &config.task {
        let shape = [vocabulary.len(), input_size];
        network = network.embedding(&file.need::<E>("embedding.weight", &shape)?);
    }
    let directions = if bidirectional { 2 } else { 1 };
    let rows = cell.gates() * hidden_size;
    for layer in 0..num_layers {
        let inputs = if layer == 0 { input_size } else { directions * hidden_size };
        let mut of_directions = Vec::new();
        for direction in 0..directions {
            let suffix = if direction == 0 { "" } else { "_reverse" };
            let name = |part: &str| format!("rnn.{part}_l{layer}{suffix}");
            let w_ih: Vec<E> = file.need(&name("weight_ih"), &[rows, inputs])?;
            let w_hh: Vec<E> = file.need(&name("weight_hh"), &[rows, hidden_size])?;
            let mut biases: Vec<E> = if has_biases {
                file.need(&name("bias_ih"), &[rows])?
            } else {
                vec![E::ZERO; rows]
            };
            // PyTorch keeps a second one for every cell, candle-rnn for those with gates.
            match file.get(&name("bias_hh"), &[rows])? {
                Some(second) => biases.extend_from_slice(&second),
                None if has_biases && rows > hidden_size => {
                    return Err(wrong(format!("lacks {}", name("bias_hh"))))
                }
                None => {}
            }
            of_directions.push((w_ih, w_hh, biases));
        }
        let slices: Vec<WeightSlices<E>> = of_directions
            .iter()
            .map(|(w_ih, w_hh, biases)| WeightSlices::new(w_ih, w_hh, biases, rows))
            .collect();
        network = network.layer(LayerShape::new(cell, inputs, hidden_size), &slices);
    }
    let features = config.readout.features(directions * hidden_size);
    let weight: Vec<E> = file.need("head.weight", &[outputs, features])?;
    let bias: Vec<E> = file.need("head.bias", &[outputs])?;
    let names = file.tensors.names();
    if let Some(extra) = names.into_iter().find(|name| !file.found.contains(*name)) {
        return Err(wrong(format!("holds {extra}, which the model does not have")));
    }
    Ok(network.readout(config.readout).head(&weight, &bias))
}

/// The numbers of a tensor.
fn elements<E: Number>(name: &str, tensor: &TensorView) -> Result<Vec<E>, ModelError> {
    let bytes = tensor.data();
    let elements: Vec<E> = match tensor.dtype() {
        Dtype::F32 => numbers(bytes, |bytes| f32::from_le_bytes(bytes).into()),
        Dtype::F64 => numbers(bytes, f64::from_le_bytes),
        Dtype::F16 => numbers(bytes, |bytes| from_half(u16::from_le_bytes(bytes))),
        Dtype::BF16 => numbers(bytes, |bytes| {
            f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16).into()
        }),
        other => {
            return Err(wrong(format!("{name} is {other:?}: weights are f16, bf16, f32 or f64")))
        }
    };
    if elements.iter().any(|element| !element.to_f64().is_finite()) {
        return Err(wrong(format!("{name} holds a value that is NaN or infinite")));
    }
    Ok(elements)
}

fn numbers<E: Number, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<E> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|bytes| E::from_f64(number(*bytes))).collect()
}

/// The number that 16 bits of IEEE 754's binary16 are.
fn from_half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1. } else { 1. };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0. => f64::INFINITY,
        31 => f64::NAN,
        _ => (1. + mantissa / 1024.) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_numbers_that_they_stand_for() {
        let known = [
            (0x0000, 0.),
            (0x3c00, 1.),
            (0xc000, -2.),
            (0x3555, 0.333_251_953_125),
            (0x7bff, 65_504.),
            (0x0400, 2f64.powi(-14)),
            (0x0001, 2f64.powi(-24)),
            (0x7c00, f64::INFINITY),
        ];
        for (bits, number) in known {
            assert_eq!(from_half(bits), number, "{bits:#x}");
        }
        assert!(from_half(0x7e00).is_nan());
    }
}
