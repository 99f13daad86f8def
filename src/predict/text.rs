//! `Generator`: a language model that continues a text.

use std::path::Path;

use candle_core::Device;
use candle_nn::VarBuilder;

use super::network::{LazyNetwork, StepNetwork};
use crate::data::TextStreams;
use crate::model::LanguageModel;
use crate::run::{self, RunConfig};
use crate::train::tasks::{evaluate_text, TextConfig};
use crate::train::Score;
use crate::{Error, Result};

/// A trained language model, which continues texts.
///
/// ```no_run
/// # fn main() -> candle_rnn::Result<()> {
/// use candle_rnn::predict::{GenerateConfig, Generator};
///
/// let model = Generator::load("runs/0001")?;
/// let config = GenerateConfig { length: 200, temperature: 0.8, ..GenerateConfig::default() };
/// println!("{}", model.generate("Once upon", &config)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Generator {
    config: RunConfig<TextConfig>,
    model: LanguageModel,
    device: Device,
    network: LazyNetwork,
}

/// How a text is continued.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateConfig {
    /// The number of characters that are added.
    pub length: usize,
    /// The temperature: logits are divided by it, so that less than 1 prefers what is likely; 0 always takes the most
    /// likely character.
    pub temperature: f64,
    /// How many of the most likely characters one is drawn from; `None` for all.
    pub top_k: Option<usize>,
    /// The seed of what is drawn.
    pub seed: u64,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self { length: 500, temperature: 0.8, top_k: None, seed: 42 }
    }
}

impl GenerateConfig {
    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature >= 0. && self.temperature.is_finite()) {
            let temperature = self.temperature;
            return Err(Error::Config(format!(
                "temperature must be at least 0, got {temperature}"
            )));
        }
        if self.top_k == Some(0) {
            return Err(Error::Config("top_k must be at least 1, got 0".into()));
        }
        Ok(())
    }
}

impl Generator {
    /// Loads the model of a run directory, or of a checkpoint of it, on the CPU.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] and [`Error::Io`] when the directory is not that of a whole run of a language model.
    pub fn load(run: impl AsRef<Path>) -> Result<Self> {
        Self::load_on(run, &Device::Cpu)
    }

    /// Loads the model of a run directory, on a device.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = run.as_ref();
        let config = run::read_config::<TextConfig>(run)?;
        let weights = run::read_weights(run, &config)?;
        let dtype = config.task.training.dtype.dtype();
        let vb = VarBuilder::from_tensors(weights.into_iter().collect(), dtype, device);
        let model = LanguageModel::new(&config.task.model, vb)?.freeze()?;
        Ok(Self { config, model, device: device.clone(), network: LazyNetwork::default() })
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig<TextConfig> {
        &self.config
    }

    /// Checks that a prompt can be continued.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty prompt, and one with a character that the model does not know.
    pub fn check(&self, prompt: &str) -> Result<()> {
        self.encoded(prompt).map(|_| ())
    }

    pub(super) fn encoded(&self, prompt: &str) -> Result<Vec<u16>> {
        if prompt.is_empty() {
            return Err(Error::Config("a prompt needs at least one character".into()));
        }
        self.config.task.vocabulary.encode(prompt)
    }

    /// The layers for steps of one text.
    pub(super) fn network(&self) -> Result<StepNetwork> {
        let model = &self.model;
        self.network.get(Some(model.embedding()), model.rnn(), model.head())
    }

    pub(super) fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// Loss and bits per character on a text, read from its beginning.
    ///
    /// # Errors
    /// [`Error::Config`] for a character that the model does not know, and a text that is too short.
    pub fn evaluate(&self, text: &str) -> Result<Score> {
        let ids = self.config.task.vocabulary.encode(text)?;
        let seq_len = self.config.task.training.seq_len.min(ids.len().saturating_sub(1)).max(1);
        evaluate_text(&self.model, &TextStreams::for_evaluation(ids, seq_len)?, &self.device)
    }
}
