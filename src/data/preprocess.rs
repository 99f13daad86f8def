//! `Preprocessor`: what is done to the values of a sequence before a network reads them.

use candle_core::WithDType;
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, SequenceValues};
use super::scaler::{Scaler, Scaling, Statistics};
use super::store::Missing;
use crate::wording::counted;
use crate::{Error, Result};

/// The replacement of missing values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingPolicy {
    /// Nothing: missing values are an error.
    #[default]
    Refuse,
    /// Zero.
    Zero,
    /// The feature's mean over the training split.
    Mean,
    /// The feature's last known value in the sequence, or else its mean over the training split.
    ForwardFill,
}

/// How sequences are preprocessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreprocessConfig {
    /// How features are scaled.
    #[serde(default)]
    pub scaling: Scaling,
    /// The replacement of missing values.
    #[serde(default)]
    pub missing: MissingPolicy,
    /// Whether each feature gets a second one that is 1 where its value was missing, else 0.
    #[serde(default)]
    pub missing_mask: bool,
}

/// A preprocessor that was fitted to a training split: missing values are filled in, then features are scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessor {
    /// The names of the I features.
    pub features: Vec<String>,
    /// How sequences are preprocessed.
    #[serde(flatten)]
    pub config: PreprocessConfig,
    /// The means of the features over the training split.
    pub means: Vec<f64>,
    /// The scale of the features.
    pub scaler: Scaler,
}

impl Preprocessor {
    /// Fits a preprocessor to `train`.
    ///
    /// # Errors
    /// [`Error::Config`] when values are missing and are not to be.
    pub fn fit(config: PreprocessConfig, train: &Dataset) -> Result<Self> {
        let statistics = statistics(train);
        let fitted = Self {
            features: train.features().to_vec(),
            means: statistics.iter().map(Statistics::mean).collect(),
            scaler: Scaler::of(config.scaling, &statistics),
            config,
        };
        fitted.check(train)?;
        let by_mean =
            matches!(fitted.config.missing, MissingPolicy::Mean | MissingPolicy::ForwardFill);
        let empty = statistics.iter().position(Statistics::is_empty);
        if let Some(column) = empty.filter(|_| by_mean) {
            return Err(Error::Config(format!(
                "the feature {} has no value in the training split, and so no mean to fill in: leave the feature \
                 out, or fill in zero",
                train.features()[column]
            )));
        }
        Ok(fitted)
    }

    /// The number of features that a network reads at each step: I, or 2·I with a mask of missing values.
    pub fn input_size(&self) -> usize {
        let masks = if self.config.missing_mask { 2 } else { 1 };
        masks * self.features.len()
    }

    /// Checks that data have the features that this was fitted to, and no missing values unless they are filled in.
    ///
    /// # Errors
    /// [`Error::Config`] naming what differs.
    pub fn check(&self, data: &Dataset) -> Result<()> {
        self.check_features(data.features(), data.missing())
    }

