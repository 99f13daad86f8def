//! The models: recurrent layers and a dense head, of sequences ([`SequenceClassifier`]) and of text
//! ([`LanguageModel`]).

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;

use crate::nn::dropout::dropout;
use crate::nn::{mean_max, Dense, DenseConfig, Init, Sequences, Stack, VarSink};
use crate::recurrence::{Outputs, Unroll};
use crate::rng::SeededRng;
use crate::{Error, Result};

mod config;
mod language;

pub use config::{ClassifierConfig, NetworkConfig, Readout};
pub use language::{LanguageConfig, LanguageModel};

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
        let (dropout, readout) = (config.network.dropout, config.network.readout);
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
        self.logits(&self.features(sequences.into(), Outputs::Last)?)
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
        self.logits(&self.features_unrolled(sequences.into(), unroll.into())?)
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

    /// What the head reads of the states that [`forward_training`](Self::forward_training) has the logits of: `(B, F)`,
    /// or of all states `(B, T, F)`.
    ///
    /// # Errors
    /// As [`forward_training`](Self::forward_training).
    pub(crate) fn features_training<'a>(
        &self,
        sequences: impl Into<Sequences<'a>>,
        unroll: impl Into<Unroll>,
        rng: &mut SeededRng,
    ) -> Result<Tensor> {
        self.features_unrolled(sequences.into().dropout(rng), unroll.into())
    }

    fn features_unrolled(&self, sequences: Sequences, unroll: Unroll) -> Result<Tensor> {
        let mut sequences = sequences.truncated(unroll.truncation());
        if unroll.recomputes() {
            sequences = sequences.recomputing();
        }
        self.features(sequences, unroll.outputs())
    }

    fn features(&self, sequences: Sequences, read: Outputs) -> Result<Tensor> {
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
        Ok(h)
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

    /// The dense layer behind them.
    pub fn head(&self) -> &Dense {
        &self.head
    }
}

/// The logits, `(B, C)`, of sequences `(B, T, I)` that are read from zeros.
impl Module for SequenceClassifier {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(Self::forward(self, x)?)
    }
}
