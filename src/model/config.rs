//! Configuration of the sequence classifier: its network, and its sizes.

use serde::{Deserialize, Serialize};

use crate::nn::dropout::{check_probability, draws};
use crate::nn::StackConfig;
use crate::recurrence::{Cell, Outputs};
use crate::{Error, Result};

/// The part of a sequence's outputs that the head reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// The last output (the last layer's final state).
    #[default]
    Last,
    /// The mean over all outputs beside their maximum.
    MeanMax,
    /// All outputs, flattened: the head has a weight for each feature at each step.
    All,
}

/// The network between inputs and head, whatever its inputs and targets are. The default is that of the reference
/// job: one layer of 150 tanh units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The recurrent cell.
    pub cell: Cell,
    /// The number of features of the hidden state of a layer in one direction, H.
    pub hidden_size: usize,
    /// The number of recurrent layers, L.
    #[serde(default = "one")]
    pub num_layers: usize,
    /// Whether each layer runs in both directions: D is 2.
    #[serde(default)]
    pub bidirectional: bool,
    /// The dropout probability between layers and before the head, in training.
    #[serde(default)]
    pub dropout: f64,
    /// The readout: the outputs that the head reads.
    #[serde(default)]
    pub readout: Readout,
}

impl NetworkConfig {
    /// One layer that runs forward in time, without dropout.
    pub fn new(cell: Cell, hidden_size: usize) -> Self {
        Self {
            cell,
            hidden_size,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            readout: Readout::Last,
        }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::new(Cell::Tanh, 150)
    }
}

/// The network and the sizes of a [`SequenceClassifier`](super::SequenceClassifier).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The network; its settings stand beside the sizes in a file.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// The number of features of the input at each step, I.
    pub input_size: usize,
    /// The number of steps, T, which [`Readout::All`] needs; 0 for the others, which read any number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seq_len: usize,
    /// The number of classes, C.
    pub num_classes: usize,
}

fn one() -> usize {
    1
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl ClassifierConfig {
    /// One layer that runs forward in time, without dropout.
    pub fn new(cell: Cell, input_size: usize, hidden_size: usize, num_classes: usize) -> Self {
        let network = NetworkConfig::new(cell, hidden_size);
        Self { network, input_size, seq_len: 0, num_classes }
    }

    /// The largest size of any dimension: far beyond any use, and small enough that the number of
    /// weights cannot overflow.
    const MAX_SIZE: usize = 1 << 20;
    /// The most layers.
    pub const MAX_LAYERS: usize = 64;

    /// The recurrent layers' part of this configuration.
    pub fn rnn(&self) -> StackConfig {
        StackConfig {
            num_layers: self.network.num_layers,
            bidirectional: self.network.bidirectional,
            // Of one layer, there is only the head's.
            dropout: if self.network.num_layers > 1 { self.network.dropout } else { 0. },
            ..StackConfig::new(self.network.cell, self.input_size, self.network.hidden_size)
        }
    }

    /// The number of features that the head reads, F: D·H, 2·D·H for mean and maximum, T·D·H for all outputs.
    pub(super) fn features(&self) -> usize {
        let outputs = self.rnn().output_features();
        match self.network.readout {
            Readout::Last => outputs,
            Readout::MeanMax => 2 * outputs,
            Readout::All => self.seq_len * outputs,
        }
    }

    /// How many 32-bit words dropout draws for a batch in training.
    ///
    /// - `seq_len`: that of the longest sequence of the batch
    /// - `outputs`: those that the head reads
    pub(crate) fn dropout_draws(&self, batch_size: usize, seq_len: usize, outputs: Outputs) -> u64 {
        let rnn = self.rnn();
        let all = batch_size * seq_len * rnn.output_features();
        let between = draws(all, rnn.dropout) * (rnn.num_layers as u64).saturating_sub(1);
        let read = match outputs {
            Outputs::All => all,
            Outputs::Last => batch_size * self.features(),
        };
        between + draws(read, self.network.dropout)
    }

    /// Checks that every size is from 1 to 2^20, that there are at most 64 layers, and that dropout
    /// is a probability less than 1.
    ///
    /// # Errors
    /// [`Error::Config`] naming what does not hold.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("input_size", self.input_size),
            ("hidden_size", self.network.hidden_size),
            ("num_classes", self.num_classes),
        ];
        for (name, size) in sizes {
            if size == 0 || size > Self::MAX_SIZE {
                let max = Self::MAX_SIZE;
                return Err(Error::Config(format!("{name} must be from 1 to {max}, got {size}")));
            }
        }
        if self.network.num_layers > Self::MAX_LAYERS {
            let (max, got) = (Self::MAX_LAYERS, self.network.num_layers);
            return Err(Error::Config(format!("num_layers must be from 1 to {max}, got {got}")));
        }
        let needs_steps = self.network.readout == Readout::All;
        if needs_steps != (1..=Self::MAX_SIZE).contains(&self.seq_len) {
            let got = self.seq_len;
            return Err(Error::Config(if needs_steps {
                format!("the readout of all outputs needs seq_len, the number of steps; got {got}")
            } else {
                format!("seq_len must be 0 unless the readout is of all outputs; got {got}")
            }));
        }
        check_probability("dropout", self.network.dropout)?;
        self.rnn().check()
    }

    /// Names and shapes of all weights, sorted by name.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut parameters: Vec<(String, Vec<usize>)> = self
            .rnn()
            .parameters()
            .into_iter()
            .map(|(name, shape)| (format!("rnn.{name}"), shape))
            .collect();
        parameters.push(("head.bias".into(), vec![self.num_classes]));
        parameters.push(("head.weight".into(), vec![self.num_classes, self.features()]));
        parameters.sort();
        parameters
    }
}
