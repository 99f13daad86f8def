//! Splits of a data set: a part of it is held out for validation or test.

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::target::Target;
use super::validation::stratified;
use crate::rng::{Purpose, SeededRng};
use crate::wording::counted;
use crate::{Error, Result};

/// How the sequences that are held out are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    /// At random; the same part of each class where there are classes.
    #[default]
    Random,
    /// At random, groups as a whole: no group is on both sides.
    Group,
    /// The last ones in the file, as data in order of time are held out.
    Time,
}

/// How data are split where no files say so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    /// The fraction of the sequences that validate, or of the steps of a series to forecast.
    pub valid_fraction: f64,
    /// The fraction that is kept for a test, and is neither trained on nor validates.
    pub test_fraction: f64,
    /// How they are chosen.
    pub split_by: SplitBy,
    /// The number of last steps of a series to forecast that are kept for a test; 0 for `test_fraction` of them.
    pub test_steps: usize,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { valid_fraction: 0.1, test_fraction: 0., split_by: SplitBy::Random, test_steps: 0 }
    }
}

impl SplitConfig {
    /// Checks that the fractions are in their range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the one that is not.
    pub fn check(&self) -> Result<()> {
        let fractions =
            [("valid_fraction", self.valid_fraction), ("test_fraction", self.test_fraction)];
        for (name, fraction) in fractions {
            if !(0. ..1.).contains(&fraction) {
                return Err(Error::Config(format!(
                    "{name} must be at least 0 and less than 1, got {fraction}"
                )));
            }
        }
        if self.test_steps > 0 && self.test_fraction > 0. {
            return Err(Error::Config(format!(
                "test_steps and test_fraction both say how much is kept for a test, got {} and {}: give one",
                self.test_steps, self.test_fraction
            )));
        }
        if self.valid_fraction + self.test_fraction >= 1. {
            return Err(Error::Config(
                "valid_fraction and test_fraction leave nothing to train on".into(),
            ));
        }
        Ok(())
    }
}

/// The parts of a data set.
#[derive(Clone, Debug)]
pub struct DataSplits {
    /// The training data.
    pub train: Dataset,
    /// The validation data; the training data themselves where nothing is held out.
    pub valid: Dataset,
    /// The test data, if some are kept.
    pub test: Option<Dataset>,
}

impl DataSplits {
    /// Splits sequences.
    ///
    /// - `valid`, `test`: data of their own, from which nothing is taken; without them they are fractions of `data`.
    ///   With a `valid_fraction` of 0 nothing is held out: the training data are measured
    ///
    /// A single sequence with a class at each step is cut by time: its first steps train, later ones validate, the
    /// last are the test.
    ///
    /// # Errors
    /// As [`Dataset::split`]; [`Error::Config`] when all examples of a class are held out.
    pub fn sequences(
        data: Dataset,
        valid: Option<Dataset>,
        test: Option<Dataset>,
        config: &SplitConfig,
        seed: u64,
    ) -> Result<Self> {
        let SplitConfig { valid_fraction, test_fraction, split_by, .. } = *config;
        let is_recording = data.len() == 1 && matches!(data.target(), Target::StepClass(_));
        if is_recording && split_by != SplitBy::Group {
            return Self::recording(&data, valid, test, config);
        }
        let owns = (valid.is_none() && valid_fraction > 0., test.is_none() && test_fraction > 0.);
        let (data, test) = if test.is_none() && test_fraction > 0. {
            let rng = &mut SeededRng::new(seed, Purpose::Test);
            let (rest, test) = data.split(test_fraction, split_by, rng)?;
            (rest, Some(test))
        } else {
            (data, test)
        };
        let (train, valid) = match valid {
            Some(valid) => (data, valid),
            None if valid_fraction > 0. => {
                // The fraction is one of all data, those of the test included.
                let fraction =
                    valid_fraction / (1. - if test.is_some() { test_fraction } else { 0. });
                data.split(fraction, split_by, &mut SeededRng::new(seed, Purpose::Validation))?
            }
            None => (data.clone(), data),
        };
        let splits = Self { train, valid, test };
        splits.check_classes(owns)?;
        Ok(splits)
    }

