//! The language model: characters in, logits of the next character out.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::config::{NetworkConfig, Readout};
use crate::nn::dropout::dropout;
use crate::nn::{
    Dense, DenseConfig, Embedding, Init, Output, Sequences, Stack, StackConfig, VarSink,
};
use crate::recurrence::{RecurrentDType, State, Truncation};
use crate::rng::SeededRng;
use crate::{Error, Result};

/// The sizes of a [`LanguageModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageConfig {
    /// The recurrent layers, which run forward in time.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// V, the number of characters.
    pub vocabulary_size: usize,
    /// The number of features of a character's embedding.
    pub embedding_size: usize,
}

impl LanguageConfig {
    /// The recurrent layers' part of this configuration.
    fn rnn(&self) -> StackConfig {
        let NetworkConfig { cell, hidden_size, num_layers, bidirectional, dropout, .. } =
            self.network;
        StackConfig {
            num_layers,
            bidirectional,
            // Of one layer, there is only the head's.
            dropout: if num_layers > 1 { dropout } else { 0. },
            ..StackConfig::new(cell, self.embedding_size, hidden_size)
        }
    }

    /// Checks that every size is in its range and that the layers run forward in time.
    ///
    /// # Errors
    /// [`Error::Config`] naming what does not hold.
    pub fn check(&self) -> Result<()> {
        if self.network.bidirectional || self.network.readout != Readout::Last {
            return Err(Error::Config(
                "a language model predicts the next character: it cannot be bidirectional, and its readout is last"
                    .into(),
            ));
        }
        let sizes = [
            ("vocabulary_size", self.vocabulary_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.network.hidden_size),
        ];
        for (name, size) in sizes {
            if size == 0 || size > 1 << 20 {
                return Err(Error::Config(format!(
                    "{name} must be from 1 to {}, got {size}",
                    1 << 20
                )));
            }
        }
        crate::nn::dropout::check_probability("dropout", self.network.dropout)?;
        self.rnn().check()
    }

    /// Names and shapes of all weights, sorted by name.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let named = |(name, shape): (String, Vec<usize>)| (format!("rnn.{name}"), shape);
        let mut parameters: Vec<_> = self.rnn().parameters().into_iter().map(named).collect();
        let (size, hidden) = (self.vocabulary_size, self.network.hidden_size);
        parameters.push(("embedding.weight".into(), vec![size, self.embedding_size]));
        parameters.push(("head.bias".into(), vec![size]));
        parameters.push(("head.weight".into(), vec![size, hidden]));
        parameters.sort();
        parameters
    }
}

/// A model of text: each character becomes a vector, recurrent layers read one after the other, and a dense layer
/// gives the logits of the character that follows.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    embedding: Embedding,
    rnn: Stack,
    dropout: f64,
    head: Dense,
    recurrent_dtype: RecurrentDType,
}

impl LanguageModel {
    /// Takes the weights from `vb`: `embedding.weight` `(V, E)`, the recurrent layers' under `rnn`, the head's under
    /// `head` (`weight` `(V, H)`, `bias` `(V,)`).
    ///
    /// # Errors
    /// [`Error::Config`] for sizes out of range, [`Error::Weight`] for a tensor that is missing or has another shape.
    pub fn new(config: &LanguageConfig, vb: VarBuilder) -> Result<Self> {
        config.check()?;
        let (size, hidden) = (config.vocabulary_size, config.network.hidden_size);
        Ok(Self {
            embedding: Embedding::new(size, config.embedding_size, vb.pp("embedding"))?,
            rnn: Stack::new(config.rnn(), vb.pp("rnn"))?,
            dropout: config.network.dropout,
            head: Dense::new(DenseConfig::new(hidden, size), vb.pp("head"))?,
            recurrent_dtype: RecurrentDType::F32,
        })
    }

    /// The same model, whose training passes make recurrent products in such a dtype, see
    /// [`Sequences::recurrent_dtype`].
    pub fn recurrent_dtype(self, recurrent_dtype: RecurrentDType) -> Self {
        Self { recurrent_dtype, ..self }
    }

