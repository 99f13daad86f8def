//! The sequence classifier: recurrent layers and a dense head on the last layer's outputs.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::nn::dropout::{check_probability, dropout};
use crate::nn::{mean_max, Dense, DenseConfig, Init, Sequences, Stack, StackConfig, VarSink};
use crate::recurrence::{Cell, Outputs, Unroll};
use crate::rng::SeededRng;
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

/// The sizes of a [`SequenceClassifier`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The recurrent cell.
    pub cell: Cell,
    /// The number of features of the input at each step, I.
    pub input_size: usize,
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
    /// What the head reads.
    #[serde(default)]
    pub readout: Readout,
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
        Self {
            cell,
            input_size,
            hidden_size,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.,
            readout: Readout::Last,
            seq_len: 0,
            num_classes,
        }
    }

    /// The largest size of any dimension: far beyond any use, and small enough that the number of
    /// weights cannot overflow.
    const MAX_SIZE: usize = 1 << 20;
    /// The most layers.
    pub const MAX_LAYERS: usize = 64;

    /// The recurrent layers' part of this configuration.
    pub fn rnn(&self) -> StackConfig {
        StackConfig {
            num_layers: self.num_layers,
            bidirectional: self.bidirectional,
            // Of one layer, there is only the head's.
            dropout: if self.num_layers > 1 { self.dropout } else { 0. },
            ..StackConfig::new(self.cell, self.input_size, self.hidden_size)
        }
    }

    /// The number of features that the head reads, F: D·H, 2·D·H for mean and maximum, T·D·H for all outputs.
    fn features(&self) -> usize {
        let outputs = self.rnn().output_features();
        match self.readout {
            Readout::Last => outputs,
            Readout::MeanMax => 2 * outputs,
            Readout::All => self.seq_len * outputs,
        }
    }

    /// Checks that every size is from 1 to 2^20, that there are at most 64 layers, and that dropout
    /// is a probability less than 1.
    ///
    /// # Errors
    /// [`Error::Config`] naming what does not hold.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("input_size", self.input_size),
            ("hidden_size", self.hidden_size),
            ("num_classes", self.num_classes),
        ];
        for (name, size) in sizes {
            if size == 0 || size > Self::MAX_SIZE {
                let max = Self::MAX_SIZE;
                return Err(Error::Config(format!("{name} must be from 1 to {max}, got {size}")));
            }
        }
        if self.num_layers > Self::MAX_LAYERS {
            let (max, got) = (Self::MAX_LAYERS, self.num_layers);
            return Err(Error::Config(format!("num_layers must be from 1 to {max}, got {got}")));
        }
        let needs_steps = self.readout == Readout::All;
        if needs_steps != (1..=Self::MAX_SIZE).contains(&self.seq_len) {
            let got = self.seq_len;
            return Err(Error::Config(if needs_steps {
                format!("the readout of all outputs needs seq_len, the number of steps; got {got}")
            } else {
                format!("seq_len must be 0 unless the readout is of all outputs; got {got}")
            }));
        }
        check_probability("dropout", self.dropout)?;
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

/// A classifier of sequences: `logits = W h_T + b`, where `h_T` is the final state of a [`Stack`]'s last
/// layer, of both directions if it has two. With [`Readout::MeanMax`] the mean and the maximum of all its
/// outputs take the place of `h_T`, with [`Readout::All`] all outputs do.
#[derive(Clone, Debug)]
pub struct SequenceClassifier {
    rnn: Stack,
    dropout: f64,
    readout: Readout,
    head: Dense,
}

impl SequenceClassifier {
    /// Takes the weights from `vb`: the recurrent layers' under `rnn`, the head's under `head`
    /// (`weight` `(C, F)`, `bias` `(C,)`; F is D·H, 2·D·H for [`Readout::MeanMax`], T·D·H for
    /// [`Readout::All`]).
    ///
    /// # Errors
    /// [`Error::Config`] for sizes out of range, [`Error::Weight`] for a tensor that is missing or has
    /// another shape.
    pub fn new(config: &ClassifierConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let (units, classes) = (config.features(), config.num_classes);
        let rnn = Stack::new(config.rnn(), vb.pp("rnn"))?;
        let head = Dense::new(DenseConfig::new(units, classes), vb.pp("head"))?;
        let (dropout, readout) = (config.dropout, config.readout);
        Ok(Self { rnn, dropout, readout, head })
    }

    /// Puts initial weights into a sink and builds on them: an optimizer that changes the variables changes
    /// this model.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes out of range or when the sink has a variable of one of these names,
    /// [`Error::DType`] unless it makes `f32` or `f64`, [`Error::Candle`] when a tensor cannot be made.
    pub fn init(
        config: &ClassifierConfig,
        init: Init,
        rng: &mut SeededRng,
        sink: &VarSink,
    ) -> Result<Self> {
        config.check()?;
        // Both parts or none.
        sink.new_names(config.parameters().iter().map(|(name, _)| name))?;
        Stack::init(config.rnn(), init, rng, &sink.pp("rnn"))?;
        let head = DenseConfig::new(config.features(), config.num_classes);
        Dense::init(head, init, rng, &sink.pp("head"))?;
        Self::new(config, sink.builder())
    }