    /// As [`check`](Self::check), of data of which features and missing values are known.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_features(&self, found: &[String], missing: &Missing) -> Result<()> {
        let expected = &self.features;
        if expected.len() != found.len() {
            return Err(Error::Config(format!(
                "the model reads {} ({}), the data have {} ({})",
                counted(expected.len(), "feature"),
                listed(expected),
                found.len(),
                listed(found)
            )));
        }
        if let Some((a, b)) = expected.iter().zip(found).find(|(a, b)| a != b) {
            return Err(Error::Config(format!(
                "the model reads the features {}, the data have {}: {a} and {b} differ",
                listed(expected),
                listed(found)
            )));
        }
        if self.config.missing == MissingPolicy::Refuse && missing.count > 0 {
            let are = if missing.count == 1 { "value is" } else { "values are" };
            return Err(Error::Config(format!(
                "{} {are} missing, the first at {}: say how missing values are filled in \
                 (zero, mean or forward-fill)",
                missing.count, missing.first
            )));
        }
        Ok(())
    }

    /// Adds the inputs of a sequence to `out`: T_n times [`input_size`](Self::input_size) numbers.
    pub fn apply<E: WithDType>(&self, values: SequenceValues, out: &mut Vec<E>) {
        match values {
            SequenceValues::F32(values) => {
                self.apply_to(values.iter().map(|value| f64::from(*value)), out)
            }
            SequenceValues::U8(values) => {
                self.apply_to(values.iter().map(|value| f64::from(*value) / 255.), out)
            }
        }
    }

    fn apply_to<E: WithDType>(&self, values: impl Iterator<Item = f64>, out: &mut Vec<E>) {
        let PreprocessConfig { scaling, missing, missing_mask } = self.config;
        if scaling != Scaling::PerSequence && missing == MissingPolicy::Refuse && !missing_mask {
            let columns = self.scaler.center.iter().zip(&self.scaler.scale).cycle();
            let scaled =
                values.zip(columns).map(|(value, (center, scale))| (value - center) / scale);
            out.extend(scaled.map(E::from_f64));
            return;
        }
        let width = self.features.len();
        let values: Vec<f64> = values.collect();
        let filled = self.filled(&values);
        let own = (scaling == Scaling::PerSequence).then(|| scaler_of(&filled, width));
        let scaler = own.as_ref().unwrap_or(&self.scaler);
        for (row, values) in filled.chunks_exact(width).zip(values.chunks_exact(width)) {
            let scaled = row.iter().enumerate().map(|(column, value)| scaler.scale(column, *value));
            out.extend(scaled.map(E::from_f64));
            if missing_mask {
                out.extend(
                    values.iter().map(|value| E::from_f64(f64::from(u8::from(value.is_nan())))),
                );
            }
        }
    }

    /// The values of a sequence with those filled in that are missing.
    fn filled(&self, values: &[f64]) -> Vec<f64> {
        let mut last = self.means.clone();
        let steps = values.chunks_exact(self.features.len());
        steps.flat_map(|step| self.filled_step(step, &mut last)).collect()
    }

    /// The values of a step, those filled in that are missing; `last` are those of the step before, at first the means.
    fn filled_step(&self, step: &[f64], last: &mut [f64]) -> Vec<f64> {
        let fill = |(column, value): (usize, &f64)| {
            let filled = match self.config.missing {
                _ if !value.is_nan() => *value,
                MissingPolicy::Refuse | MissingPolicy::Zero => 0.,
                MissingPolicy::Mean => self.means[column],
                MissingPolicy::ForwardFill => last[column],
            };
            last[column] = filled;
            filled
        };
        step.iter().enumerate().map(fill).collect()
    }

    /// The inputs of one step, as [`apply`](Self::apply) has them, of a sequence that arrives step by step.
    ///
    /// - `step`: `(I,)`; NaN is a missing value
    /// - `last`: what the step before was filled to; empty before the first
    /// - returns [`input_size`](Self::input_size) numbers
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not a value for each feature; [`Error::Config`] for a missing value that is not to
    /// be, and for [`Scaling::PerSequence`], which needs the whole sequence.
    pub fn apply_step(&self, step: &[f64], last: &mut Vec<f64>) -> Result<Vec<f64>> {
        let PreprocessConfig { scaling, missing, missing_mask } = self.config;
        if step.len() != self.features.len() {
            return Err(Error::Shape {
                op: "preprocess",
                tensor: "a step",
                expected: format!("({},)", self.features.len()),
                actual: vec![step.len()],
            });
        }
        if scaling == Scaling::PerSequence {
            return Err(Error::Config(
                "the model scales whole sequences: it cannot read one step by step".into(),
            ));
        }
        if let (MissingPolicy::Refuse, Some(column)) =
            (missing, step.iter().position(|value| value.is_nan()))
        {
            let name = &self.features[column];
            return Err(Error::Config(format!("the value of {name} is missing")));
        }
        if last.is_empty() {
            last.clone_from(&self.means);
        }
        let filled = self.filled_step(step, last);
        let scaled = filled.iter().enumerate();
        let mut inputs: Vec<f64> =
            scaled.map(|(column, value)| self.scaler.scale(column, *value)).collect();
        if missing_mask {
            inputs.extend(step.iter().map(|value| f64::from(u8::from(value.is_nan()))));
        }
        Ok(inputs)
    }
}

/// Statistics of each feature over all steps.
fn statistics(data: &Dataset) -> Vec<Statistics> {
    let width = data.features().len();
    let mut statistics = vec![Statistics::default(); width];
    for index in 0..data.len() {
        match data.sequence(index) {
            SequenceValues::F32(values) => {
                let columns = (0..width).cycle();
                values
                    .iter()
                    .zip(columns)
                    .for_each(|(x, column)| statistics[column].add(f64::from(*x)));
            }
            SequenceValues::U8(values) => {
                let columns = (0..width).cycle();
                let value = |byte: u8| f64::from(byte) / 255.;
                values
                    .iter()
                    .zip(columns)
                    .for_each(|(x, column)| statistics[column].add(value(*x)));
            }
        }
    }
    statistics
}

/// The scaler of one sequence.
fn scaler_of(values: &[f64], width: usize) -> Scaler {
    let mut statistics = vec![Statistics::default(); width];
    values
        .iter()
        .zip((0..width).cycle())
        .for_each(|(value, column)| statistics[column].add(*value));
    Scaler::of(Scaling::Standard, &statistics)
}

