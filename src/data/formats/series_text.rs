//! A sequence in a line: its features one after the other, each with all its steps.

use super::text_numbers::{complaint, parse, CellValue};
use crate::data::DatasetBuilder;
use crate::wording::counted;

/// The most features of a step.
const MOST_FEATURES: usize = 65_536;
/// Values that are handed on at once, so that a long sequence is never there twice.
const BLOCK: usize = 4_096;

/// The features of a sequence, as they stand in a line.
#[derive(Debug)]
pub(super) struct SeriesText<'a> {
    features: Vec<&'a [u8]>,
    /// The steps that all features have.
    pub(super) steps: usize,
}

impl<'a> SeriesText<'a> {
    /// Finds the features of a text.
    ///
    /// - `between`: the byte that stands between two features; a comma stands between two steps
    ///
    /// # Errors
    /// Features of different numbers of steps, or too many of them.
    pub(super) fn new(text: &'a [u8], between: u8) -> Result<Self, String> {
        let mut features = Vec::new();
        let mut steps = 0;
        for feature in text.split(|byte| *byte == between) {
            let is_empty = feature.iter().all(u8::is_ascii_whitespace);
            let commas = feature.iter().filter(|byte| **byte == b',').count();
            // A feature of nothing has no steps.
            let count = if is_empty { 0 } else { commas + 1 };
            if features.is_empty() {
                steps = count;
            } else if count != steps {
                let (number, count) = (features.len() + 1, counted(count, "step"));
                return Err(format!("feature {number} has {count}, feature 1 has {steps}"));
            }
            if features.len() == MOST_FEATURES {
                return Err(format!("has more than {MOST_FEATURES} features"));
            }
            features.push(feature);
        }
        if steps == 0 {
            return Err("the sequence has no steps".into());
        }
        Ok(Self { features, steps })
    }

    /// The number of features.
    pub(super) fn width(&self) -> usize {
        self.features.len()
    }

    /// Leaves out steps at the end that are missing in all features.
    ///
    /// # Errors
    /// A sequence of which nothing is left.
    pub(super) fn cut_missing_end(&mut self) -> Result<(), String> {
        let missing = |feature: &&[u8]| {
            let cells = feature.rsplit(|byte| *byte == b',');
            cells.take_while(|cell| matches!(parse(cell), CellValue::Missing)).count()
        };
        self.steps -= self.features.iter().map(missing).min().unwrap_or(0);
        if self.steps == 0 {
            return Err("the sequence has no steps".into());
        }
        Ok(())
    }

    /// Adds the steps to the sequence that has not ended.
    ///
    /// - `place`: where the sequence is, such as `line 3`
    ///
    /// # Errors
    /// A value that is no number, with its feature and step.
    pub(super) fn read(
        &self,
        data: &mut DatasetBuilder,
        place: impl Fn() -> String,
    ) -> Result<(), String> {
        let width = self.width();
        data.reserve(self.steps * width);
        let mut cells: Vec<_> =
            self.features.iter().map(|feature| feature.split(|byte| *byte == b',')).collect();
        let block = (BLOCK / width).max(1);
        let mut values = Vec::with_capacity(block.min(self.steps) * width);
        for step in 1..=self.steps {
            for (feature, cells) in (1..).zip(&mut cells) {
                let cell = cells.next().unwrap_or_default();
                values.push(match parse(cell) {
                    CellValue::Number(value) => value,
                    CellValue::Missing => {
                        data.missing_at(|| format!("{}, feature {feature}, step {step}", place()));
                        f32::NAN
                    }
                    CellValue::Other => {
                        return Err(format!("feature {feature}, step {step}: {}", complaint(cell)))
                    }
                });
            }
            if step % block == 0 || step == self.steps {
                let added = data.push_steps(&values, values.len() / width);
                added.map_err(|error| error.to_string())?;
                values.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SequenceValues, Target};

    #[test]
    fn features_become_steps() {
        let mut data = DatasetBuilder::unnamed(2);
        let mut text = SeriesText::new(b"1,?,3,?:4,5,6, ", b':').unwrap();
        assert_eq!((text.width(), text.steps), (2, 4));
        text.cut_missing_end().unwrap();
        text.read(&mut data, || "line 7".into()).unwrap();
        data.end_sequence().unwrap();
        let data = data.build(Target::None).unwrap();
        let SequenceValues::F32(values) = data.sequence(0) else { panic!() };
        assert_eq!((values[0], values[1], values[3], &values[4..]), (1., 4., 5., &[3., 6.][..]));
        assert_eq!(data.missing().first, "line 7, feature 1, step 2");
        for (text, reason) in [
            ("1,2:3", "feature 2 has 1 step, feature 1 has 2"),
            ("1:", "feature 2 has 0 steps, feature 1 has 1"),
            ("", "the sequence has no steps"),
        ] {
            assert_eq!(SeriesText::new(text.as_bytes(), b':').unwrap_err(), reason);
        }
        let mut data = DatasetBuilder::unnamed(2);
        let error = SeriesText::new(b"1,2:3,x", b':').unwrap().read(&mut data, String::new);
        assert_eq!(error.unwrap_err(), "feature 2, step 2: expected a number, got \"x\"");
    }
}