    /// Logits of whole sequences.
    ///
    /// - `sequences`: `x`, `(B, T, I)`, or [`Sequences`] with lengths, initial states and so on
    /// - returns `(B, C)`
    ///
    /// Each row is read up to its own length: its final state, or the mean and the maximum over its own steps.
    /// [`Readout::All`] reads zeros behind a row's end.
    ///
    /// # Errors
    /// [`Error::Shape`] when sizes disagree, [`Error::DType`] when dtypes do; else as [`Stack::forward`].
    pub fn forward<'a>(&self, sequences: impl Into<Sequences<'a>>) -> Result<Tensor> {
        self.read(sequences.into(), Outputs::Last)
    }

    /// Logits of the states that `unroll` reads, whose gradients flow back as far as it says.
    ///
    /// - `sequences`: as for [`forward`](Self::forward)
    /// - returns `(B, C)` for the last state, or what is read of all; `(B, T, C)`, or `(T, B, C)` if
    ///   time-major, for all, where those behind a row's end mean nothing
    ///
    /// # Errors
    /// As [`forward`](Self::forward); and [`Error::Config`] for all states of a model whose head reads them
    /// at once.
    pub fn forward_unrolled<'a>(
        &self,
        sequences: impl Into<Sequences<'a>>,
        unroll: impl Into<Unroll>,
    ) -> Result<Tensor> {
        let unroll = unroll.into();
        let mut sequences = sequences.into().truncated(unroll.truncation());
        if unroll.recomputes() {
            sequences = sequences.recomputing();
        }
        self.read(sequences, unroll.outputs())
    }

    /// As [`forward_unrolled`](Self::forward_unrolled), for training: dropout, if there is any, draws
    /// from `rng`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_training<'a>(
        &self,
        sequences: impl Into<Sequences<'a>>,
        unroll: impl Into<Unroll>,
        rng: &mut SeededRng,
    ) -> Result<Tensor> {
        self.forward_unrolled(sequences.into().dropout(rng), unroll)
    }

    fn read(&self, sequences: Sequences, read: Outputs) -> Result<Tensor> {
        let Sequences { lengths, time_major, dropout: mut rng, .. } = sequences;
        let mut sequences = Sequences { dropout: None, ..sequences };
        if let Some(rng) = rng.as_deref_mut() {
            sequences = sequences.dropout(rng);
        }
        let batch_first =
            |outputs: Tensor| if time_major { outputs.transpose(0, 1) } else { Ok(outputs) };
        let mut h = match (read, self.readout) {
            (Outputs::All, Readout::Last) => self.rnn.forward(sequences)?.outputs,
            (Outputs::Last, Readout::Last) => self.rnn.last(sequences)?,
            (Outputs::Last, Readout::MeanMax) => {
                mean_max(&batch_first(self.rnn.forward(sequences)?.outputs)?, lengths)?
            }
            (Outputs::Last, Readout::All) => {
                batch_first(self.rnn.forward(sequences)?.outputs)?.flatten_from(1)?
            }
            (Outputs::All, Readout::MeanMax | Readout::All) => {
                return Err(Error::Config(
                    "per-step predictions need a model with the last-state readout".into(),
                ))
            }
        };
        if let (Some(rng), true) = (rng, self.dropout > 0.) {
            h = dropout(&h, self.dropout, rng)?;
        }
        self.logits(&h)
    }

    /// Logits after every step.
    ///
    /// - `sequences`: as for [`forward`](Self::forward)
    /// - returns `(B, T, C)`; those behind a row's end mean nothing
    ///
    /// # Errors
    /// As [`forward_unrolled`](Self::forward_unrolled).
    pub fn forward_steps<'a>(&self, sequences: impl Into<Sequences<'a>>) -> Result<Tensor> {
        self.forward_unrolled(sequences, Outputs::All)
    }

    /// Logits of states.
    ///
    /// - `h`: `(B, F)` or `(B, T, F)`
    /// - returns `(B, C)` or `(B, T, C)`
    ///
    /// # Errors
    /// [`Error::Shape`] when the sizes do not fit, [`Error::DType`] when the dtypes do not.
    pub fn logits(&self, h: &Tensor) -> Result<Tensor> {
        self.head.forward_fused(h)
    }

    /// The same model for inference: it shares the weights, and follows them when they change, but
    /// keeps no graph for a backward pass.
    pub fn detach(&self) -> Self {
        let (dropout, readout) = (self.dropout, self.readout);
        Self { rnn: self.rnn.detach(), dropout, readout, head: self.head.detach() }
    }

    /// The model as it is now, for inference: it has weights of its own, laid out once for the
    /// kernels.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let (dropout, readout) = (self.dropout, self.readout);
        Ok(Self { rnn: self.rnn.freeze()?, dropout, readout, head: self.head.freeze()? })
    }

    /// The recurrent layers.
    pub fn rnn(&self) -> &Stack {
        &self.rnn
    }
}

/// The logits, `(B, C)`, of sequences `(B, T, I)` that are read from zeros.
impl Module for SequenceClassifier {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(Self::forward(self, x)?)
    }
}
