//! The configuration of a stack, and the names of its weights.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::super::dropout::check_probability;
use crate::recurrence::{Cell, Weights};
use crate::{Error, Result};

/// The sizes of a [`Stack`](super::Stack) and its cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackConfig {
    /// The cell of all layers.
    pub cell: Cell,
    /// The number of features of the input at each step, I.
    pub input_size: usize,
    /// The number of features of the hidden state of a layer in one direction, H.
    pub hidden_size: usize,
    /// The number of layers, L.
    pub num_layers: usize,
    /// Whether each layer runs in both directions: D is 2.
    pub bidirectional: bool,
    /// The dropout probability between layers, in training:
    /// [`Sequences::dropout`](super::Sequences::dropout) turns it on.
    pub dropout: f64,
    /// The dropout probability of the hidden state in the recurrent products, in training, the same units at
    /// every step of a sequence (variational dropout); turned on by the same.
    pub recurrent_dropout: f64,
    /// The size of an LSTM's projected hidden state, P, if it has a projection.
    pub proj_size: Option<usize>,
    /// The initial bias of an LSTM's forget gate, where it differs from [`Init`](super::super::Init)'s.
    pub forget_bias: Option<f64>,
}

impl StackConfig {
    /// One layer, forward in time, without dropout.
    pub fn new(cell: Cell, input_size: usize, hidden_size: usize) -> Self {
        Self {
            cell,
            input_size,
            hidden_size,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            recurrent_dropout: 0.,
            proj_size: None,
            forget_bias: None,
        }
    }

    /// The number of directions, D: 1 or 2.
    pub fn directions(&self) -> usize {
        if self.bidirectional {
            2
        } else {
            1
        }
    }

    /// The number of features of an output in one direction, P: H, or the size of an LSTM's projection.
    pub fn output_size(&self) -> usize {
        self.proj_size.unwrap_or(self.hidden_size)
    }

    /// The number of features of an output, D·P: what the next layer or a head reads.
    pub fn output_features(&self) -> usize {
        self.directions() * self.output_size()
    }

    /// Checks that sizes are at least 1, probabilities in `[0, 1)`, and that the cell has what is
    /// asked of it.
    ///
    /// # Errors
    /// [`Error::Config`] naming what does not hold.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("input_size", self.input_size),
            ("hidden_size", self.hidden_size),
            ("num_layers", self.num_layers),
            ("proj_size", self.output_size()),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(Error::Config(format!("{name} must be at least 1, got 0")));
        }
        check_probability("dropout", self.dropout)?;
        check_probability("recurrent_dropout", self.recurrent_dropout)?;
        if self.dropout > 0. && self.num_layers == 1 {
            return Err(Error::Config(
                "dropout acts between layers, and num_layers is 1: use more layers, or \
                 recurrent_dropout"
                    .into(),
            ));
        }
        if self.cell != Cell::Lstm && (self.proj_size.is_some() || self.forget_bias.is_some()) {
            let cell = self.cell.name();
            return Err(Error::Config(format!(
                "proj_size and forget_bias need an lstm, not {cell}"
            )));
        }
        Ok(())
    }

    /// Names and shapes of all weights, PyTorch's: `weight_ih_l0` (G·H, I), `weight_hh_l0` (G·H, P),
    /// `bias_ih_l0`, `bias_hh_l0` (G·H,), `weight_hr_l0` (P, H); `l1` and so on for the layers above,
    /// whose inputs are D·P; `_reverse` behind the names of the backward direction. In the order of
    /// layers and directions.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let rows = self.cell.gates() * self.hidden_size;
        let outputs = self.output_size();
        let mut parameters = Vec::new();
        for layer in 0..self.num_layers {
            let inputs = if layer == 0 { self.input_size } else { self.output_features() };
            for direction in 0..self.directions() {
                let mut add = |name: &str, shape: &[usize]| {
                    parameters.push((weight_name(name, layer, direction), shape.to_vec()));
                };
                add("weight_ih", &[rows, inputs]);
                add("weight_hh", &[rows, outputs]);
                add("bias_ih", &[rows]);
                if self.cell.has_two_biases() {
                    add("bias_hh", &[rows]);
                }
                if self.proj_size.is_some() {
                    add("weight_hr", &[outputs, self.hidden_size]);
                }
            }
        }
        parameters
    }
}

/// The weights of a direction under PyTorch's names.
pub(crate) fn named_weights(
    weights: &Weights,
    layer: usize,
    direction: usize,
) -> impl Iterator<Item = (String, &Tensor)> {
    let Weights { w_ih, w_hh, b_ih, b_hh, w_hr } = weights;
    [
        ("weight_ih", Some(w_ih)),
        ("weight_hh", Some(w_hh)),
        ("bias_ih", Some(b_ih)),
        ("bias_hh", b_hh.as_ref()),
        ("weight_hr", w_hr.as_ref()),
    ]
    .into_iter()
    .filter_map(move |(name, tensor)| Some((weight_name(name, layer, direction), tensor?)))
}

/// PyTorch's name for a weight.
pub(crate) fn weight_name(name: &str, layer: usize, direction: usize) -> String {
    format!("{name}_l{layer}{}", if direction == 0 { "" } else { "_reverse" })
}
