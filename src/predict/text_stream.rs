//! `TextStream`: a text that a language model continues character by character.

use std::borrow::Borrow;

use super::steps::StepReader;
use super::text::{GenerateConfig, Generator};
use crate::rng::{Purpose, SeededRng};
use crate::{Error, Result};

/// A text that a language model continues character by character.
///
/// - `G`: who holds the model: `&Generator`, `Arc<Generator>` or the model itself
#[derive(Clone, Debug)]
pub struct TextStream<G = Generator> {
    generator: G,
    steps: StepReader,
    config: GenerateConfig,
    rng: SeededRng,
    /// The prompt's characters that the model has not read, the last one first.
    unread: Vec<u16>,
    /// The surprise of those that it has read, but for the first, in bits, and how many they are.
    surprise: (f64, usize),
    /// The character that was drawn last.
    last: u32,
    /// How many characters are yet to be drawn.
    rest: usize,
}

impl<G: Borrow<Generator>> TextStream<G> {
    /// A stream that has read nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty prompt, one with a character that the model does not know, and settings out of
    /// range.
    pub fn new(generator: G, prompt: &str, config: &GenerateConfig) -> Result<Self> {
        config.check()?;
        let model: &Generator = generator.borrow();
        let mut unread = model.encoded(prompt)?;
        unread.reverse();
        let steps = StepReader::new(model.network()?)?;
        let rng = SeededRng::new(config.seed, Purpose::Sample);
        let rest = config.length;
        let surprise = (0., 0);
        Ok(Self { generator, steps, config: *config, rng, unread, surprise, last: 0, rest })
    }

    /// Bits per character of what was read of the prompt: how little the model expected each character behind the
    /// first. `None` until it has read two.
    pub fn prompt_bits_per_character(&self) -> Option<f64> {
        let (bits, count) = self.surprise;
        (count > 0).then(|| bits / count as f64)
    }

    /// Whether all characters were drawn.
    pub fn is_done(&self) -> bool {
        self.rest == 0
    }

    /// Takes one step: reads a character of the prompt and, from its last on, draws the next; `None` before, and once
    /// all were drawn.
    ///
    /// # Errors
    /// [`Error::Candle`] on a device; [`Error::Config`] for logits that are not numbers.
    pub fn advance(&mut self) -> Result<Option<char>> {
        if self.is_done() {
            return Ok(None);
        }
        let generator: &Generator = self.generator.borrow();
        let id = self.unread.pop().map_or(self.last, u32::from);
        let logits = self.steps.push_id(generator.model(), id)?;
        if let Some(next) = self.unread.last() {
            self.surprise.0 += surprise(&logits, usize::from(*next));
            self.surprise.1 += 1;
            return Ok(None);
        }
        let id = draw(&logits, &self.config, &mut self.rng)?;
        let unknown = || Error::Config("the model's vocabulary is too small".into());
        let drawn = generator.config().task.vocabulary.decode(id).ok_or_else(unknown)?;
        self.last = id as u32;
        self.rest -= 1;
        Ok(Some(drawn))
    }
}

impl Generator {
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
        let mut stream = TextStream::new(self, prompt, config)?;
        while !stream.is_done() {
            if let Some(character) = stream.advance()? {
                take(character)?;
            }
        }
        Ok(())
    }
}

/// `-log2 p` of a character.
fn surprise(logits: &[f64], id: usize) -> f64 {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
    (most + sum.ln() - logits[id]) / std::f64::consts::LN_2
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
    fn the_surprise_of_a_character_is_in_bits() {
        let logits = [0., 3_f64.ln(), f64::NEG_INFINITY];
        assert!((surprise(&logits, 0) - 2.).abs() < 1e-12);
        assert!((surprise(&logits, 1) - (4_f64 / 3.).log2()).abs() < 1e-12);
        assert_eq!(surprise(&logits, 2), f64::INFINITY);
        assert!((surprise(&[1e5; 4], 3) - 2.).abs() < 1e-9);
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
