//! Models of candle-rnn's runs, without Candle: `config.json` and `model.safetensors` in, predictions out.
//!
//! Both files are given as bytes, so that they may come from a disk, a network or `include_bytes!`. Nothing here
//! opens a file, starts a thread or asks for the time.
//!
//! - `error`: what can be wrong
//! - `config`: what `config.json` says
//! - `view`: the order in which the pixels of an image are read
//! - `permutation`: the random order of pixels that a view may have
//! - `preprocess`: what is done to values before the network reads them
//! - `weights`: the tensors of `model.safetensors`
//! - `outputs`: what the network's outputs stand for
//! - `forecast`: the naive forecast that a network's differences are added to
//! - `predict`: whole sequences, images and texts
//! - `stream`: a sequence step by step

mod config;
mod error;
mod forecast;
mod outputs;
mod permutation;
mod predict;
mod preprocess;
mod stream;
mod view;
mod weights;

use std::sync::Arc;

pub use config::TargetKind;
pub use error::ModelError;
pub use outputs::Prediction;
pub use stream::ModelStream;
pub use view::ImageView;

use crate::network::{Network, Number};
use crate::Isa;
use config::{ModelConfig, ModelTask};

/// A trained model of a run, in `f32` or `f64`.
///
/// ```
/// use candle_rnn_kernels::Model;
///
/// # fn main() -> Result<(), candle_rnn_kernels::ModelError> {
/// // 2 numbers a step, one of 3 classes a sequence.
/// let config = include_bytes!("../../tests/data/waves/config.json");
/// let weights = include_bytes!("../../tests/data/waves/model.safetensors");
/// let model = Model::<f32>::from_bytes(config, weights)?;
/// let mut stream = model.stream()?;
/// for x_t in [[0.5, 1.], [0.4, 2.]] {
///     let probabilities = stream.push(&x_t)?;
///     assert_eq!(probabilities.len(), 3);
/// }
/// let predicted = &model.predict(&[&[0.5, 1., 0.4, 2.]])?[0];
/// assert_eq!(predicted.probabilities(), Some(stream.outputs()));
/// # Ok(())
/// # }
/// ```
pub struct Model<E> {
    network: Arc<Network<E>>,
    config: Arc<ModelConfig>,
}

impl<E: Number> Model<E> {
    /// The model of a run, for the best instruction set of this CPU.
    ///
    /// - `config`: the run's `config.json`
    /// - `weights`: its `model.safetensors`, in `f16`, `bf16`, `f32` or `f64`; converted to `E`
    ///
    /// # Errors
    /// [`ModelError`] when one of the two is damaged, is not of such a run, or does not fit the other; and when the
    /// environment variable `CANDLE_RNN_ISA` names an instruction set that this CPU lacks.
    pub fn from_bytes(config: &[u8], weights: &[u8]) -> Result<Self, ModelError> {
        let isa = Isa::chosen().map_err(ModelError::new)?;
        let config = ModelConfig::parse(config)?;
        let network = weights::network(isa, &config, weights)?;
        Ok(Self { network: Arc::new(network), config: Arc::new(config) })
    }

    /// The network.
    pub fn network(&self) -> &Arc<Network<E>> {
        &self.network
    }

    /// The kind of target that the model predicts.
    pub fn target(&self) -> TargetKind {
        match &self.config.task {
            ModelTask::Images { .. } => TargetKind::Class,
            ModelTask::Sequences(sequences) => sequences.target,
            ModelTask::Text { .. } => TargetKind::Character,
        }
    }

    /// The number of values that it reads at each step, before they are preprocessed: the I features of the data, or
    /// the pixels of a step. A text has none.
    pub fn features(&self) -> usize {
        match &self.config.task {
            ModelTask::Images { .. } => self.network.input_size(),
            ModelTask::Sequences(sequences) => sequences.preprocessor.features.len(),
            ModelTask::Text { .. } => 0,
        }
    }

    /// The names of the classes or of the numbers that it predicts; empty for images and texts.
    pub fn output_names(&self) -> &[String] {
        match &self.config.task {
            ModelTask::Sequences(sequences) => &sequences.outputs,
            ModelTask::Images { .. } | ModelTask::Text { .. } => &[],
        }
    }

    /// The characters that a model of texts knows, sorted; empty for others.
    pub fn vocabulary(&self) -> &[char] {
        match &self.config.task {
            ModelTask::Text { vocabulary } => vocabulary,
            ModelTask::Images { .. } | ModelTask::Sequences(_) => &[],
        }
    }

    /// The number of steps that a forecast is made from; `None` for other models.
    pub fn window(&self) -> Option<usize> {
        match &self.config.task {
            ModelTask::Sequences(sequences) => sequences.forecast.map(|forecast| forecast.window),
            ModelTask::Images { .. } | ModelTask::Text { .. } => None,
        }
    }

    /// A stream that has read nothing yet.
    ///
    /// # Errors
    /// [`ModelError`] for a model that reads sequences in both directions or more than the last output of each, and for
    /// one that scales each sequence by itself.
    pub fn stream(&self) -> Result<ModelStream<E>, ModelError> {
        ModelStream::new(self.network.clone(), self.config.clone())
    }
}

impl<E> Clone for Model<E> {
    fn clone(&self) -> Self {
        Self { network: self.network.clone(), config: self.config.clone() }
    }
}

impl<E> std::fmt::Debug for Model<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("config", &self.config).finish_non_exhaustive()
    }
}