    /// Splits series to forecast by time: the first steps train, later ones validate, the last are the test. A
    /// window belongs to the part in which all of what is forecast lies; what it knows may lie before.
    ///
    /// # Errors
    /// [`Error::Config`] when series are too short for a window in each part.
    pub fn windows(
        data: &Dataset,
        window: usize,
        horizon: usize,
        config: &SplitConfig,
    ) -> Result<Self> {
        let (train, valid, test) = (
            data.windows(window, horizon, |len| 0..config.cuts(len).0),
            data.windows(window, horizon, |len| config.cuts(len).0..config.cuts(len).1),
            data.windows(window, horizon, |len| config.cuts(len).1..len),
        );
        let longest = data.lengths().into_iter().max().unwrap_or(0);
        let has_test = config.test_steps > 0 || config.test_fraction > 0.;
        let (trained, validated) = config.cuts(longest);
        for (name, part, steps) in [
            ("train on", &train, trained),
            ("validate", &valid, validated - trained),
            ("test", &test, longest - validated),
        ] {
            if part.is_empty() && (name != "test" || has_test) {
                return Err(Error::Config(format!(
                    "a series of {} has {steps} to {name}, too few for windows of {} and forecasts of {horizon}: hold \
                     out other parts, or make windows or forecasts shorter",
                    counted(longest, "step"),
                    counted(window, "step")
                )));
            }
        }
        Ok(Self { train, valid, test: has_test.then_some(test) })
    }
}

impl SplitConfig {
    /// Where the training steps of a series end, and where its validation steps do.
    pub fn cuts(&self, len: usize) -> (usize, usize) {
        let part = |fraction: f64| (len as f64 * fraction).round() as usize;
        let test =
            if self.test_steps > 0 { self.test_steps } else { part(self.test_fraction) }.min(len);
        let valid = part(self.valid_fraction).min(len - test);
        (len - test - valid, len - test)
    }
}

impl Dataset {
    /// Splits the data set in two: the rest, and the part that is held out, both in their own order.
    ///
    /// - `fraction`: of the sequences that are held out, above 0 and less than 1; at least one is, and at least one is
    ///   not
    ///
    /// # Errors
    /// [`Error::Config`] for a fraction out of its range, a single sequence or group, or groups that are not there.
    pub fn split(&self, fraction: f64, by: SplitBy, rng: &mut SeededRng) -> Result<(Self, Self)> {
        if !(fraction > 0. && fraction < 1.) {
            return Err(Error::Config(format!(
                "a split must hold out a fraction above 0 and less than 1, got {fraction}"
            )));
        }
        if self.len() < 2 {
            return Err(Error::Config(
                "a single sequence cannot be split in two: training and validation need one each, \
                 and so does a test"
                    .into(),
            ));
        }
        let count = self.len();
        let held = ((count as f64 * fraction).round() as usize).clamp(1, count - 1);
        let (held, rest) = match by {
            SplitBy::Random => self.keep_classes(self.at_random(held, rng)),
            SplitBy::Group => self.by_group(held, rng)?,
            SplitBy::Time => {
                let first = (count - held) as u32;
                ((first..count as u32).collect(), (0..first).collect())
            }
        };
        Ok((self.select(&rest), self.select(&held)))
    }

    /// The numbers of the sequences that are held out, and of the others.
    fn at_random(&self, held: usize, rng: &mut SeededRng) -> (Vec<u32>, Vec<u32>) {
        let labels: Vec<u32> =
            (0..self.len()).map(|index| self.label(index).unwrap_or(0)).collect();
        let classes = self.class_names().len().max(1);
        let mut order = stratified(&labels, classes, held, rng);
        let rest = order.split_off(held);
        (order, rest)
    }