    /// Puts initial weights into a sink and builds on them.
    ///
    /// # Errors
    /// As [`SequenceClassifier::init`](super::SequenceClassifier::init).
    pub fn init(
        config: &LanguageConfig,
        init: Init,
        rng: &mut SeededRng,
        sink: &VarSink,
    ) -> Result<Self> {
        config.check()?;
        // All parts or none.
        sink.new_names(config.parameters().iter().map(|(name, _)| name))?;
        let (size, hidden) = (config.vocabulary_size, config.network.hidden_size);
        Embedding::init(size, config.embedding_size, init, rng, &sink.pp("embedding"))?;
        Stack::init(config.rnn(), init, rng, &sink.pp("rnn"))?;
        Dense::init(DenseConfig::new(hidden, size), init, rng, &sink.pp("head"))?;
        Self::new(config, sink.builder())
    }

    /// Logits of the next characters, and the state behind the last step.
    ///
    /// - `ids`: `(B, T)`, `u32`, each below V
    /// - `state`: the state to begin with; zeros if `None`
    /// - returns logits `(B, T, V)`
    ///
    /// # Errors
    /// [`Error::Config`] for a number that is no character's, [`Error::Shape`] when sizes disagree.
    pub fn forward(&self, ids: &Tensor, state: Option<&State>) -> Result<(Tensor, State)> {
        self.read(ids, state, Truncation::FULL, None)
    }

    /// As [`forward`](Self::forward), for training: dropout, if there is any, draws from `rng`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_training(
        &self,
        ids: &Tensor,
        state: Option<&State>,
        truncation: Truncation,
        rng: &mut SeededRng,
    ) -> Result<(Tensor, State)> {
        self.read(ids, state, truncation, Some(rng))
    }

    fn read(
        &self,
        ids: &Tensor,
        state: Option<&State>,
        truncation: Truncation,
        mut rng: Option<&mut SeededRng>,
    ) -> Result<(Tensor, State)> {
        let mut sequences = Sequences::embedded(&self.embedding, ids).truncated(truncation);
        if let Some(state) = state {
            sequences = sequences.initial(state);
        }
        if let Some(rng) = rng.as_deref_mut() {
            sequences = sequences.dropout(rng).recurrent_dtype(self.recurrent_dtype);
        }
        let Output { mut outputs, state } = self.rnn.forward(sequences)?;
        if let (Some(rng), true) = (rng, self.dropout > 0.) {
            outputs = dropout(&outputs, self.dropout, rng)?;
        }
        Ok((self.head.forward_fused(&outputs)?, state))
    }

    /// The same model for inference: it shares the weights, and follows them when they change, but keeps no graph for
    /// a backward pass.
    pub fn detach(&self) -> Self {
        let Self { embedding, rnn, dropout, head, recurrent_dtype } = self;
        Self {
            embedding: embedding.detach(),
            rnn: rnn.detach(),
            dropout: *dropout,
            recurrent_dtype: *recurrent_dtype,
            head: head.detach(),
        }
    }

    /// The model as it is now, for inference: it has weights of its own, laid out once for the kernels.
    ///
    /// # Errors
    /// [`Error::Candle`] when the weights cannot be copied.
    pub fn freeze(&self) -> Result<Self> {
        let Self { embedding, rnn, dropout, head, recurrent_dtype } = self;
        Ok(Self {
            embedding: embedding.detach(),
            rnn: rnn.freeze()?,
            dropout: *dropout,
            recurrent_dtype: *recurrent_dtype,
            head: head.freeze()?,
        })
    }

    /// One character further: the logits of the next, `(V,)`, and the state behind it.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn step(&self, id: u32, state: Option<&State>) -> Result<(Tensor, State)> {
        let ids = Tensor::from_slice(&[id], (1,), self.rnn.device())?;
        let x_t = self.embedding.forward(&ids)?;
        let (h_t, state) = self.rnn.step(&x_t, state)?;
        Ok((self.head.forward_fused(&h_t)?.squeeze(0)?, state))
    }

    /// The vectors of the characters.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
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
