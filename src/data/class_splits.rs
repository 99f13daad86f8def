//! Splits of classes: no class is held out whole, and a single recording is cut by time.

use super::dataset::Dataset;
use super::splits::{DataSplits, SplitConfig};
use super::target::Target;
use crate::wording::counted;
use crate::{Error, Result};

impl DataSplits {
    /// Cuts a single sequence with a class at each step by time.
    pub(super) fn recording(
        data: &Dataset,
        valid: Option<Dataset>,
        test: Option<Dataset>,
        config: &SplitConfig,
    ) -> Result<Self> {
        let valid_fraction = if valid.is_some() { 0. } else { config.valid_fraction };
        let test_fraction = if test.is_some() { 0. } else { config.test_fraction };
        let config = &SplitConfig { valid_fraction, test_fraction, test_steps: 0, ..*config };
        let (ends, len) = (|len| config.cuts(len), data.seq_len(0));
        let (owns_valid, owns_test) = (valid_fraction > 0., test_fraction > 0.);
        let (first, second) = ends(len);
        if first == 0 || owns_valid && second == first || owns_test && len == second {
            return Err(Error::Config(format!(
                "a single sequence of {} is too short to be cut into parts: hold out more of it, or nothing",
                counted(len, "step")
            )));
        }
        let train = data.parts(|len| 0..ends(len).0);
        let held = |wanted: bool, part: Dataset| wanted.then_some(part);
        let valid = valid.or(held(owns_valid, data.parts(|len| ends(len).0..ends(len).1)));
        let test = test.or(held(owns_test, data.parts(|len| ends(len).1..len)));
        let splits = Self { valid: valid.unwrap_or_else(|| train.clone()), train, test };
        splits.check_classes((owns_valid, owns_test))?;
        Ok(splits)
    }

    /// Refuses a class that is only among the held-out examples of the same data.
    ///
    /// - `owns`: whether validation and test data are parts of the data that are trained on
    pub(super) fn check_classes(&self, owns: (bool, bool)) -> Result<()> {
        let trained = self.train.class_counts();
        let valid = owns.0.then_some((&self.valid, "validation"));
        let test = self.test.as_ref().filter(|_| owns.1).map(|test| (test, "test"));
        for (part, what) in valid.into_iter().chain(test) {
            let counts = part.class_counts();
            let held = counts.iter().zip(&trained).position(|(held, left)| *held > 0 && *left == 0);
            if let Some(class) = held {
                let unit =
                    if matches!(part.target(), Target::StepClass(_)) { "step" } else { "example" };
                let (count, name) = (counted(counts[class], unit), &part.class_names()[class]);
                return Err(Error::Config(format!(
                    "{count} of the class {name:?} went to the {what} data, and none is left to train on: give more of \
                     that class, or hold out others or nothing (valid_fraction and test_fraction 0)"
                )));
            }
        }
        Ok(())
    }
}

impl Dataset {
    /// Moves held-out sequences back, as few as it takes, so that each class of steps is among the others too.
    pub(super) fn keep_classes(
        &self,
        (mut held, mut rest): (Vec<u32>, Vec<u32>),
    ) -> (Vec<u32>, Vec<u32>) {
        let drawn = (held.clone(), rest.clone());
        if !matches!(self.target(), Target::StepClass(_)) {
            return (held, rest);
        }
        let mut left = self.select(&rest).class_counts();
        held.retain(|number| {
            let labels = || self.step_labels(*number as usize).into_iter().flatten();
            let is_needed = labels().any(|label| left[label as usize] == 0);
            if is_needed {
                labels().for_each(|label| left[label as usize] += 1);
                rest.push(*number);
            }
            !is_needed
        });
        // Where each is needed there is no such split.
        if held.is_empty() {
            return drawn;
        }
        rest.sort_unstable();
        (held, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetBuilder, LabelsBuilder, SplitBy};

    /// Sequences of two steps, with a label at each.
    fn steps(labels: &[[&str; 2]]) -> Dataset {
        let mut builder = DatasetBuilder::unnamed(1);
        let mut all = LabelsBuilder::new();
        for pair in labels {
            pair.iter().for_each(|label| all.push(label));
            builder.push_steps(&[1., 2.], 2).unwrap();
            builder.end_sequence().unwrap();
        }
        builder.build(Target::StepClass(all.build())).unwrap()
    }

    #[test]
    fn a_class_that_is_held_out_whole_is_refused() {
        let mut builder = DatasetBuilder::unnamed(1);
        let mut all = LabelsBuilder::new();
        for n in 0..40 {
            builder.push_step(&[n as f32]).unwrap();
            builder.end_sequence().unwrap();
            all.push(if n < 10 { "rare" } else { "common" });
        }
        let data = builder.build(Target::Class(all.build())).unwrap();
        let by = |split_by, valid_fraction| SplitConfig {
            split_by,
            valid_fraction,
            ..SplitConfig::default()
        };
        // All that is rare comes last.
        let backwards: Vec<u32> = (0..40).rev().collect();
        let time =
            DataSplits::sequences(data.select(&backwards), None, None, &by(SplitBy::Time, 0.25), 1);
        let error = time.unwrap_err().to_string();
        assert!(
            error.contains("10 examples of the class \"rare\" went to the validation"),
            "{error}"
        );
        let two = data.select(&[0, 20]);
        let error = DataSplits::sequences(two, None, None, &SplitConfig::default(), 1);
        assert!(error.unwrap_err().to_string().contains("none is left to train on"));
        // A rare class of steps stays where it is trained on.
        let mut labels = vec![["a", "b"]; 30];
        labels[17] = ["a", "rare"];
        for seed in 0..30 {
            let splits =
                DataSplits::sequences(steps(&labels), None, None, &SplitConfig::default(), seed);
            assert_eq!(splits.unwrap().train.class_counts()[2], 1, "{seed}");
        }
    }

    #[test]
    fn a_single_recording_is_cut_by_time() {
        let mut builder = DatasetBuilder::unnamed(1);
        let mut labels = LabelsBuilder::new();
        for t in 0..20 {
            builder.push_step(&[t as f32]).unwrap();
            labels.push(["a", "b"][t % 2]);
        }
        builder.end_sequence().unwrap();
        let data = builder.build(Target::StepClass(labels.build())).unwrap();
        let config = SplitConfig { test_fraction: 0.2, ..SplitConfig::default() };
        let splits = DataSplits::sequences(data.clone(), None, None, &config, 1).unwrap();
        assert_eq!((splits.train.lengths(), splits.valid.lengths()), (vec![14], vec![2]));
        assert_eq!(splits.test.unwrap().class_counts(), [2, 2]);
        let all = SplitConfig { valid_fraction: 0., ..SplitConfig::default() };
        let splits = DataSplits::sequences(data.clone(), None, None, &all, 1).unwrap();
        assert_eq!((splits.train.lengths(), splits.valid.lengths()), (vec![20], vec![20]));
        let little = SplitConfig { valid_fraction: 0.01, ..SplitConfig::default() };
        let error = DataSplits::sequences(data, None, None, &little, 1).unwrap_err().to_string();
        assert!(error.contains("too short to be cut"), "{error}");
    }
}
