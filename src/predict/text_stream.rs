//! `TextStream`: a text that a language model continues character by character.

use std::borrow::Borrow;

use super::sampling::{draw, surprise};
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
