//! `Generator`: a language model that continues a text.

use std::path::Path;

use candle_core::Device;
use candle_nn::VarBuilder;

use super::network::LazyNetwork;
use super::steps::StepReader;
use crate::data::TextStreams;
use crate::model::LanguageModel;
use crate::rng::{Purpose, SeededRng};
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

    fn encoded(&self, prompt: &str) -> Result<Vec<u16>> {
        if prompt.is_empty() {
            return Err(Error::Config("a prompt needs at least one character".into()));
        }
        self.config.task.vocabulary.encode(prompt)
    }

    /// Continues a text: what is added, without the text itself.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty prompt, one with a character that the model does not know, and settings out of
    /// range.
    pub fn generate(&self, prompt: &str, config: &GenerateConfig) -> Result<String> {
        let mut text = String::new();
        self.generate_with(prompt, config, |character| {
            text.push(character);
            Ok(())
        })?;
        Ok(text)
    }

    /// Continues a text and calls `take` with each character as it is drawn.
    ///
    /// # Errors
    /// As [`generate`](Self::generate); and those of `take`, which end it.
    pub fn generate_with(
        &self,
        prompt: &str,
        config: &GenerateConfig,
        mut take: impl FnMut(char) -> Result<()>,
    ) -> Result<()> {
        config.check()?;
        let vocabulary = &self.config.task.vocabulary;
        let prompt = self.encoded(prompt)?;
        let (last, known) = (prompt[prompt.len() - 1], &prompt[..prompt.len() - 1]);
        let (embedding, rnn) = (self.model.embedding(), self.model.rnn());
        let mut steps =
            StepReader::new(self.network.get(Some(embedding), rnn, self.model.head())?)?;
        for id in known {
            steps.push_id(&self.model, u32::from(*id))?;
        }
        let mut rng = SeededRng::new(config.seed, Purpose::Sample);
        let mut id = u32::from(last);
        for _ in 0..config.length {
            let logits = steps.push_id(&self.model, id)?;
            id = draw(&logits, config, &mut rng)? as u32;
            let unknown = || Error::Config("the model's vocabulary is too small".into());
            take(vocabulary.decode(id as usize).ok_or_else(unknown)?)?;
        }
        Ok(())
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

/// The number of the next character.
fn draw(logits: &[f64], config: &GenerateConfig, rng: &mut SeededRng) -> Result<usize> {
    let GenerateConfig { temperature, top_k, .. } = *config;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order.truncate(if temperature == 0. { 1 } else { top_k.unwrap_or(usize::MAX) });
    let most = logits[order[0]];
    let weight =
        |index: &usize| ((logits[*index] - most) / temperature.max(f64::MIN_POSITIVE)).exp();
    let weights: Vec<f64> = order.iter().map(weight).collect();
    if order.len() == 1 {
        return Ok(order[0]);
    }
    let sum: f64 = weights.iter().sum();
    let probabilities: Vec<f64> = weights.into_iter().map(|weight| weight / sum).collect();
    Ok(order[rng.categorical(&probabilities)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(config: GenerateConfig) -> Vec<usize> {
        let logits = [0., 2., 1., -50.];
        let mut rng = SeededRng::new(config.seed, Purpose::Sample);
        (0..2_000).map(|_| draw(&logits, &config, &mut rng).unwrap()).collect()
    }

    fn part(drawn: &[usize], id: usize) -> f64 {
        drawn.iter().filter(|found| **found == id).count() as f64 / drawn.len() as f64
    }

    #[test]
    fn characters_are_drawn_as_often_as_they_are_likely() {
        let all = drawn(GenerateConfig { temperature: 1., ..Default::default() });
        assert!((part(&all, 1) - 0.665).abs() < 0.04 && (part(&all, 0) - 0.09).abs() < 0.03);
        assert_eq!(part(&all, 3), 0.);
        let cold = drawn(GenerateConfig { temperature: 0., ..Default::default() });
        assert_eq!(part(&cold, 1), 1.);
        let two = drawn(GenerateConfig { temperature: 10., top_k: Some(2), ..Default::default() });
        assert!(part(&two, 0) == 0. && (part(&two, 2) - 0.475).abs() < 0.05);
        assert_ne!(all, drawn(GenerateConfig { temperature: 1., seed: 1, ..Default::default() }));
    }
}