/// Names in a list, of which at most eight are said.
fn listed(names: &[String]) -> String {
    const MOST: usize = 8;
    let shown = names.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        format!("{shown}, ...")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{dataset_of_bytes, DatasetBuilder, Target};

    const NAN: f32 = f32::NAN;

    fn data(sequences: &[&[[f32; 2]]]) -> Dataset {
        let mut builder = DatasetBuilder::new(["a", "b"]);
        for steps in sequences {
            steps.iter().for_each(|step| builder.push_step(step).unwrap());
            builder.end_sequence().unwrap();
        }
        builder.build(Target::None).unwrap()
    }

    fn applied(config: PreprocessConfig, data: &Dataset, index: usize) -> Vec<f64> {
        let mut out = Vec::new();
        Preprocessor::fit(config, data).unwrap().apply(data.sequence(index), &mut out);
        out
    }

    #[test]
    fn features_are_scaled_by_the_training_split() {
        let data = data(&[&[[1., 10.], [3., 10.]], &[[5., 10.], [7., 10.]]]);
        let root = 5f64.sqrt();
        assert_eq!(applied(PreprocessConfig::default(), &data, 1), [1. / root, 0., 3. / root, 0.]);
        let config = PreprocessConfig { scaling: Scaling::PerSequence, ..Default::default() };
        assert_eq!(applied(config, &data, 1), [-1., 0., 1., 0.]);
        let config = PreprocessConfig { scaling: Scaling::MinMax, ..Default::default() };
        assert_eq!(applied(config, &data, 0), [0., 0., 1. / 3., 0.]);
    }

    #[test]
    fn missing_values_are_filled_in_as_asked() {
        let data = data(&[&[[1., NAN], [NAN, 4.], [3., NAN]]]);
        let filled = |missing, missing_mask| {
            let scaling = Scaling::None;
            applied(PreprocessConfig { scaling, missing, missing_mask }, &data, 0)
        };
        assert_eq!(filled(MissingPolicy::Zero, false), [1., 0., 0., 4., 3., 0.]);
        assert_eq!(filled(MissingPolicy::Mean, false), [1., 4., 2., 4., 3., 4.]);
        assert_eq!(filled(MissingPolicy::ForwardFill, false), [1., 4., 1., 4., 3., 4.]);
        let masked = [1., 0., 0., 1., 0., 4., 1., 0., 3., 0., 0., 1.];
        assert_eq!(filled(MissingPolicy::Zero, true), masked);
        let error = Preprocessor::fit(PreprocessConfig::default(), &data).unwrap_err().to_string();
        assert!(
            error.contains("3 values are missing, the first at sequence 1, step 1, b"),
            "{error}"
        );
    }

    #[test]
    fn a_feature_that_is_always_missing_has_no_mean() {
        let data = data(&[&[[1., NAN], [2., NAN]]]);
        for (missing, is_fitted) in [
            (MissingPolicy::Zero, true),
            (MissingPolicy::Mean, false),
            (MissingPolicy::ForwardFill, false),
        ] {
            let config = PreprocessConfig { missing, ..Default::default() };
            let fitted = Preprocessor::fit(config, &data);
            assert_eq!(fitted.is_ok(), is_fitted, "{missing:?}");
            if let Err(error) = fitted {
                let error = error.to_string();
                assert!(error.contains("feature b has no value in the training split"), "{error}");
            }
        }
    }

    #[test]
    fn bytes_are_255ths_to_the_last_bit() {
        let bytes: Vec<u8> = (0..=255).collect();
        let data = dataset_of_bytes(vec!["x".into()], bytes, 256, Target::None).unwrap();
        let config = PreprocessConfig { scaling: Scaling::None, ..Default::default() };
        let mut out: Vec<f32> = Vec::new();
        Preprocessor::fit(config, &data).unwrap().apply(data.sequence(0), &mut out);
        assert!((0u8..=255).zip(out).all(|(byte, x)| x == f32::from(byte) / 255.));
    }

    #[test]
    fn data_with_other_features_are_refused() {
        let fitted = Preprocessor::fit(PreprocessConfig::default(), &data(&[&[[1., 2.]]])).unwrap();
        let mut builder = DatasetBuilder::new(["a", "c"]);
        builder.push_step(&[1., 2.]).unwrap();
        builder.end_sequence().unwrap();
        let error = fitted.check(&builder.build(Target::None).unwrap()).unwrap_err().to_string();
        assert!(error.contains("b and c differ"), "{error}");
    }
}