    fn by_group(&self, held: usize, rng: &mut SeededRng) -> Result<(Vec<u32>, Vec<u32>)> {
        let missing = || Error::Config("the data have no groups to be split by".into());
        let group = |index: usize| self.group(index).ok_or_else(missing);
        let groups = (0..self.len()).map(group).collect::<Result<Vec<u32>>>()?;
        let mut names = groups.clone();
        names.sort_unstable();
        names.dedup();
        if names.len() < 2 {
            return Err(Error::Config(
                "all sequences are of one group, which cannot be split".into(),
            ));
        }
        let mut is_held = vec![false; names[names.len() - 1] as usize + 1];
        let mut count = 0;
        // The last group stays, however large the fraction is.
        for place in rng.permutation(names.len() as u32).into_iter().take(names.len() - 1) {
            let name = names[place as usize];
            let size = groups.iter().filter(|group| **group == name).count();
            // The first group is held out; others as long as they bring the count nearer to what was asked for.
            if count == 0 || (count + size).abs_diff(held) < count.abs_diff(held) {
                is_held[name as usize] = true;
                count += size;
            }
        }
        let indices = 0..self.len() as u32;
        Ok(indices.partition(|index| is_held[groups[*index as usize] as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetBuilder, Labels, LabelsBuilder};

    fn data() -> Dataset {
        let mut builder = DatasetBuilder::unnamed(1);
        let mut labels = LabelsBuilder::new();
        for n in 0..40u32 {
            builder.push_step(&[n as f32]).unwrap();
            builder.end_named(n.to_string()).unwrap();
            labels.push(if n < 10 { "rare" } else { "common" });
        }
        let indices = (0..40).map(|n| n / 8).collect();
        builder.groups(Labels { names: (0..5).map(|g| g.to_string()).collect(), indices });
        builder.build(Target::Class(labels.build())).unwrap()
    }

    fn split(by: SplitBy, seed: u64) -> (Dataset, Dataset) {
        data().split(0.2, by, &mut SeededRng::new(seed, Purpose::Validation)).unwrap()
    }

    fn ids(data: &Dataset) -> Vec<u32> {
        (0..data.len()).map(|index| data.id(index).parse().unwrap()).collect()
    }

    #[test]
    fn random_splits_keep_the_parts_of_the_classes() {
        let (rest, held) = split(SplitBy::Random, 1);
        assert_eq!((rest.class_counts(), held.class_counts()), (vec![24, 8], vec![6, 2]));
        let mut all = [ids(&rest), ids(&held)].concat();
        assert!(ids(&rest).is_sorted() && ids(&held).is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<u32>>());
        assert_eq!(ids(&split(SplitBy::Random, 1).1), ids(&held));
        assert_ne!(ids(&split(SplitBy::Random, 2).1), ids(&held));
    }

    #[test]
    fn groups_are_split_whole() {
        for seed in 0..10 {
            let (rest, held) = split(SplitBy::Group, seed);
            assert_eq!((rest.len(), held.len()), (32, 8), "{seed}");
            let group = |data: &Dataset, index| data.group(index).unwrap();
            assert!((0..8).all(|index| group(&held, index) == group(&held, 0)));
            assert!((0..32).all(|index| group(&rest, index) != group(&held, 0)));
        }
    }

    #[test]
    fn splits_by_time_hold_out_the_last() {
        assert_eq!(ids(&split(SplitBy::Time, 1).1), (32..40).collect::<Vec<u32>>());
    }

    #[test]
    fn splits_that_cannot_be_made_are_refused() {
        let rng = &mut SeededRng::new(1, Purpose::Validation);
        let one = data().select(&[3]);
        assert!(one.split(0.5, SplitBy::Random, rng).is_err());
        assert!(data().split(0., SplitBy::Random, rng).is_err());
        assert!(data().split(f64::NAN, SplitBy::Random, rng).is_err());
        let group = data().select(&[0, 1, 2]);
        let error = group.split(0.5, SplitBy::Group, rng).unwrap_err().to_string();
        assert!(error.contains("one group"), "{error}");
    }
}
